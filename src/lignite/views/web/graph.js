/** A graph of nodes in columns: tokens are rows, levels columns, and lines as thick as what they carry. */
import { clip, drawn, largest } from "./kit.js";

const TOP = 26, PITCH = 22, LABEL = 120, NARROW = 74;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `act` answers what the reader does: `node(level, item)` and `edge(edge)`. */
export class Graph {
  constructor(box, act) {
    this.box = box;
    this.act = act;
    this.nodes = new Map();
    box.addEventListener("keydown", (event) => this.walk(event));
  }

  /** Draw `columns` (name, items as id and label) and `edges` (layer, source, target, value; style, title).
   * `sizeOf(level, id)` is what a node holds, `chosen` a key as "level,id", `follow` where the keyboard begins. */
  draw({ columns, edges, sizeOf, chosen, follow }) {
    const wide = this.box.clientWidth, room = wide < 560 ? NARROW : LABEL, last = columns.length - 1, rows = Math.max(...columns.map(({ items }) => items.length));
    const step = Math.max(26, (wide - 2 * room - 24) / last), x = (level) => room + 12 + level * step;
    const place = columns.map(({ items }) => new Map(items.map(({ id }, row) => [id, TOP + (row + 0.5) * PITCH * (rows / items.length)])));
    const width = Math.max(wide, 2 * room + 24 + last * step), height = TOP + rows * PITCH + 6;
    const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.columns = columns;
    this.nodes.clear();
    const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Nodes; arrow keys walk, Enter chooses" });
    columns.forEach(({ name }, level) => { if (level % Math.ceil(34 / step) === 0) svg.append(drawn("text", { x: x(level), y: 13, "text-anchor": "middle", class: "dim" }, name)); });
    this.drawEdges(svg, edges, x, place);
    columns.forEach(({ name, items }, level) => items.forEach(({ id, label }) => {
      const size = sizeOf?.(level, id), key = `${level},${id}`;
      const node = drawn("circle", {
        cx: x(level), cy: place[level].get(id), r: size === undefined ? 3 : 2 + 7 * Math.sqrt(Math.min(1, Math.abs(size))), tabindex: -1, role: "button", "data-key": key,
        "aria-pressed": String(key === chosen), class: `node ${key === chosen ? "on" : size > 0 ? "plus" : size < 0 ? "minus" : ""}`,
        "aria-label": `${label}, ${name}`, onclick: () => this.act.node(level, id),
      }, drawn("title", {}, `${label}, ${name}`));
      this.nodes.set(key, node);
      svg.append(node);
    }));
    for (const [level, at, anchor] of [[0, x(0) - 12, "end"], [last, x(last) + 12, "start"]]) {
      for (const { id, label } of columns[level].items) svg.append(drawn("text", { x: at, y: place[level].get(id) + 4, "text-anchor": anchor }, clip(label, room / 7)));
    }
    this.box.replaceChildren(svg);
    (this.nodes.get(chosen) ?? this.nodes.get(follow) ?? [...this.nodes.values()].at(-1))?.setAttribute("tabindex", 0);
    if (focused) this.nodes.get(focused)?.focus();
  }

  drawEdges(svg, edges, x, place) {
    const most = largest(edges.map(({ value }) => value)) || 1;
    for (const edge of [...edges].reverse()) { // strongest on top
      const { layer, source, target, value, style, title } = edge, from = place[layer].get(source), to = place[layer + 1].get(target), size = Math.abs(value) / most;
      if (from === undefined || to === undefined) continue;
      const middle = (x(layer) + x(layer + 1)) / 2, d = `M${x(layer)} ${from}C${middle} ${from} ${middle} ${to} ${x(layer + 1)} ${to}`;
      svg.append(drawn("path", { d, class: `edge ${value > 0 ? "plus" : "minus"}`, style, "stroke-width": (0.8 + 7 * size).toFixed(2), opacity: (0.3 + 0.6 * size).toFixed(2) }),
        drawn("path", { d, class: "hit", onclick: () => this.act.edge(edge) }, drawn("title", {}, title)));
    }
  }

  /** Arrow keys walk from node to node, Enter and the space bar choose. */
  walk(event) {
    const key = event.target.dataset?.key;
    if (!key || event.altKey || event.ctrlKey || event.metaKey) return;
    const [level, id] = key.split(",").map(Number);
    if (event.key === "Enter" || event.key === " ") this.act.node(level, id);
    else if (ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key], items = this.columns[level + right]?.items ?? [], at = this.columns[level].items.findIndex((item) => item.id === id);
      const next = this.nodes.get(`${level + right},${right ? (items.find((item) => item.id === id) ?? items[at])?.id : items[at + down]?.id}`);
      if (!next) return;
      event.target.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    } else return;
    event.preventDefault();
  }
}
