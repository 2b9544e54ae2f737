"use strict";
(() => {
  const meta = JSON.parse(byId("meta").textContent);
  const { layers, tokens, positions, special, targets } = meta;
  const rowOf = new Map(targets.map((source, row) => [source, row])); // a token's row, where it is a target
  const maps = new Map(meta.maps.map((map) => [map.name, map]));
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const state = {
    map: meta.maps[0].name, part: -1, layer: 0, norm: "score", scale: "shared", special: false, diagonal: false,
    token: 0, direction: "receives", zoom: null, everyToken: false, node: null, threshold: null,
  };

  function byId(id) { return document.getElementById(id); }
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  // ---- numbers ------------------------------------------------------------------------------------------------

  function digits(value, count = 3) {
    if (!Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e5 || size < 1e-4
      ? size.toExponential(count - 1).replace("e+", "e").replace("e-", "e−")
      : size >= 10 ** count ? size.toFixed(0) : size.toPrecision(count);
    return text;
  }
  function signed(value, count = 3) {
    if (!Number.isFinite(value)) return "–";
    return (value > 0 ? "+" : value < 0 ? "−" : "") + digits(value, count);
  }
  function percent(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(100 * value);
    return (value < 0 ? "−" : "") + (size >= 0.1 || size === 0 ? size.toFixed(1) : digits(size, 2)) + " %";
  }
  function tokenLabel(index) { return `${tokens[index]} ${positions[index]}`; }
  function columnLabel(map, column) { return map.columns === "source" ? tokenLabel(column) : `head ${meta.heads[column]}`; }

  // ---- data: decoded when first needed, kept while there is room ----------------------------------------------------

  const halves = (() => {
    let table = null;
    return () => {
      if (table) return table;
      table = new Float32Array(65536);
      for (let bits = 0; bits < 65536; bits += 1) {
        const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
        table[bits] = exponent === 31 ? (fraction ? NaN : sign * Infinity)
          : exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
      }
      return table;
    };
  })();

  function bytes(id) {
    const text = atob(byId(`data-${id}`).textContent.trim());
    const array = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index += 1) array[index] = text.charCodeAt(index);
    return array.buffer;
  }

  function decode(id, encoding, exponent) {
    if (encoding === "float32") return new Float32Array(bytes(id));
    const coded = new Uint16Array(bytes(id)), table = halves(), factor = 2 ** -exponent;
    const values = new Float32Array(coded.length);
    for (let index = 0; index < coded.length; index += 1) values[index] = table[coded[index]] * factor;
    return values;
  }

  const kept = new Map(); // least recently used first
  let keptValues = 0;
  const MOST_VALUES = 48e6; // 192 MB
  function remember(key, make) {
    let values = kept.get(key);
    if (values) kept.delete(key);
    else {
      values = make();
      keptValues += values.length;
      for (const [oldest, old] of kept) {
        if (keptValues <= MOST_VALUES) break;
        kept.delete(oldest);
        keptValues -= old.length;
      }
    }
    kept.set(key, values);
    return values;
  }

  /** Scores of one layer, row after row; part −1 adds the parts up. */
  function scores(map, layer, part) {
    return remember(`${map.name}/${layer}/${part}`, () => {
      const one = (index) => decode(`${map.name}-${layer}-${index}`, map.encoding, map.exponents[layer][index]);
      if (!map.parts.length) return one(0);
      if (part >= 0) return one(part);
      const sum = one(0);
      for (let index = 1; index < map.parts.length; index += 1) {
        const values = scores(map, layer, index);
        for (let cell = 0; cell < sum.length; cell += 1) sum[cell] += values[cell];
      }
      return sum;
    });
  }

  /** Displacement or gap of every target of one layer; NaN where the result has none. */
  function perTarget(map, kind, layer, part) {
    const there = kind === "displacement" ? map.hasDisplacement : map.hasGap;
    const rows = targets.length, values = new Float32Array(rows);
    if (!there) return values.fill(NaN);
    const all = remember(`${map.name}/${kind}`, () => decode(`${map.name}-${kind}`, "float32", 0));
    if (!map.displacementBySplit) return all.slice(layer * rows, (layer + 1) * rows);
    const count = all.length / (layers.length * rows);
    for (let index = 0; index < count; index += 1) {
      if (part >= 0 && index !== part) continue;
      for (let row = 0; row < rows; row += 1) values[row] += all[(layer * count + index) * rows + row];
    }
    return values;
  }

  /** Displacements, NaN for a target that moved nowhere: beside the others', its change is rounding. */
  function moved(displacement) {
    const sizes = displacement.map(Math.abs).sort(), middle = sizes.length >> 1;
    const median = sizes.length % 2 ? sizes[middle] : (sizes[middle - 1] + sizes[middle]) / 2;
    return displacement.map((value) => (Math.abs(value) > meta.still * median ? value : NaN));
  }

  function columnsOf(map) { return map.columns === "source" ? tokens.length : meta.heads.length; }

  /** What is drawn: scores as they stand, divided by displacement, or by the largest of their row. Hidden cells: NaN. */
  let shownKey = "", shown = new Map();
  function display(layer) {
    const key = [state.map, state.part, state.norm, state.special, state.diagonal].join("/");
    if (key !== shownKey) { shown = new Map(); shownKey = key; }
    if (shown.has(layer)) return shown.get(layer);
    const map = maps.get(state.map), width = columnsOf(map), raw = scores(map, layer, state.part);
    const size = state.norm === "share" ? moved(perTarget(map, "displacement", layer, state.part)) : null;
    const values = new Float32Array(raw.length);
    for (let row = 0; row < targets.length; row += 1) {
      const start = row * width;
      let largest = 0;
      for (let column = 0; column < width; column += 1) {
        const hidden = map.columns === "source"
          && ((state.diagonal && targets[row] === column) || (state.special && special[column]));
        const value = hidden || (state.special && special[targets[row]]) ? NaN : raw[start + column];
        values[start + column] = value;
        if (Math.abs(value) > largest) largest = Math.abs(value);
      }
      const divisor = state.norm === "share" ? size[row] : state.norm === "row" ? largest || 1 : 1;
      if (divisor !== 1) for (let column = 0; column < width; column += 1) values[start + column] /= divisor;
    }
    shown.set(layer, values);
    return values;
  }

  function limitOf(layer) {
    if (state.norm === "row") return 1;
    const map = maps.get(state.map);
    const limits = map.limits[`${state.norm}-${state.part >= 0 ? "parts" : "sum"}-${state.special ? "plain" : "all"}`];
    return (state.scale === "shared" ? limits.shared : limits.layers[layer]) || 1;
  }

  function shownRows() {
    const rows = [];
    targets.forEach((source, row) => { if (!(state.special && special[source])) rows.push(row); });
    return rows;
  }
  function shownColumns() {
    const map = maps.get(state.map), columns = [];
    for (let column = 0; column < columnsOf(map); column += 1) {
      if (!(state.special && map.columns === "source" && special[column])) columns.push(column);
    }
    return columns;
  }

  // ---- colour -------------------------------------------------------------------------------------------------

  let lookup = null;
  const STEPS = 255;
  function colours() {
    if (lookup) return lookup;
    const stops = meta.palette[dark.matches ? "dark" : "light"].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    lookup = new Uint32Array(2 * STEPS + 1);
    for (let index = 0; index < lookup.length; index += 1) {
      const place = (index / (lookup.length - 1)) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
      const [r, g, b] = stops[low].map((value, channel) => Math.round(value + (place - low) * (stops[low + 1][channel] - value)));
      lookup[index] = (255 << 24) | (b << 16) | (g << 8) | r; // bytes of a pixel, little-endian
    }
    return lookup;
  }
  function pixel(value, limit) {
    if (Number.isNaN(value)) return 0;
    return colours()[STEPS + Math.round(STEPS * Math.max(-1, Math.min(1, value / limit)))];
  }
  function css(value, limit) {
    const bits = pixel(value, limit);
    return bits ? `rgb(${bits & 255},${(bits >> 8) & 255},${(bits >> 16) & 255})` : "transparent";
  }
  function inkOn(value, limit) { // readable text on a coloured cell
    const bits = pixel(value, limit);
    if (!bits) return colour("--ink");
    return 0.3 * (bits & 255) + 0.59 * ((bits >> 8) & 255) + 0.11 * ((bits >> 16) & 255) > 140 ? "#1d1f23" : "#fffefc";
  }

  function prepare(canvas, width, height) {
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.clearRect(0, 0, width, height);
    return context;
  }

  /** Cells as an image. With more cells than pixels, a pixel shows the largest magnitude among its cells. */
  const scratch = document.createElement("canvas");
  function paint(context, box, rows, columns, value, limit) {
    if (!rows.length || !columns.length) return; // everything is hidden or unknown
    const ratio = context.getTransform().a;
    const width = Math.min(columns.length, Math.max(1, Math.round(box.width * ratio)));
    const height = Math.min(rows.length, Math.max(1, Math.round(box.height * ratio)));
    const largest = new Float32Array(width * height).fill(NaN);
    for (let y = 0; y < rows.length; y += 1) {
      const start = Math.floor((y * height) / rows.length) * width;
      for (let x = 0; x < columns.length; x += 1) {
        const place = start + Math.floor((x * width) / columns.length), here = value(rows[y], columns[x]);
        if (!(Math.abs(largest[place]) >= Math.abs(here)) && !Number.isNaN(here)) largest[place] = here;
      }
    }
    scratch.width = width;
    scratch.height = height;
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (let place = 0; place < pixels.length; place += 1) pixels[place] = pixel(largest[place], limit);
    scratch.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(scratch, box.left, box.top, box.width, box.height);
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  }

  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
  function clipText(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let length = text.length;
    while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
    return `${text.slice(0, length)}…`;
  }
  function every(count, pitch) {
    const needed = 14 / pitch;
    return [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 1000].find((step) => step >= needed) || count;
  }

  // ---- layers -------------------------------------------------------------------------------------------------

  const thumbnails = layers.map((layer, index) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const button = element("button", { type: "button", "aria-pressed": "false", onclick: () => change({ layer: index }) }, canvas, `layer ${layer}`);
    byId("strip").append(button);
    return { canvas, button };
  });

  let strips = 0;
  function drawStrip() {
    const mine = (strips += 1);
    const rows = shownRows(), columns = shownColumns(), width = columnsOf(maps.get(state.map));
    const order = layers.map((_, index) => index).sort((a, b) => Math.abs(a - state.layer) - Math.abs(b - state.layer));
    const next = () => {
      if (mine !== strips) return;
      const index = order.shift();
      if (index === undefined) { drawLater(); return; }
      const values = display(index), { canvas } = thumbnails[index];
      const context = prepare(canvas, 96, 96);
      canvas.style.width = canvas.style.height = "";
      paint(context, { left: 0, top: 0, width: 96, height: 96 }, rows, columns, (row, column) => values[row * width + column], limitOf(index));
      setTimeout(next, 0); // between two layers the page can answer
    };
    next();
  }

  // ---- the chosen layer -----------------------------------------------------------------------------------------

  let heat = null;
  function drawHeat() {
    const map = maps.get(state.map), width = columnsOf(map), values = display(state.layer);
    let rows = shownRows(), columns = shownColumns();
    const whole = rows.length;
    if (state.zoom) {
      rows = rows.slice(state.zoom.top, state.zoom.bottom);
      columns = columns.slice(state.zoom.left, state.zoom.right);
    }
    byId("unzoom").hidden = !state.zoom;
    byId("heat-title").textContent = `Layer ${layers[state.layer]}: ${map.title}${partText(map)}`;
    const canvas = byId("heat"), room = byId("heat-box").clientWidth;
    const measure = canvas.getContext("2d");
    measure.font = FONT;
    const widest = (labels) => Math.min(130, Math.max(30, ...labels.map((text) => measure.measureText(text).width)));
    const left = widest(rows.map((row) => tokenLabel(targets[row]))) + 10;
    const bottom = widest(columns.map((column) => columnLabel(map, column))) + 10;
    const across = room - left - 4;
    let cell = Math.min(38, across / columns.length, Math.max(500, Math.min(780, innerHeight - 220)) / rows.length);
    if (map.columns === "head") cell = Math.min(26, 780 / rows.length);
    if (cell > 4) cell = Math.floor(cell);
    const cellWidth = map.columns === "head" ? Math.min(34, across / columns.length) : cell;
    const box = { left, top: 4, width: cellWidth * columns.length, height: cell * rows.length };
    const total = box.top + box.height + bottom;
    const context = prepare(canvas, room, total);
    prepare(byId("heat-over"), room, total);
    paint(context, box, rows, columns, (row, column) => values[row * width + column], limitOf(state.layer));
    context.font = FONT;
    context.textBaseline = "middle";
    const chosen = state.token, ink = colour("--dim"), accent = colour("--accent");
    const stepRow = every(rows.length, cell), stepColumn = every(columns.length, cellWidth);
    context.textAlign = "right";
    rows.forEach((row, index) => {
      if (index % stepRow && targets[row] !== chosen) return;
      if (targets[row] !== chosen && stepRow > 1 && near(rows, (r) => targets[r], index, stepRow, chosen)) return;
      context.fillStyle = targets[row] === chosen ? accent : ink;
      context.fillText(clipText(context, tokenLabel(targets[row]), left - 10), left - 5, box.top + (index + 0.5) * cell);
    });
    columns.forEach((column, index) => {
      const own = map.columns === "source" && column === chosen;
      if (index % stepColumn && !own) return;
      if (!own && stepColumn > 1 && map.columns === "source" && near(columns, (c) => c, index, stepColumn, chosen)) return;
      context.save();
      context.translate(left + (index + 0.5) * cellWidth, box.top + box.height + 5);
      context.rotate(-Math.PI / 2);
      context.fillStyle = own ? accent : ink;
      context.fillText(clipText(context, columnLabel(map, column), bottom - 10), 0, 0);
      context.restore();
    });
    heat = { rows, columns, cell, cellWidth, box, width: room, height: total, whole };
    drawOver(null);
    drawStrongest();
  }
  function near(items, index, place, step, chosen) { // leave room for the label of the followed token
    for (let other = place - step + 1; other < place + step; other += 1) {
      if (items[other] !== undefined && index(items[other]) === chosen) return other !== place && Math.abs(other - place) < 0.9 * step;
    }
    return false;
  }
  function partText(map) {
    if (map.addedUp) return `, ${map.split}s added up`;
    if (!map.parts.length) return "";
    if (state.part < 0) return `, ${map.split}s added up`;
    return map.split === "head" ? `, head ${map.parts[state.part]}` : `, ${map.parts[state.part]} circuit`;
  }

  function drawOver(at, drag) {
    const { box, cell, cellWidth, rows, columns, width, height } = heat;
    const context = prepare(byId("heat-over"), width, height), accent = colour("--accent");
    const map = maps.get(state.map);
    const row = rows.findIndex((index) => targets[index] === state.token);
    const column = map.columns === "source" ? columns.indexOf(state.token) : -1;
    context.strokeStyle = accent;
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

  function cellAt(event) {
    if (!heat) return null;
    const bounds = byId("heat").getBoundingClientRect();
    const x = Math.floor((event.clientX - bounds.left - heat.box.left) / heat.cellWidth);
    const y = Math.floor((event.clientY - bounds.top - heat.box.top) / heat.cell);
    if (y < 0 || x >= heat.columns.length || (x < 0 && y >= heat.rows.length)) return null;
    return { x, y, row: heat.rows[y], column: heat.columns[x] };
  }

  function readOut(row, column) {
    const map = maps.get(state.map), list = byId("readout"), splitBox = byId("split");
    list.replaceChildren();
    splitBox.replaceChildren();
    if (row === undefined || column === undefined) {
      list.append(element("dt", {}, "Point at a cell of a map to read its numbers here."));
      return;
    }
    const place = row * columnsOf(map) + column;
    const score = scores(map, state.layer, state.part)[place];
    const displacements = perTarget(map, "displacement", state.layer, state.part);
    const displacement = displacements[row], divisor = moved(displacements)[row];
    const gap = perTarget(map, "gap", state.layer, state.part)[row];
    const line = (name, value, kind = "") => list.append(element("dt", {}, name), element("dd", { class: kind }, value));
    line("score", signed(score, 4), `big ${score < 0 ? "minus" : "plus"}`);
    line(map.columns === "source" ? "source" : "from", columnLabel(map, column));
    line("target", tokenLabel(targets[row]));
    line("layer", `${layers[state.layer]}${partText(map)}`);
    if (map.hasDisplacement) {
      line("share", Number.isNaN(divisor) ? "– (the target moved nowhere)" : `${percent(score / divisor)} of the displacement`);
      line("displacement", digits(displacement, 4));
    }
    if (map.hasGap) line("gap", `${signed(gap)}${Number.isNaN(divisor) ? "" : ` (${percent(gap / Math.abs(divisor))})`}`);
    if (map.parts.length && state.part < 0) drawSplit(map, place);
  }
  function drawSplit(map, place) {
    const values = map.parts.map((_, part) => scores(map, state.layer, part)[place]);
    const largest = Math.max(...values.map(Math.abs)) || 1;
    const box = element("div", { class: "bars" });
    values.forEach((value, part) => {
      const half = (50 * Math.abs(value)) / largest;
      const bar = element("b", { class: value < 0 ? "cold" : "warm" });
      bar.style.width = `${half}%`;
      bar.style[value < 0 ? "right" : "left"] = "50%";
      box.append(element("span", {}, map.split === "head" ? `head ${map.parts[part]}` : map.parts[part]), element("i", {}, bar), element("span", {}, signed(value)));
    });
    byId("split").append(box);
  }

  function drawStrongest() {
    const map = maps.get(state.map), width = columnsOf(map), values = display(state.layer), raw = scores(map, state.layer, state.part);
    const displacement = moved(perTarget(map, "displacement", state.layer, state.part));
    const best = []; // largest first
    const most = 12;
    for (const row of heat.rows) for (const column of heat.columns) {
      const size = Math.abs(values[row * width + column]);
      if (!(size > 0) || (best.length === most && size <= best[most - 1].size)) continue;
      let at = best.length;
      while (at > 0 && best[at - 1].size < size) at -= 1;
      best.splice(at, 0, { row, column, size });
      if (best.length > most) best.pop();
    }
    const table = byId("strongest");
    table.replaceChildren(...best.map(({ row, column }) => {
      const score = raw[row * width + column];
      return element("tr", { class: "act", onclick: () => change({ token: targets[row] }), onmouseenter: () => { readOut(row, column); mark(row, column); } },
        element("td", {}, columnLabel(map, column), element("small", {}, " → "), tokenLabel(targets[row])),
        element("td", { class: `n ${score < 0 ? "minus" : "plus"}` }, signed(score)),
        element("td", { class: "n" }, map.hasDisplacement ? percent(score / displacement[row]) : ""));
    }));
    if (!best.length) table.append(element("tr", {}, element("td", {}, "Every score shown is zero.")));
    if (best.length) readOut(best[0].row, best[0].column);
    else readOut();
  }
  function mark(row, column) {
    const at = { y: heat.rows.indexOf(row), x: heat.columns.indexOf(column) };
    if (at.x >= 0 && at.y >= 0) drawOver(at);
  }

  function listenToHeat() {
    const canvas = byId("heat");
    let start = null;
    canvas.addEventListener("pointermove", (event) => {
      const at = cellAt(event);
      if (start) {
        const bounds = canvas.getBoundingClientRect();
        const x = event.clientX - bounds.left, y = event.clientY - bounds.top;
        drawOver(null, { x: Math.min(x, start.x), y: Math.min(y, start.y), width: Math.abs(x - start.x), height: Math.abs(y - start.y) });
      } else if (at && at.row !== undefined && at.column !== undefined) {
        readOut(at.row, at.column);
        drawOver(at);
      }
    });
    canvas.addEventListener("pointerleave", () => { if (!start) drawOver(null); });
    canvas.addEventListener("pointerdown", (event) => {
      const bounds = canvas.getBoundingClientRect();
      start = { x: event.clientX - bounds.left, y: event.clientY - bounds.top, at: cellAt(event) };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      const from = start, at = cellAt(event);
      start = null;
      if (!from) return;
      const bounds = canvas.getBoundingClientRect();
      const far = Math.abs(event.clientX - bounds.left - from.x) > 8 && Math.abs(event.clientY - bounds.top - from.y) > 8;
      if (far && from.at) zoomTo(from.at, event);
      else if (at && at.row !== undefined) change({ token: targets[at.row] });
      else if (at && at.column !== undefined && maps.get(state.map).columns === "source") change({ token: at.column });
    });
    canvas.addEventListener("pointercancel", () => { start = null; drawOver(null); });
    canvas.addEventListener("dblclick", () => change({ zoom: null }));
  }
  function zoomTo(from, event) {
    const bounds = byId("heat").getBoundingClientRect();
    const clamp = (value, most) => Math.max(0, Math.min(most - 1, value));
    const x = clamp(Math.floor((event.clientX - bounds.left - heat.box.left) / heat.cellWidth), heat.columns.length);
    const y = clamp(Math.floor((event.clientY - bounds.top - heat.box.top) / heat.cell), heat.rows.length);
    const fromX = clamp(from.x, heat.columns.length), fromY = clamp(from.y, heat.rows.length);
    const before = state.zoom || { left: 0, top: 0 };
    const zoom = {
      left: before.left + Math.min(x, fromX), right: before.left + Math.max(x, fromX) + 1,
      top: before.top + Math.min(y, fromY), bottom: before.top + Math.max(y, fromY) + 1,
    };
    change({ zoom });
  }

  // ---- one token ------------------------------------------------------------------------------------------------

  const chips = tokens.map((token, index) => {
    const chip = element("button", {
      type: "button", role: "option", title: `position ${positions[index]}`, onclick: () => change({ token: index }),
    }, token, element("sub", {}, String(positions[index])));
    byId("tokens").append(chip);
    return chip;
  });

  /** What the followed token receives from, or gives to, every token in one layer; NaN where it is unknown. */
  function followed(layer, direction) {
    const values = new Float32Array(tokens.length).fill(NaN), matrix = display(layer);
    if (direction === "receives") {
      const row = rowOf.get(state.token);
      if (row !== undefined) for (let source = 0; source < tokens.length; source += 1) values[source] = matrix[row * tokens.length + source];
    } else targets.forEach((target, row) => { values[target] = matrix[row * tokens.length + state.token]; });
    return values;
  }

  function drawTokens() {
    const map = maps.get(state.map), usable = map.columns === "source";
    const values = usable ? followed(state.layer, state.direction) : new Float32Array(tokens.length).fill(NaN);
    const limit = limitOf(state.layer);
    chips.forEach((chip, index) => {
      const own = index === state.token, there = !Number.isNaN(values[index]);
      chip.style.background = there ? css(values[index], limit) : "";
      chip.style.color = there ? inkOn(values[index], limit) : "";
      chip.classList.toggle("off", usable && !there && !own);
      chip.setAttribute("aria-selected", String(own));
      chip.title = `position ${positions[index]}${there ? `: ${signed(values[index])}` : ""}`;
    });
    const name = tokenLabel(state.token);
    byId("tokens-text").textContent = usable
      ? `${state.direction === "receives" ? "given to" : "received from"} ${name} in layer ${layers[state.layer]}`
      : `${map.name} speaks of heads, not of source tokens`;
  }

  /** Patches on their picture, one for each layer: what the followed token reads, or what it gives. */
  let seen = false; // whether the pictures are decoded
  function drawFilm() {
    const map = maps.get(state.map), { grid } = meta;
    byId("film-box").hidden = !grid || map.columns !== "source";
    if (!seen || byId("film-box").hidden) return;
    const rows = layers.map((_, layer) => followed(layer, state.direction)), [height, width] = grid.size;
    const limits = rows.map((row) => row.reduce((most, value, index) => (grid.places[index] && index !== state.token && Math.abs(value) > most ? Math.abs(value) : most), 0));
    const most = Math.max(...limits) || 1, wide = Math.min(layers.length > 14 ? 104 : layers.length > 7 ? 132 : 168, 168 * Math.max(0.55, width / height));
    byId("film-title").textContent = state.direction === "receives" ? `What ${tokenLabel(state.token)} reads` : `What reads ${tokenLabel(state.token)}`;
    byId("film-limit").textContent = state.scale === "shared" ? `±${digits(most)}` : "a limit for each layer";
    byId("film").replaceChildren(...layers.map((layer, place) => {
      const canvas = element("canvas", { role: "img", "aria-label": `layer ${layer}`, onclick: (event) => {
        const index = picture.at(event, event.target, grid);
        if (index >= 0) change({ token: index });
      } });
      const limit = (state.scale === "shared" ? most : limits[place]) || 1;
      picture.draw(canvas, grid, rows[place], limit, wide, { smooth: byId("smooth").checked, chosen: state.token });
      const outside = tokens.map((_, index) => index).filter((index) => !grid.places[index] && !Number.isNaN(rows[place][index]));
      const lines = outside.slice(0, 6).map((index) => `${tokens[index]} ${signed(rows[place][index])}`);
      if (outside.length > 6) lines.push(`${outside.length - 6} more, together ${signed(outside.slice(6).reduce((sum, index) => sum + rows[place][index], 0))}`);
      if (state.scale !== "shared") lines.push(`colours to ±${digits(limit)}`);
      return element("div", {}, canvas, element("b", {}, `layer ${layer}`), ...lines.map((line) => element("small", {}, line)));
    }));
  }

  const strip = {}; // what the two strips show, for the read-out
  function drawFollow() {
    const map = maps.get(state.map), name = tokenLabel(state.token);
    document.querySelector(".twin").hidden = map.columns !== "source";
    byId("all-tokens").parentElement.hidden = map.columns !== "source" || tokens.length <= FEW;
    byId("all-tokens-text").textContent = `all ${tokens.length} tokens`;
    byId("follow-text").textContent = "";
    drawFilm();
    if (map.columns !== "source") return;
    const norm = { score: "score", share: "share of displacement", row: "relative to the target's largest" }[state.norm];
    byId("receives-title").textContent = rowOf.has(state.token)
      ? `${name} receives from … (${norm}, all layers)` : `${name} is no target of this result: what it receives is unknown`;
    byId("gives-title").textContent = `${name} gives to … (${norm}, all layers)`;
    drawFollowed("receives");
    drawFollowed("gives");
  }
  const FEW = 28;
  function drawFollowed(direction) {
    const columns = layers.map((_, index) => followed(index, direction));
    const size = tokens.map((_, index) => Math.max(...columns.map((values) => Math.abs(values[index]) || 0)));
    let rows = tokens.map((_, index) => index).filter((index) => columns.some((values) => !Number.isNaN(values[index])));
    const all = rows.length;
    if (!state.everyToken && rows.length > FEW) rows = rows.sort((a, b) => size[b] - size[a]).slice(0, FEW).sort((a, b) => a - b);
    if (rows.length < all) byId("follow-text").textContent = `The ${FEW} strongest of ${all} tokens are shown; tick to see every one.`;
    const canvas = byId(direction), room = canvas.parentElement.clientWidth;
    const measure = canvas.getContext("2d");
    measure.font = FONT;
    const left = Math.min(130, Math.max(30, ...rows.map((index) => measure.measureText(tokenLabel(index)).width))) + 10;
    const pitch = rows.length <= 2 * FEW ? 18 : Math.max(2, Math.min(18, 1100 / rows.length));
    const cell = Math.min(58, (room - left - 2) / layers.length);
    const box = { left, top: 18, width: cell * layers.length, height: pitch * rows.length };
    const context = prepare(canvas, room, box.top + box.height + 4);
    const limit = (layer) => limitOf(layer);
    const ratios = columns.map((values, layer) => values.map((value) => value / limit(layer)));
    paint(context, box, rows, layers.map((_, index) => index), (row, layer) => ratios[layer][row], 1);
    context.font = FONT;
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillStyle = colour("--dim");
    const step = every(layers.length, cell * 0.7);
    layers.forEach((layer, index) => {
      if (index % step) return;
      context.fillStyle = index === state.layer ? colour("--accent") : colour("--dim");
      context.fillText(String(layer), left + (index + 0.5) * cell, 8);
    });
    context.textAlign = "right";
    const stepRow = every(rows.length, pitch);
    rows.forEach((index, place) => {
      if (place % stepRow) return;
      context.fillStyle = index === state.token ? colour("--accent") : colour("--dim");
      context.fillText(clipText(context, tokenLabel(index), left - 10), left - 5, box.top + (place + 0.5) * pitch);
    });
    if (cell >= 36 && pitch >= 15) { // room for the numbers themselves
      context.textAlign = "center";
      context.font = FONT.replace("12px", "10px");
      rows.forEach((index, place) => layers.forEach((_, layer) => {
        const value = columns[layer][index];
        if (Number.isNaN(value) || Math.abs(ratios[layer][index]) < 0.04) return;
        context.fillStyle = inkOn(value, limit(layer));
        const text = state.norm === "score" ? signed(value, 2) : `${value < 0 ? "−" : ""}${Math.round(Math.abs(100 * value))}%`;
        context.fillText(text, left + (layer + 0.5) * cell, box.top + (place + 0.5) * pitch);
      }));
    }
    strip[direction] = { rows, box, cell, pitch };
    canvas.setAttribute("aria-label", `${direction}: tokens as rows, layers as columns`);
  }
  function listenToStrip(direction) {
    const canvas = byId(direction);
    const at = (event) => {
      const shape = strip[direction], bounds = canvas.getBoundingClientRect();
      const row = Math.floor((event.clientY - bounds.top - shape.box.top) / shape.pitch);
      const layer = Math.floor((event.clientX - bounds.left - shape.box.left) / shape.cell);
      return { index: shape.rows[row], layer: layer >= 0 && layer < layers.length ? layer : undefined };
    };
    canvas.addEventListener("pointermove", (event) => {
      const { index, layer } = at(event);
      if (index === undefined || layer === undefined) { canvas.title = ""; return; }
      const value = followed(layer, direction)[index];
      const [from, to] = direction === "receives" ? [index, state.token] : [state.token, index];
      canvas.title = `layer ${layers[layer]}: ${tokenLabel(from)} → ${tokenLabel(to)}  ${state.norm === "score" ? signed(value) : percent(value)}`;
    });
    canvas.addEventListener("click", (event) => {
      const { index, layer } = at(event);
      if (layer !== undefined) change({ layer });
      else if (index !== undefined) change({ token: index });
    });
  }

  // ---- paths ----------------------------------------------------------------------------------------------------

  /** Only maps from states to states can be chained; the others borrow `whole` or `composed`. */
  function chained() {
    const own = maps.get(state.map);
    if (own.name === "whole" || own.name === "composed") return own;
    return maps.get("whole") || maps.get("composed") || null;
  }
  const consecutive = layers.every((layer, index) => index === 0 || layer === layers[index - 1] + 1);

  /** Scores divided by the sum of their row. A target that moved nowhere is its own only source. */
  function shareMatrix(map, layer) {
    return remember(`${map.name}/${layer}/share`, () => {
      const values = scores(map, layer, -1).slice(), width = tokens.length;
      const sums = moved(Float64Array.from(targets, (_, row) => values.subarray(row * width, (row + 1) * width).reduce((a, b) => a + b, 0)));
      targets.forEach((target, row) => {
        for (let source = 0; source < width; source += 1) {
          const place = row * width + source;
          values[place] = Number.isNaN(sums[row]) ? Number(source === target) : values[place] / sums[row];
        }
      });
      return values;
    });
  }
  function counts(target, source) {
    return !(state.diagonal && target === source) && !(state.special && (special[target] || special[source]));
  }

  const MOST_EDGES = 4000;
  let edgesKey = "", edges = [], pathsKey = "", paths = [];
  function strongEdges(map) {
    const key = [map.name, state.special, state.diagonal].join("/");
    if (key === edgesKey) return edges;
    edgesKey = key;
    edges = [];
    layers.forEach((_, layer) => {
      const matrix = shareMatrix(map, layer);
      targets.forEach((target, row) => {
        for (let source = 0; source < tokens.length; source += 1) {
          const share = matrix[row * tokens.length + source];
          if (Math.abs(share) >= 0.01 && counts(target, source)) edges.push({ layer, target, source, share });
        }
      });
    });
    edges.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
    edges.length = Math.min(edges.length, MOST_EDGES);
    return edges;
  }

  const MOST_PATHS = 10;
  /** The strongest paths by the product of their shares' magnitudes, exact: the best few into every node, layer by layer. */
  function strongPaths(map) {
    const end = state.node;
    const key = [map.name, state.special, state.diagonal, end ? `${end.level}:${end.token}` : ""].join("/");
    if (key === pathsKey) return paths;
    pathsKey = key;
    let best = tokens.map((_, index) => (state.special && special[index] ? [] : [{ strength: 1, sign: 1, token: index, before: null }]));
    const last = end ? end.level : layers.length;
    for (let layer = 0; layer < last; layer += 1) {
      const matrix = shareMatrix(map, layer), next = tokens.map(() => []);
      targets.forEach((target, row) => {
        const found = next[target];
        for (let source = 0; source < tokens.length; source += 1) {
          const share = matrix[row * tokens.length + source], size = Math.abs(share);
          if (!(size > 0) || !counts(target, source)) continue;
          for (const before of best[source]) {
            const strength = before.strength * size;
            if (found.length === MOST_PATHS && strength <= found[MOST_PATHS - 1].strength) break;
            let at = found.length;
            while (at > 0 && found[at - 1].strength < strength) at -= 1;
            found.splice(at, 0, { strength, sign: before.sign * Math.sign(share), token: target, before });
            if (found.length > MOST_PATHS) found.pop();
          }
        }
      });
      best = next;
    }
    const ends = end ? best[end.token] : best.flat();
    paths = ends.sort((a, b) => b.strength - a.strength).slice(0, MOST_PATHS).map(({ strength, sign, ...node }) => {
      const through = [node.token];
      for (let step = node.before; step; step = step.before) through.unshift(step.token);
      return { strength, sign, through };
    });
    return paths;
  }

  /** How much of a node's content comes from every node before it: shares multiplied from the node backwards. */
  function reaching(map, node) {
    const levels = [];
    levels[node.level] = new Float64Array(tokens.length);
    levels[node.level][node.token] = 1;
    const carried = [];
    for (let layer = node.level - 1; layer >= 0; layer -= 1) {
      const matrix = shareMatrix(map, layer), above = levels[layer + 1], below = new Float64Array(tokens.length);
      targets.forEach((target, row) => {
        if (!above[target]) return;
        for (let source = 0; source < tokens.length; source += 1) {
          if (!counts(target, source)) continue;
          const share = above[target] * matrix[row * tokens.length + source];
          below[source] += share;
          if (Math.abs(share) >= 0.005) carried.push({ layer, target, source, share });
        }
      });
      levels[layer] = below;
    }
    carried.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
    return { levels, edges: carried.slice(0, MOST_EDGES) };
  }

  /** How many edges to begin with: in every layer a few that move, but no thicket. */
  function firstEdges(all) {
    const seen = layers.map(() => 0), most = tokens.length > 48 ? 120 : 320;
    let moving = 0;
    for (let count = 0; count < all.length; count += 1) {
      if (all[count].target === all[count].source) continue;
      moving += 1;
      seen[all[count].layer] += 1;
      if (moving === most || (moving >= 60 && seen.every((found) => found >= 5))) return count + 1;
    }
    return all.length;
  }

  let graph = null, hoveredPath = -1;
  function drawGraph() {
    const map = chained(), card = byId("paths-card"), note = byId("graph-note");
    const reason = !map ? "Paths need the map whole or composed."
      : !consecutive ? "Paths need consecutive layers; this result leaves some out." : "";
    byId("graph-box").hidden = byId("paths").hidden = Boolean(reason);
    card.querySelectorAll(".buttons, h3").forEach((part) => { part.hidden = Boolean(reason); });
    if (reason) { note.textContent = reason; return; }
    const node = state.node, relevance = node ? reaching(map, node) : null;
    const all = relevance ? relevance.edges : strongEdges(map);
    const smallest = all.length ? Math.abs(all[all.length - 1].share) : 0.01, largest = all.length ? Math.abs(all[0].share) : 1;
    if (state.threshold === null) {
      const start = Math.abs(all[firstEdges(all) - 1]?.share ?? smallest);
      state.threshold = largest > smallest ? (100 * Math.log(start / smallest)) / Math.log(largest / smallest) : 0;
    }
    byId("threshold").value = state.threshold;
    const threshold = smallest * (largest / smallest) ** (state.threshold / 100) * (1 - 1e-6);
    const drawn = all.filter((edge) => Math.abs(edge.share) >= threshold);
    byId("threshold-text").textContent = `${percent(threshold)} · ${drawn.length.toLocaleString("en")} edges`;
    byId("clear-node").hidden = !node;
    const found = strongPaths(map);
    const touched = new Set([state.token, ...(node ? [node.token] : []), ...found.flatMap((path) => path.through)]);
    for (const edge of drawn) touched.add(edge.target).add(edge.source);
    let rows = tokens.map((_, index) => index).filter((index) => !(state.special && special[index]));
    const total = rows.length;
    if (rows.length > 48) rows = rows.filter((index) => touched.has(index));
    const remarks = [`Shares of ${map.name}.`];
    if (map.name !== state.map) remarks.push(`${state.map} cannot be chained from layer to layer.`);
    remarks.push(node
      ? `Circles: how much of ${tokenLabel(node.token)} ${levelName(node.level)} comes from there; edges carry it.`
      : "Edges: share of the target's displacement, orange for, blue against.");
    if (rows.length < total) remarks.push(`${rows.length} of ${total} tokens are shown: those with an edge.`);
    if (all.length === MOST_EDGES) remarks.push(`Only the ${MOST_EDGES.toLocaleString("en")} strongest edges can be shown.`);
    if (targets.length < tokens.length) remarks.push(`${tokens.length - targets.length} tokens are no targets: nothing is followed beyond them.`);
    note.textContent = remarks.join(" ");
    paintGraph(rows, drawn, relevance, found, largest);
    listPaths(found);
  }
  function levelName(level) { return level === 0 ? "entering layer " + layers[0] : `leaving layer ${layers[level - 1]}`; }

  function paintGraph(rows, drawn, relevance, found, largest) {
    const canvas = byId("graph"), room = byId("graph-box").clientWidth;
    const measure = canvas.getContext("2d");
    measure.font = FONT;
    const left = Math.min(150, Math.max(30, ...rows.map((index) => measure.measureText(tokenLabel(index)).width))) + 18;
    const pitch = Math.max(13, Math.min(22, 900 / rows.length)), top = 34;
    const step = Math.max(26, (room - 2 * left) / layers.length);
    const width = Math.max(room, 2 * left + step * layers.length), height = top + pitch * rows.length + 8;
    const context = prepare(canvas, width, height);
    const place = new Map(rows.map((index, row) => [index, top + (row + 0.5) * pitch]));
    const x = (level) => left + level * step, ink = colour("--ink"), dim = colour("--dim"), line = colour("--line");
    const warm = meta.palette[dark.matches ? "dark" : "light"][8], cold = meta.palette[dark.matches ? "dark" : "light"][2];
    context.font = FONT;
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillStyle = dim;
    const everyLevel = every(layers.length, step * 0.6);
    layers.forEach((layer, index) => { if (index % everyLevel === 0) context.fillText(`layer ${layer}`.slice(step < 60 ? 6 : 0), x(index + 0.5), 12); });
    context.strokeStyle = line;
    for (const index of rows) { // where a token stays in place
      context.beginPath(); context.moveTo(x(0), place.get(index)); context.lineTo(x(layers.length), place.get(index)); context.stroke();
    }
    const curve = (edge) => {
      const from = place.get(edge.source), to = place.get(edge.target);
      context.beginPath();
      context.moveTo(x(edge.layer), from);
      context.bezierCurveTo(x(edge.layer + 0.45), from, x(edge.layer + 0.55), to, x(edge.layer + 1), to);
      context.stroke();
    };
    for (let index = drawn.length - 1; index >= 0; index -= 1) { // strongest on top
      const edge = drawn[index], size = Math.abs(edge.share) / largest;
      context.strokeStyle = edge.share < 0 ? cold : warm;
      context.globalAlpha = Math.min(1, 0.18 + 0.75 * size);
      context.lineWidth = 0.7 + 4.5 * size;
      curve(edge);
    }
    context.globalAlpha = 1;
    if (hoveredPath >= 0 && found[hoveredPath]) {
      const { through } = found[hoveredPath];
      context.strokeStyle = ink;
      context.lineWidth = 2.4;
      for (let layer = 0; layer + 1 < through.length; layer += 1) curve({ layer, source: through[layer], target: through[layer + 1] });
    }
    for (let level = 0; level <= layers.length; level += 1) for (const index of rows) {
      let radius = 1.8, fill = dim;
      if (relevance && relevance.levels[level]) {
        const value = relevance.levels[level][index];
        radius = 1.5 + Math.min(pitch / 2 - 1, 7) * Math.sqrt(Math.min(1, Math.abs(value)));
        fill = value < 0 ? cold : warm;
        if (Math.abs(value) < 1e-3) { radius = 1.2; fill = line; }
      }
      const chosen = state.node && state.node.level === level && state.node.token === index;
      context.fillStyle = chosen ? ink : fill;
      context.beginPath(); context.arc(x(level), place.get(index), chosen ? Math.max(radius, 5) : radius, 0, 7); context.fill();
    }
    for (const index of rows) {
      context.fillStyle = index === state.token ? colour("--accent") : dim;
      const text = clipText(context, tokenLabel(index), left - 18);
      context.textAlign = "right";
      context.fillText(text, x(0) - 12, place.get(index));
      context.textAlign = "left";
      context.fillText(text, x(layers.length) + 12, place.get(index));
    }
    graph = { rows, left, step, pitch, top, relevance };
  }
  function listPaths(found) {
    const table = byId("paths");
    table.replaceChildren(...found.map((path, index) => element("tr", {
      class: "act", onmouseenter: () => { hoveredPath = index; drawGraph(); }, onmouseleave: () => { hoveredPath = -1; },
      onclick: () => change({ token: path.through[path.through.length - 1] }),
    }, element("td", { class: `n ${path.sign < 0 ? "minus" : "plus"}` }, percent(path.sign * path.strength)), element("td", {}, ...stations(path.through)))));
    if (!found.length) table.append(element("tr", {}, element("td", {}, "No path: every way through the layers meets a zero or a hidden token.")));
  }
  function stations(through) { // a token that stays for several layers is named once
    const parts = [];
    let start = 0;
    for (let level = 1; level <= through.length; level += 1) {
      if (through[level] === through[start]) continue;
      if (parts.length) parts.push(element("small", {}, ` —${layers[start - 1]}→ `));
      parts.push(element("span", { class: "tok" }, tokenLabel(through[start])));
      if (level - start > 1) parts.push(element("small", {}, ` stays through ${layers[start]}${level - start > 2 ? `–${layers[level - 2]}` : ""}`));
      start = level;
    }
    return parts;
  }
  function nodeAt(event) {
    if (!graph) return null;
    const bounds = byId("graph").getBoundingClientRect();
    const level = Math.round((event.clientX - bounds.left - graph.left) / graph.step);
    const row = Math.floor((event.clientY - bounds.top - graph.top) / graph.pitch);
    if (level < 0 || level > layers.length || graph.rows[row] === undefined) return null;
    return { level, token: graph.rows[row] };
  }
  function listenToGraph() {
    const canvas = byId("graph");
    canvas.addEventListener("pointermove", (event) => {
      const at = nodeAt(event);
      canvas.style.cursor = at ? "pointer" : "";
      if (!at) { canvas.title = ""; return; }
      const values = graph.relevance && graph.relevance.levels[at.level];
      canvas.title = `${tokenLabel(at.token)}, ${levelName(at.level)}${values ? `: ${percent(values[at.token])}` : ""}`;
    });
    canvas.addEventListener("click", (event) => {
      const at = nodeAt(event);
      if (at) change({ node: at.level > 0 ? at : null, token: at.token, threshold: null });
    });
  }

  // ---- one state, one way to change it ------------------------------------------------------------------------------

  function drawLegend() {
    const canvas = byId("legend"), context = canvas.getContext("2d"), limit = limitOf(state.layer);
    for (let x = 0; x < canvas.width; x += 1) {
      context.fillStyle = css((2 * x) / (canvas.width - 1) - 1, 1);
      context.fillRect(x, 0, 1, canvas.height);
    }
    const write = (value) => (state.norm === "score" ? signed(value) : `${value < 0 ? "−" : "+"}${digits(100 * Math.abs(value))} %`);
    const where = state.norm === "row" ? "of the row's largest" : `${100 * meta.quantile} % quantile off the diagonal`;
    byId("legend-text").replaceChildren(element("span", {}, write(-limit)), element("span", {}, "0"), element("span", {}, write(limit)), element("em", {}, where));
  }

  function fillControls() {
    const map = maps.get(state.map);
    byId("map").replaceChildren(...meta.maps.map(({ name, title }) => element("option", { value: name, selected: name === state.map }, title)));
    byId("part-label").hidden = !map.parts.length;
    if (map.split) {
      const one = map.split === "head" ? (part) => `head ${part}` : (part) => part;
      byId("part").replaceChildren(element("option", { value: -1, selected: state.part < 0 }, `all ${map.split}s added up`),
        ...map.parts.map((part, index) => element("option", { value: index, selected: state.part === index }, one(part))));
    }
    byId("norm").value = state.norm;
    byId("norm").querySelector("[value=share]").disabled = !map.hasDisplacement;
    byId("scale").value = state.scale;
    byId("hide-special").checked = state.special;
    byId("hide-diagonal").checked = state.diagonal;
    byId("all-tokens").checked = state.everyToken;
    document.querySelectorAll("[name=direction]").forEach((radio) => { radio.checked = radio.value === state.direction; });
    thumbnails.forEach(({ button }, index) => button.setAttribute("aria-pressed", String(index === state.layer)));
  }

  const asHash = { map: "map", part: "part", layer: "layer", norm: "values", scale: "colours", special: "hide-special", diagonal: "hide-diagonal", token: "token", direction: "colour-by" };
  function writeHash() {
    const map = maps.get(state.map);
    const words = { ...state, layer: layers[state.layer], token: positions[state.token], part: state.part < 0 ? "all" : map.parts[state.part], special: Number(state.special), diagonal: Number(state.diagonal) };
    const text = Object.entries(asHash).filter(([name]) => name !== "part" || map.parts.length).map(([name, word]) => `${word}=${encodeURIComponent(words[name])}`).join("&");
    const node = state.node ? `&node=${state.node.level},${positions[state.node.token]}` : "";
    try { history.replaceState(null, "", `#${text}${node}`); } catch { /* a page inside an iframe may not own its address */ }
  }
  function readHash() {
    const words = new URLSearchParams(location.hash.slice(1)), next = {};
    if (maps.has(words.get("map"))) next.map = words.get("map");
    const map = maps.get(next.map || state.map);
    const among = (list, word) => (words.has(word) ? list.map(String).indexOf(words.get(word)) : -1);
    if (words.has("part")) next.part = among(map.parts, "part");
    if (among(layers, "layer") >= 0) next.layer = among(layers, "layer");
    if (among(positions, "token") >= 0) next.token = among(positions, "token");
    if (["score", "share", "row"].includes(words.get("values"))) next.norm = words.get("values");
    if (["shared", "layer"].includes(words.get("colours"))) next.scale = words.get("colours");
    if (["receives", "gives"].includes(words.get("colour-by"))) next.direction = words.get("colour-by");
    if (words.has("hide-special")) next.special = words.get("hide-special") === "1";
    if (words.has("hide-diagonal")) next.diagonal = words.get("hide-diagonal") === "1";
    const [level, position] = (words.get("node") || "").split(",").map(Number);
    if (level > 0 && level <= layers.length && positions.includes(position)) next.node = { level, token: positions.indexOf(position) };
    return next;
  }

  let waiting = 0;
  function drawLater() { // token strips and paths read every layer: after everything that reads one
    clearTimeout(waiting);
    waiting = setTimeout(() => { drawFollow(); drawGraph(); }, 0);
  }
  function change(next) {
    const before = { ...state };
    Object.assign(state, next);
    if (state.map !== before.map && next.part === undefined) state.part = -1;
    const map = maps.get(state.map);
    if (state.part >= map.parts.length) state.part = -1;
    if (state.norm === "share" && !map.hasDisplacement) state.norm = "score";
    if (map.columns !== maps.get(before.map).columns || state.special !== before.special) state.zoom = null;
    if (["map", "special", "diagonal"].some((name) => state[name] !== before[name])) state.threshold = next.threshold ?? null;
    fillControls();
    drawLegend();
    drawHeat();
    drawTokens();
    if (["map", "part", "norm", "scale", "special", "diagonal"].some((name) => state[name] !== before[name]) || next.again) drawStrip();
    else drawLater();
    writeHash();
  }

  function listen() {
    const on = (id, event, make) => byId(id).addEventListener(event, (happened) => change(make(happened.target)));
    on("map", "change", (control) => ({ map: control.value }));
    on("part", "change", (control) => ({ part: Number(control.value) }));
    on("norm", "change", (control) => ({ norm: control.value }));
    on("scale", "change", (control) => ({ scale: control.value }));
    on("hide-special", "change", (control) => ({ special: control.checked }));
    on("hide-diagonal", "change", (control) => ({ diagonal: control.checked }));
    on("all-tokens", "change", (control) => ({ everyToken: control.checked }));
    on("unzoom", "click", () => ({ zoom: null }));
    on("clear-node", "click", () => ({ node: null, threshold: null }));
    byId("threshold").addEventListener("input", (event) => { state.threshold = Number(event.target.value); drawGraph(); });
    document.querySelectorAll("[name=direction]").forEach((radio) => radio.addEventListener("change", () => change({ direction: radio.value })));
    byId("save").addEventListener("click", () => byId("heat").toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: `${state.map}-layer-${layers[state.layer]}.png` });
      link.click();
      URL.revokeObjectURL(link.href);
    }));
    listenToHeat();
    listenToStrip("receives");
    listenToStrip("gives");
    listenToGraph();
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
      const within = (value, count) => Math.max(0, Math.min(count - 1, value));
      const steps = {
        ArrowLeft: () => ({ layer: within(state.layer - 1, layers.length) }), ArrowRight: () => ({ layer: within(state.layer + 1, layers.length) }),
        ArrowUp: () => ({ token: within(state.token - 1, tokens.length) }), ArrowDown: () => ({ token: within(state.token + 1, tokens.length) }),
        Escape: () => ({ zoom: null, node: null, threshold: null }),
      };
      if (!steps[event.key]) return;
      event.preventDefault();
      change(steps[event.key]());
    });
    addEventListener("hashchange", () => change(readHash()));
    let width = document.body.clientWidth;
    addEventListener("resize", () => {
      if (document.body.clientWidth === width) return;
      width = document.body.clientWidth;
      drawHeat();
      drawLater();
    });
    dark.addEventListener("change", () => { lookup = null; change({ again: true }); });
  }

  /** Begin where something happens: the target of the strongest flow between different tokens of the first layer. */
  function firstToken() {
    const map = maps.get(state.map), width = columnsOf(map), values = scores(map, 0, state.part);
    let best = 0, token = targets[0] ?? 0;
    targets.forEach((target, row) => {
      for (let column = 0; column < width; column += 1) {
        const size = Math.abs(values[row * width + column]);
        if (size > best && target !== column && !special[target]) { best = size; token = target; }
      }
    });
    return token;
  }

  listen();
  const reader = meta.grid ? targets.find((index) => !meta.grid.places[index]) : undefined; // a class token reads the picture
  change({ token: reader ?? firstToken(), ...readHash(), again: true });
  if (meta.grid) {
    byId("smooth").addEventListener("change", drawFilm);
    picture.load(meta).then(() => { seen = true; drawFilm(); });
  }
})();
