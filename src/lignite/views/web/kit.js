/** What pages share: elements, numbers as text, colours, canvases, numbers from bytes. */

// ---- elements -----------------------------------------------------------------------------------------------------

function grow(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A new element. An attribute on… takes a listener; one that is false or missing is left out. */
export function element(tag, attributes = {}, ...children) { return grow(document.createElement(tag), attributes, children); }

/** A new part of a drawing. */
export function drawn(tag, attributes = {}, ...children) { return grow(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children); }

/** A word beside numbers: in its own direction. */
export function word(text) { return element("bdi", {}, text); }

/** A bar from the left, in the colour of its sign. */
export function bar(share, size = Math.abs(share)) {
  const part = element("b", { class: share > 0 ? "f8" : share < 0 ? "a8" : "nothing" });
  part.style.width = `${(100 * Math.abs(size)).toFixed(1)}%`;
  return element("i", { class: "measure", "aria-hidden": "true" }, part);
}

/** A table's body, a row of cells for each list; the second cell of a row names it where `head` says so. */
export function rows(table, lines, head = 0) {
  const cell = (content, at) => (content instanceof Element && content.tagName === "TD" ? content : element(at === head ? "th" : "td", at === head ? { scope: "row" } : {}, content));
  table.tBodies[0].replaceChildren(...lines.map(({ attributes = {}, cells }) => element("tr", attributes, ...cells.map(cell))));
}

/** A cell with a number. */
export function number(text, kind = "") { return element("td", { class: `n ${kind}` }, text); }

// ---- numbers ------------------------------------------------------------------------------------------------------

export function digits(value, count = 3) {
  if (value == null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-4
    ? size.toExponential(count - 1).replace("e+", "e").replace("e-", "e−")
    : size >= 10 ** count ? size.toFixed(0) : size.toPrecision(count);
}

export function signed(value, count = 3) {
  if (value == null || !Number.isFinite(value)) return "–";
  return (value > 0 ? "+" : value < 0 ? "−" : "") + digits(value, count);
}

export function percent(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(100 * value);
  if (size && size < 1e-4) return "<0.0001\u00a0%";
  return (value < 0 ? "−" : "") + (size >= 0.1 ? size.toFixed(1) : String(Number(size.toPrecision(2)))) + "\u00a0%";
}

/** The largest magnitude, 0 where there is none. */
export function largest(values) { return values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0); }

const MANY = 40000;
/** Where colours end: at the largest, but at most at four times what 95 % do not exceed, so that one score leaves the others theirs. */
export function limitOf(values) {
  const step = values.length > MANY ? 2 * Math.ceil(values.length / MANY) + 1 : 1; // of very many an odd step takes some from every column
  const some = step > 1 ? Float64Array.from({ length: Math.floor(values.length / step) }, (_, at) => values[at * step]) : values;
  const sizes = Float64Array.from(some, Math.abs).filter(Number.isFinite).sort(), most = sizes.at(-1) ?? 0;
  const common = sizes.length > 1 ? sizes[Math.floor(0.95 * (sizes.length - 1))] : 0;
  return (common > 0 ? Math.min(most, 4 * common) : most) || 1;
}

/** Keeps the few largest of what it is given, largest first; of equals the first. What is no larger than `least` need not be given. */
export class Largest {
  constructor(most) { Object.assign(this, { most, least: 0, kept: [] }); }

  add(size, what) {
    const { kept, most } = this;
    let at = kept.length;
    while (at > 0 && kept[at - 1][0] < size) at -= 1;
    kept.splice(at, 0, [size, what]);
    if (kept.length > most) kept.pop();
    if (kept.length === most) this.least = kept[most - 1][0];
  }
}

/** Places of the few largest of many by size. */
export function largestPlaces(count, most, sizeOf) {
  const largest = new Largest(most);
  for (let place = 0; place < count; place += 1) {
    const size = sizeOf(place);
    if (size > largest.least) largest.add(size, place);
  }
  return largest.kept.map(([, place]) => place);
}

/** Scores from bytes, `lines` rows of them: float32, or rounded, a step for each row and then a byte for each score, −128 for none. */
export function scoresOf(buffer, count, columns, from = 0, lines = count / columns) {
  if (buffer.byteLength === 4 * count) return new Float32Array(buffer, 4 * from * columns, lines * columns);
  const steps = new Float32Array(buffer, 0, count / columns), coded = new Int8Array(buffer, 4 * steps.length + from * columns, lines * columns), values = new Float32Array(coded.length);
  for (let row = 0, at = 0; row < lines; row += 1) {
    for (const end = at + columns; at < end; at += 1) values[at] = coded[at] === -128 ? NaN : coded[at] * steps[from + row];
  }
  return values;
}

/** A number in a coloured cell: as fine as the colours, which end at `limit`. */
export function cellText(value, limit) {
  if (!Number.isFinite(value)) return "–";
  if (limit < 1e-4 || limit >= 1e5) return signed(value, 2);
  const size = Math.abs(value).toFixed(Math.max(0, 1 - Math.floor(Math.log10(limit))));
  return Number(size) === 0 ? "0" : `${value < 0 ? "−" : "+"}${size}`;
}

/** The text, or as much of its start as there is room for. */
export function clip(text, most) { return text.length <= most ? text : `${text.slice(0, Math.max(1, Math.floor(most) - 1))}…`; }

// ---- colours ------------------------------------------------------------------------------------------------------

/** Red, green and blue of #rrggbb. */
export function channels(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)); }

/** The colour at `place` (0 to 1) of a scale whose stops stand at equal steps. */
export function between(stops, place) {
  const at = place * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((part, index) => part + (at - low) * (stops[low + 1][index] - part));
}

/** The class of a share of the largest score, as in the style sheet: ten tones for, ten against. */
export function toneOf(share) {
  const size = Math.abs(share);
  return size >= 0.04 ? `${share > 0 ? "f" : "a"}${Math.min(10, 1 + Math.floor(10 * size))}` : "";
}

/** Give an element the tone of a share in place of the one it has, and keep its other classes. */
export function paint(part, share) {
  const others = part.className.split(" ").filter((name) => name && !/^[fa]\d+$/.test(name)), tone = toneOf(share);
  const wanted = (tone ? [tone, ...others] : others).join(" ");
  if (part.className !== wanted) part.className = wanted;
}

// ---- canvases -----------------------------------------------------------------------------------------------------

export function canvasOf(width, height) { return Object.assign(element("canvas"), { width, height }); }

/** An empty canvas of a size in the page's pixels, as fine as the screen (at most twice); its context. */
export function prepare(canvas, width, height) {
  const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
