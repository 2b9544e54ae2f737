/** An explanation in words and lists: what was asked, certificate, request, strongest tokens; and all of them to choose from. */
import { bar, digits, element, largest, percent, signed } from "./kit.js";
import { LISTED } from "./explain_scores.js";
import { colourSpans, spans } from "./explain_text.js";

function fillTable(table, rows) {
  table.replaceChildren(...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)))));
}

/** The answer, and the sum that leads to it. */
function drawMessage(at, item, { doubt, verdict, sides, unit, steps }) {
  at("doubt").textContent = doubt;
  at("doubt").hidden = !doubt;
  at("verdict").textContent = verdict || item.name;
  at("sides").textContent = item.grid && item.text ? `${item.text}: ${sides}` : sides;
  at("sum").hidden = !steps.length;
  at("sum").replaceChildren(...steps.flatMap(({ kind, value, label, left, right }) => {
    const part = element("b", { class: { for: "warm", against: "cold" }[kind] ?? "still" });
    part.style.left = `${100 * left}%`;
    part.style.width = `${100 * (right - left)}%`;
    return [element("em", {}, signed(value)), element("i", { "aria-hidden": "true" }, part), element("span", {}, kind === "end" ? `${label}: ${unit}` : label)];
  }));
}

/** Who asked what, how the model answers, and how far the scores can be trusted. */
export function drawFacts({ at, scores }) {
  const item = scores.entry, seal = at("seal"), bold = (text) => element("b", {}, text);
  at("facts").replaceChildren(...item.settings.map(([name, value]) => element("span", {}, `${name} `, bold(value))));
  seal.hidden = !item.certified;
  seal.className = `seal ${item.kept ? "good" : "open"}`;
  seal.textContent = item.kept ? "complete within tolerance" : "gap above tolerance";
  seal.title = item.certificate;
  drawMessage(at, item, scores.view.messages[Number(scores.state.special === "rank")]);
  at("certificate").textContent = item.certificate;
  at("certificate").classList.toggle("open", item.certified && !item.kept);
  fillTable(at("classes"), item.classes.map(([name, share]) => [name, percent(share)]));
  const plans = item.plans.map(([name, value]) => [`plan: ${name}`, value]);
  fillTable(at("request"), [...item.request, ...plans, ["read in", item.windows], ["lignite", item.version]].filter(([, value]) => value));
}

/** What can be chosen for this explanation, and what is. */
export function drawChoices({ at, scores, state }) {
  const item = scores.entry, layered = item.maps.slice(1), rows = scores.rows();
  at("units").parentElement.hidden = !item.views.words;
  at("units").value = item.views.words ? state.units : "tokens";
  at("special").parentElement.hidden = !scores.view.shared;
  at("special").value = state.special;
  at("map-line").hidden = layered.length < 2;
  at("map").replaceChildren(...layered.map((map) => element("option", { value: map.name, selected: scores.map === map }, map.title)));
  at("scale-label").hidden = !layered.length;
  if (!rows.includes(state.row)) state.row = 0;
  at("row").replaceChildren(...rows.map((row) => element("option", { value: row, selected: row === state.row }, scores.rowTitle(row))));
  at("row").parentElement.hidden = rows.length < 2;
}

/** The strongest tokens for and against; `everything` names the lists that are shown whole. */
export function drawLists(page, everything = {}) {
  const { scores, at, state } = page, { view, entry } = scores, row = scores.row(state.row), all = scores.tokens(), sizes = all.map((index) => Math.abs(row[index]));
  const most = largest(sizes) || 1, total = sizes.reduce((sum, size) => sum + size, 0) || 1;
  for (const [name, sign] of [["for", 1], ["against", -1]]) {
    const found = scores.ranked(row, all, sign);
    const shown = everything[name] ? found : found.slice(0, LISTED), sum = found.reduce((added, index) => added + row[index], 0);
    at(`${name}-title`).textContent = `${sign > 0 ? "For" : "Against"} ${entry.name}`;
    at(`${name}-sum`).textContent = `${state.row ? `${scores.rowTitle(state.row)}: ` : ""}${signed(sum)} from ${found.length} of ${all.length}`;
    const cells = shown.flatMap((index) => [
      element("small", {}, String(view.positions[index])),
      element("span", { title: view.tokens[index], onclick: () => page.choose(index) }, view.tokens[index]),
      bar(row[index] / most),
      element("em", { class: sign > 0 ? "plus" : "minus" }, signed(row[index])),
      element("small", {}, percent(Math.abs(row[index]) / total)),
    ]);
    if (shown.length < found.length) cells.push(element("button", { type: "button", onclick: () => drawLists(page, { ...everything, [name]: true }) }, `${found.length - shown.length} more`));
    at(name).replaceChildren(...(cells.length ? cells : [element("span", { class: "dim" }, "none")]));
  }
}

/** All explanations of the page, each small and on a scale of its own. */
export function drawOverview(page) {
  const { at, scores } = page, { entries } = scores, pictures = entries.every((item) => item.grid);
  at("overview").hidden = entries.length < 2;
  if (entries.length < 2) return;
  at("list").classList.toggle("pictures", pictures);
  at("overview-note").textContent = pictures ? "each on a scale of its own · choose one" : "choose one";
  at("list").replaceChildren(...entries.map((_, number) => overviewButton(page, number, pictures)));
}

function overviewButton(page, number, pictures) {
  const { scores, state } = page, { entries } = scores, item = entries[number], row = scores.row(0, item), limit = scores.most(row, item) || 1;
  const several = new Set(entries.map((other) => other.settings[0][1])).size > 1; // methods: then they tell entries apart
  const name = element("b", {}, several ? `${item.name}, ${item.settings[0][1]}` : item.name), value = element("em", {}, item.value == null ? "" : signed(item.value));
  const shown = item.grid ? smallPicture(page, item, row, limit, pictures ? 190 : 92) : element("p", {}, ...spans(page, item));
  if (!item.grid) colourSpans(page, shown, row, limit);
  const facts = pictures ? [shown, name, value, element("small", {}, `colours to ±${digits(limit)}`)] : [element("small", {}, String(number + 1)), name, value, shown];
  const button = element("button", { type: "button", "aria-pressed": String(number === state.entry), onclick: () => page.open(number) }, ...facts);
  button.title = `${item.settings.map(([, setting]) => setting).join(", ")}: ${item.text}`;
  return button;
}

function smallPicture(page, item, row, limit, side) {
  const canvas = element("canvas", { "aria-hidden": "true" }), [height, width] = item.grid.size;
  page.pictures.draw(canvas, item.grid, row, limit, Math.min(1.3 * side, (side * width) / height), page.image.look());
  return canvas;
}
