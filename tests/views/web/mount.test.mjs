/** Pages live in their own element: two of a kind in one document do not know of each other. */
import assert from "node:assert/strict";
import test from "node:test";
import { Element, fireWindow, grown, settled } from "./dom.mjs";
import { given, load, payload } from "./given.mjs";

const { bytes } = await load("kit");

async function two(name, page) {
  const { mount } = await load(name), roots = [grown(page.tree), grown(page.tree)];
  const ends = roots.map((root) => mount(root, payload(page, bytes)));
  await settled();
  return { roots, ends };
}
const part = (root, name) => root.querySelector(`[data-name="${name}"]`);
const written = (root) => JSON.stringify(root.textContent);

test("a flow that is changed leaves the other as it was", async () => {
  const { roots: [first, second] } = await two("flow", given.flow);
  const before = written(second);
  assert.equal(written(first), before);

  Object.assign(part(first, "map"), { value: "attention" }).fire("change");
  first.fire("keydown", { key: "ArrowRight" });
  await settled();

  assert.match(part(first, "heat-title").textContent, /^Layer 1: attention/);
  assert.match(part(second, "heat-title").textContent, /^Layer 0: whole/);
  assert.equal(written(second), before);
});

test("a click on a cell follows its target, and a drag shows the cells between alone", async () => {
  const { roots: [page] } = await two("flow", given.flow), heat = part(page, "heat");
  const at = (row, column) => ({ offsetX: 70 + (column + 0.5) * 38, offsetY: 4 + (row + 0.5) * 38 }); // behind labels of ten signs

  heat.fire("pointerdown", at(5, 2));
  heat.fire("pointerup", at(5, 2));
  assert.equal(part(page, "tokens-text").textContent, "given to plot 5 in layer 0");

  heat.fire("pointerdown", at(3, 6));
  heat.fire("pointerup", at(4, 8));
  assert.equal(part(page, "strongest").children.length, 2 * 3);
  assert.equal(part(page, "unzoom").hidden, false);
});

test("what two flows receive and give is chosen apart", async () => {
  const { roots } = await two("flow", given.flow), names = roots.map((root) => root.querySelector("[value=gives]").name);

  assert.notEqual(names[0], names[1]); // radios of one name exclude each other, wherever they stand
});

test("an explanation that is changed leaves the other as it was", async () => {
  const { roots: [first, second] } = await two("explain", given.explanation);
  const before = written(second);
  assert.equal(written(first), before);

  Object.assign(part(first, "row"), { value: "2" }).fire("change");
  await settled();

  assert.match(part(first, "legend-text").textContent, /layer 1/);
  assert.equal(written(second), before);
  Object.assign(part(second, "scale"), { value: "layer" }).fire("change"); // drawn again, it is still what it was
  assert.doesNotMatch(part(second, "legend-text").textContent, /layer 1/);
});

test("lists follow the layer that colours the text", async () => {
  const { roots: [page] } = await two("explain", given.explanation), sum = () => part(page, "against-sum").textContent;
  const before = sum();

  Object.assign(part(page, "row"), { value: "2" }).fire("change");

  assert.match(sum(), /^layer relevance, layer 1: /);
  assert.notEqual(sum().split(": ")[1], before);
});

test("special tokens are ranked where that is asked for", async () => {
  const { roots: [page] } = await two("explain", given.explanation), ranked = () => part(page, "for").textContent + part(page, "against").textContent;

  assert.doesNotMatch(ranked(), /\[CLS\]/);
  Object.assign(part(page, "special"), { value: "rank" }).fire("change");
  assert.match(ranked(), /\[CLS\]/);
});

test("arrows up and down scroll the page unless a part of it has the focus", async () => {
  const { roots: [page] } = await two("flow", given.flow), chosen = () => part(page, "tokens-text").textContent;
  const before = chosen();

  page.fire("keydown", { key: "ArrowDown", preventDefault() { assert.fail("the page does not scroll"); } });
  await settled();
  assert.equal(chosen(), before);
  page.fire("keydown", { key: "ArrowDown", target: part(page, "heat") });
  await settled();
  assert.notEqual(chosen(), before);
});

test("a saved heat map has a ground, a title and a legend", async () => {
  const { roots: [page] } = await two("flow", given.flow), heat = part(page, "heat");

  part(page, "save").fire("click");

  const { saved } = Element;
  assert.ok(saved.height > heat.height);
  const [title, legend, ...more] = saved.written.map(({ text }) => text);
  assert.ok(title.startsWith("Layer 0"));
  assert.ok(legend.startsWith(part(page, "legend-text").children[0].textContent));
  assert.deepEqual(more, []);
});

test("the strongest patches carry their numbers until the reader takes them away", async () => {
  const { roots: [page] } = await two("explain", given.seen), overlay = part(page, "overlay");
  const drawnWith = (checked) => {
    overlay.written = [];
    Object.assign(part(page, "numbered"), { checked }).fire("input");
    return overlay.written;
  };

  assert.deepEqual(drawnWith(true).map(({ text }) => Number(text)), given.numbered);
  const places = drawnWith(true).map(({ text, x, y }) => [Number(text) - 1, Math.floor((5 * x) / overlay.width) + 5 * Math.floor((4 * y) / overlay.height)]);
  for (const [expected, found] of places) assert.equal(found, expected); // behind [CLS], row by row
  assert.deepEqual(drawnWith(false), []);
});

test("what has no place is a bar in the measure of what the patches say", async () => {
  const { roots: [page] } = await two("explain", given.seen), rows = part(page, "outside").children;

  const shares = rows.map((row) => Number.parseFloat(row.querySelector("i").style.width) / 100);
  assert.equal(shares.length, given.bars.length);
  shares.forEach((share, at) => assert.ok(Math.abs(share - given.bars[at]) < 1e-6)); // float32 on the page
  assert.match(rows.at(-1).textContent, /\[CLS\]/);
});

test("a flow and an explanation share a document", async () => {
  const { mount: mountFlow } = await load("flow"), { mount: mountExplanation } = await load("explain");
  const roots = [grown(given.flow.tree), grown(given.explanation.tree)];
  mountFlow(roots[0], payload(given.flow, bytes));
  mountExplanation(roots[1], payload(given.explanation, bytes));
  await settled();

  assert.match(part(roots[0], "heat-title").textContent, /^Layer 0/);
  assert.match(part(roots[1], "verdict").textContent, /^The model says positive/);
});

test("a page that has ended no longer listens to the window", async () => {
  const { roots: [first, second], ends } = await two("flow", given.flow);
  for (const root of [first, second]) { root.clientWidth = 500; part(root, "heat-title").textContent = ""; }

  ends[0]();
  fireWindow("resize");

  assert.equal(part(first, "heat-title").textContent, "");
  assert.match(part(second, "heat-title").textContent, /^Layer 0/);
});
