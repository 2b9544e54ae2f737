/** Ways through the layers: what a target's scores are shares of, and the tree of all that leads to a node. */
import { Largest } from "./kit.js";

const MOST = 400; // lines of a layer, the strongest: more cannot be looked at

/** Displacements, NaN for a target that moved nowhere: beside the others', its change is rounding. */
export function moved(displacement, still) {
  const sizes = displacement.map(Math.abs).sort(), middle = sizes.length >> 1;
  const median = sizes.length % 2 ? sizes[middle] : (sizes[middle - 1] + sizes[middle]) / 2;
  return displacement.map((value) => (Math.abs(value) > still * median ? value : NaN));
}

/** Scores, a row for each of `targets`, divided by the sum of their row. A target that moved nowhere is its own only source. */
export function sharesOf(values, targets, still) {
  const made = new Float32Array(values.length), width = values.length / targets.length, added = new Float64Array(targets.length);
  for (let row = 0, at = 0; row < targets.length; row += 1) { // plain loops: a page has millions of scores
    for (const end = at + width; at < end; at += 1) added[row] += values[at];
  }
  const sums = moved(added, still);
  for (let row = 0, at = 0; row < targets.length; row += 1) {
    const sum = sums[row], first = at, rests = Number.isNaN(sum);
    for (const end = at + width; at < end; at += 1) made[at] = rests ? Number(at - first === targets[row]) : values[at] / sum;
  }
  return made;
}

/** What leads to the `start` (a value for every token) at a level: what every node below holds of it, and the lines that carry it.
 * `shares(layer)` are rows of `targets`; `counts(target, source)`, if given, says which steps are looked at. */
export function grownBack({ targets, shares, counts }, level, start) {
  const levels = [], edges = [], n = start.length;
  levels[level] = start;
  for (let layer = level - 1; layer >= 0; layer -= 1) {
    const above = levels[layer + 1], below = new Float64Array(n), parts = shares(layer), largest = new Largest(MOST);
    targets.forEach((target, row) => {
      const held = above[target];
      if (!held) return;
      for (let source = 0, at = row * n; source < n; source += 1, at += 1) {
        const value = held * parts[at];
        if (!value || (counts && !counts(target, source))) continue;
        below[source] += value;
        const size = Math.abs(value);
        if (size > largest.least) largest.add(size, { layer, target, source, value });
      }
    });
    edges.push(...largest.kept.map(([, edge]) => edge));
    levels[layer] = below;
  }
  return { levels, edges: edges.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)) };
}

/** As many of the strongest lines in each layer as `most` for all layers allow. */
export function strongestLines(edges, most, layers) {
  const room = Math.ceil(most / layers), seen = new Map();
  return edges.filter(({ layer }) => {
    seen.set(layer, (seen.get(layer) ?? 0) + 1);
    return seen.get(layer) <= room;
  });
}
