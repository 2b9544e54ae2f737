/** The layers of a flow as heat maps: all of them small, the chosen one large, its numbers beside it. */
import { Best, clip, digits, element, everyNth, FONT, percent, prepare, roomFor, signed, writeUpwards } from "./kit.js";

const LABEL_FONT = `12px ${FONT}`;
const THUMBNAIL = 96;
const MOST_STRONG = 12;

/** A small heat map of every layer, to choose one. */
export class Strip {
  constructor(page) {
    this.page = page;
    this.turn = 0;
    this.thumbnails = page.meta.layers.map((layer, index) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      const button = element("button", { type: "button", "aria-pressed": "false", onclick: () => page.change({ layer: index }) }, canvas, `layer ${layer}`);
      page.at("strip").append(button);
      return { canvas, button };
    });
  }

  press() { this.thumbnails.forEach(({ button }, index) => button.setAttribute("aria-pressed", String(index === this.page.state.layer))); }

  /** Draw layer after layer, those near the chosen one first; `then` follows the last. */
  draw(then) {
    const { page } = this, { scores } = page, mine = (this.turn += 1);
    const rows = scores.rows(), columns = scores.columns(), width = scores.columnsOf(scores.map);
    const far = (layer) => Math.abs(layer - page.state.layer), order = [...page.meta.layers.keys()].sort((a, b) => far(a) - far(b));
    const next = () => {
      if (mine !== this.turn) return;
      const layer = order.shift();
      if (layer === undefined) { then(); return; }
      const values = scores.display(layer), limit = scores.limit(layer), { canvas } = this.thumbnails[layer];
      const context = prepare(canvas, THUMBNAIL, THUMBNAIL);
      canvas.style.width = canvas.style.height = "";
      page.paint(context, { left: 0, top: 0, width: THUMBNAIL, height: THUMBNAIL }, rows, columns, (row, column) => values[row * width + column] / limit);
      setTimeout(next, 0); // between two layers the page can answer
    };
    next();
  }
}

/** The heat map of the chosen layer. */
export class Heat {
  constructor(page) {
    this.page = page;
    this.shape = null;
    this.canvas = page.at("heat");
    this.listen();
  }

  draw() {
    const { page } = this, { scores, state } = page, { map } = scores, width = scores.columnsOf(map), values = scores.display(state.layer);
    page.at("unzoom").hidden = !state.zoom;
    page.at("heat-title").textContent = `Layer ${page.meta.layers[state.layer]}: ${map.title}${this.partText()}`;
    const shape = this.shape = this.layOut(), limit = scores.limit(state.layer);
    const context = prepare(this.canvas, shape.width, shape.height);
    prepare(page.at("heat-over"), shape.width, shape.height);
    page.paint(context, shape.box, shape.rows, shape.columns, (row, column) => values[row * width + column] / limit);
    context.font = LABEL_FONT;
    context.textBaseline = "middle";
    this.labelRows(context);
    this.labelColumns(context);
    this.drawOver(null);
    this.drawStrongest();
  }

  /** Which rows and columns are shown, and where. */
  layOut() {
    const { page, canvas } = this, { scores, state, meta } = page, { zoom } = state, heads = scores.map.columns === "head";
    const rows = scores.rows().slice(zoom?.top, zoom?.bottom), columns = scores.columns().slice(zoom?.left, zoom?.right);
    const measure = canvas.getContext("2d"), width = page.at("heat-box").clientWidth;
    measure.font = LABEL_FONT;
    const left = roomFor(measure, rows.map((row) => page.tokenLabel(meta.targets[row])), 130) + 10;
    const bottom = roomFor(measure, columns.map((column) => page.columnLabel(column)), 130) + 10;
    const across = width - left - 4;
    let cell = Math.min(38, across / columns.length, Math.max(500, Math.min(780, innerHeight - 220)) / rows.length);
    if (heads) cell = Math.min(26, 780 / rows.length);
    if (cell > 4) cell = Math.floor(cell);
    const cellWidth = heads ? Math.min(34, across / columns.length) : cell;
    const box = { left, top: 4, width: cellWidth * columns.length, height: cell * rows.length };
    return { rows, columns, cell, cellWidth, box, bottom, width, height: box.top + box.height + bottom };
  }

  labelRows(context) {
    const { page, shape } = this, { rows, box, cell } = shape, tokens = rows.map((row) => page.meta.targets[row]);
    context.textAlign = "right";
    for (const at of this.labelled(tokens, cell)) {
      context.fillText(clip(context, page.tokenLabel(tokens[at]), box.left - 10), box.left - 5, box.top + (at + 0.5) * cell);
    }
  }

  labelColumns(context) {
    const { page, shape } = this, { columns, box, cellWidth, bottom } = shape;
    for (const at of this.labelled(page.scores.map.columns === "source" ? columns : columns.map(() => -1), cellWidth)) {
      const text = clip(context, page.columnLabel(columns[at]), bottom - 10);
      writeUpwards(context, text, box.left + (at + 0.5) * cellWidth, box.top + box.height + 5);
    }
  }

  /** Places whose label is written, the ink set for each; the followed token always has one. */
  *labelled(tokens, pitch) {
    const { state, colour } = this.page, step = everyNth(tokens.length, pitch), own = tokens.indexOf(state.token);
    const context = this.canvas.getContext("2d"), dim = colour("--dim"), accent = colour("--accent");
    for (let at = 0; at < tokens.length; at += 1) {
      const far = Math.abs(own - at), crowded = step > 1 && own >= 0 && far < step && far < 0.9 * step;
      if (at !== own && (at % step || crowded)) continue;
      context.fillStyle = at === own ? accent : dim;
      yield at;
    }
  }

  partText() {
    const { map } = this.page.scores, { part } = this.page.state;
    if (map.addedUp || (map.parts.length && part < 0)) return `, ${map.split}s added up`;
    if (!map.parts.length) return "";
    return map.split === "head" ? `, head ${map.parts[part]}` : `, ${map.parts[part]} circuit`;
  }

  /** Frames around the followed token, the cell pointed at, and what is dragged over. */
  drawOver(at, drag) {
    const { page } = this, { box, cell, cellWidth, rows, columns, width, height } = this.shape;
    const context = prepare(page.at("heat-over"), width, height), { meta, state, colour } = page;
    const row = rows.findIndex((index) => meta.targets[index] === state.token);
    const column = page.scores.map.columns === "source" ? columns.indexOf(state.token) : -1;
    context.strokeStyle = colour("--accent");
    context.lineWidth = 1;
    context.globalAlpha = 0.55;
    if (row >= 0) context.strokeRect(box.left, box.top + row * cell, box.width, Math.max(cell, 1));
    if (column >= 0) context.strokeRect(box.left + column * cellWidth, box.top, Math.max(cellWidth, 1), box.height);
    context.globalAlpha = 1;
    context.strokeStyle = colour("--ink");
    if (at) {
      const x = box.left + at.x * cellWidth, y = box.top + at.y * cell;
      context.globalAlpha = 0.25;
      context.fillStyle = colour("--ink");
      context.fillRect(box.left, y + cell / 2 - 0.5, box.width, 1);
      context.fillRect(x + cellWidth / 2 - 0.5, box.top, 1, box.height);
      context.globalAlpha = 1;
      context.strokeRect(x - 0.5, y - 0.5, Math.max(cellWidth, 3) + 1, Math.max(cell, 3) + 1);
    }
    if (drag) {
      context.setLineDash([4, 3]);
      context.strokeRect(drag.x, drag.y, drag.width, drag.height);
    }
  }

  /** The numbers of one cell. */
  readOut(row, column) {
    const { page } = this, { scores, state, meta } = page, { map } = scores, list = page.at("readout");
    list.replaceChildren();
    page.at("split").replaceChildren();
    if (row === undefined || column === undefined) {
      list.append(element("dt", {}, "Point at a cell of a map to read its numbers here."));
      return;
    }
    const place = row * scores.columnsOf(map) + column, score = scores.of(map, state.layer)[place];
    const displacement = scores.perTarget(map, "displacement", state.layer)[row], divisor = scores.divisors(map, state.layer)[row];
    const gap = scores.perTarget(map, "gap", state.layer)[row];
    const line = (name, value, kind = "") => list.append(element("dt", {}, name), element("dd", { class: kind }, value));
    line("score", signed(score, 4), `big ${score < 0 ? "minus" : "plus"}`);
    line(map.columns === "source" ? "source" : "from", page.columnLabel(column));
    line("target", page.tokenLabel(meta.targets[row]));
    line("layer", `${meta.layers[state.layer]}${this.partText()}`);
    if (map.hasDisplacement) {
      line("share", Number.isNaN(divisor) ? "– (the target moved nowhere)" : `${percent(score / divisor)} of the displacement`);
      line("displacement", digits(displacement, 4));
    }
    if (map.hasGap) line("gap", `${signed(gap)}${Number.isNaN(divisor) ? "" : ` (${percent(gap / Math.abs(divisor))})`}`);
    if (map.parts.length && state.part < 0) this.drawSplit(place);
  }

  /** One cell, part by part, as bars. */
  drawSplit(place) {
    const { scores, state, at } = this.page, { map } = scores;
    const values = map.parts.map((_, part) => scores.of(map, state.layer, part)[place]);
    const most = Math.max(...values.map(Math.abs)) || 1, box = element("div", { class: "bars" });
    values.forEach((value, part) => {
      const bar = element("b", { class: value < 0 ? "cold" : "warm" });
      bar.style.width = `${(50 * Math.abs(value)) / most}%`;
      bar.style[value < 0 ? "right" : "left"] = "50%";
      box.append(element("span", {}, map.split === "head" ? `head ${map.parts[part]}` : map.parts[part]), element("i", {}, bar), element("span", {}, signed(value)));
    });
    at("split").append(box);
  }

  drawStrongest() {
    const { page } = this, { scores, state, meta } = page, { map } = scores, width = scores.columnsOf(map);
    const values = scores.display(state.layer), raw = scores.of(map, state.layer), divisors = scores.divisors(map, state.layer);
    const best = new Best(MOST_STRONG), table = page.at("strongest");
    for (const row of this.shape.rows) for (const column of this.shape.columns) {
      const size = Math.abs(values[row * width + column]);
      if (best.takes(size)) best.add(size, { row, column });
    }
    table.replaceChildren(...best.found.map(({ row, column }) => {
      const score = raw[row * width + column];
      return element("tr", { class: "act", onclick: () => page.change({ token: meta.targets[row] }), onmouseenter: () => { this.readOut(row, column); this.mark(row, column); } },
        element("td", {}, page.columnLabel(column), element("small", {}, " → "), page.tokenLabel(meta.targets[row])),
        element("td", { class: `n ${score < 0 ? "minus" : "plus"}` }, signed(score)),
        element("td", { class: "n" }, map.hasDisplacement ? percent(score / divisors[row]) : ""));
    }));
    if (!best.found.length) table.append(element("tr", {}, element("td", {}, "Every score shown is zero.")));
    this.readOut(best.found[0]?.row, best.found[0]?.column);
  }

  mark(row, column) {
    const at = { y: this.shape.rows.indexOf(row), x: this.shape.columns.indexOf(column) };
    if (at.x >= 0 && at.y >= 0) this.drawOver(at);
  }

  /** Where on the canvas, and in which column and row, maybe beyond the last. */
  pointed({ offsetX: left, offsetY: top }) {
    const { box, cell, cellWidth } = this.shape;
    return { left, top, x: Math.floor((left - box.left) / cellWidth), y: Math.floor((top - box.top) / cell) };
  }

  cellAt(event) {
    if (!this.shape) return null;
    const { x, y } = this.pointed(event), { rows, columns } = this.shape;
    if (y < 0 || x >= columns.length || (x < 0 && y >= rows.length)) return null;
    return { x, y, row: rows[y], column: columns[x] };
  }

  listen() {
    const { canvas, page } = this;
    let start = null; // where a finger or a button went down
    canvas.addEventListener("pointermove", (event) => {
      const at = this.cellAt(event);
      if (start) this.drawOver(null, frame(start, this.pointed(event)));
      else if (at && at.row !== undefined && at.column !== undefined) {
        this.readOut(at.row, at.column);
        this.drawOver(at);
      }
    });
    canvas.addEventListener("pointerleave", () => { if (!start) this.drawOver(null); });
    canvas.addEventListener("pointerdown", (event) => {
      start = { ...this.pointed(event), cell: this.cellAt(event) };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      const from = start, at = this.cellAt(event), to = this.pointed(event);
      start = null;
      if (!from) return;
      if (Math.abs(to.left - from.left) > 8 && Math.abs(to.top - from.top) > 8 && from.cell) this.zoom(from.cell, to);
      else if (at && at.row !== undefined) page.change({ token: page.meta.targets[at.row] });
      else if (at && at.column !== undefined && page.scores.map.columns === "source") page.change({ token: at.column });
    });
    canvas.addEventListener("pointercancel", () => { start = null; this.drawOver(null); });
    canvas.addEventListener("dblclick", () => page.change({ zoom: null }));
  }

  /** Show the cells between two alone. */
  zoom(from, to) {
    const { rows, columns } = this.shape, before = this.page.state.zoom || { left: 0, top: 0 };
    const within = (value, count) => Math.max(0, Math.min(count - 1, value));
    const xs = [from.x, to.x].map((x) => within(x, columns.length)), ys = [from.y, to.y].map((y) => within(y, rows.length));
    this.page.change({ zoom: {
      left: before.left + Math.min(...xs), right: before.left + Math.max(...xs) + 1,
      top: before.top + Math.min(...ys), bottom: before.top + Math.max(...ys) + 1,
    } });
  }
}

function frame(from, to) {
  return { x: Math.min(from.left, to.left), y: Math.min(from.top, to.top), width: Math.abs(to.left - from.left), height: Math.abs(to.top - from.top) };
}
