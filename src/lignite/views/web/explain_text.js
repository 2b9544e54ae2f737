/** An explained text in the colours of its scores, and what a token says when it is pointed at. */
import { element, largest, percent, prepare, signed } from "./kit.js";
import { placeOf } from "./explain_image.js";

const SEEN = 0.02; // shares below it stay without colour
const LONG = 120; // tokens, beyond which the text is set smaller

/** The text as spans; tokens carry their place in data-i. */
export function spans(page, item) {
  const { scores } = page, view = scores.viewOf(item);
  return view.pieces.filter(([, index]) => index < 0 || scores.visible(index, view)).map(([text, index]) => (index < 0
    ? document.createTextNode(text)
    : element("span", { "data-i": index, class: view.special[index] ? "special" : null }, text)));
}

export function colourSpans(page, box, scores, limit) {
  for (const span of box.querySelectorAll("span[data-i]")) {
    const share = scores[span.dataset.i] / limit, seen = Math.abs(share) >= SEEN;
    span.style.background = seen ? page.palette.css(share) : "";
    span.style.color = seen ? page.palette.ink(share) : "";
  }
}

/** Which colour speaks for what, and what it cannot show. */
function colourNote(scores, row) {
  const beyond = scores.beyond(row), { unit, name } = scores.entry;
  return `against · ${scores.rowTitle(row)}, ${unit} · for ${name}${beyond ? ` · ${beyond} beyond` : ""}`;
}

export class TextView {
  constructor(page) {
    this.page = page;
    this.box = page.at("text");
    this.listen();
  }

  draw() {
    const { page, box } = this, { entry, view } = page.scores;
    box.hidden = Boolean(entry.grid);
    box.replaceChildren(...spans(page, entry));
    box.classList.toggle("long", view.tokens.length > LONG);
  }

  recolour() {
    const { page, box } = this, { scores, state } = page, limit = scores.rowLimit(state.row);
    if (!scores.entry.grid) colourSpans(page, box, scores.row(state.row), limit);
    page.drawLegend([signed(-limit), signed(limit)], colourNote(scores, state.row), Boolean(scores.entry.grid));
  }

  mark() {
    const { box, page } = this;
    for (const span of box.querySelectorAll("span.on")) span.classList.remove("on");
    box.querySelector(`span[data-i="${page.state.token}"]`)?.classList.add("on");
    page.at("readout").replaceChildren(...this.readout());
  }

  /** The chosen token in numbers. */
  readout() {
    const { scores, state } = this.page, { entry, view } = scores, { token } = state;
    if (token < 0 || token >= view.tokens.length) return [`Point at a ${entry.grid ? "patch" : "word"} for its numbers, choose it to keep it.`];
    const row = scores.row(state.row), value = row[token], sizes = scores.tokens().map((index) => Math.abs(row[index]));
    const total = sizes.reduce((sum, size) => sum + size, 0) || 1, rank = 1 + sizes.filter((size) => size > Math.abs(value)).length;
    return [
      element("b", {}, view.tokens[token]), ` at ${view.positions[token]}${placeOf(entry, token)}: `, element("b", {}, signed(value, 4)),
      `, ${percent(Math.abs(value) / total)} of all magnitude, number ${rank} of ${sizes.length}`,
      state.row ? ` (${scores.rowTitle(state.row)})` : "",
    ];
  }

  listen() {
    const { page, box } = this, tokenOf = (event) => Number(event.target.dataset.i ?? -1);
    box.addEventListener("click", (event) => { if (tokenOf(event) >= 0) page.choose(tokenOf(event)); });
    box.addEventListener("pointermove", (event) => page.tip.show(event, tokenOf(event), page.state.row));
    box.addEventListener("pointerleave", () => page.tip.hide());
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const shown = page.scores.tokens(), at = shown.indexOf(page.state.token);
      page.keep(shown[(at + step + shown.length + (at < 0 && step < 0 ? 1 : 0)) % shown.length]);
    });
  }
}

/** What a token says, beside the pointer. */
export class Tip {
  constructor(page) {
    this.page = page;
    this.box = page.at("tip");
  }

  hide() { this.box.hidden = true; }

  show(event, index, row) {
    const { scores } = this.page, { entry, view, map } = scores, { box } = this;
    if (index < 0 || index >= view.tokens.length) { this.hide(); return; }
    const facts = [["relevance", signed(scores.row(0)[index])]];
    if (row > 0) facts.push([scores.rowTitle(row), signed(scores.row(row)[index])]);
    box.replaceChildren(element("b", {}, view.tokens[index]), ` at ${view.positions[index]}${placeOf(entry, index)}`,
      element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
    if (map) box.append(this.profile(map, index));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect(), below = event.clientY + 20;
    box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    box.style.top = `${below + height > innerHeight ? Math.max(4, event.clientY - height - 12) : below}px`;
  }

  /** A token through the layers, as bars. */
  profile(map, index) {
    const canvas = element("canvas"), width = Math.max(90, Math.min(280, map.rows.length * 12)), height = 46;
    const values = map.rows.map((_, row) => this.page.scores.row(map.first + row)[index]), most = largest(values) || 1, step = width / values.length;
    const context = prepare(canvas, width, height), { strong } = this.page.palette;
    context.fillStyle = this.page.colour("--line");
    context.fillRect(0, height / 2, width, 1);
    values.forEach((value, row) => {
      context.fillStyle = value > 0 ? strong.for : strong.against;
      const size = (Math.abs(value) / most) * (height / 2 - 2);
      context.fillRect(row * step + 1, value > 0 ? height / 2 - size : height / 2, Math.max(1, step - 2), Math.max(size, 0.5));
    });
    return element("div", {}, canvas, element("small", { class: "dim" }, `${map.title}, layer ${map.rows[0]} to ${map.rows.at(-1)}`));
  }
}
