/** An explanation in a notebook: choices that ask the kernel anew, and the card that it sends back. */

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function chooser({ label, options, chosen }, then) {
  const select = element("select", { "aria-label": label });
  for (const [, text] of options) select.append(element("option", {}, text));
  select.selectedIndex = options.findIndex(([value]) => value === chosen);
  select.addEventListener("change", () => then(options[select.selectedIndex][0]));
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
    const asked = model.get("asked"), listed = model.get("words");
    bar.replaceChildren(...model.get("choices").map((each) => chooser(each, (value) => ask({ [each.name]: value, without: [] }))));
    words.replaceChildren(...(listed.length ? ["Without:"] : []));
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
  for (const name of ["card", "choices", "words", "asked"]) model.on(`change:${name}`, draw);
  for (const name of ["said", "failed", "busy"]) model.on(`change:${name}`, tell);
  draw();
}

export default { render };
