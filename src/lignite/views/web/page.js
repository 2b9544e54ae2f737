/** What every page is: its element, what it was given, what its reader chose; and the page that holds its own payload. */
import { offerFiles } from "./share.js";
import { Pictures } from "./picture.js";

/** `defaults` are the choices a page opens with; those that differ stand in the document's address, where it is ours. */
export class Page {
  constructor(root, { meta }, defaults, address) {
    this.root = root;
    this.meta = meta;
    this.defaults = defaults;
    this.state = { ...defaults };
    this.address = address;
    this.pictures = new Pictures(meta);
    this.gone = new AbortController();
    this.dark = matchMedia("(prefers-color-scheme: dark)"); // whether the reader's room is dark
    root.classList.add("live");
    root.ariaBusy = "true";
    this.pictures.loaded.then(() => { root.ariaBusy = null; });
    if (address) {
      addEventListener("hashchange", () => this.change({ ...this.defaults, ...this.readAddress() }), { signal: this.gone.signal });
      const link = this.find("link");
      link.addEventListener("click", async () => {
        await navigator.clipboard?.writeText(location.href).catch(() => undefined);
        link.textContent = "Copied: the address bar holds the link too";
      });
    } else this.find("link").hidden = true;
    offerFiles(this);
  }

  /** The first part of this name within the page, or within a part of it. */
  find(name, inside = this.root) { return inside.querySelector(`[data-name="${name}"]`); }
  all(selector, inside = this.root) { return [...inside.querySelectorAll(selector)]; }

  /** A colour of the style sheet, which may differ between light and dark rooms. */
  colour(name) { return getComputedStyle(this.root).getPropertyValue(name).trim(); }

  readAddress() {
    const said = {};
    for (const [name, text] of this.address ? new URLSearchParams(location.hash.slice(1)) : []) {
      const usual = this.defaults[name], value = { number: Number, boolean: (word) => word === "true" }[typeof usual]?.(text) ?? text;
      if (usual !== undefined && !Number.isNaN(value)) said[name] = value;
    }
    return said;
  }

  writeAddress() {
    if (!this.address) return;
    const words = Object.entries(this.state).filter(([name, value]) => name in this.defaults && value !== this.defaults[name]);
    try { history.replaceState(null, "", `#${words.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",")}`).join("&")}`); } catch { /* a page inside an iframe may not own its address */ }
  }

  /** A control that chooses `name`: it shows the choice, and changes it. */
  bind(control, name, event = "change") {
    const kind = control.type === "checkbox" ? "checked" : "value", usual = typeof this.defaults[name];
    control.addEventListener(event, () => this.change({ [name]: usual === "number" ? Number(control.value) : control[kind] }));
    return () => { control[kind] = this.state[name]; };
  }

  /** Say when the room's light has changed, or the window its width, until the page is gone. */
  watch(again) {
    let width = this.root.clientWidth;
    this.dark.addEventListener("change", again, { signal: this.gone.signal });
    addEventListener("resize", () => {
      if (this.root.clientWidth === width) return;
      width = this.root.clientWidth;
      again();
    }, { signal: this.gone.signal });
  }
}

/** Blocks of numbers from one compressed text: where each begins and ends stands in the description. */
async function unpacked(text, places) {
  const coded = atob(text.trim()), packed = new Uint8Array(coded.length);
  for (let at = 0; at < coded.length; at += 1) packed[at] = coded.charCodeAt(at);
  const whole = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  return (name) => whole.slice(...places[name]);
}

/** Bring the whole document to life: description and numbers stand in elements beside the body's parts. */
export async function open(mount) {
  const text = (id) => document.getElementById(id).textContent, meta = JSON.parse(text("meta"));
  mount(document.body, { meta, block: await unpacked(text("blocks"), meta.blocks) }, { address: true });
}
