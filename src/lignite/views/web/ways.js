/** Ways through the layers: what a target's scores are shares of, and the tree of all that leads to a node. */
import { largestPlaces } from "./kit.js";

const MOST = 400; // lines of a layer, the strongest: more cannot be looked at

/** Displacements, NaN for a target that moved nowhere: beside the others', its change is rounding. */
export function moved(displacement, still) {
  const sizes = displacement.map(Math.abs).sort(), middle = sizes.length >> 1;
  const median = sizes.length % 2 ? sizes[middle] : (sizes[middle - 1] + sizes[middle]) / 2;
  return displacement.map((value) => (Math.abs(value) > still * median ? value : NaN));
}

/** Scores, a row for each of `targets`, divided by the sum of their row. A target that moved nowhere is its own only source. */
export function sharesOf(values, targets, still) {
  const made = values.slice(), width = values.length / targets.length, rows = targets.map((_, row) => made.subarray(row * width, (row + 1) * width));
  const sums = moved(Float64Array.from(rows, (row) => row.reduce((sum, value) => sum + value, 0)), still);
  rows.forEach((row, at) => row.forEach((value, source) => {
    row[source] = Number.isNaN(sums[at]) ? Number(source === targets[at]) : value / sums[at];
  }));
  return made;
}

/** What leads to the `start` (a value for every token) at a level: what every node below holds of it, and the lines that carry it.
 * `shares(layer)` are rows of `targets`; `counts(target, source)` says which steps are looked at. */
export function grownBack({ targets, shares, counts }, level, start) {
  const levels = [], edges = [], n = start.length;
  levels[level] = start;
  for (let layer = level - 1; layer >= 0; layer -= 1) {
    const above = levels[layer + 1], below = new Float64Array(n), parts = shares(layer), carried = new Float64Array(targets.length * n);
    targets.forEach((target, row) => {
      if (!above[target]) return;
      for (let source = 0, at = row * n; source < n; source += 1, at += 1) {
        const value = above[target] * parts[at];
        if (!value || !counts(target, source)) continue;
        below[source] += value;
        carried[at] = value;
      }
    });
    for (const at of largestPlaces(carried.length, MOST, (place) => Math.abs(carried[place]))) edges.push({ layer, target: targets[Math.floor(at / n)], source: at % n, value: carried[at] });
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
