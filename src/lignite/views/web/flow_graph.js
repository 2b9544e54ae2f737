/** Paths through the layers of a flow as a graph: tokens are rows, layers columns, strong shares edges. */
import { clip, element, everyNth, FONT, percent, prepare, roomFor } from "./kit.js";
import { MOST_EDGES, Paths } from "./flow_paths.js";

const LABEL_FONT = `12px ${FONT}`;
const MANY = 48; // tokens, beyond which only those with an edge are shown
const TOP = 34;

export class Graph {
  constructor(page) {
    this.page = page;
    this.paths = new Paths(page.scores);
    this.canvas = page.at("graph");
    this.shape = null;
    this.hovered = -1; // the path pointed at
    this.listen();
  }

  draw() {
    const { page, paths } = this, { at, state } = page, reason = paths.reason();
    at("graph-box").hidden = at("paths").hidden = Boolean(reason);
    at("paths-card").querySelectorAll(".buttons, h3").forEach((part) => { part.hidden = Boolean(reason); });
    if (reason) { at("graph-note").textContent = reason; return; }
    const map = paths.map(), relevance = state.node ? paths.reaching(map, state.node) : null;
    const all = relevance ? relevance.edges : paths.strongEdges(map), drawn = this.above(all), found = paths.strongPaths(map);
    at("clear-node").hidden = !state.node;
    const { rows, total } = this.rowsOf(drawn, found);
    at("graph-note").textContent = this.remarks(map, rows.length, total, all.length).join(" ");
    this.paint({ rows, drawn, relevance, found, most: all.length ? Math.abs(all[0].share) : 1 });
    this.list(found);
  }

  /** The edges that the slider leaves; it opens where they are no thicket. */
  above(all) {
    const { at, state } = this.page, smallest = Math.abs(all.at(-1)?.share ?? 0.01), most = Math.abs(all[0]?.share ?? 1);
    if (state.threshold === null) {
      const start = Math.abs(all[this.paths.firstEdges(all) - 1]?.share ?? smallest);
      state.threshold = most > smallest ? (100 * Math.log(start / smallest)) / Math.log(most / smallest) : 0;
    }
    at("threshold").value = state.threshold;
    const threshold = smallest * (most / smallest) ** (state.threshold / 100) * (1 - 1e-6);
    const drawn = all.filter((edge) => Math.abs(edge.share) >= threshold);
    at("threshold-text").textContent = `${percent(threshold)} · ${drawn.length.toLocaleString("en")} edges`;
    return drawn;
  }

  rowsOf(drawn, found) {
    const { meta, state } = this.page, rows = [...meta.tokens.keys()].filter((index) => !(state.special && meta.special[index]));
    if (rows.length <= MANY) return { rows, total: rows.length };
    const touched = new Set([state.token, ...(state.node ? [state.node.token] : []), ...found.flatMap((path) => path.through)]);
    for (const edge of drawn) touched.add(edge.target).add(edge.source);
    return { rows: rows.filter((index) => touched.has(index)), total: rows.length };
  }

  remarks(map, shown, total, edges) {
    const { page } = this, { state, meta } = page, { node } = state, remarks = [`Shares of ${map.name}.`];
    if (map.name !== state.map) remarks.push(`${state.map} cannot be chained from layer to layer.`);
    remarks.push(node
      ? `Circles: how much of ${page.tokenLabel(node.token)} ${this.levelName(node.level)} comes from there; edges carry it.`
      : "Edges: share of the target's displacement, orange for, blue against.");
    if (shown < total) remarks.push(`${shown} of ${total} tokens are shown: those with an edge.`);
    if (edges === MOST_EDGES) remarks.push(`Only the ${MOST_EDGES.toLocaleString("en")} strongest edges can be shown.`);
    const unknown = meta.tokens.length - meta.targets.length;
    if (unknown > 0) remarks.push(`${unknown} tokens are no targets: nothing is followed beyond them.`);
    return remarks;
  }

  levelName(level) {
    const { layers } = this.page.meta;
    return level === 0 ? `entering layer ${layers[0]}` : `leaving layer ${layers[level - 1]}`;
  }

  paint(what) {
    const { page, canvas } = this, { rows } = what, n = page.meta.layers.length, measure = canvas.getContext("2d");
    measure.font = LABEL_FONT;
    const room = page.at("graph-box").clientWidth, left = roomFor(measure, rows.map((index) => page.tokenLabel(index)), 150) + 18;
    const pitch = Math.max(13, Math.min(22, 900 / rows.length)), step = Math.max(26, (room - 2 * left) / n);
    const context = prepare(canvas, Math.max(room, 2 * left + step * n), TOP + pitch * rows.length + 8);
    const place = new Map(rows.map((index, row) => [index, TOP + (row + 0.5) * pitch])), x = (level) => left + level * step;
    const { edge } = page.palette, drawing = { context, x, place, pitch, step, left, n, warm: edge.for, cold: edge.against, ...what };
    context.font = LABEL_FONT;
    context.textBaseline = "middle";
    this.paintGround(drawing);
    this.paintEdges(drawing);
    this.paintNodes(drawing);
    this.labelRows(drawing);
    this.shape = { rows, left, step, pitch, relevance: what.relevance };
  }

  /** The names of the layers, and a line where a token stays in place. */
  paintGround({ context, x, place, step, n }) {
    const { meta, colour } = this.page, every = everyNth(n, step * 0.6);
    context.textAlign = "center";
    context.fillStyle = colour("--dim");
    meta.layers.forEach((layer, index) => { if (index % every === 0) context.fillText(`layer ${layer}`.slice(step < 60 ? 6 : 0), x(index + 0.5), 12); });
    context.strokeStyle = colour("--line");
    for (const y of place.values()) {
      context.beginPath();
      context.moveTo(x(0), y);
      context.lineTo(x(n), y);
      context.stroke();
    }
  }

  paintEdges(drawing) {
    const { context, drawn, found, most, warm, cold } = drawing;
    for (const edge of [...drawn].reverse()) { // strongest on top
      const size = Math.abs(edge.share) / most;
      context.strokeStyle = edge.share < 0 ? cold : warm;
      context.globalAlpha = Math.min(1, 0.18 + 0.75 * size);
      context.lineWidth = 0.7 + 4.5 * size;
      curve(drawing, edge);
    }
    context.globalAlpha = 1;
    const through = found[this.hovered]?.through ?? [];
    context.strokeStyle = this.page.colour("--ink");
    context.lineWidth = 2.4;
    for (let layer = 0; layer + 1 < through.length; layer += 1) curve(drawing, { layer, source: through[layer], target: through[layer + 1] });
  }

  paintNodes({ context, x, place, pitch, n, rows, relevance, warm, cold }) {
    const { state, colour } = this.page, ink = colour("--ink"), dim = colour("--dim"), line = colour("--line");
    for (let level = 0; level <= n; level += 1) for (const index of rows) {
      let radius = 1.8, fill = dim;
      const value = relevance?.levels[level]?.[index];
      if (value !== undefined) {
        radius = 1.5 + Math.min(pitch / 2 - 1, 7) * Math.sqrt(Math.min(1, Math.abs(value)));
        fill = value < 0 ? cold : warm;
        if (Math.abs(value) < 1e-3) { radius = 1.2; fill = line; }
      }
      const chosen = state.node && state.node.level === level && state.node.token === index;
      context.fillStyle = chosen ? ink : fill;
      context.beginPath();
      context.arc(x(level), place.get(index), chosen ? Math.max(radius, 5) : radius, 0, 7);
      context.fill();
    }
  }

  labelRows({ context, x, place, left, n, rows }) {
    const { page } = this, { state, colour } = page;
    for (const index of rows) {
      context.fillStyle = colour(index === state.token ? "--accent" : "--dim");
      const text = clip(context, page.tokenLabel(index), left - 18);
      context.textAlign = "right";
      context.fillText(text, x(0) - 12, place.get(index));
      context.textAlign = "left";
      context.fillText(text, x(n) + 12, place.get(index));
    }
  }

  list(found) {
    const table = this.page.at("paths"), hover = (index) => { this.hovered = index; this.draw(); };
    table.replaceChildren(...found.map((path, index) => element("tr", {
      class: "act", onmouseenter: () => hover(index), onmouseleave: () => hover(-1), onclick: () => this.page.change({ token: path.through.at(-1) }),
    }, element("td", { class: `n ${path.sign < 0 ? "minus" : "plus"}` }, percent(path.sign * path.strength)), element("td", {}, ...this.stations(path.through)))));
    if (!found.length) table.append(element("tr", {}, element("td", {}, "No path: every way through the layers meets a zero or a hidden token.")));
  }

  /** A path in words: a token that stays for several layers is named once. */
  stations(through) {
    const { page } = this, { layers } = page.meta, parts = [];
    let start = 0;
    for (let level = 1; level <= through.length; level += 1) {
      if (through[level] === through[start]) continue;
      if (parts.length) parts.push(element("small", {}, ` —${layers[start - 1]}→ `));
      parts.push(element("span", { class: "tok" }, page.tokenLabel(through[start])));
      if (level - start > 1) parts.push(element("small", {}, ` stays through ${layers[start]}${level - start > 2 ? `–${layers[level - 2]}` : ""}`));
      start = level;
    }
    return parts;
  }

  nodeAt(event) {
    if (!this.shape) return null;
    const { rows, left, step, pitch } = this.shape, level = Math.round((event.offsetX - left) / step), row = Math.floor((event.offsetY - TOP) / pitch);
    return level < 0 || level > this.page.meta.layers.length || rows[row] === undefined ? null : { level, token: rows[row] };
  }

  listen() {
    const { canvas, page } = this;
    canvas.addEventListener("pointermove", (event) => {
      const at = this.nodeAt(event), values = at && this.shape.relevance?.levels[at.level];
      canvas.style.cursor = at ? "pointer" : "";
      canvas.title = at ? `${page.tokenLabel(at.token)}, ${this.levelName(at.level)}${values ? `: ${percent(values[at.token])}` : ""}` : "";
    });
    canvas.addEventListener("click", (event) => {
      const at = this.nodeAt(event);
      if (at) page.change({ node: at.level > 0 ? at : null, token: at.token, threshold: null });
    });
    page.at("threshold").addEventListener("input", (event) => { page.state.threshold = Number(event.target.value); this.draw(); });
  }
}

function curve({ context, x, place }, { layer, source, target }) {
  const from = place.get(source), to = place.get(target);
  context.beginPath();
  context.moveTo(x(layer), from);
  context.bezierCurveTo(x(layer + 0.45), from, x(layer + 0.55), to, x(layer + 1), to);
  context.stroke();
}
