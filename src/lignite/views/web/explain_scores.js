/** The scores of explanations: which of them are looked at, decoded when first needed. */
import { largest, limitOf, scoresOf } from "./kit.js";
import { grownBack, sharesOf } from "./ways.js";

export const LISTED = 10; // tokens that a list names before anybody asks for more
const STILL = 1e-3; // beside the median of a layer, so little relevance has no sources

/** `state` is what the reader chose: entry, units, special, map, row (0: relevance, then the layers), scale, token, node. */
export class Scores {
  constructor({ meta, block }, page) {
    this.entries = meta.entries;
    this.block = block;
    this.page = page;
    this.kept = new Map();
  }

  get state() { return this.page.state; }
  get entry() { return this.entries[this.state.entry]; }
  get view() { return this.viewOf(this.entry); }
  viewOf(item) { return item.views[this.nameOf(item)]; }
  nameOf(item) { return item.views[this.state.units] ? this.state.units : "tokens"; }

  remember(key, make) {
    if (!this.kept.has(key)) this.kept.set(key, make());
    return this.kept.get(key);
  }

  /** Scores of one row, all tokens. */
  row(row, item = this.entry) {
    const view = this.viewOf(item), key = `${view.key}-${this.state.special === "share" && view.shared ? "share" : "show"}`, n = view.tokens.length;
    return this.remember(key, () => new Float32Array(this.block(key))).subarray(row * n, (row + 1) * n);
  }

  /** Whether a token is looked at, and whether it is ranked. */
  visible(index, view = this.view) { return ["show", "rank"].includes(this.state.special) || !view.special[index] || !view.shared; }
  counts(index, view = this.view) { return this.visible(index, view) && (this.state.special === "rank" || !view.special[index]); }

  /** The tokens that are looked at. */
  tokens(view = this.view) { return [...view.tokens.keys()].filter((index) => this.visible(index, view)); }

  /** Tokens that speak for (sign 1) or against (−1), the strongest first. */
  ranked(row, among, sign) {
    return among.filter((index) => sign * row[index] > 0 && this.counts(index)).sort((a, b) => Math.abs(row[b]) - Math.abs(row[a]));
  }

  /** The scores that colours show; of a picture those of patches, because a class token may hold more than all of them. */
  shown(scores, item = this.entry) {
    const places = item.grid?.places, view = this.viewOf(item);
    return scores.filter((_, index) => (places ? places[index] : this.visible(index, view)));
  }

  /** The layered map that was chosen, and the one that a row belongs to. */
  get map() { return this.entry.maps.find((map) => map.name === this.state.map) ?? this.entry.maps[0] ?? null; }
  mapAt(row) { return this.entry.maps.findLast((map) => map.first <= row); }

  /** Relevance, and the layers of the chosen map. */
  rows() { return [0, ...(this.map?.rows.map((_, index) => this.map.first + index) ?? [])]; }

  rowTitle(row) {
    const map = row && this.mapAt(row), name = map && map.rows[row - map.first];
    return row === 0 ? "relevance" : `${map.title}, ${name === "out" ? "above the last block" : `layer ${name}`}`;
  }

  /** Where the colours of a row end. */
  limit(row, item = this.entry) {
    if (row === 0 || this.state.scale === "layer") return limitOf(this.shown(this.row(row, item), item));
    const map = this.mapAt(row), { units, special } = this.state;
    return this.remember(`${this.view.key}-${map.name}-${units}-${special}-limit`, () => limitOf(map.rows.flatMap((_, index) => [...this.shown(this.row(map.first + index))])));
  }

  /** The flow of one layer, target after target. */
  flowOf(layer) {
    const { key, tokens: { length: n } } = this.view, count = n * n * this.entry.layers.length;
    return this.remember(`${key}-flow`, () => scoresOf(this.block(`${key}-flow`), count, n)).subarray(layer * n * n, (layer + 1) * n * n);
  }

  /** What the answer is made of, or the node that was chosen: the tree that leads to it. */
  tree() {
    const { view, state, entry } = this, n = view.tokens.length, top = entry.layers.length, targets = [...view.tokens.keys()];
    const shares = (layer) => this.remember(`${view.key}-${layer}-shares`, () => sharesOf(this.flowOf(layer), targets, STILL));
    const whole = this.remember(`${view.key}-tree`, () => {
      const out = this.flowOf(top - 1), start = Float64Array.from(targets, (target) => out.subarray(target * n, (target + 1) * n).reduce((sum, value) => sum + value, 0));
      return grownBack({ targets, shares }, top, start);
    });
    if (!state.node) return whole;
    const [level, token] = state.node.split(",").map(Number), start = new Float64Array(n);
    start[token] = whole.levels[level]?.[token] ?? 0;
    return this.remember(`${view.key}-tree-${state.node}`, () => grownBack({ targets, shares }, level, start));
  }

  /** The largest of what nodes hold, for their size. */
  get most() { return Math.max(...this.tree().levels.filter(Boolean).map(largest)) || 1; }
}
