/** What pages share: elements, numbers as text, colours, canvases, numbers from base64. */

// ---- elements -----------------------------------------------------------------------------------------------------

/** A new element. An attribute on… takes a listener; one that is false or missing is left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A bar of so much of its room, in the colour of its sign. */
export function bar(share) {
  const made = element("i", { class: share > 0 ? "warm" : "cold" });
  made.style.width = `${100 * Math.abs(share)}%`;
  return made;
}

/** Finds the parts of one page by their `data-name`, in its own element alone: a document may hold several pages. */
export function partsOf(root) {
  const found = new Map();
  return (name) => {
    if (!found.has(name)) found.set(name, root.querySelector(`[data-name="${name}"]`));
    return found.get(name);
  };
}

/** A colour of the page's style sheet, which may differ between light and dark rooms. */
export function colourOf(root) {
  return (name) => getComputedStyle(root).getPropertyValue(name).trim();
}

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
  return (value < 0 ? "−" : "") + (size >= 0.1 || size === 0 ? size.toFixed(1) : digits(size, 2)) + " %";
}

/** The largest magnitude, 0 where there is none. */
export function largest(values) { return values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0); }

/** Where colours end: at the largest, but at most at four times what 95 % do not exceed, so that one score leaves the others theirs. */
export function limitOf(values) {
  const sizes = Float64Array.from(values, Math.abs).filter(Number.isFinite).sort(), most = sizes.at(-1) ?? 0;
  const common = sizes.length > 1 ? sizes[Math.floor(0.95 * (sizes.length - 1))] : 0;
  return (common > 0 ? Math.min(most, 4 * common) : most) || 1;
}

/** The few best of many, largest first; of equals the one that came first. */
export class Best {
  constructor(most) { this.most = most; this.found = []; }

  /** Whether something of this size would be kept. */
  takes(size) { return size > 0 && (this.found.length < this.most || size > this.found[this.most - 1].size); }

  add(size, entry) {
    let at = this.found.length;
    while (at > 0 && this.found[at - 1].size < size) at -= 1;
    this.found.splice(at, 0, { size, ...entry });
    if (this.found.length > this.most) this.found.pop();
  }
}

/** Bytes from base64. */
export function bytes(text) {
  const coded = atob(text.trim()), array = new Uint8Array(coded.length);
  for (let index = 0; index < coded.length; index += 1) array[index] = coded.charCodeAt(index);
  return array.buffer;
}

let halves = null; // the numbers that sixteen bits can be
/** Numbers from bytes: float32, or float16 times two to the minus `exponent`. */
export function numbers(buffer, encoding = "float32", exponent = 0) {
  if (encoding === "float32") return new Float32Array(buffer);
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
  return Float32Array.from(new Uint16Array(buffer), (bits) => halves[bits] * 2 ** -exponent);
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// ---- colours ------------------------------------------------------------------------------------------------------

/** Red, green and blue of #rrggbb. */
export function channels(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)); }

/** The colour at `place` (0 to 1) of a scale whose stops stand at equal steps. */
export function between(stops, place) {
  const at = place * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((part, index) => part + (at - low) * (stops[low + 1][index] - part));
}

/** Black or white, whichever reads better on a colour (WCAG's contrast of relative luminances decides). */
export function ink(rgb) {
  const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000" : "#fff";
}

const STEPS = 255;

/** Colours of shares from −1 to 1; what is no number has none. */
export class Palette {
  constructor(hexes) {
    this.edge = { for: hexes[8], against: hexes[2] }; // of lines that may lie over each other
    this.strong = { for: hexes[9], against: hexes[1] };
    const stops = hexes.map(channels);
    this.table = Array.from({ length: 2 * STEPS + 1 }, (_, step) => between(stops, step / (2 * STEPS)).map(Math.round));
    this.pixels = Uint32Array.from(this.table, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r); // little-endian
  }

  step(share) { return STEPS + Math.round(STEPS * Math.max(-1, Math.min(1, share))); }
  pixel(share) { return Number.isNaN(share) ? 0 : this.pixels[this.step(share)]; }
  css(share) { return Number.isNaN(share) ? "transparent" : `rgb(${this.table[this.step(share)].join(" ")})`; }
  ink(share) { return ink(this.table[this.step(share)]); }
}

// ---- canvases -----------------------------------------------------------------------------------------------------

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";

export function canvasOf(width, height) {
  const canvas = element("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** An empty canvas of a size in the page's pixels, as fine as the screen (at most twice); its context. */
export function prepare(canvas, width, height) {
  const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** The text, or as much of its start as there is room for. */
export function clip(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

/** Text that is read upwards and ends at a point. */
export function writeUpwards(context, text, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.fillText(text, 0, 0);
  context.restore();
}

/** Room for the widest of the labels, within bounds. */
export function roomFor(context, labels, most, least = 30) {
  return Math.min(most, Math.max(least, ...labels.map((text) => context.measureText(text).width)));
}

/** Every how manieth label can be written, when each takes `needed` pixels. */
export function everyNth(count, pitch, needed = 14) {
  return [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 1000].find((step) => step * pitch >= needed) || count;
}

/** The whole scale of colours, from −1 to 1, over what the canvas shows already. */
export function paintScale(context, css) {
  const { width, height } = context.canvas;
  for (let x = 0; x < width; x += 1) {
    context.fillStyle = css((2 * x) / (width - 1) - 1);
    context.fillRect(x, 0, 1, height);
  }
}

/** Shares as an image. With more cells than pixels, a pixel shows the largest magnitude among its cells. */
export function paintCells(context, box, rows, columns, share, palette) {
  if (!rows.length || !columns.length) return false; // everything is hidden or unknown
  const ratio = context.getTransform().a;
  const width = Math.min(columns.length, Math.max(1, Math.round(box.width * ratio)));
  const height = Math.min(rows.length, Math.max(1, Math.round(box.height * ratio)));
  const most = new Float32Array(width * height).fill(NaN);
  for (let y = 0; y < rows.length; y += 1) {
    const start = Math.floor((y * height) / rows.length) * width;
    for (let x = 0; x < columns.length; x += 1) {
      const place = start + Math.floor((x * width) / columns.length), here = share(rows[y], columns[x]);
      if (!(Math.abs(most[place]) >= Math.abs(here)) && !Number.isNaN(here)) most[place] = here;
    }
  }
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer), small = canvasOf(width, height);
  for (let place = 0; place < pixels.length; place += 1) pixels[place] = palette.pixel(most[place]);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, box.left, box.top, box.width, box.height);
  return true;
}
