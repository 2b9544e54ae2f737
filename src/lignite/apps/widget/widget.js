/** An explanation in a notebook: choices that ask the kernel anew, and the card that it sends back. */

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function chooser(label, options, chosen, then) {
  const select = element("select", { "aria-label": label });
  for (const [value, text] of options) select.append(element("option", { value: String(value) }, text));
  select.value = String(chosen);
  select.addEventListener("change", () => then(select.value));
  return element("label", {}, `${label} `, select);
}

function render({ model, el }) {
  const bar = element("div", { style: "display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center;margin:4px 0" });
  const words = element("div", { style: "display:flex;flex-wrap:wrap;gap:4px;margin:4px 0", role: "group", "aria-label": "Without" });
  const said = element("p", { "aria-live": "polite", style: "margin:4px 0;min-height:1.4em" });
  const card = element("div");
  el.append(bar, card, words, said);
  const ask = (more) => {
    model.set("asked", { ...model.get("asked"), ...more });
    model.save_changes();
  };
  const draw = () => {
    const { classes, methods, words: listed } = model.get("choices"), asked = model.get("asked");
    bar.replaceChildren();
    if (classes.length) bar.append(chooser("Class", classes, asked.target ?? classes[0][0], (value) => ask({ target: Number(value), without: [] })));
    bar.append(chooser("Method", methods.map((name) => [name, name]), asked.method, (value) => ask({ method: value, without: [] })));
    words.replaceChildren("Without:");
    listed.forEach((text, at) => {
      const taken = asked.without.includes(at);
      const button = element("button", { type: "button", "aria-pressed": String(taken), style: taken ? "text-decoration:line-through" : "" }, text);
      button.addEventListener("click", () => ask({ without: taken ? asked.without.filter((each) => each !== at) : [...asked.without, at] }));
      words.append(button);
    });
    card.innerHTML = model.get("card"); // made of escaped parts by the kernel's own template, without scripts
    tell();
  };
  const tell = () => {
    el.style.opacity = model.get("busy") ? 0.5 : 1;
    el.setAttribute("aria-busy", String(model.get("busy")));
    said.textContent = model.get("failed") || model.get("said");
  };
  for (const name of ["card", "choices", "asked"]) model.on(`change:${name}`, draw);
  for (const name of ["said", "failed", "busy"]) model.on(`change:${name}`, tell);
  draw();
}

export default { render };
