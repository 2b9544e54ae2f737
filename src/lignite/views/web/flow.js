/** A flow, to look at: what the reader chose, one way to change it, and who draws it. */
import { canvasOf, digits, element, FONT, paintCells, signed } from "./kit.js";
import { Page } from "./page.js";
import { Scores } from "./flow_scores.js";
import { Heat, Strip } from "./flow_heat.js";
import { Tokens } from "./flow_tokens.js";
import { Graph } from "./flow_graph.js";

const WORDS = { // how the choices are named in the page's address
  map: "map", part: "part", layer: "layer", norm: "values", scale: "colours",
  special: "hide-special", diagonal: "hide-diagonal", token: "token", direction: "colour-by",
};
const RECOLOURS = ["map", "part", "norm", "scale", "special", "diagonal"];

let mounted = 0;

/** Bring the page inside `root` to life. With `address` the choices stand in the document's address. Returns how to end it. */
export function mount(root, payload, { address = false } = {}) {
  const page = new FlowPage(root, payload, address);
  return () => page.gone.abort();
}

class FlowPage extends Page {
  constructor(root, payload, address) {
    super(root, payload);
    this.address = address;
    this.state = {
      map: this.meta.maps[0].name, part: -1, layer: 0, norm: "score", scale: "shared", special: false, diagonal: false,
      token: 0, direction: "receives", zoom: null, everyToken: false, node: null, threshold: null,
    };
    this.scores = new Scores(payload, this.state);
    this.seen = false; // whether the pictures are decoded
    this.waiting = 0;
    this.strip = new Strip(this);
    this.heat = new Heat(this);
    this.tokens = new Tokens(this);
    this.graph = new Graph(this);
    this.listen();
    this.start();
  }

  start() {
    const { meta, scores } = this, reader = meta.grid ? meta.targets.find((index) => !meta.grid.places[index]) : undefined; // a class token reads the picture
    this.change({ token: reader ?? scores.busiest(), ...this.readAddress(), again: true });
    if (meta.grid) this.pictures.loaded.then(() => { this.seen = true; this.tokens.drawFilm(); });
  }

  tokenLabel(index) { return `${this.meta.tokens[index]} ${this.meta.positions[index]}`; }
  columnLabel(column) { return this.scores.map.columns === "source" ? this.tokenLabel(column) : `head ${this.meta.heads[column]}`; }

  /** Shares as cells with a frame around them. */
  paint(context, box, rows, columns, share) {
    if (!paintCells(context, box, rows, columns, share, this.palette)) return;
    context.strokeStyle = this.colour("--line");
    context.lineWidth = 1;
    context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  }

  /** Choose something, and draw what depends on it. */
  change(next) {
    const { state, scores } = this, before = { ...state }, differ = (names) => names.some((name) => state[name] !== before[name]);
    Object.assign(state, next);
    const { map } = scores;
    if ((state.map !== before.map && next.part === undefined) || state.part >= map.parts.length) state.part = -1;
    if (state.norm === "share" && !map.hasDisplacement) state.norm = "score";
    if (map.columns !== scores.maps.get(before.map).columns || differ(["special"])) state.zoom = null;
    if (differ(["map", "special", "diagonal"])) state.threshold = next.threshold ?? null;
    this.fillControls();
    this.explainColours();
    this.heat.draw();
    this.tokens.drawChips();
    if (differ(RECOLOURS) || next.again) this.strip.draw(() => this.drawLater());
    else this.drawLater();
    this.writeAddress();
  }

  drawLater() { // token strips and paths read every layer: after everything that reads one
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { this.tokens.draw(); this.graph.draw(); }, 0);
  }

  explainColours() {
    const { state, meta } = this, limit = this.scores.limit(state.layer);
    const write = (value) => (state.norm === "score" ? signed(value) : `${value < 0 ? "−" : "+"}${digits(100 * Math.abs(value))} %`);
    const where = state.norm === "row" ? "of the row's largest" : `${100 * meta.quantile} % quantile off the diagonal`;
    this.drawLegend([write(-limit), write(limit)], where);
  }

  fillControls() {
    const { state, at, meta } = this, { map } = this.scores;
    at("map").replaceChildren(...meta.maps.map(({ name, title }) => element("option", { value: name, selected: name === state.map }, title)));
    at("part-label").hidden = !map.parts.length;
    if (map.split) {
      const one = (part) => (map.split === "head" ? `head ${part}` : part);
      at("part").replaceChildren(element("option", { value: -1, selected: state.part < 0 }, `all ${map.split}s added up`),
        ...map.parts.map((part, index) => element("option", { value: index, selected: state.part === index }, one(part))));
    }
    at("norm").value = state.norm;
    at("norm").querySelector("[value=share]").disabled = !map.hasDisplacement;
    at("scale").value = state.scale;
    at("hide-special").checked = state.special;
    at("hide-diagonal").checked = state.diagonal;
    at("all-tokens").checked = state.everyToken;
    for (const radio of this.directions) radio.checked = radio.value === state.direction;
    this.strip.press();
  }

  writeAddress() {
    if (!this.address) return;
    const { state, meta } = this, { parts } = this.scores.map;
    const said = {
      ...state, layer: meta.layers[state.layer], token: meta.positions[state.token], part: state.part < 0 ? "all" : parts[state.part],
      special: Number(state.special), diagonal: Number(state.diagonal),
    };
    const words = Object.entries(WORDS).filter(([name]) => name !== "part" || parts.length).map(([name, word]) => `${word}=${encodeURIComponent(said[name])}`);
    if (state.node) words.push(`node=${state.node.level},${meta.positions[state.node.token]}`);
    try { history.replaceState(null, "", `#${words.join("&")}`); } catch { /* a page inside an iframe may not own its address */ }
  }

  readAddress() {
    if (!this.address) return {};
    const { meta, state, scores } = this, words = new URLSearchParams(location.hash.slice(1)), next = {};
    const place = (list, word) => (words.has(word) ? list.map(String).indexOf(words.get(word)) : -1);
    const among = (name, list) => { if (place(list, WORDS[name]) >= 0) next[name] = words.get(WORDS[name]); };
    if (scores.maps.has(words.get("map"))) next.map = words.get("map");
    if (words.has("part")) next.part = place(scores.maps.get(next.map || state.map).parts, "part");
    if (place(meta.layers, "layer") >= 0) next.layer = place(meta.layers, "layer");
    if (place(meta.positions, "token") >= 0) next.token = place(meta.positions, "token");
    among("norm", ["score", "share", "row"]);
    among("scale", ["shared", "layer"]);
    among("direction", ["receives", "gives"]);
    for (const name of ["special", "diagonal"]) if (words.has(WORDS[name])) next[name] = words.get(WORDS[name]) === "1";
    const [level, position] = (words.get("node") || "").split(",").map(Number);
    if (level > 0 && level <= meta.layers.length && meta.positions.includes(position)) next.node = { level, token: meta.positions.indexOf(position) };
    return next;
  }

  listen() {
    const { at, root } = this, { signal } = this.gone;
    const on = (name, event, make) => at(name).addEventListener(event, (happened) => this.change(make(happened.target)));
    on("map", "change", (control) => ({ map: control.value }));
    on("part", "change", (control) => ({ part: Number(control.value) }));
    on("norm", "change", (control) => ({ norm: control.value }));
    on("scale", "change", (control) => ({ scale: control.value }));
    on("hide-special", "change", (control) => ({ special: control.checked }));
    on("hide-diagonal", "change", (control) => ({ diagonal: control.checked }));
    on("all-tokens", "change", (control) => ({ everyToken: control.checked }));
    on("unzoom", "click", () => ({ zoom: null }));
    on("clear-node", "click", () => ({ node: null, threshold: null }));
    at("smooth").addEventListener("change", () => this.tokens.drawFilm());
    at("save").addEventListener("click", () => this.save());
    mounted += 1;
    this.directions = root.querySelectorAll("[name=direction]");
    for (const radio of this.directions) {
      radio.name = `direction-${mounted}`; // of all radios of a document, those of one name exclude each other
      radio.addEventListener("change", () => this.change({ direction: radio.value }));
    }
    root.addEventListener("keydown", (event) => this.press(event), { signal });
    if (this.address) addEventListener("hashchange", () => this.change(this.readAddress()), { signal });
    let width = root.clientWidth;
    this.watch(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      this.heat.draw();
      this.drawLater();
    }, () => this.change({ again: true }));
  }

  /** Arrows choose a layer or a token, Escape shows everything. */
  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (/^Arrow(Up|Down)$/.test(event.key) && event.target === this.root) return; // they scroll the page
    const { state, meta } = this, within = (value, all) => Math.max(0, Math.min(all.length - 1, value));
    const next = {
      ArrowLeft: { layer: within(state.layer - 1, meta.layers) }, ArrowRight: { layer: within(state.layer + 1, meta.layers) },
      ArrowUp: { token: within(state.token - 1, meta.tokens) }, ArrowDown: { token: within(state.token + 1, meta.tokens) },
      Escape: { zoom: null, node: null, threshold: null },
    }[event.key];
    if (!next) return;
    event.preventDefault();
    this.change(next);
  }

  /** The heat map on its ground, under its title and its legend. */
  picture() {
    const heat = this.at("heat"), legend = this.at("legend"), ratio = heat.width / Number.parseFloat(heat.style.width), band = 44 * ratio;
    const made = canvasOf(heat.width, heat.height + band), context = made.getContext("2d"), [left, , right, note] = [...this.at("legend-text").children];
    context.fillStyle = this.colour("--card");
    context.fillRect(0, 0, made.width, made.height);
    context.drawImage(heat, 0, band);
    context.scale(ratio, ratio);
    context.fillStyle = this.colour("--ink");
    context.font = `12px ${FONT}`;
    context.fillText(this.at("heat-title").textContent, 6, 16);
    context.drawImage(legend, 6, 24, 120, 10);
    context.fillText(`${left.textContent} to ${right.textContent}, ${note.textContent}`, 134, 34);
    return made;
  }

  /** The heat map as a file. */
  save() {
    const { state, meta } = this;
    this.picture().toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: `${state.map}-layer-${meta.layers[state.layer]}.png` });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
}
