/** As much of a browser as the pages need: elements that can be found and listened to, canvases that draw nothing. */

const SIMPLE = /^([\w*]+)?(?:\.([\w-]+))?(?:\[([\w-]+)(?:=["']?([^"'\]]*)["']?)?\])?$/;

export class Element {
  constructor(tag = "div", attributes = {}, children = []) {
    this.tagName = tag.toUpperCase();
    this.attributes = {};
    this.children = [];
    this.style = {};
    this.dataset = {};
    this.listeners = {};
    this.clientWidth = 900;
    this.classes = new Set();
    this.classList = { toggle: (name, on) => this.classes[on ? "add" : "delete"](name), remove: (name) => this.classes.delete(name), add: (name) => this.classes.add(name) };
    for (const [name, value] of Object.entries(attributes)) this.setAttribute(name, value ?? "");
    this.append(...children);
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
    if (name === "class") value.split(" ").forEach((one) => this.classes.add(one));
    if (name.startsWith("data-")) this.dataset[name.slice(5)] = value;
    if (["value", "name", "hidden", "width", "height"].includes(name)) this[name] = value;
  }

  append(...children) {
    for (const child of children) {
      if (child instanceof Element) child.parentElement = this;
      this.children.push(child);
    }
  }

  replaceChildren(...children) { this.children = []; this.append(...children); }

  get textContent() { return this.children.map((child) => (child instanceof Element ? child.textContent : String(child.text ?? child))).join(""); }

  set textContent(text) { this.children = [text]; }

  addEventListener(name, listener, { signal } = {}) {
    (this.listeners[name] ??= new Set()).add(listener);
    signal?.addEventListener("abort", () => this.listeners[name].delete(listener));
  }

  fire(name, event = {}) { for (const listener of this.listeners[name] ?? []) listener({ target: this, preventDefault() {}, ...event }); }

  matches(selector) {
    return selector.split(", ").some((one) => {
      const [, tag, kind, attribute, value] = SIMPLE.exec(one);
      return (!tag || tag.toUpperCase() === this.tagName) && (!kind || this.classes.has(kind))
        && (!attribute || (attribute in this.attributes && (value === undefined || String(this[attribute] ?? this.attributes[attribute]) === value)));
    });
  }

  querySelectorAll(selector) {
    return this.children.filter((child) => child instanceof Element)
      .flatMap((child) => [...(child.matches(selector) ? [child] : []), ...child.querySelectorAll(selector)]);
  }

  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }

  getBoundingClientRect() { return { left: 0, top: 0, width: 100, height: 20 }; }

  setPointerCapture() {}

  toBlob() { Element.saved = this; }

  getContext() { return (this.context ??= new Context(this)); }
}

/** Draws nothing, but keeps the pixels that were put on it, and the words. */
class Context {
  constructor(canvas) {
    this.canvas = canvas;
    return new Proxy(this, { get: (context, name) => context[name] ?? (() => undefined) });
  }

  measureText(text) { return { width: 6 * text.length }; }

  fillText(text, x, y) { (this.canvas.written ??= []).push({ text, x, y }); }

  getTransform() { return { a: 1 }; }

  createImageData(width, height) { return new ImageData(width, height); }

  putImageData(image) { this.canvas.image = image; }

  drawImage(image) { this.canvas.image = image.image; }
}

class ImageData {
  constructor(width, height) { this.data = new Uint8ClampedArray(4 * width * height); }
}

/** An element as Python's parser found it: tag, attributes, children. */
export function grown([tag, attributes, children]) {
  return new Element(tag, attributes, children.map((child) => (typeof child === "string" ? child : grown(child))));
}

const room = new Element("window");
Object.assign(globalThis, {
  ImageData,
  document: { createElement: (tag) => new Element(tag), createTextNode: (text) => ({ text }) }, // and nothing that finds by id
  getComputedStyle: () => ({ getPropertyValue: () => "#101010" }),
  matchMedia: () => Object.assign(new Element("media"), { matches: false }),
  addEventListener: (...how) => room.addEventListener(...how),
  requestAnimationFrame: (draw) => setTimeout(draw),
  cancelAnimationFrame: clearTimeout,
  innerHeight: 900,
  innerWidth: 1200,
});

/** What is said to the window. */
export function fireWindow(name) { room.fire(name); }

/** Everything that waits has happened. */
export async function settled() { for (let turn = 0; turn < 40; turn += 1) await new Promise((done) => { setTimeout(done); }); }
