/** The scores of explanations: which of them are looked at, decoded when first needed. */
import { largest, limitOf, numbers } from "./kit.js";

export const LISTED = 10; // tokens that a list names before anybody asks for more
const MOST_LINES = 200; // of each layer, more cannot be asked for
const BINS = 1024;

/** `state` is what the reader chose: entry, units, special, map, row (0: relevance, then the layers), scale, token. */
export class Scores {
  constructor({ meta, block }, state) {
    this.entries = meta.entries;
    this.block = block;
    this.state = state;
    this.decoded = new Map();
    this.flows = new Map();
  }

  get entry() { return this.entries[this.state.entry]; }
  get view() { return this.viewOf(this.entry); }
  viewOf(item) { return item.views[this.state.units] ?? item.views.tokens; }

  numbers(key) {
    if (!this.decoded.has(key)) this.decoded.set(key, numbers(this.block(key)));
    return this.decoded.get(key);
  }

  /** Scores of one row, all tokens. */
  row(row, item = this.entry) {
    const view = this.viewOf(item), kind = this.state.special === "share" && view.shared ? "share" : "show";
    return this.numbers(`${view.key}-${kind}`).subarray(row * view.tokens.length, (row + 1) * view.tokens.length);
  }

  /** Whether a token is looked at, and whether it is ranked. */
  visible(index, view = this.view) { return ["show", "rank"].includes(this.state.special) || !view.special[index] || !view.shared; }
  counts(index, view = this.view) { return this.state.special === "rank" || !view.special[index]; }

  /** The tokens that are looked at. */
  tokens() { return [...this.view.tokens.keys()].filter((index) => this.visible(index)); }

  /** Those of `among` that speak for (sign 1) or against (−1), the strongest first. */
  ranked(row, among, sign) {
    return among.filter((index) => sign * row[index] > 0 && this.counts(index)).sort((a, b) => Math.abs(row[b]) - Math.abs(row[a]));
  }

  /** The patches that the lists of a row begin with. */
  listedPatches(row) {
    const patches = this.tokens().filter((index) => this.entry.grid.places[index]);
    return [1, -1].flatMap((sign) => this.ranked(row, patches, sign).slice(0, LISTED));
  }

  /** The scores that colours show; of a picture those of patches, because a class token may hold more than all of them. */
  shown(scores, item = this.entry) {
    const places = item.grid?.places, view = this.viewOf(item);
    return scores.filter((_, index) => (places ? places[index] : this.visible(index, view)));
  }

  most(scores, item = this.entry) { return limitOf(this.shown(scores, item)); }

  /** The layered map that was chosen. */
  get map() { return this.entry.maps.find((map) => map.name === this.state.map) ?? this.entry.maps[1] ?? null; }
  mapAt(row) { return this.entry.maps.findLast((candidate) => candidate.first <= row); }

  /** Relevance, and the layers of the chosen map. */
  rows() { return [0, ...(this.map ? this.map.rows.map((_, index) => this.map.first + index) : [])]; }

  rowTitle(row) {
    const map = this.mapAt(row), name = map.rows[row - map.first];
    return row === 0 ? "relevance" : `${map.title}, ${name === "out" ? "above the last block" : `layer ${name}`}`;
  }

  /** Where the colours of a row end. */
  rowLimit(row) {
    const map = this.mapAt(row);
    if (row === 0 || this.state.scale === "layer") return this.most(this.row(row)) || 1;
    return limitOf(map.rows.flatMap((_, index) => [...this.shown(this.row(map.first + index))]));
  }

  /** How many scores of a row its colours cannot show. */
  beyond(row) {
    const limit = this.rowLimit(row);
    return this.shown(this.row(row)).filter((score) => Math.abs(score) > limit).length;
  }

  /** The flow of one layer, target after target. */
  flowOf(layer) {
    const n = this.view.tokens.length;
    return this.numbers(`${this.view.key}-flow`).subarray(layer * n * n, (layer + 1) * n * n);
  }

  /** What a flow is drawn from: the strongest lines of every layer, and what each token holds at every level. */
  wholeFlow() {
    const { key, tokens } = this.view, n = tokens.length, { layers } = this.entry;
    if (this.flows.has(key)) return this.flows.get(key);
    const sums = Array.from({ length: layers.length + 1 }, () => new Float64Array(n)), lines = [];
    layers.forEach((_, layer) => {
      const scores = this.flowOf(layer);
      scores.forEach((value, cell) => {
        sums[layer][cell % n] += value;
        if (layer === layers.length - 1) sums[layers.length][Math.floor(cell / n)] += value;
      });
      lines.push(strongLines(scores, n, layer));
    });
    this.flows.set(key, { lines, sums });
    return this.flows.get(key);
  }

  /** The lines of one token alone. */
  linesOf(token) {
    const n = this.view.tokens.length;
    return this.entry.layers.map((_, layer) => {
      const scores = this.flowOf(layer), found = [];
      for (let other = 0; other < n; other += 1) {
        found.push(line(scores, n, layer, token * n + other));
        if (other !== token) found.push(line(scores, n, layer, other * n + token));
      }
      return strongest(found);
    });
  }
}

/** Sorting a quarter of a million lines would be felt: count them by size, and sort those that may be shown. */
function strongLines(scores, n, layer) {
  const most = largest(scores) || 1, bins = new Uint32Array(BINS), found = [];
  const bin = (value) => Math.min(BINS - 1, Math.floor(Math.sqrt(Math.abs(value) / most) * BINS));
  for (const value of scores) bins[bin(value)] += 1;
  let least = BINS - 1;
  for (let count = bins[least]; least > 0 && count < MOST_LINES; least -= 1) count += bins[least - 1];
  scores.forEach((value, cell) => { if (value && bin(value) >= least) found.push(line(scores, n, layer, cell)); });
  return strongest(found).slice(0, MOST_LINES);
}

function line(scores, n, layer, cell) { return { value: scores[cell], layer, source: cell % n, target: Math.floor(cell / n) }; }
function strongest(lines) { return lines.filter(({ value }) => value).sort((a, b) => Math.abs(b.value) - Math.abs(a.value)); }
