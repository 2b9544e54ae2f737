/** A page that holds its own payload: the description and the numbers stand in elements beside the body's parts. */
import { bytes } from "./kit.js";

const text = (id) => document.getElementById(id).textContent;

export function open(mount) {
  mount(document.body, { meta: JSON.parse(text("meta")), block: (name) => bytes(text(`data-${name}`)) }, { address: true });
}
