/** The scores of a flow: stored by tokens, added up to words where these are looked at, decoded when first needed. */
import { scoresOf } from "./kit.js";
import { grownBack, sharesOf } from "./ways.js";

const KEPT = 96; // matrices

/** `state` is what the reader chose: units, map, layer, part (−1 adds the parts up), special, token, node. */
export class Scores {
  constructor({ meta, block }, page) {
    this.meta = meta;
    this.block = block;
    this.page = page;
    this.maps = new Map(meta.maps.map((map) => [map.name, map]));
    this.blocks = new Map();
    this.kept = new Map(); // least recently made first
  }

  get state() { return this.page.state; }
  get view() { return this.meta.views[this.state.units] ?? this.meta.views.tokens; }
  get map() { return this.maps.get(this.state.map) ?? this.meta.maps[0]; }
  widthOf(map) { return map.columns === "source" ? this.view.tokens.length : this.meta.heads.length; }

  /** The place of the token from which the answer is read. */
  get reader() {
    const { targets, special } = this.view;
    return special[targets[0]] ? targets[0] : targets.at(-1);
  }

  remember(key, make) {
    const whole = `${this.state.units}/${key}`;
    if (!this.kept.has(whole)) {
      this.kept.set(whole, make());
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(whole);
  }

  /** Scores of a layer as they are stored, a row for each target token; of some rows, if not of all. */
  stored(map, layer, part, from = 0, some = null) {
    if (!this.blocks.has(map.name)) this.blocks.set(map.name, this.block(map.name));
    const buffer = this.blocks.get(map.name), { meta } = this, { source_of: sources, target_of: targets } = meta.views.tokens;
    const columns = map.columns === "source" ? sources.length : meta.heads.length, lines = targets.length, parts = map.parts.length || 1;
    return scoresOf(buffer, meta.layers.length * parts * lines * columns, columns, (layer * parts + part) * lines + from, some ?? lines);
  }

  /** Scores of a layer, target after target; of one part, or of all added up. */
  of(map, layer, part = -1) {
    return this.remember(`${map.name}/${layer}/${part}`, () => {
      const { view } = this, { target_of: targets } = view, width = this.widthOf(map), made = new Float32Array(view.targets.length * width), places = this.placesOf(map);
      for (const one of this.partsOf(map, part)) {
        const values = this.stored(map, layer, one);
        for (let row = 0, at = 0; row < targets.length; row += 1) {
          const start = targets[row] * width;
          for (let column = 0; column < places.length; column += 1, at += 1) made[start + places[column]] += values[at];
        }
      }
      return made;
    });
  }

  /** Where stored columns are added to, and which stored parts are. */
  placesOf(map) { return map.columns === "source" ? this.view.source_of : this.meta.heads.map((_, head) => head); }
  partsOf(map, part) { return part >= 0 ? [part] : map.parts.length ? [...map.parts.keys()] : [0]; }

  /** Scores of one target in a layer: those of all others are not decoded for it. */
  rowOf(map, layer, part, row) {
    const made = new Float32Array(this.widthOf(map)), places = this.placesOf(map), own = [...this.view.target_of.keys()].filter((at) => this.view.target_of[at] === row);
    for (const one of this.partsOf(map, part)) {
      for (const at of own) this.stored(map, layer, one, at, 1).forEach((value, column) => { made[places[column]] += value; });
    }
    return made;
  }

  /** What the heads bring from a source to a target, or what all of them do where they are not known. */
  headsOf(layer, target, source) {
    const map = this.maps.get("whole_heads") ?? this.maps.get("attention"), row = this.view.targets.indexOf(target);
    if (!map?.parts.length || row < 0) return null;
    return { map, values: map.parts.map((_, part) => this.of(map, layer, part)[row * this.view.tokens.length + source]) };
  }

  /** Whether a step from source to target is looked at. */
  counts(target, source) { return !(this.state.special && (this.view.special[target] || this.view.special[source])); }

  /** What the token receives from, or gives to, every token in one layer; NaN where it is unknown. */
  followed(layer, token, direction) {
    const { view, map, state } = this, n = view.tokens.length, values = new Float32Array(n).fill(NaN), own = view.targets.indexOf(token);
    if (direction === "gives") {
      const matrix = this.of(map, layer, state.part);
      view.targets.forEach((target, row) => { values[target] = matrix[row * n + token]; });
    } else if (own >= 0) values.set(this.rowOf(map, layer, state.part, own));
    return values;
  }

  /** The map whose layers lead into each other, or why there is none. */
  chain() {
    const { layers } = this.meta, map = ["whole", "composed"].includes(this.map.name) ? this.map : this.maps.get("whole") ?? this.maps.get("composed");
    if (!map) return "Ways through the layers need the map whole or composed.";
    if (!layers.every((layer, at) => at === 0 || layer === layers[at - 1] + 1)) return "Ways through the layers need consecutive layers; this result leaves some out.";
    return map;
  }

  /** The tree that leads to the chosen node, or to what the reader holds after the last layer. */
  tree(map) {
    const { view, state, meta } = this, start = new Float64Array(view.tokens.length);
    const [level, token] = state.node ? state.node.split(",").map(Number) : [meta.layers.length, this.reader];
    start[token] = 1;
    const shares = (layer) => this.remember(`${map.name}/${layer}/shares`, () => sharesOf(this.of(map, layer), view.targets, meta.still));
    return this.remember(`${map.name}/${level},${token}/${state.special}/tree`, () => (
      { level, token, ...grownBack({ targets: view.targets, shares, counts: state.special && ((target, source) => this.counts(target, source)) }, level, start) }));
  }
}
