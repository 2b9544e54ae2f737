/** One token of a flow followed through all layers: as a chip, on its picture, and in two strips. */
import { clip, digits, element, everyNth, FONT, largest, percent, prepare, roomFor, signed } from "./kit.js";
import { filmWidth, patchAt } from "./picture.js";

const LABEL_FONT = `12px ${FONT}`;
const NUMBER_FONT = `10px ${FONT}`;
const FEW = 28; // tokens in a strip, unless every one is asked for
const OUTSIDE = 6; // tokens without a place named one by one

export class Tokens {
  constructor(page) {
    this.page = page;
    this.strips = {}; // what the two strips show, for the pointer
    this.chips = page.meta.tokens.map((token, index) => {
      const position = page.meta.positions[index];
      const chip = element("button", {
        type: "button", role: "option", title: `position ${position}`, onclick: () => page.change({ token: index }),
      }, token, element("sub", {}, String(position)));
      page.at("tokens").append(chip);
      return chip;
    });
    for (const direction of ["receives", "gives"]) this.listen(direction);
  }

  /** Every token in the colour of what it gives to the followed one, or receives from it, in the chosen layer. */
  drawChips() {
    const { page } = this, { scores, state, meta, palette } = page, usable = scores.map.columns === "source";
    const values = usable ? scores.followed(state.layer, state.direction) : new Float32Array(meta.tokens.length).fill(NaN);
    const limit = scores.limit(state.layer), name = page.tokenLabel(state.token);
    this.chips.forEach((chip, index) => {
      const own = index === state.token, there = !Number.isNaN(values[index]), share = values[index] / limit;
      chip.style.background = there ? palette.css(share) : "";
      chip.style.color = there ? palette.ink(share) : "";
      chip.classList.toggle("off", usable && !there && !own);
      chip.setAttribute("aria-selected", String(own));
      chip.title = `position ${meta.positions[index]}${there ? `: ${signed(values[index])}` : ""}`;
    });
    page.at("tokens-text").textContent = usable
      ? `${state.direction === "receives" ? "given to" : "received from"} ${name} in layer ${meta.layers[state.layer]}`
      : `${scores.map.name} speaks of heads, not of source tokens`;
  }

  /** What the followed token receives and gives in all layers. */
  draw() {
    const { page } = this, { scores, state, at } = page, usable = scores.map.columns === "source", name = page.tokenLabel(state.token);
    const { tokens } = page.meta;
    at("followed").hidden = !usable;
    at("all-tokens").parentElement.hidden = !usable || tokens.length <= FEW;
    at("all-tokens-text").textContent = `all ${tokens.length} tokens`;
    at("follow-text").textContent = "";
    this.drawFilm();
    if (!usable) return;
    const norm = { score: "score", share: "share of displacement", row: "relative to the target's largest" }[state.norm];
    at("receives-title").textContent = scores.rowOf.has(state.token)
      ? `${name} receives from … (${norm}, all layers)` : `${name} is no target of this result: what it receives is unknown`;
    at("gives-title").textContent = `${name} gives to … (${norm}, all layers)`;
    this.drawStrip("receives");
    this.drawStrip("gives");
  }

  /** Patches on their picture, one for each layer: what the followed token reads, or what it gives. */
  drawFilm() {
    const { page } = this, { scores, state, meta, at } = page, { grid, layers } = meta, name = page.tokenLabel(state.token);
    at("film-box").hidden = !grid || scores.map.columns !== "source";
    if (!page.seen || at("film-box").hidden) return;
    const rows = layers.map((_, layer) => scores.followed(layer, state.direction));
    const limits = rows.map((row) => largest(row.filter((_, index) => grid.places[index] && index !== state.token)));
    const most = Math.max(...limits) || 1, shared = state.scale === "shared";
    at("film-title").textContent = state.direction === "receives" ? `What ${name} reads` : `What reads ${name}`;
    at("film-limit").textContent = shared ? `±${digits(most)}` : "a limit for each layer";
    at("film").replaceChildren(...layers.map((layer, place) => {
      const limit = (shared ? most : limits[place]) || 1, canvas = element("canvas", { role: "img", "aria-label": `layer ${layer}`, onclick: (event) => {
        const index = patchAt(event, grid);
        if (index >= 0) page.change({ token: index });
      } });
      page.pictures.draw(canvas, grid, rows[place], limit, filmWidth(grid, layers.length), { smooth: at("smooth").checked, chosen: state.token });
      const lines = [...this.outside(rows[place]), ...(shared ? [] : [`colours to ±${digits(limit)}`])];
      return element("div", {}, canvas, element("b", {}, `layer ${layer}`), ...lines.map((line) => element("small", {}, line)));
    }));
  }

  /** The scores of tokens that lie outside the picture. */
  outside(row) {
    const { grid, tokens } = this.page.meta, found = [...tokens.keys()].filter((index) => !grid.places[index] && !Number.isNaN(row[index]));
    const lines = found.slice(0, OUTSIDE).map((index) => `${tokens[index]} ${signed(row[index])}`), more = found.slice(OUTSIDE);
    if (more.length) lines.push(`${more.length} more, together ${signed(more.reduce((sum, index) => sum + row[index], 0))}`);
    return lines;
  }

  drawStrip(direction) {
    const { page } = this, { scores, meta } = page, { layers } = meta, canvas = page.at(direction);
    const columns = layers.map((_, layer) => scores.followed(layer, direction)), rows = this.rowsOf(columns);
    const ratios = columns.map((values, layer) => values.map((value) => value / scores.limit(layer)));
    const measure = canvas.getContext("2d"), room = canvas.parentElement.clientWidth;
    measure.font = LABEL_FONT;
    const left = roomFor(measure, rows.map((index) => page.tokenLabel(index)), 130) + 10;
    const pitch = rows.length <= 2 * FEW ? 18 : Math.max(2, Math.min(18, 1100 / rows.length));
    const cell = Math.min(58, (room - left - 2) / layers.length);
    const shape = this.strips[direction] = { rows, cell, pitch, box: { left, top: 18, width: cell * layers.length, height: pitch * rows.length } };
    const context = prepare(canvas, room, shape.box.top + shape.box.height + 4);
    page.paint(context, shape.box, rows, [...layers.keys()], (row, layer) => ratios[layer][row]);
    this.labelStrip(context, shape);
    if (cell >= 36 && pitch >= 15) this.writeNumbers(context, shape, columns, ratios);
    canvas.setAttribute("aria-label", `${direction}: tokens as rows, layers as columns`);
  }

  /** The tokens that a strip shows: those with the largest score in any layer, in the order of the text. */
  rowsOf(columns) {
    const { state, meta, at } = this.page, all = [...meta.tokens.keys()].filter((index) => columns.some((values) => !Number.isNaN(values[index])));
    if (state.everyToken || all.length <= FEW) return all;
    const size = meta.tokens.map((_, index) => Math.max(...columns.map((values) => Math.abs(values[index]) || 0)));
    at("follow-text").textContent = `The ${FEW} strongest of ${all.length} tokens are shown; tick to see every one.`;
    return all.sort((a, b) => size[b] - size[a]).slice(0, FEW).sort((a, b) => a - b);
  }

  labelStrip(context, { rows, box, cell, pitch }) {
    const { page } = this, { state, meta, colour } = page, every = everyNth(meta.layers.length, cell * 0.7), everyRow = everyNth(rows.length, pitch);
    context.font = LABEL_FONT;
    context.textBaseline = "middle";
    context.textAlign = "center";
    meta.layers.forEach((layer, index) => {
      if (index % every) return;
      context.fillStyle = colour(index === state.layer ? "--accent" : "--dim");
      context.fillText(String(layer), box.left + (index + 0.5) * cell, 8);
    });
    context.textAlign = "right";
    rows.forEach((index, place) => {
      if (place % everyRow) return;
      context.fillStyle = colour(index === state.token ? "--accent" : "--dim");
      context.fillText(clip(context, page.tokenLabel(index), box.left - 10), box.left - 5, box.top + (place + 0.5) * pitch);
    });
  }

  writeNumbers(context, { rows, box, cell, pitch }, columns, ratios) {
    const { state, palette } = this.page;
    context.textAlign = "center";
    context.font = NUMBER_FONT;
    rows.forEach((index, place) => columns.forEach((values, layer) => {
      const value = values[index], ratio = ratios[layer][index];
      if (Number.isNaN(value) || Math.abs(ratio) < 0.04) return;
      context.fillStyle = palette.ink(ratio);
      const text = state.norm === "score" ? signed(value, 2) : `${value < 0 ? "−" : ""}${Math.round(Math.abs(100 * value))}%`;
      context.fillText(text, box.left + (layer + 0.5) * cell, box.top + (place + 0.5) * pitch);
    }));
  }

  listen(direction) {
    const { page } = this, { layers } = page.meta, canvas = page.at(direction);
    const pointed = (event) => {
      const { rows, box, cell, pitch } = this.strips[direction], layer = Math.floor((event.offsetX - box.left) / cell);
      return { index: rows[Math.floor((event.offsetY - box.top) / pitch)], layer: layer >= 0 && layer < layers.length ? layer : undefined };
    };
    canvas.addEventListener("pointermove", (event) => {
      const { index, layer } = pointed(event), { state } = page;
      if (index === undefined || layer === undefined) { canvas.title = ""; return; }
      const value = page.scores.followed(layer, direction)[index];
      const [from, to] = direction === "receives" ? [index, state.token] : [state.token, index];
      canvas.title = `layer ${layers[layer]}: ${page.tokenLabel(from)} → ${page.tokenLabel(to)}  ${state.norm === "score" ? signed(value) : percent(value)}`;
    });
    canvas.addEventListener("click", (event) => {
      const { index, layer } = pointed(event);
      if (layer !== undefined) page.change({ layer });
      else if (index !== undefined) page.change({ token: index });
    });
  }
}
