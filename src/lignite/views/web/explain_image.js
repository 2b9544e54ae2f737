/** An explained picture: its patches in the colours of their scores, large and layer by layer. */
import { bar, element, largest, percent, signed } from "./kit.js";
import { filmWidth, patchAt, patchBeside } from "./picture.js";

const TALLEST = 560; // of the large picture, in pixels of the page

/** Where a patch lies, in words; nothing for what is no patch. */
export function placeOf(item, index) {
  const place = item.grid?.places[index];
  return place ? `, row ${place[0]}, column ${place[1]}, pixels ${place[3]} to ${place[5]} across, ${place[2]} to ${place[4]} down` : "";
}

export class ImageView {
  constructor(page) {
    this.page = page;
    this.listen();
  }

  look(more = {}) {
    const { opacity, smooth, own } = this.page.state;
    return { opacity, smooth, own, chosen: -1, ...more };
  }

  /** The large picture, its sliders, and what no colour shows. */
  draw() {
    const { page } = this, { scores, state, at } = page, { grid } = scores.entry;
    at("seen").hidden = !grid;
    if (!grid) return;
    const [height, width] = grid.size, rows = scores.rows(), row = rows.indexOf(state.row);
    const room = Math.min(TALLEST, at("seen").parentElement.clientWidth - (innerWidth > 760 ? 300 : 34));
    const wide = Math.max(120, Math.min(room, (TALLEST * width) / height));
    const numbered = state.numbered ? scores.listedPatches(scores.row(state.row)) : [];
    page.pictures.draw(at("overlay"), grid, scores.row(state.row), scores.rowLimit(state.row), wide, this.look({ chosen: state.token, numbered, numbers: scores.view.positions }));
    at("slider-line").hidden = rows.length < 2;
    at("slider").max = rows.length - 1;
    at("slider").value = row;
    at("slider").setAttribute("aria-valuetext", scores.rowTitle(state.row));
    at("slider-text").textContent = row ? scores.rowTitle(state.row) : "all, relevance";
    at("opacity-text").textContent = `${Math.round(100 * state.opacity)} %`;
    at("smooth").checked = state.smooth;
    at("numbered").checked = state.numbered;
    at("own").checked = state.own;
    at("own-line").hidden = grid.picture < 0;
    this.drawOutside(rows);
  }

  /** Beside the picture: tokens without a place as bars, in the measure of what patches say; the chosen token layer by layer. */
  drawOutside(rows) {
    const { page } = this, { scores, state, at } = page, { tokens } = scores.view, { token } = state, row = scores.row(state.row);
    const outside = scores.tokens().filter((index) => !scores.entry.grid.places[index]), [plus, minus] = this.sides(row);
    const bars = [["patches for", plus], ["patches against", minus], ...outside.map((index) => [tokens[index], row[index], index])];
    const most = largest(bars.map(([, value]) => value)) || 1;
    renew(at("outside"), bars.map(([name, value, index]) => barRow(name, value, value / most, index == null ? null : () => page.choose(index), index === token)));
    const chosen = token >= 0 && token < tokens.length;
    at("chosen-title").textContent = chosen ? `${tokens[token]}, layer by layer` : "";
    renew(at("chosen"), chosen ? rows.map((each) => numberRow(scores.rowTitle(each), scores.row(each)[token], () => page.colourBy(each), each === state.row)) : []);
  }

  /** What the patches of a row of scores say for, and against. */
  sides(row) {
    const { places } = this.page.scores.entry.grid, inside = [...row].filter((_, index) => places[index]);
    return [1, -1].map((sign) => inside.reduce((total, value) => total + (sign * value > 0 ? value : 0), 0));
  }

  /** Small pictures, one for each row of scores. */
  drawFilm(box, pictures) {
    const { page } = this, { grid } = page.scores.entry, wide = filmWidth(grid, pictures.length);
    renew(box, pictures.map(({ title, scores, limit, lines, act, on, chosen }) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      page.pictures.draw(canvas, grid, scores, limit, wide, this.look({ chosen }));
      const inside = [canvas, element("b", {}, title), ...lines.map((line) => element("small", {}, line))];
      return act ? element("button", { type: "button", "aria-pressed": String(on), onclick: act }, ...inside) : element("div", {}, ...inside);
    }));
  }

  /** What a row of scores says for, against, and outside the picture. */
  sums(row) {
    const { places } = this.page.scores.entry.grid, outside = this.page.scores.tokens().filter((index) => !places[index]);
    const [plus, minus] = this.sides(row), rest = outside.reduce((total, index) => total + row[index], 0);
    return [`for ${signed(plus)}`, `against ${signed(minus)}`, ...(outside.length ? [`outside ${signed(rest)}`] : [])];
  }

  drawLayers() {
    const { page } = this, { scores, state } = page, { entry, map } = scores;
    this.drawFilm(page.at("film"), scores.rows().map((row) => {
      const at = row - map.first, out = row && map.rows[at] === "out", gap = row && entry.gaps.length > at && !out ? [`gap ${percent(entry.gaps[at])}`] : [];
      return {
        title: row ? (out ? "above the last" : `layer ${map.rows[at]}`) : "all", scores: scores.row(row), limit: scores.rowLimit(row),
        lines: [...this.sums(scores.row(row)), ...gap], act: () => page.colourBy(row), on: row === state.row, chosen: state.token,
      };
    }));
  }

  /** Which sources a target's relevance comes from, layer by layer: its row of the flow. */
  drawReads() {
    const { page } = this, { scores, state } = page, { entry, view } = scores, n = view.tokens.length;
    const outside = view.tokens.findIndex((_, index) => !entry.grid.places[index]), target = state.token >= 0 ? state.token : Math.max(0, outside);
    page.at("flow-note").textContent = `from which sources ${view.tokens[target]} has its relevance, layer by layer · choose a patch or a token to ask for it`;
    const rows = entry.layers.map((_, layer) => scores.flowOf(layer).subarray(target * n, (target + 1) * n));
    const limits = rows.map((row) => scores.most(row)), most = Math.max(...limits) || 1;
    this.drawFilm(page.at("reads"), rows.map((row, layer) => ({
      title: `layer ${entry.layers[layer]}`, scores: row, limit: (state.scale === "layer" && limits[layer]) || most, lines: this.sums(row), chosen: target,
    })));
  }

  listen() {
    const { page } = this, { at, scores, state } = page, overlay = at("overlay");
    const checked = (box) => box.checked;
    for (const [name, read] of [["smooth", checked], ["numbered", checked], ["own", checked], ["opacity", (box) => box.value / 100]]) {
      at(name).addEventListener("input", (event) => {
        state[name] = read(event.target);
        this.draw();
        page.soon(() => { page.drawOverview(); page.drawLayers(); page.drawFlow(); }); // dragging stays smooth
      });
    }
    at("slider").addEventListener("input", (event) => page.colourBy(scores.rows()[event.target.value]));
    overlay.addEventListener("click", (event) => {
      const index = patchAt(event, scores.entry.grid);
      if (index >= 0) page.choose(index);
    });
    overlay.addEventListener("pointermove", (event) => page.tip.show(event, patchAt(event, scores.entry.grid), state.row));
    overlay.addEventListener("pointerleave", () => page.tip.hide());
    overlay.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      const next = patchBeside(scores.entry.grid, state.token, event.key, (index) => scores.visible(index));
      if (next >= 0 && next !== state.token) page.choose(next);
    });
  }
}

function barRow(name, value, share, act, on) {
  const label = act ? element("button", { type: "button", class: "plain" }, name) : name, drawn = element("td", { class: "bar" }, bar(share));
  return element("tr", { class: [act && "act", on && "on"].filter(Boolean).join(" "), onclick: act ?? undefined }, element("td", {}, label), drawn, numberCell(value));
}

function numberCell(value) { return element("td", { class: `n ${value > 0 ? "plus" : value < 0 ? "minus" : ""}` }, signed(value, 4)); }

function numberRow(name, value, act, on) {
  return element("tr", { class: on ? "act on" : "act", onclick: act }, element("td", {}, element("button", { type: "button", class: "plain" }, name)),
    numberCell(value));
}

/** New children; who had the keyboard's focus by its number has it still. */
function renew(box, children) {
  const focused = [...box.querySelectorAll("button")].indexOf(document.activeElement);
  box.replaceChildren(...children);
  if (focused >= 0) box.querySelectorAll("button")[focused]?.focus();
}
