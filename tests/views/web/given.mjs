/** What the Python test wrote for these: pages as trees, their payloads, and the numbers to expect. */
import { readFileSync } from "node:fs";

export const given = JSON.parse(readFileSync(process.env.LIGNITE_GIVEN, "utf-8"));

/** A module of the pages. */
export const load = (name) => import(`${process.env.LIGNITE_WEB}/${name}.js`);

/** What a page hands to `mount`. */
export function payload({ meta, blocks }, bytes) {
  return { meta: structuredClone(meta), block: (name) => bytes(blocks[name]) };
}

/** The largest difference of two lists of numbers, places without a number apart from the rest. */
export function distance(found, expected) {
  if (found.length !== expected.length) return Infinity;
  return Math.max(0, ...expected.map((value, at) => (value === null ? (Number.isNaN(found[at]) ? 0 : Infinity) : Math.abs(found[at] - value))));
}
