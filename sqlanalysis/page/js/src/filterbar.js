// The bar of filters: chips, a menu of filters, search, and what the selection amounts to; keys of the whole page.
import { NONE } from "./aggregation.js";
import { boundsOf, button, byId, delayed, html, saveFile, shorten, svg } from "./dom.js";
import { tally } from "./groups.js";
import { count, interval, percent } from "./intervals.js";
import { pickList, searchField } from "./picklist.js";
import { cell } from "./review.js";
import { copy } from "./theme.js";
import { change } from "./tile.js";

const ROUGH = 30; // labeled images below which a figure is rough
const BINS = 20;
const COLUMNS = { split: "split", class: "label", pred: "pred", cluster: "cluster" }; // of the filters that hold several codes

/** The mask of the rows that all filters but those of one kind admit. */
function others(state, kind) {
  const mask = state.base?.slice() ?? new Uint8Array(state.rows.n).fill(1);
  for (const filter of state.compiled) {
    if (filter.kind !== kind) for (let i = 0; i < mask.length; i++) if (mask[i] && !filter.test(i)) mask[i] = 0;
  }
  return mask;
}

/** The choices of a filter, each with the number of images that it would select beside the other filters. */
export function choices(state, kind) {
  const { rows, facts, name } = state;
  const mask = others(state, kind);
  const list = (counts, values, words) => values.filter((value) => counts.get(value)).map((value) => ({ value, words: words(value), n: counts.get(value) }));
  if (kind === "answer") {
    const found = tally(state.rightsOf(state.run), mask);
    const counts = new Map([["right", found.get(1)], ["wrong", found.get(0)], ["unknown", found.get(-1)]]);
    return list(counts, ["right", "wrong", "unknown"], (value) => (value === "unknown" ? "no label or no prediction" : value));
  }
  if (kind === "change") {
    const counts = new Map();
    for (let i = 0; i < mask.length; i++) {
      const words = mask[i] ? change(state, i) : null;
      if (words) counts.set(words, (counts.get(words) ?? 0) + 1);
    }
    counts.set("differ", [...counts.values()].reduce((sum, n) => sum + n, 0)); // a new answer is another answer
    return list(counts, ["newly right", "newly wrong", "differ"], (value) => (value === "differ" ? "runs differ" : value));
  }
  if (kind === "slice") {
    return facts.slices.flatMap(({ feature, values }, at) => {
      const found = list(tally(rows.slices[at], mask), [...values.keys()], (code) => `${feature}: ${values[code]}`);
      return found.map((choice) => ({ ...choice, value: [at, choice.value] }));
    });
  }
  const column = COLUMNS[kind];
  const counts = tally(rows[column], mask);
  const codes = [...counts.keys()].sort((a, b) => (a < 0) - (b < 0) || a - b);
  return list(counts, codes, (code) => (kind === "split" ? (facts.splits[code] ?? "none") : name(code, column)));
}

/** Counts of right, wrong and other images in bins of confidence, of what the other filters admit. */
export function histogram(state) {
  const mask = others(state, "confidence");
  const bins = Array.from({ length: BINS }, () => ({ wrong: 0, right: 0, other: 0 }));
  for (let i = 0; i < mask.length; i++) {
    const value = state.rows.confidence[i];
    if (!mask[i] || !(value >= 0)) continue;
    const right = state.isRight(i);
    bins[Math.min(BINS - 1, Math.floor(value * BINS))][right === null ? "other" : right ? "right" : "wrong"]++;
  }
  return bins;
}

/** What the bar says of the selection: how many (text before, number, text after), the accuracy or why there is none, a caution. */
export function summary(state) {
  const { facts, figures, isActive } = state;
  const all = facts.total > facts.n ? ["", count(state.n), ` sampled of ${count(facts.total)}`] : ["All ", count(state.n), ""];
  const many = isActive ? ["", count(figures.selected), ` of ${count(state.n)}`] : all;
  const without = (note = null) => ({ many, note, accuracy: null, caution: null });
  const text = state.get("search");
  if (!figures.selected) {
    const isFound = text === null || state.search(text).includes(1);
    return without(isFound ? "no image meets all filters" : `no file or class holds “${text}”`);
  }
  if (!facts.labeled || !facts.predicted) return without();
  if (!figures.n) return without("none has a label and a prediction");
  if (state.onlyWrong) return without("only wrong images, so no accuracy");
  if (state.onlyRight) return without("only right images, so no accuracy");
  return {
    many,
    note: figures.n < figures.selected ? `accuracy on ${count(figures.n)} of them` : "accuracy",
    accuracy: [percent(figures.accuracy), `(${interval(figures.ends)})`],
    caution: figures.n < ROUGH ? `descriptive, rough: n below ${ROUGH}` : isActive ? "descriptive" : null,
  };
}

/** One line per selected image. */
export function csv({ rows, mask, name }) {
  const lines = ["image_id,file,label,label_name,pred,pred_name,confidence"];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const codes = ["label", "pred"].flatMap((column) => {
      const code = rows[column][i];
      return code === NONE ? ["", ""] : [code, cell(name(code, column))];
    });
    const confidence = rows.confidence[i];
    lines.push([rows.id[i], cell(rows.file(i)), ...codes, confidence < 0 ? "" : confidence].join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** Makes `opener` open a menu below it. Escape and a press elsewhere close it; arrow keys move between its controls. */
function popover(opener, menu, parent, fill) {
  const shut = (isBack) => {
    if (menu.hidden) return;
    menu.hidden = true;
    opener.setAttribute("aria-expanded", false);
    if (isBack) opener.focus();
  };
  const open = (given) => {
    menu.hidden = false;
    opener.setAttribute("aria-expanded", true);
    const [box, around] = [opener, parent].map(boundsOf);
    menu.style.setProperty("left", `${Math.max(0, Math.min(box.left - around.left, around.width - menu.offsetWidth))}px`);
    fill(given).focus();
  };
  menu.hidden = true;
  opener.setAttribute("aria-expanded", false);
  opener.setAttribute("aria-controls", menu.id);
  opener.addEventListener("click", () => (menu.hidden ? open() : shut(true)));
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.type === "range") return;
    event.preventDefault();
    const controls = [...menu.querySelectorAll("button, input")].filter((control) => control.offsetParent);
    controls.at((controls.indexOf(event.target) + step) % controls.length).focus();
  });
  document.addEventListener("keydown", ({ key }) => key === "Escape" && shut(true));
  const leave = (target) => target && !menu.contains(target) && !opener.contains(target) && shut();
  document.addEventListener("pointerdown", ({ target }) => leave(target));
  menu.addEventListener("focusout", ({ relatedTarget }) => leave(relatedTarget));
  parent.append(menu);
  return { open, shut };
}

/** A list of choices, with a search when it is long. */
function listEditor(state, kind) {
  const all = choices(state, kind);
  const field = searchField("find", "Find in the list");
  const list = html("div", { class: "choices" });
  const note = html("p");
  const isMany = kind in COLUMNS;
  const given = () => state.get(kind) ?? (isMany ? [] : null);
  const holds = (value) => (isMany ? given().includes(value) : String(given()) === String(value));
  const press = (value) => {
    const without = isMany ? given().filter((code) => code !== value) : null;
    state.set(kind, holds(value) ? without : isMany ? [...without, value] : value);
    show();
  };
  const show = pickList({
    field,
    list,
    find: (text) => all.filter(({ words }) => words.toLowerCase().includes(text.toLowerCase().trim())),
    make: ({ value, words, n }) => button([html("bdi", {}, words), html("span", { class: "n" }, count(n))], () => press(value), { "aria-pressed": String(holds(value)) }),
    tell: (words) => (note.textContent = words),
  });
  show();
  return all.length > 12 ? [field, list, note] : [list, note];
}

/** Two thumbs over the histogram: wrong at the bottom, right above it, what is out of the range pale. */
function rangeEditor(state) {
  const bins = histogram(state);
  const most = Math.max(1, ...bins.map(({ wrong, right, other }) => wrong + right + other));
  const rect = (kind, x, y, width, height) => svg("rect", { class: kind, x, y, width, height });
  const bars = bins.map((bin, at) => {
    let y = 40;
    const parts = Object.entries(bin).map(([kind, n]) => {
      const height = (n / most) * 38;
      y -= height;
      return rect(kind, at * 10 + 0.75, y, 8.5, height);
    });
    return svg("g", {}, ...parts);
  });
  const kept = rect("kept", 0, 43, 200, 3);
  const plot = svg("svg", { viewBox: "0 0 200 48", preserveAspectRatio: "none", "aria-hidden": "true" }, rect("rest", 0, 43, 200, 3), kept, ...bars);
  const thumbs = ["Lowest", "Highest"].map((which) => html("input", { type: "range", max: 1, step: 0.01, "aria-label": `${which} confidence` }));
  const values = () => thumbs.map(({ value }) => Number(value));
  const draw = () => {
    const [low, high] = values();
    bars.forEach((bar, at) => bar.classList.toggle("out", at < low * BINS - 0.01 || at >= high * BINS - 0.01));
    kept.setAttribute("x", low * 200);
    kept.setAttribute("width", (high - low) * 200);
  };
  const apply = delayed(() => state.set("confidence", values().join() === "0,1" ? null : values()), 60);
  thumbs.forEach((thumb, at) => {
    thumb.value = (state.get("confidence") ?? [0, 1])[at];
    thumb.addEventListener("input", () => {
      const [low, high] = values();
      thumb.value = at ? Math.max(high, low + 0.01) : Math.min(low, high - 0.01);
      draw();
      apply();
    });
  });
  draw();
  return [html("div", { class: "range" }, plot, ...thumbs), html("p", {}, "The high end is left out, unless it is 1.")];
}

const isPooled = ({ rows }) => rows.split.some((code) => code !== rows.split[0]);

/** The filters that the data of the page allow: kind, words, and a hint of what is in them. */
function offered(state) {
  const { facts, baseline, run, whole } = state;
  const isJudged = facts.labeled && facts.predicted;
  return [
    isPooled(state) && ["split", "split", () => count(facts.splits.length)],
    facts.labeled && ["class", "class", () => count(facts.classes.length)],
    facts.predicted && ["pred", "prediction", () => ""],
    isJudged && ["answer", "right / wrong", () => `${count(whole.correct)} · ${count(whole.n - whole.correct)}`],
    facts.runs[run].has_confidence && ["confidence", "confidence", () => state.get("confidence")?.map((end) => end.toFixed(2)).join("–") ?? ""],
    facts.slices.length && ["slice", "slice", () => count(new Set(facts.slices.map(({ feature }) => feature)).size)],
    baseline >= 0 && ["change", "change", () => "newly right, newly wrong"],
    facts.clustered && ["cluster", "cluster", () => ""],
  ].filter(Boolean);
}

const KEYS = {
  "/": "search files and classes",
  "?": "these keys",
  Esc: "close a menu, a drawer or an image",
  "J K": "next and previous image of the gallery",
  "← ↑ → ↓": "move between images, tabs and entries of a menu; move the map",
  Enter: "open the image, press the button",
  "← →": "next and previous image of an open one",
  "+ − 0": "on the map: closer, farther, all of it",
  "O W 1–5": "on a suspected label: ok, wrong, one of the classes",
};

function helpDialog() {
  const rows = Object.entries(KEYS).flatMap(([keys, words]) => [html("dt", {}, ...keys.split(" ").map((key) => html("kbd", {}, key))), html("dd", {}, words)]);
  const close = button("✕", () => dialog.close(), { "aria-label": "Close" });
  const dialog = html("dialog", { class: "help", "aria-labelledby": "help" }, html("h2", { id: "help" }, "Keys"), close, html("dl", {}, ...rows));
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
}

/** Whether a key belongs to what has the focus, a field or a dialog, or to the browser. */
export const isTyping = ({ target, ctrlKey, metaKey, altKey }) =>
  ctrlKey || metaKey || altKey || target.closest?.("input:not([type=range]), textarea, select") || document.querySelector("dialog[open]");

/** A button that copies the selection as SQL, and the field that shows it where there is no clipboard. */
export function copier(state, attributes) {
  const statement = html("textarea", { readonly: true, hidden: true, rows: 5, "aria-label": "SQL of the selection" });
  const show = () => {
    statement.value = state.sql();
    statement.hidden = false;
    statement.select();
    return "Selected: press Ctrl+C";
  };
  const copying = button("Copy SQL", () => copy(copying, state.sql(), show), attributes);
  return { copying, statement };
}

export const saveCsv = (state) => saveFile(`${state.runName}_selection.csv`, csv(state));

/** What can be done with the selection, and the button of the menu that holds it. */
function startActions(state, parent) {
  const dialog = helpDialog();
  const help = () => {
    menu.shut();
    dialog.showModal();
  };
  const entry = (words, act) => button(words, act, { class: "entry" });
  const { copying, statement } = copier(state, { class: "entry" });
  const box = html("div", { class: "menu", id: "action-menu" }, copying, entry("Save CSV", () => saveCsv(state)), entry("Keys", help), statement);
  const more = html("button", { type: "button", class: "more", "aria-label": "More: SQL, CSV, keys" }, "⋯");
  const menu = popover(more, box, parent, () => {
    statement.hidden = true;
    return copying;
  });
  return { more, help };
}

/** The menu of filters, one of which is unfolded at a time. */
function startMenu(state, opener, parent) {
  const entries = new Map();
  const box = html("div", { class: "menu", id: "filter-menu" });
  const unfold = (kind) => {
    for (const [key, { head, editor }] of entries) {
      const isOpen = key === kind && editor.hidden;
      head.setAttribute("aria-expanded", isOpen);
      editor.hidden = !isOpen;
      editor.replaceChildren(...(isOpen ? (key === "confidence" ? rangeEditor : listEditor)(state, key) : []));
    }
  };
  const menu = popover(opener, box, parent, (kind) => {
    entries.clear();
    for (const [key, words, hint] of offered(state)) {
      const said = html("span", { class: "n" }, hint());
      const head = button([words, said], () => unfold(key), { class: "entry", "aria-expanded": "false" });
      entries.set(key, { head, editor: html("div", { class: "editor", hidden: true }), refresh: () => (said.textContent = hint()) });
    }
    box.replaceChildren(...[...entries.values()].flatMap(({ head, editor }) => [head, editor]));
    if (kind) unfold(kind);
    return entries.get(kind)?.editor.querySelector("input, button") ?? box.firstChild;
  });
  return { open: menu.open, refresh: () => entries.forEach(({ refresh }) => refresh()) };
}

export function start(state) {
  const bar = byId("filters");
  if (!bar) return;
  const { facts, rows } = state;
  const chips = html("div", { class: "chosen" });
  const plus = html("button", { type: "button", class: "chip plus" }, "+ filter");
  const search = searchField("file, class", "Search files and classes");
  const glass = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M10.5 10.5 14 14M7 2.5a4.5 4.5 0 1 0 .01 0" }));
  const says = html("p", { class: "says", role: "status" });
  /** Changes the filters by a button that goes away with its chip. */
  const drop = (act) => {
    act();
    plus.focus();
  };
  const clear = button("Clear", () => drop(() => state.clear()), { class: "clear" });
  const { more, help } = startActions(state, bar);
  bar.append(html("div", { class: "given" }, chips, plus, html("label", { class: "find" }, glass, search)), html("div", { class: "end" }, says, clear, more));
  const menu = startMenu(state, plus, bar);
  search.addEventListener("input", delayed(() => state.set("search", search.value.trim()), 180));
  document.addEventListener("keydown", (event) => {
    const act = { "/": () => search.focus(), "?": help }[event.key];
    if (!act || isTyping(event)) return;
    event.preventDefault();
    act();
  });

  // The bar stays below the header, whatever its height.
  const header = document.querySelector("header");
  new ResizeObserver(() => document.documentElement.style.setProperty("--below", `${header.offsetHeight}px`)).observe(header);
  const isMixed = isPooled(state);
  const splitChip = () => {
    if (isMixed) return button("split: all ▾", () => menu.open("split"), { class: "chip fixed" });
    return html("span", { class: "chip fixed" }, html("bdi", {}, `split: ${facts.splits[rows.split[0]] ?? "none"}`));
  };
  const chip = ({ kind, words }) => {
    const name = html("bdi", {}, shorten(words));
    const isEdited = !["search", "lasso", "pair", "found"].includes(kind);
    const remove = button("×", () => drop(() => state.set(kind, null)), { class: "remove", "aria-label": `Remove ${words}` });
    return html("span", { class: "chip", title: words }, isEdited ? button(name, () => menu.open(kind), { "aria-label": `Change ${words}` }) : name, remove);
  };
  const update = () => {
    document.documentElement.classList.toggle("filtered", state.isActive);
    const hasSplit = facts.splits.length && state.get("split") === null;
    chips.replaceChildren(...(hasSplit ? [splitChip()] : []), ...state.compiled.map(chip));
    const { many, note, accuracy, caution } = summary(state);
    const parts = [many[0], html("b", {}, many[1]), many[2], note ? ` · ${note} ` : ""];
    if (accuracy) parts.push(html("b", {}, accuracy[0]), html("span", { class: "ends" }, ` ${accuracy[1]}`));
    if (caution) parts.push(" ", html("span", { class: caution === "descriptive" ? "tag" : "tag caution" }, caution));
    says.replaceChildren(...parts);
    clear.hidden = !state.isActive;
    if (document.activeElement !== search) search.value = state.get("search") ?? "";
    menu.refresh();
  };
  state.on(update);
  update();
}
