/** Ways through the layers: shares of rows, the strongest edges and paths, and what reaches a node. */
import { Best } from "./kit.js";
import { moved } from "./flow_scores.js";

export const MOST_EDGES = 4000;
const MOST_PATHS = 10;
const SMALLEST_EDGE = 0.01;
const SMALLEST_CARRIED = 0.005;

export class Paths {
  constructor(scores) {
    this.scores = scores;
    this.meta = scores.meta;
    this.edges = { key: "", found: [] };
    this.paths = { key: "", found: [] };
  }

  /** Only maps from states to states can be chained; the others borrow `whole` or `composed`. */
  map() {
    const { maps, map } = this.scores;
    return ["whole", "composed"].includes(map.name) ? map : maps.get("whole") || maps.get("composed") || null;
  }

  /** Why there is no way through the layers; empty where there is one. */
  reason() {
    if (!this.map()) return "Paths need the map whole or composed.";
    const consecutive = this.meta.layers.every((layer, index, all) => index === 0 || layer === all[index - 1] + 1);
    return consecutive ? "" : "Paths need consecutive layers; this result leaves some out.";
  }

  /** Scores divided by the sum of their row. A target that moved nowhere is its own only source. */
  shares(map, layer) {
    return this.scores.remember(`${map.name}/${layer}/share`, () => {
      const { targets, tokens, still } = this.meta, values = this.scores.of(map, layer, -1).slice(), width = tokens.length;
      const rows = targets.map((_, row) => values.subarray(row * width, (row + 1) * width));
      const sums = moved(Float64Array.from(rows, (row) => row.reduce((sum, value) => sum + value, 0)), still);
      rows.forEach((row, at) => row.forEach((value, source) => {
        row[source] = Number.isNaN(sums[at]) ? Number(source === targets[at]) : value / sums[at];
      }));
      return values;
    });
  }

  /** Every share of a layer that is looked at. */
  each(map, layer, visit) {
    const shares = this.shares(map, layer), { tokens, targets } = this.meta;
    targets.forEach((target, row) => {
      for (let source = 0; source < tokens.length; source += 1) {
        if (this.scores.counts(target, source)) visit(target, source, shares[row * tokens.length + source]);
      }
    });
  }

  key(map) { return [map.name, this.scores.state.special, this.scores.state.diagonal].join("/"); }

  strongEdges(map) {
    const key = this.key(map), found = [];
    if (key === this.edges.key) return this.edges.found;
    this.meta.layers.forEach((_, layer) => this.each(map, layer, (target, source, share) => {
      if (Math.abs(share) >= SMALLEST_EDGE) found.push({ layer, target, source, share });
    }));
    this.edges = { key, found: strongest(found) };
    return this.edges.found;
  }

  /** The strongest paths by the product of their shares' magnitudes, exact: the best few into every node, layer by layer. */
  strongPaths(map, end = this.scores.state.node) {
    const { tokens, special, layers } = this.meta, key = `${this.key(map)}/${end ? `${end.level}:${end.token}` : ""}`;
    if (key === this.paths.key) return this.paths.found;
    let best = tokens.map((_, token) => (this.scores.state.special && special[token] ? [] : [{ size: 1, sign: 1, token, before: null }]));
    for (let layer = 0; layer < (end ? end.level : layers.length); layer += 1) {
      const next = tokens.map(() => new Best(MOST_PATHS)), below = best;
      this.each(map, layer, (target, source, share) => {
        for (const before of below[source]) { // strongest first
          const size = before.size * Math.abs(share);
          if (!next[target].takes(size)) break;
          next[target].add(size, { sign: before.sign * Math.sign(share), token: target, before });
        }
      });
      best = next.map(({ found }) => found);
    }
    const ends = (end ? best[end.token] : best.flat()).sort((a, b) => b.size - a.size).slice(0, MOST_PATHS);
    this.paths = { key, found: ends.map((node) => ({ strength: node.size, sign: node.sign, through: trace(node) })) };
    return this.paths.found;
  }

  /** How much of a node's content comes from every node before it: shares multiplied from the node backwards. */
  reaching(map, node) {
    const levels = [], carried = [];
    levels[node.level] = new Float64Array(this.meta.tokens.length);
    levels[node.level][node.token] = 1;
    for (let layer = node.level - 1; layer >= 0; layer -= 1) {
      const above = levels[layer + 1], below = new Float64Array(this.meta.tokens.length);
      this.each(map, layer, (target, source, part) => {
        if (!above[target]) return;
        const share = above[target] * part;
        below[source] += share;
        if (Math.abs(share) >= SMALLEST_CARRIED) carried.push({ layer, target, source, share });
      });
      levels[layer] = below;
    }
    return { levels, edges: strongest(carried) };
  }

  /** How many edges to begin with: in every layer a few that move, but no thicket. */
  firstEdges(all) {
    const seen = this.meta.layers.map(() => 0), most = this.meta.tokens.length > 48 ? 120 : 320;
    let moving = 0;
    for (let count = 0; count < all.length; count += 1) {
      if (all[count].target === all[count].source) continue;
      moving += 1;
      seen[all[count].layer] += 1;
      if (moving === most || (moving >= 60 && seen.every((found) => found >= 5))) return count + 1;
    }
    return all.length;
  }
}

function strongest(edges) { return edges.sort((a, b) => Math.abs(b.share) - Math.abs(a.share)).slice(0, MOST_EDGES); }

function trace(node) {
  const through = [];
  for (let step = node; step; step = step.before) through.unshift(step.token);
  return through;
}
