/** Explanations, to look at: what the reader chose colours text, lists and tables that stand in the page already. */
import { bar, cellText, digits, element, number, paint, percent, rows, signed, word } from "./kit.js";
import { Page } from "./page.js";
import { Graph } from "./graph.js";
import { strongestLines } from "./ways.js";
import { LISTED, Scores } from "./explain_scores.js";
import { ImageView, placeOf } from "./explain_image.js";

const MANY = 60; // tokens, beyond which the graph shows those with a line alone

/** Bring the page inside `root` to life. With `address` the choices stand in the document's address. Returns how to end it. */
export function mount(root, payload, { address = false } = {}) {
  const page = new ExplanationPage(root, payload, address);
  return () => page.gone.abort();
}

class ExplanationPage extends Page {
  constructor(root, payload, address) {
    const { meta } = payload;
    super(root, payload, {
      entry: 0, units: meta.words ? "words" : "tokens", special: meta.special, map: "", row: 0, scale: "shared", token: -1, node: "", lines: 80,
      smooth: meta.smooth, numbered: true, opacity: 100, own: false,
    }, address);
    this.scores = new Scores(payload, this);
    this.articles = new Map(this.all("[data-entry]").map((article) => [Number(article.dataset.entry), article]));
    this.image = new ImageView(this);
    this.everything = {}; // lists that are shown whole
    this.graphs = new Map();
    this.listen();
    this.change(this.readAddress(), true);
    this.pictures.loaded.then(() => this.drawPictures());
  }

  get article() { return this.articles.get(this.state.entry); }
  part(name) { return this.find(name, this.article); }

  /** Choose something, and show what it changes. */
  change(next, again = false) {
    const { state, scores } = this, before = { ...state };
    Object.assign(state, next);
    if (!this.articles.has(state.entry)) state.entry = 0;
    if (state.entry !== before.entry || state.units !== before.units || (state.map !== before.map && next.row === undefined)) Object.assign(state, { token: -1, node: "", row: 0 }, next);
    if (!scores.rows().includes(state.row)) state.row = 0;
    if (!(state.token < scores.view.tokens.length)) state.token = -1;
    if (state.entry !== before.entry) this.everything = {};
    const differ = (...names) => again || names.some((name) => state[name] !== before[name]), looked = differ("entry", "units", "special", "row", "map", "scale");
    if (looked) {
      this.show();
      this.recolour(differ("entry", "units", "special", "map", "scale"));
    }
    if (looked || differ("token")) this.drawLists();
    this.mark();
    this.drawPictures();
    if (differ("entry", "units", "node", "lines")) this.drawGraph();
    for (const update of this.controls) update();
    this.writeAddress();
  }

  /** Of what the page holds in several forms, the one that was chosen. */
  show() {
    const { state, scores } = this, { entry } = scores, name = scores.nameOf(entry);
    for (const [at, article] of this.articles) article.hidden = at !== state.entry;
    for (const part of this.all("[data-view]", this.article)) {
      const { view, rank, map } = part.dataset;
      part.hidden = view !== name || (rank !== undefined && Number(rank) !== Number(state.special === "rank")) || (map !== undefined && map !== scores.map?.name);
    }
    for (const link of this.all("[data-open]")) link.toggleAttribute("aria-current", Number(link.dataset.open) === state.entry);
    this.root.classList.toggle("plain", scores.view.shared && ["hide", "share"].includes(state.special));
    this.find("units").parentElement.hidden = !entry.views.words;
    this.find("special").parentElement.hidden = !scores.view.shared;
    if (this.find("row")) {
      const option = (value, title, chosen) => element("option", { value, selected: chosen }, title);
      this.find("row").replaceChildren(...scores.rows().map((row) => option(row, scores.rowTitle(row), row === state.row)));
      this.find("map").replaceChildren(...entry.maps.map((map) => option(map.name, map.title, map === scores.map)));
      this.find("map-label").hidden = entry.maps.length < 2;
    }
  }

  /** The text in the tones of the chosen row, and, where they are others than before, the layers in those of theirs. */
  recolour(layers) {
    const { state, scores } = this, row = scores.row(state.row), limit = scores.limit(state.row);
    for (const span of this.all(".text:not([hidden]) [data-i]", this.article)) {
      paint(span, row[span.dataset.i] / limit);
      span.title = signed(row[span.dataset.i]);
    }
    for (const line of this.all("[data-map]:not([hidden]) [data-row]", this.article)) {
      line.querySelector("button").setAttribute("aria-pressed", String(Number(line.dataset.row) === state.row));
      if (layers) this.recolourLayer(line);
    }
    const beyond = scores.shown(row).filter((score) => Math.abs(score) > limit).length;
    this.part("row-title").textContent = scores.rowTitle(state.row);
    this.part("ends").textContent = digits(limit);
    this.part("beyond").textContent = beyond ? `; ${beyond} ${beyond > 1 ? "lie" : "lies"} beyond` : "";
  }

  recolourLayer(line) {
    const { scores } = this, at = Number(line.dataset.row), values = scores.row(at), limit = scores.limit(at), seen = scores.tokens();
    for (const cell of line.querySelectorAll("[data-i]")) {
      paint(cell, values[cell.dataset.i] / limit);
      cell.textContent = cellText(values[cell.dataset.i], limit);
    }
    for (const cell of line.querySelectorAll("[data-sum]")) {
      const sign = Number(cell.dataset.sum);
      cell.textContent = signed(seen.reduce((sum, index) => sum + (sign * values[index] > 0 ? values[index] : 0), 0));
    }
  }

  /** The strongest tokens for and against, of the row that colours the text. */
  drawLists() {
    const { scores, state } = this, { view } = scores, row = scores.row(state.row), all = scores.tokens(), sizes = all.map((index) => Math.abs(row[index]));
    const most = Math.max(0, ...sizes) || 1, total = sizes.reduce((sum, size) => sum + size, 0) || 1;
    for (const [name, sign] of [["for", 1], ["against", -1]]) {
      const found = scores.ranked(row, all, sign), sum = found.reduce((added, index) => added + row[index], 0), short = this.everything[name] ? found : found.slice(0, LISTED);
      this.part(`${name}-sum`).textContent = `${state.row ? `${scores.rowTitle(state.row)}: ` : ""}${signed(sum)} from ${found.length} of ${all.length}`;
      const lines = short.map((index) => ({
        attributes: { "data-i": index, class: index === state.token ? "on" : "" },
        cells: [String(view.positions[index]), word(view.tokens[index]), bar(sign, Math.abs(row[index]) / most), number(signed(row[index])), number(percent(Math.abs(row[index]) / total), "dim")],
      }));
      if (short.length < found.length) lines.push({ cells: [element("td", { colspan: 5 }, element("button", { type: "button", onclick: () => { this.everything[name] = true; this.drawLists(); } }, `all ${found.length}`))] });
      rows(this.part(name), lines.length ? lines : [{ cells: ["", "none"] }], 1);
    }
  }

  /** The chosen token, wherever it stands, and its numbers; of another one, what the pointer rests on. */
  mark(pointed = this.state.token) {
    const { scores, state } = this, { entry, view } = scores;
    for (const part of this.all(".on:not(.node)", this.article)) part.classList.remove("on");
    for (const part of this.all(`[data-i="${state.token}"]:not(.texts)`, this.article)) part.classList.add("on");
    const row = scores.row(state.row), value = row[pointed], sizes = scores.tokens().map((index) => Math.abs(row[index]));
    const total = sizes.reduce((sum, size) => sum + size, 0) || 1, rank = 1 + sizes.filter((size) => size > Math.abs(value)).length;
    this.part("readout").replaceChildren(...(pointed < 0 ? [`Point at a ${entry.grid ? "patch" : "word"} for its numbers, choose it to keep it.`] : [
      element("b", {}, word(view.tokens[pointed])), ` at ${view.positions[pointed]}${placeOf(entry, pointed)}: `, element("b", {}, signed(value, 4)),
      `, ${percent(Math.abs(value) / total)} of all magnitude, number ${rank} of ${sizes.length}${state.row ? ` (${scores.rowTitle(state.row)}; over all layers ${signed(scores.row(0)[pointed])})` : ""}`]));
  }

  drawPictures() { if (this.scores.entry.grid) this.image.draw(); }

  // ---- where the relevance goes

  drawGraph() {
    const { scores, state } = this, { view, entry } = scores, box = this.part("graph");
    if (!box) return;
    box.closest(".card").hidden = !view.flow;
    if (!view.flow) return;
    if (!this.graphs.has(state.entry)) {
      this.graphs.set(state.entry, new Graph(box, {
        node: (level, token) => this.change({ node: state.node === `${level},${token}` ? "" : `${level},${token}`, token }),
        edge: ({ target, layer }) => this.change({ node: `${layer + 1},${target}`, token: target }),
      }));
    }
    const tree = scores.tree(), { most } = scores, lines = strongestLines(tree.edges, state.lines, entry.layers.length);
    const touched = new Set([...lines.flatMap(({ source, target }) => [source, target]), Number(state.node.split(",")[1] ?? -1)]), kept = [...view.tokens.keys()].filter((index) => view.tokens.length <= MANY || touched.has(index));
    const name = (level) => (level < entry.layers.length ? String(entry.layers[level]) : "out"), items = kept.map((id) => ({ id, label: view.tokens[id] }));
    this.graphs.get(state.entry).draw({
      columns: [...Array(entry.layers.length + 1).keys()].map((level) => ({ name: name(level), items })),
      edges: lines.map((edge) => ({ ...edge, title: `${view.tokens[edge.source]} → ${view.tokens[edge.target]}, layer ${entry.layers[edge.layer]}: ${signed(edge.value)}` })),
      sizeOf: (level, index) => (tree.levels[level] ? tree.levels[level][index] / most : undefined), chosen: state.node,
    });
    this.part("lines-text").textContent = `the ${lines.length} strongest; as thick as what they carry, orange for, blue against${kept.length < view.tokens.length ? `; ${kept.length} of ${view.tokens.length} tokens have one` : ""}`;
    this.drawNode(name);
  }

  /** What the chosen node is made of, and what becomes of it. */
  drawNode(name) {
    const { scores, state, article } = this, { view, entry } = scores, box = this.find("node", article), n = view.tokens.length;
    if (!state.node) { box.replaceChildren(); return; }
    const [level, token] = state.node.split(",").map(Number), values = { from: [], to: [] };
    for (let other = 0; other < n; other += 1) {
      if (level > 0) values.from.push(scores.flowOf(level - 1)[token * n + other]);
      if (level < entry.layers.length) values.to.push(scores.flowOf(level)[other * n + token]);
    }
    const list = (title, found) => {
      const table = element("table", { class: "list ranks", "aria-label": title }, element("tbody")), order = [...found.keys()].filter((at) => found[at]).sort((a, b) => Math.abs(found[b]) - Math.abs(found[a])).slice(0, 8);
      rows(table, order.map((at) => ({ cells: [word(view.tokens[at]), bar(found[at], found[at] / Math.abs(found[order[0]])), number(signed(found[at]))] })));
      return element("div", {}, element("h3", {}, title), order.length ? table : "nothing");
    };
    box.replaceChildren(list(`${view.tokens[token]} at ${name(level)} is made of`, values.from), list("and goes on into", values.to));
  }

  listen() {
    const { root } = this, { signal } = this.gone;
    const bound = ["units", "special", "scale"].flatMap((name) => (this.find(name) ? [this.bind(this.find(name), name)] : []));
    for (const name of ["row", "map"]) if (this.find(name)) this.bind(this.find(name), name);
    for (const slider of this.all('[data-name="lines"]')) bound.push(this.bind(slider, "lines", "input"));
    this.controls = [...bound, ...this.image.controls()];
    const chosen = (event) => Number(event.target.closest(".text [data-i], .ranks [data-i], .grid td[data-i]")?.dataset.i ?? -1);
    root.addEventListener("click", (event) => {
      const link = event.target.closest("[data-open]"), line = event.target.closest("[data-row]"), token = chosen(event);
      if (link) { event.preventDefault(); this.change({ entry: Number(link.dataset.open) }); }
      else if (line && event.target.closest("th")) this.change({ row: Number(line.dataset.row) });
      else if (token >= 0) this.change({ token: token === this.state.token ? -1 : token });
    }, { signal });
    root.addEventListener("pointerover", (event) => { if (chosen(event) >= 0) this.mark(chosen(event)); }, { signal });
    root.addEventListener("pointerout", (event) => { if (chosen(event) >= 0) this.mark(); }, { signal });
    for (const text of this.all(".text")) {
      for (const [name, value] of Object.entries({ tabindex: 0, role: "group", "aria-label": "The text; arrow keys choose a word" })) text.setAttribute(name, value);
      text.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], shown = this.scores.tokens(), at = shown.indexOf(this.state.token);
        if (!step) return;
        event.preventDefault();
        this.change({ token: shown.at((at + step + (at < 0 && step < 0 ? 1 : 0)) % shown.length) });
      });
    }
    this.watch(() => this.change({}, true));
  }
}
