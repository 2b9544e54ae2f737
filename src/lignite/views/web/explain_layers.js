/** The layers of an explanation: a heat map of tokens and layers, and relevance handed on as lines. */
import { clip, everyNth, largest, percent, prepare, signed, writeUpwards } from "./kit.js";

const LEFT = 52;
const RIGHT = 190; // for sums, where there is room
const WIDEST = 110; // label
const FONT_SIZE = 11;
const LEVEL = 54; // between two layers of the flow

function labelsOf(page, context, tokens) {
  context.font = `${FONT_SIZE}px ${page.colour("--sans")}`;
  const labels = tokens.map((token) => clip(context, token, WIDEST));
  return { labels, below: Math.max(...labels.map((label) => context.measureText(label).width)) + 14 };
}

export class Heat {
  constructor(page) {
    this.page = page;
    this.canvas = page.at("heat");
    this.shape = null; // where cells are
    this.listen();
  }

  draw() {
    const { page, canvas } = this, { scores } = page, measure = canvas.getContext("2d");
    const columns = scores.tokens(), width = Math.max(300, canvas.parentElement.clientWidth), right = width > 640 ? RIGHT : 0;
    const { labels, below } = labelsOf(page, measure, columns.map((index) => scores.view.tokens[index])), { font } = measure;
    const cell = Math.min(46, (width - LEFT - right) / columns.length), tall = Math.max(7, Math.min(20, 420 / scores.map.rows.length));
    const rows = this.rowsOf(tall), bottom = rows.at(-1).top + tall, sums = right && tall >= 10 ? LEFT + cell * columns.length : 0;
    const context = prepare(canvas, width, bottom + below);
    context.font = font;
    context.textBaseline = "middle";
    this.shape = { cell, tall, rows, columns, bottom, sums };
    for (const row of rows) this.drawRow(context, row);
    if (sums) {
      context.fillStyle = page.colour("--dim");
      for (const [title, x] of [["for", 58], ["against", 116], ...(scores.entry.gaps.length ? [["gap", 180]] : [])]) context.fillText(title, sums + x, 9);
    }
    this.drawLabels(context, labels);
  }

  /** Relevance above, then every layer of the map: name, limit of the colours, and top. */
  rowsOf(tall) {
    const { scores } = this.page, { map } = scores;
    return [{ row: 0, name: "all", limit: scores.rowLimit(0), top: 18 }, ...map.rows.map((name, index) => (
      { row: map.first + index, name, limit: scores.rowLimit(map.first + index), top: 18 + tall + 8 + index * tall }))];
  }

  drawRow(context, { row, name, limit, top }) {
    const { scores, state, palette, colour } = this.page, { cell, tall, columns, sums } = this.shape, values = scores.row(row);
    columns.forEach((index, column) => {
      context.fillStyle = palette.css(values[index] / limit);
      const start = Math.floor(LEFT + column * cell), end = Math.floor(LEFT + (column + 1) * cell);
      context.fillRect(start, top, Math.max(1, end - start - (cell > 8 ? 1 : 0)), tall - (tall > 9 ? 1 : 0));
    });
    context.fillStyle = colour(row === state.row ? "--accent" : "--dim");
    context.textAlign = "right";
    if (tall >= 10 || row === 0 || row % 2) context.fillText(row === state.row ? `▸ ${name}` : name, LEFT - 6, top + tall / 2);
    if (!sums) return;
    const sum = (sign) => columns.reduce((total, index) => total + Math.max(0, sign * values[index]), 0), { gaps } = scores.entry;
    context.fillStyle = colour("--ink");
    context.fillText(signed(sum(1)), sums + 58, top + tall / 2);
    context.fillText(signed(-sum(-1)), sums + 116, top + tall / 2);
    if (row && gaps.length && name !== "out") context.fillText(percent(gaps[scores.map.rows.indexOf(name)]), sums + 180, top + tall / 2);
  }

  /** Names of the tokens, and a frame around the chosen one. */
  drawLabels(context, labels) {
    const { state, colour } = this.page, { cell, columns, rows, bottom } = this.shape, chosen = columns.indexOf(state.token);
    const every = everyNth(columns.length, cell, FONT_SIZE + 1);
    context.textAlign = "right";
    labels.forEach((label, column) => {
      if (column % every) return;
      context.fillStyle = colour(column === chosen ? "--ink" : "--dim");
      writeUpwards(context, label, LEFT + (column + 0.5) * cell, bottom + 6);
    });
    if (chosen < 0) return;
    context.strokeStyle = colour("--ink");
    context.lineWidth = 1.5;
    context.strokeRect(LEFT + chosen * cell, rows[0].top - 1, cell, bottom - rows[0].top + 2);
  }

  cellAt(event) {
    if (!this.shape) return null;
    const { cell, tall, rows, columns } = this.shape, column = Math.floor((event.offsetX - LEFT) / cell);
    const row = rows.find(({ top }) => event.offsetY >= top && event.offsetY < top + tall);
    return row ? { index: columns[column] ?? -1, row: row.row } : null;
  }

  listen() {
    const { page, canvas } = this;
    canvas.addEventListener("pointermove", (event) => {
      const found = this.cellAt(event);
      page.tip.show(event, found ? found.index : -1, found ? found.row : 0);
    });
    canvas.addEventListener("pointerleave", () => page.tip.hide());
    canvas.addEventListener("click", (event) => {
      const found = this.cellAt(event);
      if (found) page.colourBy(found.row);
    });
  }
}

export class Flow {
  constructor(page) {
    this.page = page;
    this.canvas = page.at("flow");
    page.at("edges").addEventListener("input", (event) => { page.state.edges = Number(event.target.value); page.drawFlow(); });
  }

  draw() {
    const { page, canvas } = this, { scores, state, palette, at } = page, n = scores.view.tokens.length, { layers } = scores.entry;
    const width = Math.max(canvas.parentElement.clientWidth, LEFT + n * 15 + 10), step = (width - LEFT - 10) / n;
    const { lines, sums } = scores.wholeFlow(), edges = (state.token < 0 ? lines : scores.linesOf(state.token)).flatMap((some) => some.slice(0, state.edges));
    const measure = canvas.getContext("2d"), { labels, below } = labelsOf(page, measure, scores.view.tokens), { font } = measure;
    at("edges-text").textContent = `${state.edges} lines of each layer`;
    const context = prepare(canvas, width, layers.length * LEVEL + 24 + below), x = (index) => LEFT + (index + 0.5) * step, y = (level) => 12 + level * LEVEL;
    drawEdges(context, edges, x, y, palette.strong);
    context.font = font;
    context.textBaseline = "middle";
    context.textAlign = "right";
    this.drawLevels(context, sums, x, y, step);
    labels.forEach((label, index) => {
      context.fillStyle = page.colour(index === state.token ? "--ink" : "--dim");
      writeUpwards(context, label, x(index), layers.length * LEVEL + 24);
    });
  }

  /** What every token holds at every level. */
  drawLevels(context, sums, x, y, step) {
    const { scores, palette, colour } = this.page, { layers } = scores.entry, widest = Math.max(...sums.map(largest)) || 1;
    sums.forEach((row, level) => {
      context.fillStyle = colour("--dim");
      context.fillText(level < layers.length ? String(layers[level]) : "out", LEFT - 12, y(level));
      row.forEach((value, index) => {
        context.beginPath();
        context.arc(x(index), y(level), 1.2 + Math.min(6, step / 2.2) * Math.sqrt(Math.abs(value) / widest), 0, 7);
        context.fillStyle = value > 0 ? palette.strong.for : palette.strong.against;
        context.fill();
      });
    });
  }
}

function drawEdges(context, edges, x, y, strong) {
  const most = largest(edges.map(({ value }) => value)) || 1;
  context.lineCap = "round";
  for (const { value, layer, source, target } of edges.sort((a, b) => Math.abs(a.value) - Math.abs(b.value))) { // strongest on top
    const size = Math.abs(value) / most;
    context.strokeStyle = value > 0 ? strong.for : strong.against;
    context.globalAlpha = 0.25 + 0.65 * size;
    context.lineWidth = Math.max(0.6, 9 * size);
    context.beginPath();
    context.moveTo(x(source), y(layer));
    context.bezierCurveTo(x(source), y(layer) + LEVEL / 2, x(target), y(layer + 1) - LEVEL / 2, x(target), y(layer + 1));
    context.stroke();
  }
  context.globalAlpha = 1;
}
