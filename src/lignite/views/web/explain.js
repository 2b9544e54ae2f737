/** Explanations, to look at: what the reader chose, and who draws it. */
import { Page } from "./page.js";
import { Scores } from "./explain_scores.js";
import { TextView, Tip } from "./explain_text.js";
import { ImageView } from "./explain_image.js";
import { Flow, Heat } from "./explain_layers.js";
import { drawChoices, drawFacts, drawLists, drawOverview } from "./explain_facts.js";

/** Bring the page inside `root` to life. Returns how to end it. */
export function mount(root, payload) {
  const page = new ExplanationPage(root, payload);
  return () => page.gone.abort();
}

class ExplanationPage extends Page {
  constructor(root, payload) {
    super(root, payload);
    const { meta } = payload;
    this.state = {
      entry: 0, units: meta.words ? "words" : "tokens", special: meta.special, map: meta.entries[0].maps[1]?.name ?? "", row: 0, scale: "shared",
      token: -1, edges: 40, smooth: meta.smooth, numbered: true, opacity: 1, own: false,
    };
    this.scores = new Scores(payload, this.state);
    this.waiting = 0;
    this.tip = new Tip(this);
    this.text = new TextView(this);
    this.image = new ImageView(this);
    this.heat = new Heat(this);
    this.flow = new Flow(this);
    this.listen();
    this.pictures.loaded.then(() => this.drawAll());
  }

  drawOverview() { drawOverview(this); }

  /** Everything, the overview too. */
  drawAll() {
    this.drawOverview();
    this.drawEntry();
  }

  drawEntry() {
    const { state, scores } = this;
    state.token = state.token < scores.view.tokens.length ? state.token : -1;
    drawChoices(this);
    drawFacts(this);
    this.text.draw();
    this.recolour();
    this.drawLayers();
    drawLists(this);
    setTimeout(() => this.drawFlow()); // long inputs hold millions of lines: everything else is there before them
  }

  recolour() {
    this.text.recolour();
    this.mark();
  }

  mark() {
    this.image.draw();
    this.text.mark();
  }

  drawLayers() {
    const { at, scores } = this, { entry, map } = scores;
    at("layers-card").hidden = !map;
    at("film").hidden = !entry.grid;
    at("heat-box").hidden = Boolean(entry.grid);
    this.heat.shape = null;
    if (map) (entry.grid ? this.image.drawLayers() : this.heat.draw());
  }

  drawFlow() {
    const { at, scores } = this, { entry, view } = scores;
    at("flow-card").hidden = !view.flow;
    at("reads").hidden = !entry.grid;
    at("flow-box").hidden = at("edges-line").hidden = Boolean(entry.grid);
    if (view.flow) (entry.grid ? this.image.drawReads() : this.flow.draw());
  }

  /** Show another explanation. */
  open(number) {
    const press = (on) => this.at("list").children[this.state.entry]?.setAttribute("aria-pressed", String(on));
    press(false);
    this.state.entry = number;
    press(true);
    this.state.token = -1;
    this.drawEntry();
  }

  /** Keep a token's numbers in sight, or let go of it. */
  choose(index) { this.keep(this.state.token === index ? -1 : index); }

  keep(index) {
    this.state.token = index;
    this.again();
  }

  again() {
    this.mark();
    this.drawLayers();
    this.drawFlow();
  }

  colourBy(row) {
    this.state.row = row;
    this.at("row").value = String(row);
    this.recolour();
    drawLists(this);
    this.drawLayers();
  }

  /** Draw with the next frame of the screen, once. */
  soon(draw) {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(draw);
  }

  listen() {
    const { at, state } = this;
    const on = (name, then) => at(name).addEventListener("change", (event) => { state[name] = event.target.value; then(); });
    on("units", () => { state.token = -1; this.drawAll(); });
    on("special", () => this.drawAll());
    on("map", () => { state.row = 0; drawChoices(this); this.recolour(); this.drawLayers(); drawLists(this); });
    on("scale", () => { this.recolour(); this.drawLayers(); });
    at("row").addEventListener("change", (event) => this.colourBy(Number(event.target.value)));
    this.watch(() => this.soon(() => this.again()), () => this.drawAll());
  }
}
