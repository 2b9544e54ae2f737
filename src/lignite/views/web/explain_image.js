/** An explained image: the picture under its colours, each layer as a small one, what has no place as bars. */
import { bar, element, largest, number, rows, signed, word } from "./kit.js";
import { filmWidth, patchAt, patchBeside } from "./picture.js";

const LARGEST = 460;

/** Where a patch lies; empty for words. */
export function placeOf(entry, index) {
  const place = entry.grid?.places[index];
  return place ? ` (row ${place[0]}, column ${place[1]})` : "";
}

export class ImageView {
  constructor(page) { this.page = page; }

  look(more) {
    const { smooth, own, opacity } = this.page.state;
    return { smooth, own, opacity: opacity / 100, ...more };
  }

  draw() {
    const { page } = this, { scores, state } = page, { grid } = scores.entry, row = scores.row(state.row), overlay = page.part("overlay");
    const [height, width] = grid.size, wide = Math.min(page.root.clientWidth - 70, LARGEST, Math.round(LARGEST * Math.min(1, width / height)));
    const patches = scores.tokens().filter((index) => grid.places[index]), listed = [1, -1].flatMap((sign) => scores.ranked(row, patches, sign).slice(0, 10));
    page.pictures.draw(overlay, grid, row, scores.limit(state.row), wide, this.look({
      chosen: state.token, numbered: state.numbered ? listed : [], numbers: scores.view.positions,
    }));
    page.part("own").parentElement.hidden = grid.picture < 0;
    this.drawOutside(row);
    this.drawLayers();
    if (scores.view.flow) this.drawReads();
  }

  /** What the patches of a row of scores say for, and against. */
  sides(row) {
    const { places } = this.page.scores.entry.grid, inside = [...row].filter((_, index) => places[index]);
    return [1, -1].map((sign) => inside.reduce((total, value) => total + (sign * value > 0 ? value : 0), 0));
  }

  /** Tokens without a place as bars, in the measure of what patches say. */
  drawOutside(row) {
    const { page } = this, { scores } = page, { tokens } = scores.view, [plus, minus] = this.sides(row);
    const outside = scores.tokens().filter((index) => !scores.entry.grid.places[index]);
    const bars = [["patches for", plus], ["patches against", minus], ...outside.map((index) => [tokens[index], row[index], index])], most = largest(bars.map(([, value]) => value)) || 1;
    rows(page.part("outside"), bars.map(([name, value, index]) => ({ attributes: { "data-i": index }, cells: [word(name), bar(value, value / most), number(signed(value, 4))] })));
  }

  /** Small pictures, one for each row of scores. */
  drawFilm(box, pictures) {
    const { page } = this, { grid } = page.scores.entry, wide = filmWidth(grid, pictures.length);
    const focused = [...box.children].indexOf(document.activeElement);
    box.replaceChildren(...pictures.map(({ title, scores, limit, lines, act, on, chosen }) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      page.pictures.draw(canvas, grid, scores, limit, wide, this.look({ chosen }));
      const inside = [canvas, element("b", {}, title), ...lines.map((line) => element("small", {}, line))];
      return act ? element("button", { type: "button", "aria-pressed": String(on), onclick: act }, ...inside) : element("div", {}, ...inside);
    }));
    box.children[focused]?.focus();
  }

  /** What a row of scores says outside the picture. */
  outside(row) {
    const { scores } = this.page, outside = scores.tokens().filter((index) => !scores.entry.grid.places[index]);
    return outside.length ? [`outside ${signed(outside.reduce((total, index) => total + row[index], 0))}`] : [];
  }

  /** What it says for, against, and outside the picture. */
  sums(row) {
    const [plus, minus] = this.sides(row);
    return [`for ${signed(plus)}`, `against ${signed(minus)}`, ...this.outside(row)];
  }

  drawLayers() {
    const { page } = this, { scores, state } = page, { entry, map } = scores;
    if (!map) return;
    this.drawFilm(page.part("film"), scores.rows().map((row) => ({
      title: row ? (map.rows[row - map.first] === "out" ? "above the last" : `layer ${map.rows[row - map.first]}`) : "all", scores: scores.row(row), limit: scores.limit(row),
      lines: this.outside(scores.row(row)), act: () => page.change({ row }), on: row === state.row, chosen: state.token,
    })));
  }

  /** Which sources a target's relevance comes from, layer by layer: its row of the flow. */
  drawReads() {
    const { page } = this, { scores, state } = page, { entry, view } = scores, n = view.tokens.length;
    const outside = view.tokens.findIndex((_, index) => !entry.grid.places[index]), target = state.token >= 0 ? state.token : Math.max(0, outside);
    const found = entry.layers.map((_, layer) => scores.flowOf(layer).subarray(target * n, (target + 1) * n)), most = Math.max(...found.map((row) => largest(scores.shown(row)))) || 1;
    this.drawFilm(page.part("reads"), found.map((row, layer) => ({
      title: `${view.tokens[target]}, layer ${entry.layers[layer]}`, scores: row, limit: most, lines: this.sums(row), chosen: target,
    })));
  }

  /** Of every explained image its controls; what brings them up to date. */
  controls() {
    const { page } = this, bound = [];
    for (const name of ["smooth", "numbered", "own", "opacity"]) {
      for (const control of page.all(`[data-name="${name}"]`)) bound.push(page.bind(control, name, "input"));
    }
    for (const overlay of page.all('[data-name="overlay"]')) this.listen(overlay);
    return bound;
  }

  listen(overlay) {
    const { page } = this, at = (event) => patchAt(event, page.scores.entry.grid);
    overlay.addEventListener("click", (event) => { if (at(event) >= 0) page.change({ token: at(event) === page.state.token ? -1 : at(event) }); });
    overlay.addEventListener("pointermove", (event) => page.mark(at(event) >= 0 ? at(event) : page.state.token));
    overlay.addEventListener("pointerleave", () => page.mark());
    overlay.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      const next = patchBeside(page.scores.entry.grid, page.state.token, event.key, (index) => page.scores.visible(index));
      if (next >= 0) page.change({ token: next });
    });
  }
}
