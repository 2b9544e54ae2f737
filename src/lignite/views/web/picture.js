"use strict";
/** Pictures under the colours of their patches, on a canvas. `meta.overlay` holds the colours, `meta.pictures` the files. */
const picture = (() => {
  let colours = null, table = null;
  const loaded = [];

  /** Decode the pictures; each is kept in its own colours and in the middle greys that lie under an overlay. */
  async function load(meta) {
    colours = meta.overlay;
    table = Array.from({ length: 513 }, (_, step) => tint((step - 256) / 256));
    await Promise.all(meta.pictures.map(async (source, number) => {
      const image = new Image();
      image.src = source;
      await image.decode();
      const own = canvasOf(image.naturalWidth, image.naturalHeight), grey = canvasOf(own.width, own.height);
      own.getContext("2d").drawImage(image, 0, 0);
      const pixels = own.getContext("2d").getImageData(0, 0, own.width, own.height);
      for (let at = 0; at < pixels.data.length; at += 4) {
        const luma = (0.299 * pixels.data[at] + 0.587 * pixels.data[at + 1] + 0.114 * pixels.data[at + 2]) / 255;
        pixels.data.fill(Math.round(255 * (colours.darkest + (colours.lightest - colours.darkest) * luma)), at, at + 3);
      }
      grey.getContext("2d").putImageData(pixels, 0, 0);
      loaded[number] = { own, grey };
    }));
  }
  function canvasOf(width, height) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    return canvas;
  }

  /** Red, green, blue and opacity of a share of the largest score; zero is transparent. */
  function tint(share) {
    const size = Math.min(1, Math.abs(share || 0)), stops = share > 0 ? colours.for : colours.against;
    const at = size * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at));
    const [from, to] = [stops[low], stops[low + 1]].map((text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16)));
    return [...from.map((part, index) => part + (at - low) * (to[index] - part)), colours.opaque * (1 - (1 - size) ** 2)];
  }
  function looked(share) { return table[Math.round(256 + 256 * Math.max(-1, Math.min(1, share || 0)))]; }
  function css([r, g, b, a], opacity) { return `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)} / ${(a * opacity).toFixed(4)})`; }

  /** Which patch each pixel of the picture belongs to, −1 where none lies; and where lines of patches have their centres. */
  const layouts = new WeakMap();
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
      const at = (pixel + 0.5) * size / pixels, next = centres.findIndex((centre) => centre > at);
      if (next === 0) return [0, 0, 0];
      if (next < 0) return [centres.length - 1, centres.length - 1, 0];
      return [next - 1, next, (at - centres[next - 1]) / (centres[next] - centres[next - 1])];
    });
  }

  /** Draw the scores (by token) over the picture. `look`: opacity, smooth, own (colours of the picture), chosen. */
  function draw(canvas, grid, scores, limit, cssWidth, look) {
    const [height, width] = grid.size, ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(cssWidth * ratio);
    canvas.height = Math.round(cssWidth * height / width * ratio);
    canvas.style.width = `${cssWidth}px`;
    canvas.style.height = `${cssWidth * height / width}px`;
    const context = canvas.getContext("2d"), scale = canvas.width / width, down = canvas.height / height;
    context.imageSmoothingEnabled = canvas.width < width; // an enlarged picture keeps its pixels
    const under = loaded[grid.picture];
    if (under) {
      context.drawImage(look.own ? under.own : under.grey, 0, 0, canvas.width, canvas.height);
    } else {
      const grey = Math.round(255 * colours.plain);
      context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    const opacity = look.opacity ?? 1;
    if (look.smooth) {
      context.imageSmoothingEnabled = true;
      context.drawImage(mixed(grid, scores, limit, opacity, canvas), 0, 0, canvas.width, canvas.height);
    } else {
      grid.places.forEach((place, index) => {
        if (!place || !scores[index]) return;
        context.fillStyle = css(looked(scores[index] / limit), opacity);
        const [x, y, right, bottom] = box(place, scale, down);
        context.fillRect(x, y, right - x, bottom - y);
      });
    }
    const place = grid.places[look.chosen];
    if (!place) return;
    const [x, y, right, bottom] = box(place, scale, down);
    for (const [colour, thick] of [["#000", 4 * ratio], ["#fff", 1.6 * ratio]]) { // seen on every ground
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(x, y, right - x, bottom - y);
    }
  }
  function box([, , top, left, bottom, right], scale, down) {
    return [left * scale, top * down, right * scale, bottom * down].map(Math.round);
  }
  function mixed(grid, scores, limit, opacity, canvas) {
    const { owner, cells, rows, cols } = layout(grid), [height, width] = grid.size;
    const shrink = Math.min(1, 720 / Math.max(canvas.width, canvas.height));
    const made = canvasOf(Math.max(1, Math.round(canvas.width * shrink)), Math.max(1, Math.round(canvas.height * shrink)));
    const context = made.getContext("2d"), pixels = context.createImageData(made.width, made.height);
    const down = mixing(rows, height, made.height), across = mixing(cols, width, made.width);
    for (let y = 0; y < made.height; y += 1) {
      const [low, high, v] = down[y], line = Math.floor((y + 0.5) * height / made.height) * width;
      for (let x = 0; x < made.width; x += 1) {
        if (owner[line + Math.floor((x + 0.5) * width / made.width)] < 0) continue;
        const [near, far, u] = across[x];
        let sum = 0, weight = 0;
        for (const [row, col, share] of [[low, near, (1 - v) * (1 - u)], [low, far, (1 - v) * u], [high, near, v * (1 - u)], [high, far, v * u]]) {
          const index = cells[row * cols.length + col];
          if (index >= 0 && Number.isFinite(scores[index])) { sum += share * scores[index]; weight += share; }
        }
        const [r, g, b, a] = looked(weight ? sum / weight / limit : 0), at = 4 * (y * made.width + x);
        pixels.data[at] = r;
        pixels.data[at + 1] = g;
        pixels.data[at + 2] = b;
        pixels.data[at + 3] = 255 * a * opacity;
      }
    }
    context.putImageData(pixels, 0, 0);
    return made;
  }

  /** The token whose patch lies under the pointer, −1 where none does. */
  function at(event, canvas, grid) {
    const [height, width] = grid.size;
    const x = Math.floor(event.offsetX / canvas.clientWidth * width), y = Math.floor(event.offsetY / canvas.clientHeight * height);
    return x >= 0 && x < width && y >= 0 && y < height ? layout(grid).owner[y * width + x] : -1;
  }
  /** The patch that lies next to `index` in a direction, or the first one. */
  function beside(grid, index, key, allowed) {
    const places = grid.places, here = places[index], found = [];
    if (!here) return places.findIndex((place, other) => place && allowed(other));
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    places.forEach((place, other) => {
      if (!place || !allowed(other)) return;
      const along = dy ? dy * (place[0] - here[0]) : dx * (place[1] - here[1]), aside = dy ? place[1] - here[1] : place[0] - here[0];
      if (along > 0 && aside === 0) found.push([along, other]);
    });
    return found.length ? found.sort((a, b) => a[0] - b[0])[0][1] : index;
  }
  /** The scale of colours, over a middle grey. */
  function legend(context, width, height) {
    context.fillStyle = "rgb(178 178 178)";
    context.fillRect(0, 0, width, height);
    for (let x = 0; x < width; x += 1) {
      context.fillStyle = css(looked(2 * x / (width - 1) - 1), 1);
      context.fillRect(x, 0, 1, height);
    }
  }
  return { load, draw, at, beside, legend };
})();
