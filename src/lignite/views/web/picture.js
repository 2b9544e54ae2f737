/** Pictures under the colours of their patches, on a canvas. */
import { between, canvasOf, channels, prepare } from "./kit.js";

const STEPS = 256;
const FINEST = 720; // pixels along the longer side of what is mixed between patches

/** Files of pictures and the colours over them, as the page brings them; `loaded` says when they can be drawn. */
export class Pictures {
  constructor({ overlay, pictures }) {
    this.overlay = overlay;
    this.table = Array.from({ length: 2 * STEPS + 1 }, (_, step) => tint(overlay, (step - STEPS) / STEPS));
    this.files = [];
    this.loaded = Promise.all(pictures.map(async (source, number) => { this.files[number] = await decoded(source, overlay); })).then(() => { this.ready = true; });
  }

  tint(share) { return this.table[Math.round(STEPS + STEPS * Math.max(-1, Math.min(1, share || 0)))]; }

  css(share, opacity = 1) {
    const [r, g, b, a] = this.tint(share);
    return `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)} / ${(a * opacity).toFixed(4)})`;
  }

  /** Draw the scores (by token) over the picture. `look`: opacity, smooth, own (colours of the picture), chosen; numbered patches, and their numbers. */
  draw(canvas, grid, scores, limit, wide, look) {
    const [height, width] = grid.size, context = prepare(canvas, wide, (wide * height) / width);
    const scale = canvas.width / width, down = canvas.height / height, opacity = look.opacity ?? 1;
    context.setTransform(1, 0, 0, 1, 0, 0); // from here on in pixels of the screen
    this.drawGround(context, grid, look);
    if (look.smooth) {
      context.imageSmoothingEnabled = true;
      context.drawImage(this.mixed(grid, scores, limit, opacity, canvas), 0, 0, canvas.width, canvas.height);
    } else {
      grid.places.forEach((place, index) => {
        if (!place || !scores[index]) return;
        context.fillStyle = this.css(scores[index] / limit, opacity);
        context.fillRect(...boxOf(place, scale, down));
      });
    }
    const place = grid.places[look.chosen], ratio = canvas.width / wide;
    for (const index of look.numbered ?? []) writeOn(context, String(look.numbers[index]), boxOf(grid.places[index], scale, down), 16 * ratio);
    if (!place) return;
    for (const [colour, thick] of [["#000", 4 * ratio], ["#fff", 1.6 * ratio]]) { // seen on every ground
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(...boxOf(place, scale, down));
    }
  }

  drawGround(context, grid, look) {
    const { canvas } = context, under = this.files[grid.picture];
    context.imageSmoothingEnabled = canvas.width < grid.size[1]; // an enlarged picture keeps its pixels
    if (under) {
      context.drawImage(look.own ? under.own : under.grey, 0, 0, canvas.width, canvas.height);
      return;
    }
    const grey = Math.round(255 * this.overlay.plain);
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  mixed(grid, scores, limit, opacity, canvas) {
    const { owner, cells, rows, cols } = layout(grid), [height, width] = grid.size;
    const shrink = Math.min(1, FINEST / Math.max(canvas.width, canvas.height));
    const made = canvasOf(Math.max(1, Math.round(canvas.width * shrink)), Math.max(1, Math.round(canvas.height * shrink)));
    const context = made.getContext("2d"), pixels = context.createImageData(made.width, made.height);
    const down = mixing(rows, height, made.height), across = mixing(cols, width, made.width);
    for (let y = 0; y < made.height; y += 1) {
      const line = Math.floor(((y + 0.5) * height) / made.height) * width;
      for (let x = 0; x < made.width; x += 1) {
        if (owner[line + Math.floor(((x + 0.5) * width) / made.width)] < 0) continue;
        const [r, g, b, a] = this.tint(mixedScore(scores, cells, cols.length, down[y], across[x]) / limit);
        pixels.data.set([r, g, b, 255 * a * opacity], 4 * (y * made.width + x));
      }
    }
    context.putImageData(pixels, 0, 0);
    return made;
  }
}

/** A picture in its own colours, and in the middle greys that lie under an overlay. */
async function decoded(source, overlay) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const own = canvasOf(image.naturalWidth, image.naturalHeight), grey = canvasOf(own.width, own.height);
  own.getContext("2d").drawImage(image, 0, 0);
  const pixels = own.getContext("2d").getImageData(0, 0, own.width, own.height), { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    const luma = (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]) / 255;
    data.fill(Math.round(255 * (overlay.darkest + (overlay.lightest - overlay.darkest) * luma)), at, at + 3);
  }
  grey.getContext("2d").putImageData(pixels, 0, 0);
  return { own, grey };
}

/** Red, green, blue and opacity of a share of the largest score; zero is transparent. */
export function tint(overlay, share) {
  const size = Math.min(1, Math.abs(share || 0)), stops = share > 0 ? overlay.for : overlay.against;
  return [...between(stops.map(channels), size), overlay.opaque * (1 - (1 - size) ** 2)];
}

const layouts = new WeakMap();
/** Which patch each pixel of the picture belongs to, −1 where none lies; and where lines of patches have their centres. */
function layout(grid) {
  if (layouts.has(grid)) return layouts.get(grid);
  const [height, width] = grid.size, owner = new Int32Array(height * width).fill(-1), lines = [new Map(), new Map()];
  grid.places.forEach((place, index) => {
    if (!place) return;
    const [row, col, top, left, bottom, right] = place;
    for (let y = top; y < bottom; y += 1) owner.fill(index, y * width + left, y * width + right);
    lines[0].set(row, (top + bottom) / 2);
    lines[1].set(col, (left + right) / 2);
  });
  const [rows, cols] = lines.map((line) => [...line].sort(([a], [b]) => a - b));
  const cells = new Int32Array(rows.length * cols.length).fill(-1);
  const order = [rows, cols].map((line) => new Map(line.map(([number], at) => [number, at])));
  grid.places.forEach((place, index) => { if (place) cells[order[0].get(place[0]) * cols.length + order[1].get(place[1])] = index; });
  const found = { owner, cells, rows: rows.map(([, centre]) => centre), cols: cols.map(([, centre]) => centre) };
  layouts.set(grid, found);
  return found;
}

/** The two neighbouring centres of every pixel and the share of the second; beyond the outer ones nothing mixes. */
function mixing(centres, size, pixels) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = ((pixel + 0.5) * size) / pixels, next = centres.findIndex((centre) => centre > at);
    if (next === 0) return [0, 0, 0];
    if (next < 0) return [centres.length - 1, centres.length - 1, 0];
    return [next - 1, next, (at - centres[next - 1]) / (centres[next] - centres[next - 1])];
  });
}

/** The score between four patches, each as near as its weight; patches without a number do not count. */
function mixedScore(scores, cells, width, [low, high, v], [near, far, u]) {
  let sum = 0, weight = 0;
  for (const [row, col, share] of [[low, near, (1 - v) * (1 - u)], [low, far, (1 - v) * u], [high, near, v * (1 - u)], [high, far, v * u]]) {
    const index = cells[row * width + col];
    if (index >= 0 && Number.isFinite(scores[index])) { sum += share * scores[index]; weight += share; }
  }
  return weight ? sum / weight : 0;
}

/** Left, top, width and height of a patch, in pixels of the screen. */
function boxOf([, , top, left, bottom, right], scale, down) {
  const [x, y, to, end] = [left * scale, top * down, right * scale, bottom * down].map(Math.round);
  return [x, y, to - x, end - y];
}

/** Black in white in the middle of a patch: seen on every ground. */
function writeOn(context, text, [x, y, wide, tall], largest) {
  const size = Math.max(7, Math.min(largest, 0.42 * tall, 0.9 * wide / text.length));
  Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle", lineJoin: "round" });
  Object.assign(context, { strokeStyle: "#fff", lineWidth: Math.max(2, size / 4), fillStyle: "#000" });
  context.strokeText(text, x + wide / 2, y + tall / 2);
  context.fillText(text, x + wide / 2, y + tall / 2);
}

/** Lines from patch to patch over a picture, as thick as what they carry. */
export function drawArcs(canvas, grid, steps, page) {
  const context = canvas.getContext("2d"), scale = canvas.width / grid.size[1], most = Math.max(...steps.map(({ value }) => Math.abs(value)));
  const centre = ([, , top, left, bottom, right]) => [(scale * (left + right)) / 2, (scale * (top + bottom)) / 2];
  context.lineCap = "round";
  for (const { source, target, value } of [...steps].reverse()) {
    const [x, y] = centre(grid.places[source]), [to, end] = centre(grid.places[target]), size = Math.abs(value) / most;
    context.beginPath();
    context.moveTo(x, y);
    context.quadraticCurveTo((x + to) / 2 + (end - y) / 4, (y + end) / 2 - (to - x) / 4, to, end);
    for (const [colour, thick] of [["#fff", 2], [page.colour(value > 0 ? "--warm" : "--cold"), 0]]) { // seen on every ground
      Object.assign(context, { strokeStyle: colour, lineWidth: 1 + thick + 4 * size, globalAlpha: 0.35 + 0.6 * size });
      context.stroke();
    }
  }
}

/** How wide each of `count` small pictures is. */
export function filmWidth(grid, count) {
  const [height, width] = grid.size;
  return Math.min(count > 14 ? 104 : count > 7 ? 132 : 168, 168 * Math.max(0.55, width / height));
}

/** The token whose patch lies under the pointer, −1 where none does. */
export function patchAt(event, grid) {
  const [height, width] = grid.size, { clientWidth, clientHeight } = event.target;
  const x = Math.floor((event.offsetX / clientWidth) * width), y = Math.floor((event.offsetY / clientHeight) * height);
  return x >= 0 && x < width && y >= 0 && y < height ? layout(grid).owner[y * width + x] : -1;
}

/** The patch that lies next to `index` in the direction of an arrow key, or the first one. */
export function patchBeside(grid, index, key, allowed) {
  const { places } = grid, here = places[index], found = [];
  if (!here) return places.findIndex((place, other) => place && allowed(other));
  const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  places.forEach((place, other) => {
    if (!place || !allowed(other)) return;
    const along = dy ? dy * (place[0] - here[0]) : dx * (place[1] - here[1]), aside = dy ? place[1] - here[1] : place[0] - here[0];
    if (along > 0 && aside === 0) found.push([along, other]);
  });
  return found.length ? found.sort((a, b) => a[0] - b[0])[0][1] : index;
}
