/** What the scripts compute is what the library computes: one result says one thing, on a page and in Python. */
import assert from "node:assert/strict";
import test from "node:test";
import "./dom.mjs";
import { bytes, distance, given, load, payload } from "./given.mjs";

const kit = await load("kit"), ways = await load("ways"), flows = await load("flow_scores");
const picture = await load("picture"), explained = await load("explain_scores");
const SINGLE = 1e-5; // float32 holds seven digits, and shares of small sums lose some of them

function flow(more = {}) {
  const state = { units: "tokens", map: "whole", layer: 0, part: -1, special: false, token: -1, node: "", ...more };
  return new flows.Scores(payload(given.flow), { state });
}

function explanation(more = {}) {
  const state = { entry: 0, units: "tokens", special: "show", map: "", row: 0, scale: "shared", token: -1, node: "", ...more };
  return new explained.Scores(payload(given.explanation), { state });
}

test("a share is the score divided by the sum of its row, and a target that moved nowhere is its own only source", () => {
  const scores = flow();
  for (const [layer, expected] of given.shares.entries()) {
    const made = ways.sharesOf(scores.of(scores.map, layer), scores.view.targets, scores.meta.still);
    assert.ok(distance([...made], expected) < SINGLE);
  }
});

test("what leads to a token after the last layer is its row of the chain", () => {
  for (const [token, expected] of given.chain.entries()) {
    const scores = flow({ node: `${given.flow.meta.layers.length},${token}` });
    assert.ok(distance([...scores.tree(scores.map).levels[0]], expected) < 1e-4);
  }
});

test("a graph opens on the token from which the answer is read", () => {
  const scores = flow(), tree = scores.tree(scores.map);
  assert.deepEqual([tree.level, tree.token], [given.flow.meta.layers.length, 0]);
  assert.equal(flow({ units: "words" }).reader, 0);
});

test("hidden special tokens lead nowhere", () => {
  const scores = flow({ special: true, node: `${given.flow.meta.layers.length},3` }), { levels, edges } = scores.tree(scores.map);
  scores.view.special.forEach((special, token) => { if (special) assert.equal(levels[0][token], 0); });
  assert.ok(edges.every(({ source }) => !scores.view.special[source]));
});

test("tokens are added up to words, heads to their sum", () => {
  for (const [name, layers] of Object.entries(given.words)) {
    const scores = flow({ units: "words", map: name }), n = scores.view.tokens.length;
    for (const [layer, expected] of layers.entries()) {
      assert.ok(distance([...scores.of(scores.map, layer)], expected) < 1e-4);
      if (scores.map.columns !== "source") continue;
      scores.view.targets.forEach((word, row) => assert.ok(distance([...scores.followed(layer, word, "receives")], expected.slice(row * n, (row + 1) * n)) < 1e-4));
    }
  }
});

test("a token receives its row and gives its column, and a line has its heads", () => {
  const scores = flow(), n = scores.view.tokens.length, at = (target, source) => given.whole[2][target * n + source];
  assert.ok(distance([...scores.followed(2, 5, "receives")], scores.view.tokens.map((_, source) => at(5, source))) < SINGLE);
  assert.ok(distance([...scores.followed(2, 5, "gives")], scores.view.tokens.map((_, target) => at(target, 5))) < SINGLE);
  assert.ok(distance(scores.headsOf(2, 5, 3).values, given.heads) < SINGLE);
});

test("scores that are rounded on the page are read as they were rounded", () => {
  const { block, rows, columns, values } = given.rounded, made = kit.scoresOf(bytes(block), rows * columns, columns);
  assert.ok(distance([...made], values) < 1e-7);
  assert.deepEqual([...kit.scoresOf(bytes(block), rows * columns, columns, 2, 3)], [...made.subarray(2 * columns, 5 * columns)]);
});

test("what the answer is made of holds at every level what the layers hold", () => {
  const { levels, edges } = explanation().tree();
  for (const [level, expected] of given.levels.entries()) assert.ok(distance([...levels[level]], expected) < 2e-2); // up to the layers' gaps
  for (let at = 1; at < edges.length; at += 1) assert.ok(Math.abs(edges[at].value) <= Math.abs(edges[at - 1].value));
});

test("of the lines that lead to a node the strongest are kept, and every one counts", () => {
  const n = 30, targets = [...Array(n).keys()], parts = Float64Array.from({ length: n * n }, (_, at) => (((at * 7919) % 901) - 450) / 450);
  const { levels, edges } = ways.grownBack({ targets, shares: () => parts }, 1, new Float64Array(n).fill(1));
  const sizes = [...parts].map(Math.abs).sort((a, b) => b - a);
  assert.deepEqual(edges.map(({ value }) => Math.abs(value)), sizes.slice(0, 400));
  assert.ok(edges.every(({ target, source, value }) => parts[target * n + source] === value));
  assert.ok(Math.abs(levels[0][4] - targets.reduce((sum, target) => sum + parts[target * n + 4], 0)) < 1e-9);
});

test("a layer keeps as many lines as there is room for, the strongest", () => {
  const edges = [5, 4, 3, 2, 1].flatMap((value) => [{ layer: 0, value }, { layer: 1, value: value / 10 }]);
  assert.deepEqual(ways.strongestLines(edges, 4, 2).map(({ layer, value }) => [layer, value]), [[0, 5], [1, 0.5], [0, 4], [1, 0.4]]);
});

test("special tokens are ranked where that is asked for, and hidden where that is", () => {
  const ranked = (special) => { const scores = explanation({ special }); return scores.ranked(scores.row(0), scores.tokens(), 1); };
  assert.ok(!ranked("show").includes(0));
  assert.equal(ranked("rank")[0], 0); // it says most
  assert.ok(!ranked("hide").includes(0));
});

test("the largest of many come largest first, and of equals the first", () => {
  const sizes = [1, 3, 0, 3, 2, NaN];
  assert.deepEqual(kit.largestPlaces(sizes.length, 3, (at) => sizes[at]), [1, 3, 4]);
});

test("a share has the tone that the page has it in, and a part keeps its other classes", () => {
  for (const [share, tone] of given.tones) assert.equal(kit.toneOf(share), tone);
  const part = { className: "f3 special on" };
  kit.paint(part, -0.55);
  assert.equal(part.className, "a6 special on");
  kit.paint(part, 0);
  assert.equal(part.className, "special on");
});

test("patches have the colours of the picture", () => {
  for (const [share, expected] of given.tints) {
    const [r, g, b, a] = picture.tint(given.image.meta.overlay, share);
    assert.ok(distance([r / 255, g / 255, b / 255, a], expected) < 1e-9);
  }
});

test("between the centres of patches scores are mixed as in the picture", () => {
  const { meta, scores, expected, limit } = given.mixed, [height, width] = meta.grid.size;
  const { data } = new picture.Pictures({ ...meta, pictures: [] }).mixed(meta.grid, scores, limit, 1, { width, height }).image;
  const seen = (pixels) => Array.from(pixels, (value, at) => (at % 4 < 3 ? value * pixels[at - (at % 4) + 3] : 255 * value) / 255);
  assert.ok(distance(seen(data), seen(expected)) <= 2.5); // of 255; the script has a colour for every 256th share
});

test("numbers are written as in the page's own tables", () => {
  for (const [value, text] of given.signed) assert.equal(kit.signed(value), text);
  for (const [value, text] of given.percent) assert.equal(kit.percent(value), text);
  for (const [value, limit, text] of given.cells) assert.equal(kit.cellText(value, limit), text);
  for (const nothing of [NaN, Infinity, null, undefined]) for (const write of [kit.digits, kit.signed, kit.percent]) assert.equal(write(nothing), "–");
});

test("words of any length are cut in one step", () => {
  assert.equal(kit.clip("a".repeat(1e6), 10), `${"a".repeat(9)}…`);
  assert.equal(kit.clip("short", 10), "short");
});
