/** What the scripts compute is what the library computes: one result says one thing, on a page and in Python. */
import assert from "node:assert/strict";
import test from "node:test";
import { Element } from "./dom.mjs";
import { distance, given, load, payload } from "./given.mjs";

const kit = await load("kit"), { Scores } = await load("flow_scores"), { Paths } = await load("flow_paths");
const picture = await load("picture"), explained = await load("explain_scores");
const SINGLE = 1e-6; // float32 holds seven digits, and shares are near one

function flow(more = {}) {
  const state = { map: "whole", part: -1, norm: "score", scale: "shared", special: false, diagonal: false, token: 0, node: null, ...more };
  const scores = new Scores(payload(given.flow, kit.bytes), state);
  return { scores, paths: new Paths(scores), state };
}

test("a share is the score divided by its target's displacement, none where the target moved nowhere", () => {
  for (const [layer, expected] of given.shares.entries()) {
    assert.ok(distance([...flow({ norm: "share" }).scores.display(layer)], expected) < SINGLE);
  }
});

test("a token receives its row, and gives its column", () => {
  const { tokens } = given.flow.meta, token = 5;
  const { scores } = flow({ norm: "share", token }), cell = (target, source) => given.shares[2][target * tokens.length + source];
  assert.ok(distance([...scores.followed(2, "receives")], tokens.map((_, source) => cell(token, source))) < SINGLE);
  assert.ok(distance([...scores.followed(2, "gives")], tokens.map((_, target) => cell(target, token))) < SINGLE);
});

test("of split displacements a part has its own, and all together their sum", () => {
  for (const [part, layers] of Object.entries(given.attentionShares)) {
    for (const [layer, expected] of layers.entries()) {
      assert.ok(distance([...flow({ map: "attention", norm: "share", part: Number(part) }).scores.display(layer)], expected) < 1e-5);
    }
  }
});

test("relative to its largest, a row keeps its proportions", () => {
  for (const [layer, expected] of given.rows.entries()) assert.ok(distance([...flow({ norm: "row" }).scores.display(layer)], expected) < SINGLE);
});

test("what reaches a node is its row of the chain", () => {
  const { paths, scores } = flow(), level = given.flow.meta.layers.length;
  for (const [token, expected] of given.chain.entries()) {
    assert.ok(distance([...paths.reaching(scores.map, { level, token }).levels[0]], expected) < 1e-5);
  }
});

test("the strongest paths are those that the accessor finds, to any token and to one", () => {
  for (const { target, found } of given.paths) {
    const { paths, scores, state } = flow();
    state.node = target === null ? null : { level: given.flow.meta.layers.length, token: target };
    const here = paths.strongPaths(scores.map);
    assert.deepEqual(here.map(({ through, sign }) => ({ through, sign })), found.map(({ through, sign }) => ({ through, sign })));
    assert.ok(distance(here.map(({ strength }) => strength), found.map(({ strength }) => strength)) < SINGLE);
  }
});

test("the strongest scores of a layer come in the order of the table", () => {
  const { scores } = flow(), values = scores.of(scores.map, 1), width = scores.columnsOf(scores.map), best = new kit.Best(given.top.length);
  values.forEach((value, cell) => { if (best.takes(Math.abs(value))) best.add(Math.abs(value), { cell }); });
  assert.deepEqual(best.found.map(({ cell }) => [Math.floor(cell / width), cell % width]), given.top);
});

test("half precision is read as numpy writes it", () => {
  const found = kit.numbers(kit.bytes(given.halves.bytes), "float16", 3);
  assert.equal(distance([...found], given.halves.values), 0);
});

test("a share has the colour of the scale, and the ink that reads better on it", () => {
  for (const hexes of [given.flow.meta.palette.light, given.flow.meta.palette.dark]) {
    const palette = new kit.Palette(hexes);
    hexes.forEach((hex, stop) => {
      const share = (2 * stop) / (hexes.length - 1) - 1;
      assert.equal(palette.css(share), `rgb(${kit.channels(hex).join(" ")})`);
      assert.equal(palette.ink(share), given.ink[hex]);
    });
  }
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

test("numbers are written as in the tables", () => {
  for (const [value, text] of given.signed) assert.equal(kit.signed(value).replace("−", "-"), text);
  for (const [value, text] of given.percent) assert.equal(kit.percent(value).replace("−", "-"), text);
  assert.deepEqual([12345.6, 123456, 0.00001234].map((value) => kit.digits(value)), ["12346", "1.23e5", "1.23e−5"]);
  for (const nothing of [NaN, Infinity, null, undefined]) for (const write of [kit.digits, kit.signed, kit.percent]) assert.equal(write(nothing), "–");
});

test("the lines of a flow are its strongest, and its levels hold what the layers hold", () => {
  const state = { entry: 0, units: "tokens", special: "show", map: "", row: 0, scale: "shared", token: -1 };
  const scores = new explained.Scores(payload(given.explanation, kit.bytes), state), { lines, sums } = scores.wholeFlow();
  for (const [layer, expected] of given.lines.entries()) {
    assert.deepEqual(lines[layer].slice(0, expected.length).map(({ source, target }) => [target, source]), expected);
  }
  for (const [level, expected] of given.levels.entries()) assert.ok(distance([...sums[level]], expected) < 1e-5);
});

test("cells are painted row by row, and of cells that share a pixel the largest is seen", () => {
  const palette = new kit.Palette(given.flow.meta.palette.light), shares = [[0.1, -0.9, 0.3], [NaN, 0.5, -0.2]];
  const painted = (width) => {
    const canvas = new Element("canvas");
    kit.paintCells(canvas.getContext(), { left: 0, top: 0, width, height: 2 }, [0, 1], [0, 1, 2], (row, column) => shares[row][column], palette);
    return [...new Uint32Array(canvas.image.data.buffer)];
  };
  const colours = (cells) => cells.map((share) => palette.pixel(share));
  assert.deepEqual(painted(30), colours(shares.flat()));
  assert.deepEqual(painted(1), colours([-0.9, 0.5]));
});
