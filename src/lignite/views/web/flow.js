/** A flow, to look at: the graph that leads to what the model reads, every head's map, every token's part. */
import { bar, between, cellText, channels, digits, element, largestPlaces, limitOf, number, paint, percent, prepare, rows, signed, word } from "./kit.js";
import { Graph } from "./graph.js";
import { Page } from "./page.js";
import { drawArcs, filmWidth, patchAt } from "./picture.js";
import { Scores } from "./flow_scores.js";
import { strongestLines } from "./ways.js";

const MANY = 60; // tokens, beyond which a graph shows those with a line alone
const NODES = { node: () => undefined, edge: () => undefined };
const STEPS = 128;

/** Bring the page inside `root` to life. With `address` the choices stand in the document's address. Returns how to end it. */
export function mount(root, payload, { address = false } = {}) {
  const page = new FlowPage(root, payload, address);
  return () => page.gone.abort();
}

class FlowPage extends Page {
  constructor(root, payload, address) {
    const { meta } = payload;
    super(root, payload, {
      units: meta.words && meta.views.words ? "words" : "tokens", map: meta.maps[0].name, layer: meta.layers.length - 1, part: -1, token: -1, node: "", edge: "",
      special: false, lines: 80, by: "sign", direction: "receives",
    }, address);
    this.scores = new Scores(payload, this);
    this.graph = new Graph(this.find("graph"), {
      node: (level, token) => this.change({ node: this.state.node === `${level},${token}` ? "" : `${level},${token}`, token, edge: "" }),
      edge: ({ layer, target, source }) => this.change({ edge: `${layer},${target},${source}`, layer }),
    });
    this.pair = new Graph(this.find("pair"), { ...NODES, node: (level, token) => { if (level || this.scores.map.columns === "source") this.change({ token }); } });
    this.listen();
    this.change(this.readAddress(), true);
    if (meta.grid) this.pictures.loaded.then(() => this.drawFilm());
  }

  get token() { return this.state.token < 0 ? this.scores.reader : this.state.token; }
  labelOf(index) { return `${this.scores.view.tokens[index]} ${this.scores.view.positions[index]}`; }

  /** Choose something, and show what it changes. */
  change(next, again = false) {
    const { state, scores, meta } = this, before = { ...state }, within = (value, most) => Math.max(0, Math.min(most - 1, value));
    Object.assign(state, next);
    if (state.units !== before.units) Object.assign(state, { token: -1, node: "", edge: "" }, next);
    if (!(state.part < scores.map.parts.length)) state.part = -1;
    state.layer = within(state.layer, meta.layers.length);
    state.token = Math.min(state.token, scores.view.tokens.length - 1);
    const differ = (...names) => again || names.some((name) => state[name] !== before[name]);
    this.show(differ("units"));
    if (differ("units", "map", "part", "token", "direction", "special")) this.recolour();
    if (differ("units", "map", "special", "node", "lines", "by")) this.drawGraph();
    if (differ("units", "map", "node", "edge")) this.drawNode();
    if (differ("units", "map", "layer", "part", "special", "token", "lines")) this.drawPair();
    if (differ("units", "map", "layer", "part")) this.drawHeat();
    if (differ("map", "layer", "part", "token", "direction", "lines")) this.drawFilm();
    this.writeAddress();
  }

  /** Of what the page holds in several forms, the one that was chosen; and what can be chosen. */
  show(renamed) {
    const { state, meta, scores } = this, { view, map } = scores;
    for (const part of this.all("[data-view]")) part.hidden = part.dataset.view !== (meta.views[state.units] ? state.units : "tokens");
    const fill = (name, options, chosen) => this.find(name).replaceChildren(...options.map(([value, title]) => element("option", { value, selected: value === chosen }, title)));
    fill("map", meta.maps.map(({ name, title }) => [name, title]), map.name);
    fill("layer", meta.layers.map((layer, at) => [at, layer]), state.layer);
    fill("part", [[-1, `all ${map.split}s added up`], ...map.parts.map((part, at) => [at, map.split === "head" ? `head ${part}` : part])], state.part);
    if (renamed) fill("token", [[-1, `${this.labelOf(scores.reader)}, the reader`], ...view.tokens.map((_, at) => [at, this.labelOf(at)])], state.token);
    this.find("part-label").hidden = !map.parts.length;
    this.find("units-label").hidden = !meta.views.words;
    for (const cell of this.all("[data-head]")) cell.parentElement.classList.toggle("on", Number(cell.dataset.layer) === state.layer && Number(cell.dataset.head) === state.part);
    this.find("token").value = state.token;
    for (const update of this.controls) update();
  }

  /** The chosen token in the text, and in every layer what it receives or gives. */
  recolour() {
    const { state, scores, meta } = this, { map, view } = scores, { token } = this, usable = map.columns === "source";
    for (const span of this.all(".text [data-i]")) span.classList.toggle("on", Number(span.dataset.i) === state.token);
    if (!this.find("received-title")) return;
    this.find("received-title").closest(".card").hidden = !usable;
    if (!usable) return;
    const all = meta.layers.map((_, layer) => scores.followed(layer, token, state.direction)), limit = limitOf(all.flatMap((row) => [...row].filter((_, at) => at !== token && scores.counts(token, at))));
    this.find("received-title").replaceChildren(word(view.tokens[token]), state.direction === "gives" ? " gives to" : " receives from", " …");
    for (const line of this.all("[data-view]:not([hidden]) [data-row]")) {
      for (const cell of line.querySelectorAll("[data-i]")) {
        const value = all[line.dataset.row][cell.dataset.i];
        paint(cell, value / limit);
        cell.textContent = cellText(value, limit);
      }
    }
  }

  // ---- the graph, grown back from a node

  drawGraph() {
    const { state, scores, meta } = this, { view } = scores, map = scores.chain(), none = typeof map === "string", layers = meta.layers.length;
    this.find("graph").hidden = this.find("graph-buttons").hidden = none;
    if (none) { this.find("graph-note").textContent = map; return; }
    const tree = scores.tree(map), lines = strongestLines(tree.edges, state.lines, tree.level), touched = new Set(lines.flatMap(({ source, target }) => [source, target]).concat(tree.token));
    const kept = [...view.tokens.keys()].filter((at) => scores.counts(at, at) && (view.tokens.length <= MANY || touched.has(at))), items = kept.map((id) => ({ id, label: view.tokens[id] }));
    const name = (level) => (level < layers ? String(meta.layers[level]) : "out"), heads = state.by === "head";
    this.graph.draw({
      columns: [...Array(layers + 1).keys()].map((level) => ({ name: name(level), items })),
      edges: lines.map((edge) => ({ ...edge, ...this.dress(edge, heads) })),
      sizeOf: (level, at) => tree.levels[level]?.[at], chosen: `${tree.level},${tree.token}`,
    });
    this.find("graph-title").replaceChildren("What ", word(view.tokens[tree.token]), tree.level < layers ? ` is made of where layer ${meta.layers[tree.level]} begins` : " holds after the last layer, and from where");
    this.find("graph-note").textContent = `${lines.length} strongest shares of ${map.name}; thickness is size, colour ${heads ? "the head that brings most" : "sign, orange adds, blue takes away"}${kept.length < view.tokens.length ? `; ${kept.length} of ${view.tokens.length} tokens have a line` : ""} · click or walk to a node or a line`;
    this.find("back").hidden = !state.node;
  }

  /** What a line says, and the colour of its head. */
  dress({ layer, target, source, value }, heads) {
    const { view } = this.scores, title = `${view.tokens[source]} → ${view.tokens[target]}, layer ${this.meta.layers[layer]}: ${percent(value)}`;
    const found = heads && target !== source ? this.scores.headsOf(layer, target, source) : null;
    if (!found) return { title };
    const [head] = largestPlaces(found.values.length, 1, (at) => Math.abs(found.values[at]));
    return { title: `${title}, head ${found.map.parts[head]}`, style: `stroke: hsl(${(360 * head) / found.values.length} 65% 48%)` };
  }

  /** What the chosen node receives and gives, or the heads of the chosen line. */
  drawNode() {
    const { state, scores, meta } = this, { view } = scores, map = scores.chain(), box = this.find("node");
    const list = (title, found, name, act) => {
      const table = element("table", { class: "list ranks", "aria-label": title }, element("tbody")), order = largestPlaces(found.length, 8, (at) => Math.abs(found[at]));
      rows(table, order.map((at) => ({ attributes: { class: act ? "act" : "", onclick: act && (() => act(at)) }, cells: [act ? element("button", { type: "button", class: "plain" }, name(at)) : name(at), bar(found[at], found[at] / Math.abs(found[order[0]])), number(signed(found[at]))] })));
      return element("div", {}, element("h3", {}, title), order.length ? table : "nothing");
    };
    if (state.edge) {
      const [layer, target, source] = state.edge.split(",").map(Number), found = scores.headsOf(layer, target, source), title = `${view.tokens[source]} → ${view.tokens[target]} in layer ${meta.layers[layer]}`;
      box.replaceChildren(found ? list(`${title}, head by head`, found.values, (at) => `head ${found.map.parts[at]}`, (at) => this.change({ map: found.map.name, layer, part: at })) : `${title}: this result does not tell its heads apart.`);
    } else if (state.node && typeof map !== "string") {
      const [level, token] = state.node.split(",").map(Number), n = view.tokens.length, row = view.targets.indexOf(token), lists = [];
      const named = (at) => word(view.tokens[at]), go = (to) => (at) => this.change({ node: `${to},${at}`, token: at, edge: "" });
      if (level > 0 && row >= 0) lists.push(list(`${view.tokens[token]} receives in layer ${meta.layers[level - 1]} from`, scores.of(map, level - 1).subarray(row * n, (row + 1) * n), named, go(level - 1)));
      if (level < meta.layers.length) {
        const given = new Float32Array(n);
        view.targets.forEach((target, at) => { given[target] = scores.of(map, level)[at * n + token]; });
        lists.push(list(`and gives in layer ${meta.layers[level]} to`, given, named, go(level + 1)));
      }
      box.replaceChildren(...lists);
    } else box.replaceChildren();
  }

  // ---- one map: givers and receivers side by side, and as a heat map

  /** The strongest steps of the chosen map; what a token gives itself left out. */
  strongest() {
    const { state, scores } = this, { map, view } = scores, width = scores.widthOf(map), values = scores.of(map, state.layer, state.part), own = map.columns === "source";
    const counts = (place) => {
      const target = view.targets[Math.floor(place / width)], source = place % width;
      return own ? target !== source && scores.counts(target, source) && (state.token < 0 || target === state.token || source === state.token) : scores.counts(target, target);
    };
    return largestPlaces(values.length, Math.min(state.lines, 120), (place) => (counts(place) ? Math.abs(values[place]) : 0))
      .map((place) => ({ layer: 0, source: place % width, target: view.targets[Math.floor(place / width)], value: values[place] }));
  }

  get mapTitle() {
    const { state, scores, meta } = this, { map } = scores, part = map.parts[state.part];
    return `Layer ${meta.layers[state.layer]}, ${map.title}${map.parts.length ? (part === undefined ? `, ${map.split}s added up` : `, ${map.split} ${part}`) : ""}`;
  }

  drawPair() {
    const { scores, meta } = this, { map, view } = scores, edges = this.strongest(), many = view.tokens.length > MANY;
    const kept = (list, name) => list.filter((at) => !many || edges.some((edge) => edge[name] === at)).map((id) => ({ id, label: view.tokens[id] }));
    const givers = map.columns === "source" ? kept([...view.tokens.keys()], "source") : meta.heads.map((head, id) => ({ id, label: `head ${head}` }));
    const label = (source) => (map.columns === "source" ? view.tokens[source] : `head ${meta.heads[source]}`);
    this.find("map-title").textContent = this.mapTitle;
    this.pair.draw({
      columns: [{ name: "gives", items: givers }, { name: "receives", items: kept(view.targets, "target") }],
      edges: edges.map((edge) => ({ ...edge, title: `${label(edge.source)} → ${view.tokens[edge.target]}: ${signed(edge.value)}` })), chosen: `1,${this.token}`,
    });
  }

  drawHeat() {
    const { state, scores, meta } = this, { map, view } = scores, width = scores.widthOf(map), tall = view.targets.length, values = scores.of(map, state.layer, state.part);
    const own = map.columns === "source" ? tall : 0, others = values.slice(), canvas = this.find("heat");
    for (let row = 0; row < own; row += 1) others[row * width + view.targets[row]] = NaN;
    const limit = limitOf(others), room = Math.min(520, canvas.parentElement.clientWidth), cell = Math.min(26, room / Math.max(width, tall)), context = prepare(canvas, Math.max(1, cell * width), Math.max(1, cell * tall));
    const stops = meta.palette[this.dark.matches ? "dark" : "light"].map(channels), tones = Array.from({ length: 2 * STEPS + 1 }, (_, at) => between(stops, at / (2 * STEPS)));
    const image = new ImageData(width, tall), small = element("canvas", { width, height: tall });
    values.forEach((value, at) => {
      if (Number.isNaN(value)) return;
      image.data.set([...tones[Math.round(STEPS + STEPS * Math.max(-1, Math.min(1, value / limit)))], 255], 4 * at);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = cell < 1;
    context.drawImage(small, 0, 0, cell * width, cell * tall);
    this.cell = cell;
    this.find("readout").textContent = `Colours end at ±${digits(limit)}. Point at a cell for its numbers.`;
  }

  pointAtHeat(event) {
    const { state, scores, meta, cell } = this, { map, view } = scores, width = scores.widthOf(map), column = Math.floor(event.offsetX / cell), row = Math.floor(event.offsetY / cell);
    if (!(column < width && row < view.targets.length)) return -1;
    const value = scores.of(map, state.layer, state.part)[row * width + column], from = map.columns === "source" ? this.labelOf(column) : `head ${meta.heads[column]}`;
    this.find("readout").replaceChildren(word(from), " → ", word(this.labelOf(view.targets[row])), ": ", element("b", {}, signed(value, 4)));
    return view.targets[row];
  }

  /** Patches on their picture, one for each layer: what the token reads, or what it gives, and the strongest steps between patches. */
  drawFilm() {
    const { state, scores, meta, token } = this, { view, map } = scores, { grid, layers } = meta, box = this.find("film");
    if (!grid || !this.pictures.ready) return;
    box.closest(".card").hidden = map.columns !== "source";
    if (map.columns !== "source") return;
    const all = layers.map((_, layer) => scores.followed(layer, token, state.direction)), most = limitOf(all.flatMap((row) => [...row].filter((_, at) => grid.places[at] && at !== token)));
    const steps = this.strongest().slice(0, 40).filter(({ source, target }) => grid.places[source] && grid.places[target]);
    this.find("film-title").textContent = state.direction === "gives" ? `What reads ${view.tokens[token]}` : `What ${view.tokens[token]} reads`;
    box.replaceChildren(...layers.map((layer, at) => {
      const canvas = element("canvas", { role: "img", "aria-label": `layer ${layer}`, onclick: (event) => { if (patchAt(event, grid) >= 0) this.change({ token: patchAt(event, grid) }); } });
      this.pictures.draw(canvas, grid, all[at], most, (at === state.layer ? 2 : 1) * filmWidth(grid, layers.length), { chosen: token });
      if (at === state.layer) drawArcs(canvas, grid, steps, this);
      const outside = [...view.tokens.keys()].filter((index) => !grid.places[index] && !Number.isNaN(all[at][index]) && index !== token).slice(0, 4);
      return element("div", {}, canvas, element("b", {}, `layer ${layer}`), ...outside.map((index) => element("small", {}, `${view.tokens[index]} ${signed(all[at][index])}`)));
    }));
  }

  listen() {
    const { root } = this, { signal } = this.gone;
    this.controls = [["units"], ["special"], ["by"], ["direction"], ["lines", "input"]].flatMap(([name, event]) => (this.find(name) ? [this.bind(this.find(name), name, event)] : []));
    for (const name of ["map", "layer", "part", "token"]) this.bind(this.find(name), name);
    this.find("back").addEventListener("click", () => this.change({ node: "", edge: "", token: -1 }));
    this.find("heat").addEventListener("pointermove", (event) => this.pointAtHeat(event));
    this.find("heat").addEventListener("click", (event) => { const token = this.pointAtHeat(event); if (token >= 0) this.change({ token }); });
    const choose = (event) => {
      const { layer, head, i } = event.target.closest("[data-head], .text [data-i]")?.dataset ?? {}, map = ["whole_heads", "attention"].find((name) => this.scores.maps.get(name)?.parts.length);
      if (head !== undefined) this.change({ layer: Number(layer), ...(map ? { map, part: Number(head) } : {}) });
      else if (i !== undefined) this.change({ token: Number(i), node: `${this.meta.layers.length},${i}`, edge: "" });
    };
    root.addEventListener("click", choose, { signal });
    this.watch(() => this.change({}, true));
  }
}
