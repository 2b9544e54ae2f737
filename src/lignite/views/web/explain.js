"use strict";
(() => {
  const meta = JSON.parse(byId("meta").textContent);
  const { entries } = meta;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const state = { entry: 0, units: meta.words ? "words" : "tokens", special: meta.special, map: "", row: 0, scale: "shared", token: -1, edges: 40, smooth: meta.smooth, opacity: 1, own: false };

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
    if (value == null || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e5 || size < 1e-4
      ? size.toExponential(count - 1).replace("e+", "e").replace("e-", "e−")
      : size >= 10 ** count ? size.toFixed(0) : size.toPrecision(count);
  }
  function signed(value, count = 3) {
    return (value > 0 ? "+" : value < 0 ? "−" : "") + digits(value, count);
  }
  function percent(value) {
    if (value == null || !Number.isFinite(value)) return "–";
    const size = Math.abs(100 * value);
    return (value < 0 ? "−" : "") + (size >= 0.1 || size === 0 ? size.toFixed(1) : digits(size, 2)) + " %";
  }

  // ---- data: decoded when first needed ----------------------------------------------------------------------------

  const decoded = new Map();
  function block(id) {
    if (!decoded.has(id)) {
      const text = atob(byId(`data-${id}`).textContent.trim());
      const bytes = new Uint8Array(text.length);
      for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
      decoded.set(id, new Float32Array(bytes.buffer));
    }
    return decoded.get(id);
  }
  function entry() { return entries[state.entry]; }
  function viewOf(item) { return item.views[state.units] ?? item.views.tokens; }
  /** Scores of one row, all tokens: relevance first, then layers. */
  function values(item, row) {
    const view = viewOf(item), kind = state.special === "share" && view.shared ? "share" : "show";
    return block(`${view.key}-${kind}`).subarray(row * view.tokens.length, (row + 1) * view.tokens.length);
  }
  /** Whether a token is looked at. */
  function visible(view, index) { return state.special === "show" || !view.special[index] || !view.shared; }
  /** Where colours end; on a picture at the largest patch, because a class token may hold more than all of them. */
  function largest(scores, view, item = entry()) {
    const places = item.grid?.places;
    let most = 0;
    scores.forEach((value, index) => { if ((places ? places[index] : visible(view, index)) && Math.abs(value) > most) most = Math.abs(value); });
    return most;
  }
  function mapOf(item) { return item.maps.find((map) => map.name === state.map) ?? item.maps[1] ?? null; }
  function rowTitle(item, row) {
    const map = item.maps.findLast((candidate) => candidate.first <= row);
    const name = map.rows[row - map.first];
    return row === 0 ? "relevance" : `${map.title}, ${name === "out" ? "above the last block" : `layer ${name}`}`;
  }

  // ---- colour -------------------------------------------------------------------------------------------------

  let palette, table;
  function readPalette() {
    palette = dark.matches ? meta.palette.dark : meta.palette.light;
    const stops = palette.map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
    table = Array.from({ length: 257 }, (_, step) => {
      const at = step / 256 * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at));
      return stops[low].map((part, index) => Math.round(part + (at - low) * (stops[low + 1][index] - part)));
    });
  }
  function shade(share) { return table[Math.round(128 + 128 * Math.max(-1, Math.min(1, share || 0)))]; }
  function css(rgb) { return `rgb(${rgb.join(" ")})`; }
  /** Black or white, whichever reads better (WCAG's relative luminance decides). */
  function ink(rgb) {
    const [r, g, b] = rgb.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000" : "#fff";
  }
  function paint(span, share) {
    const rgb = shade(share), seen = Math.abs(share) >= 0.02;
    span.style.background = seen ? css(rgb) : "";
    span.style.color = seen ? ink(rgb) : "";
  }
  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  // ---- text -----------------------------------------------------------------------------------------------------

  /** The text as spans; tokens carry their place in data-i. */
  function spans(view) {
    return view.pieces.filter(([, index]) => index < 0 || visible(view, index)).map(([text, index]) => index < 0
      ? document.createTextNode(text)
      : element("span", { "data-i": index, class: view.special[index] ? "special" : null }, text));
  }
  function colourSpans(box, view, scores, limit) {
    for (const span of box.querySelectorAll("span[data-i]")) paint(span, scores[span.dataset.i] / limit);
  }
  function drawText() {
    const item = entry(), view = viewOf(item), box = byId("text");
    byId("text").hidden = Boolean(item.grid);
    byId("seen").hidden = !item.grid;
    box.replaceChildren(...spans(view));
    box.classList.toggle("long", view.tokens.length > 120);
    recolour();
  }
  function recolour() {
    const item = entry(), view = viewOf(item), scores = values(item, state.row), limit = limitOf(state.row);
    if (!item.grid) colourSpans(byId("text"), view, scores, limit);
    const context = byId("legend").getContext("2d");
    for (let x = 0; x < 400; x += 1) {
      context.fillStyle = css(shade(x / 199.5 - 1));
      context.fillRect(x, 0, 1, 20);
    }
    if (item.grid) picture.legend(context, 400, 20);
    byId("legend-text").replaceChildren(
      element("span", {}, signed(-limit)), element("span", {}, "0"), element("span", {}, signed(limit)),
      element("em", {}, `against · ${rowTitle(item, state.row)} · for`),
    );
    mark();
  }
  /** Where the colours of a row end. */
  function limitOf(row) {
    const item = entry(), view = viewOf(item);
    const map = item.maps.findLast((candidate) => candidate.first <= row);
    if (row === 0 || state.scale === "layer") return largest(values(item, row), view) || 1;
    return Math.max(...map.rows.map((_, index) => largest(values(item, map.first + index), view))) || 1;
  }
  function mark() {
    if (entry().grid) drawSeen();
    for (const span of byId("text").querySelectorAll("span.on")) span.classList.remove("on");
    byId("text").querySelector(`span[data-i="${state.token}"]`)?.classList.add("on");
    readout();
  }
  function readout() {
    const item = entry(), view = viewOf(item), box = byId("readout");
    if (state.token < 0 || state.token >= view.tokens.length) {
      box.replaceChildren(`Point at a ${item.grid ? "patch" : "word"} for its numbers, choose it to keep it.`);
      return;
    }
    const scores = values(item, state.row), value = scores[state.token];
    let total = 0, rank = 1, count = 0;
    scores.forEach((other, index) => {
      if (!visible(view, index)) return;
      count += 1;
      total += Math.abs(other);
      if (Math.abs(other) > Math.abs(value)) rank += 1;
    });
    box.replaceChildren(
      element("b", {}, view.tokens[state.token]), ` at ${view.positions[state.token]}${placeOf(item, state.token)}: `, element("b", {}, signed(value, 4)),
      `, ${percent(Math.abs(value) / (total || 1))} of all magnitude, number ${rank} of ${count}`,
      state.row ? ` (${rowTitle(item, state.row)})` : "",
    );
  }

  // ---- picture: colours over patches ----------------------------------------------------------------------------------

  function placeOf(item, index) {
    const place = item.grid?.places[index];
    return place ? `, row ${place[0]}, column ${place[1]}, pixels ${place[3]} to ${place[5]} across, ${place[2]} to ${place[4]} down` : "";
  }
  function look(more = {}) { return { opacity: state.opacity, smooth: state.smooth, own: state.own, chosen: -1, ...more }; }
  function rowsShown(item) {
    const map = mapOf(item);
    return [0, ...(map ? map.rows.map((_, index) => map.first + index) : [])];
  }
  function drawSeen() {
    const item = entry(), view = viewOf(item), grid = item.grid, [height, width] = grid.size;
    const room = Math.min(560, byId("seen").parentElement.clientWidth - (innerWidth > 760 ? 300 : 34));
    const wide = Math.max(120, Math.min(room, 560 * width / height));
    picture.draw(byId("overlay"), grid, values(item, state.row), limitOf(state.row), wide, look({ chosen: state.token }));
    const rows = rowsShown(item), at = rows.indexOf(state.row);
    byId("slider-line").hidden = rows.length < 2;
    byId("slider").max = rows.length - 1;
    byId("slider").value = at;
    byId("slider").setAttribute("aria-valuetext", rowTitle(item, state.row));
    byId("slider-text").textContent = at ? rowTitle(item, state.row) : "all, relevance";
    byId("opacity-text").textContent = `${Math.round(100 * state.opacity)} %`;
    byId("smooth").checked = state.smooth;
    byId("own").checked = state.own;
    byId("own-line").hidden = grid.picture < 0;
    const outside = [...view.tokens.keys()].filter((index) => !grid.places[index] && visible(view, index));
    byId("outside-title").hidden = !outside.length;
    renew(byId("outside"), outside.map((index) => numberRow(view.tokens[index], values(item, state.row)[index], () => choose(index), index === state.token)));
    const chosen = state.token >= 0 && state.token < view.tokens.length;
    byId("chosen-title").textContent = chosen ? `${view.tokens[state.token]}, layer by layer` : "";
    renew(byId("chosen"), chosen ? rows.map((row) => numberRow(rowTitle(item, row), values(item, row)[state.token], () => colourBy(row), row === state.row)) : []);
  }
  function numberRow(name, value, act, on) {
    return element("tr", { class: on ? "act on" : "act", onclick: act }, element("td", {}, element("button", { type: "button", class: "plain" }, name)),
      element("td", { class: `n ${value > 0 ? "plus" : value < 0 ? "minus" : ""}` }, signed(value, 4)));
  }
  /** New children; who had the keyboard's focus by its number has it still. */
  function renew(box, children) {
    const focused = [...box.querySelectorAll("button")].indexOf(document.activeElement);
    box.replaceChildren(...children);
    if (focused >= 0) box.querySelectorAll("button")[focused]?.focus();
  }
  /** Small pictures, one for each row of scores. */
  function drawFilm(box, pictures) {
    const { grid } = entry(), [height, width] = grid.size, count = pictures.length;
    const wide = Math.min(count > 14 ? 104 : count > 7 ? 132 : 168, 168 * Math.max(0.55, width / height));
    renew(box, pictures.map(({ title, scores, limit, lines, act, on, chosen }) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      picture.draw(canvas, grid, scores, limit, wide, look({ chosen: chosen ?? -1 }));
      const inside = [canvas, element("b", {}, title), ...lines.map((line) => element("small", {}, line))];
      return act ? element("button", { type: "button", "aria-pressed": String(on), onclick: act }, ...inside) : element("div", {}, ...inside);
    }));
  }
  function sums(item, view, scores) {
    const { places } = item.grid;
    let plus = 0, minus = 0, outside = 0, held = false;
    scores.forEach((value, index) => {
      if (places[index]) { if (value > 0) plus += value; else minus += value; }
      else if (visible(view, index)) { outside += value; held = true; }
    });
    return [`for ${signed(plus)}`, `against ${signed(minus)}`, ...(held ? [`outside ${signed(outside)}`] : [])];
  }
  function drawLayerFilm() {
    const item = entry(), view = viewOf(item), map = mapOf(item);
    drawFilm(byId("film"), rowsShown(item).map((row) => {
      const scores = values(item, row), at = row - map.first, gap = row && item.gaps.length > at && map.rows[at] !== "out" ? [`gap ${percent(item.gaps[at])}`] : [];
      return {
        title: row ? (map.rows[at] === "out" ? "above the last" : `layer ${map.rows[at]}`) : "all", scores, limit: limitOf(row),
        lines: [...sums(item, view, scores), ...gap], act: () => colourBy(row), on: row === state.row, chosen: state.token,
      };
    }));
  }
  /** Which sources a target's relevance comes from, layer by layer: its row of the flow. */
  function drawReads() {
    const item = entry(), view = viewOf(item), n = view.tokens.length, scores = block(`${view.key}-flow`);
    const outside = view.tokens.findIndex((_, index) => !item.grid.places[index]);
    const target = state.token >= 0 ? state.token : Math.max(0, outside);
    byId("flow-note").textContent = `from which sources ${view.tokens[target]} has its relevance, layer by layer · choose a patch or a token to ask for it`;
    const rows = item.layers.map((_, layer) => scores.subarray((layer * n + target) * n, (layer * n + target + 1) * n));
    const most = Math.max(...rows.map((row) => largest(row, view))) || 1;
    drawFilm(byId("reads"), rows.map((row, layer) => ({
      title: `layer ${item.layers[layer]}`, scores: row, limit: (state.scale === "layer" && largest(row, view)) || most, lines: sums(item, view, row), chosen: target,
    })));
  }

  // ---- what a token says, at the pointer ----------------------------------------------------------------------------

  function tip(event, index, row) {
    const item = entry(), view = viewOf(item), box = byId("tip");
    if (index < 0 || index >= view.tokens.length) { box.hidden = true; return; }
    const facts = [["relevance", signed(values(item, 0)[index])]];
    if (row > 0) facts.push([rowTitle(item, row), signed(values(item, row)[index])]);
    const map = mapOf(item);
    box.replaceChildren(element("b", {}, view.tokens[index]), ` at ${view.positions[index]}${placeOf(item, index)}`,
      element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
    if (map) box.append(profile(item, map, index));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    box.style.top = `${event.clientY + 20 + height > innerHeight ? Math.max(4, event.clientY - height - 12) : event.clientY + 20}px`;
  }
  /** A token through the layers, as bars. */
  function profile(item, map, index) {
    const canvas = element("canvas"), width = Math.max(90, Math.min(280, map.rows.length * 12)), height = 46;
    const scores = map.rows.map((_, row) => values(item, map.first + row)[index]);
    const most = Math.max(...scores.map(Math.abs)) || 1, step = width / scores.length;
    const context = fit(canvas, width, height);
    context.fillStyle = colour("--line");
    context.fillRect(0, height / 2, width, 1);
    scores.forEach((value, row) => {
      context.fillStyle = value > 0 ? "#c45d16" : "#2a6fae";
      const size = Math.abs(value) / most * (height / 2 - 2);
      context.fillRect(row * step + 1, value > 0 ? height / 2 - size : height / 2, Math.max(1, step - 2), Math.max(size, 0.5));
    });
    return element("div", {}, canvas, element("small", { class: "dim" }, `${map.title}, layer ${map.rows[0]} to ${map.rows.at(-1)}`));
  }

  // ---- layers ---------------------------------------------------------------------------------------------------

  let cells = null; // where the heat map's cells are
  function drawLayers() {
    const item = entry(), view = viewOf(item), map = mapOf(item);
    byId("layers-card").hidden = !map;
    cells = null;
    byId("film").hidden = !item.grid;
    byId("heat-box").hidden = Boolean(item.grid);
    if (!map) return;
    if (item.grid) { drawLayerFilm(); return; }
    const box = byId("heat").parentElement, width = Math.max(300, box.clientWidth);
    const columns = view.tokens.map((_, index) => index).filter((index) => visible(view, index));
    const left = 52, right = width > 640 ? 190 : 0;
    const cell = Math.min(46, (width - left - right) / columns.length), inner = cell * columns.length;
    const tall = Math.max(7, Math.min(20, 420 / map.rows.length));
    const most = Math.max(...map.rows.map((_, row) => largest(values(item, map.first + row), view))) || 1;
    const font = 11, every = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100].find((step) => cell * step >= font + 1) ?? 200;
    const measure = document.createElement("canvas").getContext("2d");
    measure.font = `${font}px ${colour("--sans")}`;
    const labels = columns.map((index) => cut(measure, view.tokens[index], 110));
    const below = Math.max(...labels.map((label) => measure.measureText(label).width)) + 14;
    const gapText = item.gaps.length > 0;
    const rows = [{ row: 0, name: "all", limit: largest(values(item, 0), view) || 1, top: 18 }];
    map.rows.forEach((name, index) => {
      const own = largest(values(item, map.first + index), view) || 1;
      rows.push({ row: map.first + index, name, limit: state.scale === "layer" ? own : most, top: 18 + tall + 8 + index * tall });
    });
    const bottom = rows.at(-1).top + tall, context = fit(byId("heat"), width, bottom + below);
    context.font = measure.font;
    context.textBaseline = "middle";
    for (const { row, name, limit, top } of rows) {
      const scores = values(item, row);
      columns.forEach((index, column) => {
        context.fillStyle = css(shade(scores[index] / limit));
        const start = Math.floor(left + column * cell), end = Math.floor(left + (column + 1) * cell);
        context.fillRect(start, top, Math.max(1, end - start - (cell > 8 ? 1 : 0)), tall - (tall > 9 ? 1 : 0));
      });
      context.fillStyle = row === state.row ? colour("--accent") : colour("--dim");
      context.textAlign = "right";
      if (tall >= 10 || row === 0 || row % 2) context.fillText(row === state.row ? `▸ ${name}` : name, left - 6, top + tall / 2);
      if (!right) continue;
      let plus = 0, minus = 0;
      columns.forEach((index) => { if (scores[index] > 0) plus += scores[index]; else minus += scores[index]; });
      if (tall >= 10) {
        context.fillStyle = colour("--ink");
        context.fillText(signed(plus), left + inner + 58, top + tall / 2);
        context.fillText(signed(minus), left + inner + 116, top + tall / 2);
        const at = map.rows.indexOf(name);
        if (row && gapText && name !== "out") context.fillText(percent(item.gaps[at]), left + inner + 180, top + tall / 2);
      }
    }
    if (right && tall >= 10) {
      context.fillStyle = colour("--dim");
      for (const [title, x] of [["for", 58], ["against", 116], ...(gapText ? [["gap", 180]] : [])]) context.fillText(title, left + inner + x, 9);
    }
    context.textAlign = "right";
    labels.forEach((label, column) => {
      if (column % every) return;
      context.save();
      context.translate(left + (column + 0.5) * cell, bottom + 6);
      context.rotate(-Math.PI / 2);
      context.fillStyle = columns[column] === state.token ? colour("--ink") : colour("--dim");
      context.fillText(label, 0, 0);
      context.restore();
    });
    const chosen = columns.indexOf(state.token);
    if (chosen >= 0) {
      context.strokeStyle = colour("--ink");
      context.lineWidth = 1.5;
      context.strokeRect(left + chosen * cell, rows[0].top - 1, cell, bottom - rows[0].top + 2);
    }
    cells = { left, cell, tall, rows, columns };
  }
  function cut(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let length = text.length;
    while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
    return `${text.slice(0, length)}…`;
  }
  function cellAt(event) {
    if (!cells) return null;
    const column = Math.floor((event.offsetX - cells.left) / cells.cell);
    const row = cells.rows.find(({ top }) => event.offsetY >= top && event.offsetY < top + cells.tall);
    return row ? { index: column >= 0 && column < cells.columns.length ? cells.columns[column] : -1, row: row.row } : null;
  }

  // ---- relevance handed on ----------------------------------------------------------------------------------------

  const MOST_EDGES = 200;
  const flows = new Map();
  /** What a flow is drawn from: the strongest lines of every layer, and what each token holds at every level. */
  function flowOf(item, view) {
    if (flows.has(view.key)) return flows.get(view.key);
    const scores = block(`${view.key}-flow`), n = view.tokens.length, layers = item.layers.length;
    const sums = Array.from({ length: layers + 1 }, () => new Float64Array(n)), lines = [];
    for (let layer = 0; layer < layers; layer += 1) {
      const some = scores.subarray(layer * n * n, (layer + 1) * n * n);
      let most = 0;
      for (let cell = 0; cell < some.length; cell += 1) {
        const value = some[cell];
        if (Math.abs(value) > most) most = Math.abs(value);
        sums[layer][cell % n] += value;
        if (layer === layers - 1) sums[layers][Math.floor(cell / n)] += value;
      }
      // Sorting a quarter of a million lines would be felt: count them by size, and sort those that may be shown.
      const bins = new Uint32Array(1024), bin = (value) => Math.min(1023, Math.floor(Math.sqrt(Math.abs(value) / (most || 1)) * 1024));
      for (let cell = 0; cell < some.length; cell += 1) bins[bin(some[cell])] += 1;
      let least = 1023;
      for (let count = bins[1023]; least > 0 && count < MOST_EDGES; least -= 1) count += bins[least - 1];
      const found = [];
      for (let cell = 0; cell < some.length; cell += 1) {
        if (some[cell] && bin(some[cell]) >= least) found.push(line(some, n, layer, cell));
      }
      lines.push(found.sort((a, b) => b[0] - a[0]).slice(0, MOST_EDGES));
    }
    flows.set(view.key, { lines, sums });
    return flows.get(view.key);
  }
  function line(some, n, layer, cell) { return [Math.abs(some[cell]), some[cell], layer, cell % n, Math.floor(cell / n)]; }
  /** The lines of one token alone. */
  function linesOf(item, view, token) {
    const scores = block(`${view.key}-flow`), n = view.tokens.length;
    return item.layers.map((_, layer) => {
      const some = scores.subarray(layer * n * n, (layer + 1) * n * n), found = [];
      for (let other = 0; other < n; other += 1) {
        found.push(line(some, n, layer, token * n + other));
        if (other !== token) found.push(line(some, n, layer, other * n + token));
      }
      return found.filter(([size]) => size).sort((a, b) => b[0] - a[0]);
    });
  }
  function drawFlow() {
    const item = entry(), view = viewOf(item), n = view.tokens.length, layers = item.layers.length;
    byId("flow-card").hidden = !view.flow;
    byId("reads").hidden = !item.grid;
    byId("flow-box").hidden = byId("edges-line").hidden = Boolean(item.grid);
    if (!view.flow) return;
    if (item.grid) { drawReads(); return; }
    const box = byId("flow").parentElement;
    const left = 52, width = Math.max(box.clientWidth, left + n * 15 + 10), step = (width - left - 10) / n, tall = 54;
    const followed = state.token >= 0 && state.token < n ? state.token : -1;
    const { lines, sums } = flowOf(item, view);
    const edges = (followed < 0 ? lines : linesOf(item, view, followed)).flatMap((some) => some.slice(0, state.edges));
    byId("edges-text").textContent = `${state.edges} lines of each layer`;
    const most = edges.reduce((size, edge) => Math.max(size, edge[0]), 0) || 1;
    const widest = Math.max(...sums.map((row) => row.reduce((size, value) => Math.max(size, Math.abs(value)), 0))) || 1;
    const measure = document.createElement("canvas").getContext("2d");
    measure.font = `11px ${colour("--sans")}`;
    const labels = view.tokens.map((token) => cut(measure, token, 110));
    const below = Math.max(...labels.map((label) => measure.measureText(label).width)) + 14;
    const context = fit(byId("flow"), width, layers * tall + 24 + below);
    const x = (index) => left + (index + 0.5) * step, y = (level) => 12 + level * tall;
    const strong = dark.matches ? ["#ea9440", "#6cabe4"] : ["#c45d16", "#2a6fae"];
    context.lineCap = "round";
    for (const [size, value, layer, source, target] of edges.sort((a, b) => a[0] - b[0])) {
      context.strokeStyle = value > 0 ? strong[0] : strong[1];
      context.globalAlpha = 0.25 + 0.65 * size / most;
      context.lineWidth = Math.max(0.6, 9 * size / most);
      context.beginPath();
      context.moveTo(x(source), y(layer));
      context.bezierCurveTo(x(source), y(layer) + tall / 2, x(target), y(layer + 1) - tall / 2, x(target), y(layer + 1));
      context.stroke();
    }
    context.globalAlpha = 1;
    context.font = measure.font;
    context.textBaseline = "middle";
    for (let level = 0; level <= layers; level += 1) {
      context.fillStyle = colour("--dim");
      context.textAlign = "right";
      context.fillText(level < layers ? String(item.layers[level]) : "out", left - 12, y(level));
      sums[level].forEach((value, index) => {
        context.beginPath();
        context.arc(x(index), y(level), 1.2 + Math.min(6, step / 2.2) * Math.sqrt(Math.abs(value) / widest), 0, 7);
        context.fillStyle = value > 0 ? strong[0] : strong[1];
        context.fill();
      });
    }
    labels.forEach((label, index) => {
      context.save();
      context.translate(x(index), layers * tall + 24);
      context.rotate(-Math.PI / 2);
      context.fillStyle = index === followed ? colour("--ink") : colour("--dim");
      context.fillText(label, 0, 0);
      context.restore();
    });
  }

  // ---- lists ------------------------------------------------------------------------------------------------------

  const LISTED = 10;
  function drawLists(everything = {}) {
    const item = entry(), view = viewOf(item), scores = values(item, 0);
    const all = [...scores.keys()].filter((index) => visible(view, index));
    const most = all.reduce((size, index) => Math.max(size, Math.abs(scores[index])), 0) || 1;
    const total = all.reduce((sum, index) => sum + Math.abs(scores[index]), 0) || 1;
    for (const [name, sign] of [["for", 1], ["against", -1]]) {
      const found = all.filter((index) => sign * scores[index] > 0).sort((a, b) => Math.abs(scores[b]) - Math.abs(scores[a]));
      byId(`${name}-sum`).textContent = `${signed(found.reduce((sum, index) => sum + scores[index], 0))} from ${found.length} of ${all.length}`;
      const shown = everything[name] ? found : found.slice(0, LISTED);
      const rows = shown.flatMap((index) => [
        element("small", {}, String(view.positions[index])),
        element("span", { title: view.tokens[index], onclick: () => choose(index) }, view.tokens[index]),
        bar(scores[index] / most),
        element("em", { class: sign > 0 ? "plus" : "minus" }, signed(scores[index])),
        element("small", {}, percent(Math.abs(scores[index]) / total)),
      ]);
      if (shown.length < found.length) rows.push(element("button", { type: "button", onclick: () => drawLists({ ...everything, [name]: true }) }, `${found.length - shown.length} more`));
      byId(name).replaceChildren(...(rows.length ? rows : [element("span", { class: "dim" }, "none")]));
    }
  }
  function bar(share) {
    const made = element("i", { class: share > 0 ? "warm" : "cold" });
    made.style.width = `${100 * Math.abs(share)}%`;
    return made;
  }

  // ---- the explanation as a whole --------------------------------------------------------------------------------------

  function rowsOf(table, pairs) {
    byId(table).replaceChildren(...pairs.map(([name, value]) => element("tr", {}, element("td", {}, name), element("td", {}, value))));
  }
  function drawFacts() {
    const item = entry();
    byId("facts").replaceChildren(...item.settings.map(([name, value]) => element("span", {}, `${name} `, element("b", {}, value))));
    const seal = byId("seal");
    seal.hidden = !item.certified;
    seal.className = `seal ${item.kept ? "good" : "open"}`;
    seal.textContent = item.kept ? "complete within tolerance" : "gap above tolerance";
    seal.title = item.certificate;
    byId("asked").replaceChildren(item.name, element("small", {}, item.value == null ? "" : ` ${item.unit} ${signed(item.value)}`));
    const said = [];
    if (item.prediction) said.push(element("span", {}, "the model says ", element("b", {}, item.prediction), item.probability == null ? "" : ` ${percent(item.probability)}`));
    if (item.targetProbability != null && item.name !== item.prediction) said.push(element("span", {}, "and gives ", element("b", {}, item.name), ` ${percent(item.targetProbability)}`));
    if (item.grid && item.text) said.push(element("span", {}, "of ", element("b", {}, item.text)));
    byId("said").replaceChildren(...said);
    byId("certificate").textContent = item.certificate;
    byId("certificate").classList.toggle("open", item.certified && !item.kept);
    rowsOf("classes", item.classes.map(([name, share]) => [name, percent(share)]));
    rowsOf("request", [...item.request, ...item.plans.map(([name, value]) => [`plan: ${name}`, value]), ["read in", item.windows], ["lignite", item.version]].filter(([, value]) => value));
  }
  function drawChoices() {
    const item = entry(), view = viewOf(item);
    byId("units").parentElement.hidden = !item.views.words;
    byId("units").value = item.views.words ? state.units : "tokens";
    byId("special").parentElement.hidden = !view.shared;
    byId("special").value = state.special;
    const layered = item.maps.slice(1);
    byId("map-line").hidden = layered.length < 2;
    byId("map").replaceChildren(...layered.map((map) => element("option", { value: map.name, selected: mapOf(item) === map }, map.title)));
    byId("scale-label").hidden = !layered.length;
    const map = mapOf(item);
    const rows = [0, ...(map ? map.rows.map((_, index) => map.first + index) : [])];
    if (!rows.includes(state.row)) state.row = 0;
    byId("row").replaceChildren(...rows.map((row) => element("option", { value: row, selected: row === state.row }, rowTitle(item, row))));
    byId("row").parentElement.hidden = rows.length < 2;
  }
  function drawOverview() {
    byId("overview").hidden = entries.length < 2;
    if (entries.length < 2) return;
    const several = new Set(entries.map((item) => item.settings[0][1])).size > 1; // methods: then they tell entries apart
    const pictures = entries.every((item) => item.grid), side = pictures ? 190 : 92;
    byId("list").classList.toggle("pictures", pictures);
    byId("overview-note").textContent = pictures ? "each on a scale of its own · choose one" : "choose one";
    byId("list").replaceChildren(...entries.map((item, number) => {
      const view = viewOf(item), scores = values(item, 0), line = item.grid ? element("canvas", { "aria-hidden": "true" }) : element("p", {}, ...spans(view));
      const limit = largest(scores, view, item) || 1;
      if (item.grid) picture.draw(line, item.grid, scores, limit, Math.min(1.3 * side, side * item.grid.size[1] / item.grid.size[0]), look());
      else colourSpans(line, view, scores, limit);
      const name = element("b", {}, several ? `${item.name}, ${item.settings[0][1]}` : item.name), value = element("em", {}, item.value == null ? "" : signed(item.value));
      const facts = pictures ? [line, name, value, element("small", {}, `colours to ±${digits(limit)}`)] : [element("small", {}, String(number + 1)), name, value, line];
      const button = element("button", { type: "button", "aria-pressed": String(number === state.entry), onclick: () => open(number) }, ...facts);
      button.title = `${item.settings.map(([, value]) => value).join(", ")}: ${item.text}`;
      return button;
    }));
  }

  // ---- what the reader does ---------------------------------------------------------------------------------------

  function drawAll() {
    state.token = state.token < viewOf(entry()).tokens.length ? state.token : -1;
    drawChoices();
    drawFacts();
    drawText();
    drawLayers();
    drawLists();
    setTimeout(drawFlow); // long inputs hold millions of lines: everything else is there before them
  }
  function open(number) {
    byId("list").children[state.entry]?.setAttribute("aria-pressed", "false");
    state.entry = number;
    byId("list").children[number]?.setAttribute("aria-pressed", "true");
    state.token = -1;
    drawAll();
  }
  function choose(index) {
    state.token = state.token === index ? -1 : index;
    mark();
    drawLayers();
    drawFlow();
  }
  function colourBy(row) {
    state.row = row;
    byId("row").value = String(row);
    recolour();
    drawLayers();
  }

  byId("units").addEventListener("change", (event) => { state.units = event.target.value; state.token = -1; drawOverview(); drawAll(); });
  byId("special").addEventListener("change", (event) => { state.special = event.target.value; drawOverview(); drawAll(); });
  byId("row").addEventListener("change", (event) => colourBy(Number(event.target.value)));
  byId("map").addEventListener("change", (event) => { state.map = event.target.value; state.row = 0; drawChoices(); recolour(); drawLayers(); });
  byId("scale").addEventListener("change", (event) => { state.scale = event.target.value; recolour(); drawLayers(); });
  byId("edges").addEventListener("input", (event) => { state.edges = Number(event.target.value); drawFlow(); });
  byId("text").addEventListener("click", (event) => { if (event.target.dataset.i) choose(Number(event.target.dataset.i)); });
  byId("text").addEventListener("pointermove", (event) => tip(event, event.target.dataset.i ? Number(event.target.dataset.i) : -1, state.row));
  byId("text").addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  byId("text").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const view = viewOf(entry()), shown = view.tokens.map((_, index) => index).filter((index) => visible(view, index));
    const at = shown.indexOf(state.token);
    state.token = shown[(at + step + shown.length + (at < 0 && step < 0 ? 1 : 0)) % shown.length];
    mark();
    drawLayers();
    drawFlow();
  });
  byId("heat").addEventListener("pointermove", (event) => {
    const found = cellAt(event);
    tip(event, found ? found.index : -1, found ? found.row : 0);
  });
  byId("heat").addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  byId("heat").addEventListener("click", (event) => { const found = cellAt(event); if (found) colourBy(found.row); });
  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { mark(); drawLayers(); drawFlow(); }); });
  dark.addEventListener("change", () => { readPalette(); drawOverview(); drawAll(); });

  for (const [id, name, read] of [["smooth", "smooth", (box) => box.checked], ["own", "own", (box) => box.checked], ["opacity", "opacity", (box) => box.value / 100]]) {
    byId(id).addEventListener("input", (event) => {
      state[name] = read(event.target);
      drawSeen();
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => { drawOverview(); drawLayers(); drawFlow(); }); // dragging stays smooth
    });
  }
  byId("slider").addEventListener("input", (event) => colourBy(rowsShown(entry())[event.target.value]));
  byId("overlay").addEventListener("click", (event) => {
    const index = picture.at(event, event.target, entry().grid);
    if (index >= 0) choose(index);
  });
  byId("overlay").addEventListener("pointermove", (event) => tip(event, picture.at(event, event.target, entry().grid), state.row));
  byId("overlay").addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  byId("overlay").addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const view = viewOf(entry()), next = picture.beside(entry().grid, state.token, event.key, (index) => visible(view, index));
    if (next >= 0 && next !== state.token) choose(next);
  });

  readPalette();
  state.map = entry().maps[1]?.name ?? "";
  picture.load(meta).then(() => {
    drawOverview();
    drawAll();
  });
})();
