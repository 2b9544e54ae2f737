/** Cards as files: a drawing of what is seen, on its ground and under its title, and the numbers of its tables. */
import { canvasOf, drawn, element } from "./kit.js";

const MARGIN = 16;

/** Put the buttons that save a card into each of them. */
export function offerFiles(page) {
  for (const card of page.all("[data-card]")) {
    const name = `${card.dataset.card}-${card.closest("[data-entry]")?.dataset.entry ?? 0}`;
    const button = (kind, make) => element("button", { type: "button", "aria-label": `Save this card as ${kind}`, onclick: async () => save(await make(card), `${name}.${kind.toLowerCase()}`) }, kind);
    card.prepend(element("p", { class: "files" }, button("PNG", asPng), button("SVG", (of) => new Blob([asSvg(of)], { type: "image/svg+xml" })), button("CSV", (of) => new Blob([asCsv(of)], { type: "text/csv" }))));
  }
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const seen = (part) => !part.closest(".files, .buttons, .unseen, .readout:not(:has(b))") && part.getClientRects().length > 0;

/** Everything that a card shows as a drawing of its own: words, grounds, pictures, under the document's title. */
export function asSvg(card) {
  const box = card.getBoundingClientRect(), top = 2 * MARGIN, style = getComputedStyle(card);
  const width = Math.ceil(Math.max(box.width, ...[...card.querySelectorAll("table, svg")].filter(seen).map((part) => part.getBoundingClientRect().right - box.left + MARGIN)));
  const place = (rect) => ({ x: (rect.left - box.left).toFixed(1), y: (rect.top - box.top + top).toFixed(1), width: rect.width.toFixed(1), height: rect.height.toFixed(1) });
  const made = drawn("svg", { xmlns: "http://www.w3.org/2000/svg", width, height: Math.ceil(box.height + top), "font-family": style.fontFamily });
  made.append(drawn("rect", { width: "100%", height: "100%", fill: style.backgroundColor }), drawn("text", { x: MARGIN, y: 22, "font-size": 13, "font-weight": 600, fill: style.color }, document.title));
  const walk = document.createTreeWalker(card, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) => (node instanceof Element && !seen(node) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT));
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node instanceof Text) { if (!node.parentElement.closest("svg")) made.append(...lines(node, place)); } else drawPart(node, made, place);
  }
  return new XMLSerializer().serializeToString(made);
}

function drawPart(part, made, place) {
  const rect = part.getBoundingClientRect();
  if (part.tagName === "CANVAS" || part.tagName === "IMG") made.append(drawn("image", { ...place(rect), href: part.src ?? part.toDataURL(), preserveAspectRatio: "none" }));
  else if (part.tagName === "svg") made.append(styled(part, place(rect)));
  else if (!part.closest("svg")) {
    const { backgroundColor: fill, borderBottomStyle, color } = getComputedStyle(part), dashes = { solid: "none", dotted: "2 2" }[part.dataset.i && borderBottomStyle];
    for (const box of part.getClientRects()) {
      const { x, y, width, height } = place(box);
      if (fill !== "rgba(0, 0, 0, 0)") made.append(drawn("rect", { x, y, width, height, rx: 2, fill }));
      if (dashes) made.append(drawn("path", { d: `M${x} ${Number(y) + Number(height) - 1}h${width}`, stroke: color, "stroke-width": 2, "stroke-dasharray": dashes }));
    }
  }
}

/** A drawing within the card, with what the style sheet says of its parts. */
function styled(part, where) {
  const copy = part.cloneNode(true), kept = ["fill", "stroke", "stroke-width", "font-size", "opacity", "text-anchor"];
  const [from, to] = [part, copy].map((one) => [...one.querySelectorAll("*")]);
  from.forEach((one, at) => { const style = getComputedStyle(one); for (const name of kept) to[at].setAttribute(name, style.getPropertyValue(name)); });
  for (const [name, value] of Object.entries(where)) copy.setAttribute(name, value);
  return copy;
}

/** The words of a text, each where it stands. */
function* lines(node, place) {
  const style = getComputedStyle(node.parentElement), size = Number.parseFloat(style.fontSize), range = document.createRange();
  if (!size) return;
  for (const { index, 0: text } of node.data.matchAll(/\S+/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + text.length);
    const rect = range.getClientRects()[0];
    if (!rect) continue;
    const { x, y } = place(rect), upright = style.writingMode.startsWith("vertical");
    const turned = upright ? { transform: `translate(${Number(x) + 0.78 * rect.width} ${Number(y) + rect.height}) rotate(-90)` } : { x, y: Number(y) + 0.5 * rect.height + 0.36 * size };
    yield drawn("text", { ...turned, "font-size": size, "font-weight": style.fontWeight, fill: style.color }, text);
  }
}

async function asPng(card) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(asSvg(card))}`;
  await image.decode();
  const made = canvasOf(2 * image.naturalWidth, 2 * image.naturalHeight);
  made.getContext("2d").drawImage(image, 0, 0, made.width, made.height);
  return new Promise((done) => { made.toBlob(done); });
}

/** Words with their scores, and tables, as a spreadsheet reads them. */
export function asCsv(card) {
  const plain = (text) => text.trim().replace(/^−(?=\d)/, "-"), cell = (text) => (/^[=+@-](?![\d.])/.test(text) ? `'${text}` : text).replaceAll('"', '""');
  const line = (cells) => cells.map((text) => `"${cell(plain(text))}"`).join(",");
  const texts = [...card.querySelectorAll(".text")].filter(seen).flatMap((text) => [["word", "score"], ...[...text.querySelectorAll("[data-i]")].map((span) => [span.textContent, span.title])]);
  const tables = [...card.querySelectorAll("tr")].filter(seen).map((row) => [...row.cells].map((one) => one.textContent));
  return [...texts, ...tables].map(line).join("\r\n");
}
