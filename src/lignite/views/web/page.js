/** What every page is: its element, what it was given, its colours; and the page that holds its own payload. */
import { bytes, colourOf, element, Palette, paintScale, partsOf } from "./kit.js";
import { Pictures } from "./picture.js";

export class Page {
  constructor(root, { meta }) {
    this.root = root;
    this.meta = meta;
    this.at = partsOf(root);
    this.colour = colourOf(root);
    this.pictures = new Pictures(meta);
    this.gone = new AbortController();
    this.dark = matchMedia("(prefers-color-scheme: dark)"); // whether the reader's room is dark
    this.readPalette();
  }

  readPalette() { this.palette = new Palette(this.meta.palette[this.dark.matches ? "dark" : "light"]); }

  /** The scale of colours, from `texts[0]` to `texts[1]`, over the picture where there is one. */
  drawLegend(texts, note, picture = false) {
    const context = this.at("legend").getContext("2d"), span = (text) => element("span", {}, text);
    if (picture) this.pictures.paintScale(context);
    else paintScale(context, (share) => this.palette.css(share));
    this.at("legend-text").replaceChildren(span(texts[0]), span("0"), span(texts[1]), element("em", {}, note));
  }

  /** Say when the window has another size and when the room's light has changed, until the page is gone. */
  watch(resized, relit) {
    const { signal } = this.gone;
    addEventListener("resize", resized, { signal });
    this.dark.addEventListener("change", () => { this.readPalette(); relit(); }, { signal });
  }
}

/** Bring the whole document to life: description and numbers stand in elements beside the body's parts. */
export function open(mount) {
  const text = (id) => document.getElementById(id).textContent;
  mount(document.body, { meta: JSON.parse(text("meta")), block: (name) => bytes(text(`data-${name}`)) }, { address: true });
}
