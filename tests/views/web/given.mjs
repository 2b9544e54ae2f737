/** What the Python test wrote for these: descriptions and blocks of pages, and the numbers to expect. */
import { readFileSync } from "node:fs";

export const given = JSON.parse(readFileSync(process.env.LIGNITE_GIVEN, "utf-8"));

/** A module of the pages. */
export const load = (name) => import(`${process.env.LIGNITE_WEB}/${name}.js`);

/** Bytes from base64, in a buffer of their own. */
export const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64")).buffer;

/** What a page hands to `mount`. */
export const payload = ({ meta, blocks }) => ({ meta: structuredClone(meta), block: (name) => bytes(blocks[name]) });

/** The largest difference of two lists of numbers, places without a number apart from the rest. */
export function distance(found, expected) {
  if (found.length !== expected.length) return Infinity;
  const away = (value, at) => (value === null ? (Number.isNaN(found[at]) ? 0 : Infinity) : Math.abs(found[at] - value));
  return expected.reduce((most, value, at) => Math.max(most, away(value, at)), 0);
}
