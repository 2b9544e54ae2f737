/** The scores of a flow: decoded when first needed, kept while there is room, shown as the reader asks. */
import { numbers } from "./kit.js";

const MOST_VALUES = 48e6; // 192 MB

/** Displacements, NaN for a target that moved nowhere: beside the others', its change is rounding. */
export function moved(displacement, still) {
  const sizes = displacement.map(Math.abs).sort(), middle = sizes.length >> 1;
  const median = sizes.length % 2 ? sizes[middle] : (sizes[middle - 1] + sizes[middle]) / 2;
  return displacement.map((value) => (Math.abs(value) > still * median ? value : NaN));
}

/** `state` is what the reader chose: map, part (−1 adds the parts up), norm, scale, special, diagonal, token. */
export class Scores {
  constructor({ meta, block }, state) {
    this.meta = meta;
    this.block = block;
    this.state = state;
    this.maps = new Map(meta.maps.map((map) => [map.name, map]));
    this.rowOf = new Map(meta.targets.map((source, row) => [source, row])); // a token's row, where it is a target
    this.kept = new Map(); // least recently used first
    this.keptValues = 0;
    this.shown = new Map();
    this.shownKey = "";
  }

  get map() { return this.maps.get(this.state.map); }
  columnsOf(map) { return map.columns === "source" ? this.meta.tokens.length : this.meta.heads.length; }

  /** The values under a key, made when they are not kept. */
  remember(key, make) {
    let values = this.kept.get(key);
    if (values) this.kept.delete(key);
    else {
      values = make();
      this.keptValues += values.length;
      for (const [oldest, old] of this.kept) {
        if (this.keptValues <= MOST_VALUES) break;
        this.kept.delete(oldest);
        this.keptValues -= old.length;
      }
    }
    this.kept.set(key, values);
    return values;
  }

  /** Scores of one layer, row after row; part −1 adds the parts up. */
  of(map, layer, part = this.state.part) {
    return this.remember(`${map.name}/${layer}/${part}`, () => {
      const one = (index) => numbers(this.block(`${map.name}-${layer}-${index}`), map.encoding, map.exponents[layer][index]);
      if (!map.parts.length) return one(0);
      if (part >= 0) return one(part);
      const sum = one(0);
      for (let index = 1; index < map.parts.length; index += 1) {
        const values = this.of(map, layer, index);
        for (let cell = 0; cell < sum.length; cell += 1) sum[cell] += values[cell];
      }
      return sum;
    });
  }

  /** Displacement or gap of every target of one layer; NaN where the result has none. */
  perTarget(map, kind, layer) {
    const rows = this.meta.targets.length, values = new Float32Array(rows), { part } = this.state;
    if (!(kind === "displacement" ? map.hasDisplacement : map.hasGap)) return values.fill(NaN);
    const all = this.remember(`${map.name}/${kind}`, () => numbers(this.block(`${map.name}-${kind}`)));
    if (!map.displacementBySplit) return all.slice(layer * rows, (layer + 1) * rows);
    const count = all.length / (this.meta.layers.length * rows);
    for (let index = 0; index < count; index += 1) {
      if (part >= 0 && index !== part) continue;
      for (let row = 0; row < rows; row += 1) values[row] += all[(layer * count + index) * rows + row];
    }
    return values;
  }

  /** What the scores of every target are shares of. */
  divisors(map, layer) { return moved(this.perTarget(map, "displacement", layer), this.meta.still); }

  /** What is drawn: scores as they stand, divided by displacement, or by the largest of their row. Hidden cells: NaN. */
  display(layer) {
    const { map: name, part, norm, special, diagonal } = this.state, key = [name, part, norm, special, diagonal].join("/");
    if (key !== this.shownKey) { this.shown = new Map(); this.shownKey = key; }
    if (this.shown.has(layer)) return this.shown.get(layer);
    const width = this.columnsOf(this.map), raw = this.of(this.map, layer);
    const size = norm === "share" ? this.divisors(this.map, layer) : null, values = new Float32Array(raw.length);
    for (let row = 0; row < this.meta.targets.length; row += 1) {
      const start = row * width;
      let most = 0;
      for (let column = 0; column < width; column += 1) {
        const value = this.hides(row, column) ? NaN : raw[start + column];
        values[start + column] = value;
        if (Math.abs(value) > most) most = Math.abs(value);
      }
      const divisor = norm === "share" ? size[row] : norm === "row" ? most || 1 : 1;
      if (divisor !== 1) for (let column = 0; column < width; column += 1) values[start + column] /= divisor;
    }
    this.shown.set(layer, values);
    return values;
  }

  hides(row, column) {
    const { special, diagonal } = this.state, target = this.meta.targets[row];
    if (special && this.meta.special[target]) return true;
    return this.map.columns === "source" && ((diagonal && target === column) || (special && this.meta.special[column]));
  }

  /** Whether a step from source to target is looked at. */
  counts(target, source) {
    const { special, diagonal } = this.state;
    return !(diagonal && target === source) && !(special && (this.meta.special[target] || this.meta.special[source]));
  }

  /** Where the colours of a layer end. */
  limit(layer) {
    const { norm, part, special, scale } = this.state;
    if (norm === "row") return 1;
    const limits = this.map.limits[`${norm}-${part >= 0 ? "parts" : "sum"}-${special ? "plain" : "all"}`];
    return (scale === "shared" ? limits.shared : limits.layers[layer]) || 1;
  }

  rows() { return [...this.meta.targets.keys()].filter((row) => !(this.state.special && this.meta.special[this.meta.targets[row]])); }

  columns() {
    const hidden = this.state.special && this.map.columns === "source";
    return [...Array(this.columnsOf(this.map)).keys()].filter((column) => !(hidden && this.meta.special[column]));
  }

  /** What the followed token receives from, or gives to, every token in one layer; NaN where it is unknown. */
  followed(layer, direction) {
    const { tokens, targets } = this.meta, values = new Float32Array(tokens.length).fill(NaN), matrix = this.display(layer);
    if (direction === "receives") {
      const row = this.rowOf.get(this.state.token);
      if (row !== undefined) values.set(matrix.subarray(row * tokens.length, (row + 1) * tokens.length));
    } else targets.forEach((target, row) => { values[target] = matrix[row * tokens.length + this.state.token]; });
    return values;
  }

  /** Where something happens: the target of the strongest flow between different tokens of the first layer. */
  busiest() {
    const { targets, special } = this.meta, width = this.columnsOf(this.map), values = this.of(this.map, 0);
    let best = 0, token = targets[0] ?? 0;
    targets.forEach((target, row) => {
      for (let column = 0; column < width; column += 1) {
        const size = Math.abs(values[row * width + column]);
        if (size > best && target !== column && !special[target]) { best = size; token = target; }
      }
    });
    return token;
  }
}
