// The bar of filters: chips, a menu of filters, search, and what the selection amounts to; keys of the whole page.
import { NONE } from "./aggregation.js";
import { byId, delayed, html, svg } from "./dom.js";
import { count, interval } from "./intervals.js";
import { copy } from "./theme.js";
import { share } from "./tile.js";

const ROUGH = 30; // labeled images below which a figure is rough
const LISTED = 100; // entries of a list before it asks to search
const BINS = 20;
const EDITED = ["split", "class", "pred", "answer", "confidence", "slice", "change", "cluster"];

/** The mask of the rows that all filters but those of one kind admit. */
export function others(state, kind) {
  const tests = state.compiled.filter((filter) => filter.kind !== kind).map(({ test }) => test);
  const mask = new Uint8Array(state.rows.n).fill(1);
  for (const test of tests) for (let i = 0; i < mask.length; i++) if (mask[i] && !test(i)) mask[i] = 0;
  return mask;
}

function tally(mask, codes) {
  const counts = new Map();
  for (let i = 0; i < mask.length; i++) if (mask[i]) counts.set(codes[i], (counts.get(codes[i]) ?? 0) + 1);
  return counts;
}

const byCode = (counts, words, rare = []) =>
  [...counts.keys()]
    .filter((code) => code >= 0 || rare.includes(code))
    .sort((a, b) => (a < 0) - (b < 0) || a - b)
    .map((code) => ({ value: code, words: words(code), n: counts.get(code) }));

/** The choices of a filter, each with the number of images that it would select beside the other filters. */
export function choices(state, kind) {
  const { rows, facts, name, baseline } = state;
  const mask = others(state, kind);
  if (kind === "split") return byCode(tally(mask, rows.split), (code) => facts.splits[code] ?? "none", [-1]);
  if (kind === "slice") {
    return facts.slices.flatMap(({ feature, values }, at) =>
      byCode(tally(mask, rows.slices[at]), (code) => `${feature}: ${values[code]}`).map((choice) => ({ ...choice, value: [at, choice.value] })),
    );
  }
  if (kind === "answer" || kind === "change") {
    const counts = new Map();
    const add = (key) => counts.set(key, (counts.get(key) ?? 0) + 1);
    const [pred, before] = [rows.pred, rows.runs[baseline]?.pred];
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      const now = state.isRight(i);
      if (kind === "answer") add(now === null ? "unknown" : now ? "right" : "wrong");
      else {
        const was = state.isRight(i, baseline);
        if (now !== null && was !== null) add(now === was ? `both ${now ? "right" : "wrong"}` : `newly ${now ? "right" : "wrong"}`);
        if (pred[i] !== before[i] && pred[i] !== NONE && before[i] !== NONE) add("differ");
      }
    }
    const known = kind === "answer" ? ["right", "wrong", "unknown"] : ["newly right", "newly wrong", "both right", "both wrong", "differ"];
    const words = { unknown: "no label or no prediction", differ: "runs differ" };
    return known.filter((value) => counts.has(value)).map((value) => ({ value, words: words[value] ?? value, n: counts.get(value) }));
  }
  const column = { class: "label", pred: "pred", cluster: "cluster" }[kind];
  return byCode(tally(mask, rows[column]), (code) => name(code, column), [NONE, -1]);
}

/** Counts of right, wrong and other images in bins of confidence, of what the other filters admit. */
export function histogram(state) {
  const mask = others(state, "confidence");
  const bins = Array.from({ length: BINS }, () => ({ right: 0, wrong: 0, other: 0 }));
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
  const { rows, facts, figures, isActive } = state;
  const all = facts.total > facts.n ? ["", count(state.n), ` sampled of ${count(facts.total)}`] : ["All ", count(state.n), ""];
  const many = isActive ? ["", count(figures.selected), ` of ${count(state.n)}`] : all;
  const said = { many, note: null, accuracy: null, caution: null };
  const text = state.get("search");
  if (!figures.selected) {
    const found = text === null || state.search(text).includes(1);
    return { ...said, note: found ? "no image meets all filters" : `no file or class holds “${text}”` };
  }
  if (!facts.labeled || !facts.predicted) return said;
  if (!figures.n) return { ...said, note: "none has a label and a prediction" };
  if (isActive && state.onlyWrong) return { ...said, note: "only wrong images, so no accuracy" };
  if (isActive && state.onlyRight) return { ...said, note: "only right images, so no accuracy" };
  return {
    ...said,
    note: figures.n < figures.selected ? `accuracy of the ${count(figures.n)} labeled` : "accuracy",
    accuracy: [share(figures.accuracy), `(${interval(figures.ends).slice(0, -1)})`],
    caution: figures.n < ROUGH ? `descriptive, rough: n below ${ROUGH}` : isActive ? "descriptive" : null,
  };
}

/** One line per selected image; text that a spreadsheet would evaluate as a formula starts with an apostrophe. */
export function csv({ rows, mask, name }) {
  const cell = (value) => {
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = ["image_id,file,label,label_name,pred,pred_name,confidence"];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const both = ["label", "pred"].flatMap((column) => {
      const code = rows[column][i];
      return code === NONE ? ["", ""] : [code, cell(name(code, column))];
    });
    const confidence = rows.confidence[i];
    lines.push([rows.id[i], cell(rows.file(i)), ...both, confidence < 0 ? "" : confidence].join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** A button that opens a panel below it. Escape and a press elsewhere close it; arrow keys move between its controls. */
function popover(button, panel, { opening, parent }) {
  const shut = (focus) => {
    if (panel.hidden) return;
    panel.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (focus) button.focus();
  };
  const open = (...given) => {
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    const [box, around] = [button.getBoundingClientRect(), parent.getBoundingClientRect()];
    panel.style.setProperty("left", `${Math.max(0, Math.min(box.left - around.left, around.width - panel.offsetWidth))}px`);
    opening(...given);
  };
  const controls = () => [...panel.querySelectorAll("button, input")].filter((control) => control.checkVisibility?.() ?? control.offsetParent);
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", panel.id);
  panel.hidden = true;
  button.addEventListener("click", () => (panel.hidden ? open() : shut(true)));
  panel.addEventListener("keydown", (event) => {
    if (event.target.type === "range") return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const list = controls();
    list.at((list.indexOf(event.target) + step) % list.length)?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden) return;
    event.preventDefault();
    shut(true);
  });
  document.addEventListener("pointerdown", ({ target }) => {
    if (!panel.contains(target) && !button.contains(target)) shut(false);
  });
  panel.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !panel.contains(relatedTarget) && relatedTarget !== button) shut(false);
  });
  parent.append(panel);
  return { open, shut };
}

/** A list of choices, with a search when it is long; several may hold at once if `many`. */
function listEditor(state, kind, many) {
  const all = choices(state, kind);
  const list = html("div", { class: "choices", role: "group" });
  const holds = (value) => {
    const now = state.get(kind);
    return many ? Boolean(now?.includes(value)) : JSON.stringify(now) === JSON.stringify(value);
  };
  const press = (value) => {
    const now = many ? (state.get(kind) ?? []) : null;
    if (many) state.set(kind, holds(value) ? now.filter((code) => code !== value) : [...now, value]);
    else state.set(kind, holds(value) ? null : value);
    for (const [button, its] of shown) button.setAttribute("aria-pressed", String(holds(its)));
  };
  let shown;
  const show = (text) => {
    const found = all.filter(({ words }) => words.toLowerCase().includes(text));
    shown = found.slice(0, LISTED).map(({ value, words, n }) => {
      const parts = [html("bdi", {}, words), html("span", { class: "n" }, count(n))];
      return [html("button", { type: "button", "aria-pressed": String(holds(value)), on: { click: () => press(value) } }, ...parts), value];
    });
    const rest = found.length - LISTED;
    const note = rest > 0 ? `${count(rest)} more: type to find one` : found.length ? "" : "none";
    list.replaceChildren(...shown.map(([button]) => button), html("p", {}, note));
  };
  show("");
  if (all.length <= 12) return [list];
  const find = html("input", { type: "search", placeholder: "find", "aria-label": "Find in the list", spellcheck: "false", autocomplete: "off" });
  find.addEventListener("input", () => show(find.value.toLowerCase().trim()));
  return [find, list];
}

/** Two thumbs over the histogram; wrong stands at the bottom, right above it, what is out of the range is pale. */
function rangeEditor(state) {
  const bins = histogram(state);
  const most = Math.max(1, ...bins.map(({ right, wrong, other }) => right + wrong + other));
  const bars = bins.flatMap(({ right, wrong, other }, at) => {
    let y = 40;
    return [["wrong", wrong], ["right", right], ["other", other]].map(([kind, n]) => {
      const height = (n / most) * 38;
      y -= height;
      return svg("rect", { class: kind, x: at * 10 + 0.75, y, width: 8.5, height, "data-at": at });
    });
  });
  const line = svg("rect", { class: "kept", y: 43, height: 3 });
  const plot = svg("svg", { viewBox: "0 0 200 48", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "rest", y: 43, width: 200, height: 3 }), line, ...bars);
  const ends = state.get("confidence") ?? [0, 1];
  const thumbs = ends.map((end, at) => {
    const thumb = html("input", { type: "range", min: 0, max: 1, step: 0.01, "aria-label": at ? "Highest confidence" : "Lowest confidence" });
    thumb.value = end;
    return thumb;
  });
  const values = () => thumbs.map((thumb) => Number(thumb.value));
  const draw = () => {
    const [low, high] = values();
    for (const mark of bars) mark.classList.toggle("out", mark.dataset.at < low * BINS - 0.01 || mark.dataset.at >= high * BINS - 0.01);
    line.setAttribute("x", low * 200);
    line.setAttribute("width", (high - low) * 200);
  };
  const apply = delayed(() => state.set("confidence", values()[0] <= 0 && values()[1] >= 1 ? null : values()), 60);
  for (const [at, thumb] of thumbs.entries()) {
    thumb.addEventListener("input", () => {
      const other = Number(thumbs[1 - at].value);
      thumb.value = at ? Math.max(thumb.value, other + 0.01) : Math.min(thumb.value, other - 0.01);
      draw();
      apply();
    });
  }
  draw();
  return [html("div", { class: "range" }, plot, ...thumbs), html("p", {}, "The high end is left out unless it is 1; images without a confidence are never in the range.")];
}

const isPooled = ({ rows }) => rows.split.some((code) => code !== rows.split[0]);

/** The filters that the data of the page allow: kind, words, and a hint of what is in them. */
function offered(state) {
  const { facts, baseline, run } = state;
  const asked = facts.predicted;
  return [
    isPooled(state) && ["split", "split", () => count(facts.splits.length)],
    facts.labeled && ["class", "class", () => count(facts.classes.length)],
    asked && ["pred", "prediction", () => ""],
    facts.labeled && asked && ["answer", "right / wrong", () => [state.whole.correct, state.whole.n - state.whole.correct].map(count).join(" · ")],
    facts.runs[run].has_confidence && ["confidence", "confidence", () => state.get("confidence")?.map((end) => end.toFixed(2)).join("–") ?? ""],
    facts.slices.length && ["slice", "slice", () => count(new Set(facts.slices.map(({ feature }) => feature)).size)],
    baseline >= 0 && ["change", "change", () => "newly right, newly wrong"],
    facts.clustered && ["cluster", "cluster", () => ""],
  ].filter(Boolean);
}

/** The keys that the page answers to. */
const KEYS = [
  ["/", "search files and classes"],
  ["?", "this help"],
  ["Esc", "close a menu, a drawer or an image"],
  ["J K", "next and previous image of the gallery"],
  ["← ↑ → ↓", "move between images, tabs, entries of a menu; on the map, move it"],
  ["Enter", "open the image, press the button"],
  ["← →", "previous and next image of an open one"],
  ["+ − 0", "on the map: closer, farther, all of it"],
  ["O W 1–5", "on a suspected label: label ok, label wrong, the suggested classes"],
];

function help() {
  const close = html("button", { type: "button", "aria-label": "Close" }, "✕");
  const rows = KEYS.flatMap(([keys, words]) => [html("dt", {}, ...keys.split(" ").map((key) => html("kbd", {}, key))), html("dd", {}, words)]);
  const dialog = html("dialog", { class: "help", "aria-labelledby": "help-title" }, html("h2", { id: "help-title" }, "Keys"), close, html("dl", {}, ...rows));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
}

/** Whether a key belongs to what has the focus: a field, or a dialog. */
export const isTyping = ({ target, ctrlKey, metaKey, altKey }) =>
  ctrlKey || metaKey || altKey || target.closest?.("input:not([type=range]), textarea, select, dialog, [contenteditable]") || document.querySelector("dialog[open]");

const glass = () =>
  svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("circle", { cx: 7, cy: 7, r: 4.5 }), svg("path", { d: "M10.5 10.5 14 14" }));

export function start(state) {
  const bar = byId("filters");
  if (!bar) return;
  const { facts } = state;
  const chips = html("div", { class: "chosen" });
  const plus = html("button", { type: "button", class: "chip plus" }, "+ filter");
  const search = html("input", { type: "search", placeholder: "file, class", "aria-label": "Search files and classes", autocomplete: "off", spellcheck: "false" });
  const says = html("p", { class: "says", role: "status" });
  const clearAll = () => {
    search.value = "";
    state.clear();
    plus.focus();
  };
  const clear = html("button", { type: "button", class: "clear", on: { click: clearAll } }, "Clear");
  const more = html("button", { type: "button", class: "more", "aria-label": "Do something with the selection" }, "⋯");
  bar.append(html("div", { class: "strip" }, chips, plus, html("label", { class: "find" }, glass(), search)), html("div", { class: "end" }, says, clear, more));

  const entries = new Map();
  const menu = html("div", { class: "menu", id: "filter-menu", role: "group", "aria-label": "Filters" });
  const isMany = (kind) => ["split", "class", "pred", "cluster"].includes(kind);
  const unfold = (kind) => {
    for (const [key, { button, editor }] of entries) {
      const isOpen = key === kind && editor.hidden;
      button.setAttribute("aria-expanded", String(isOpen));
      editor.hidden = !isOpen;
      editor.replaceChildren(...(isOpen ? (key === "confidence" ? rangeEditor(state) : listEditor(state, key, isMany(key))) : []));
    }
  };
  const fillMenu = () => {
    entries.clear();
    menu.replaceChildren(
      ...offered(state).flatMap(([kind, words, hint]) => {
        const editor = html("div", { class: "editor", hidden: true });
        const shown = html("span", { class: "n" }, hint());
        const button = html("button", { type: "button", class: "entry", "aria-expanded": "false", on: { click: () => unfold(kind) } }, words, shown);
        entries.set(kind, { button, editor, refresh: () => (shown.textContent = hint()) });
        return [button, editor];
      }),
    );
  };
  const filters = popover(plus, menu, {
    parent: bar,
    opening: (kind) => {
      fillMenu();
      if (kind) unfold(kind);
      const at = entries.get(kind)?.editor.querySelector("input, button") ?? menu.querySelector("button");
      at?.focus();
    },
  });

  const actions = html("div", { class: "menu", id: "action-menu", role: "group", "aria-label": "Selection" });
  const statement = html("textarea", { readonly: true, rows: 5, hidden: true, "aria-label": "SQL of the selection" });
  const action = (words, act) => html("button", { type: "button", class: "entry", on: { click: act } }, words);
  const ask = () => {
    keys.showModal();
    doing.shut(false);
  };
  actions.append(
    action("Copy SQL", (event) => {
      copy(event.target, state.sql(), () => {
        statement.value = state.sql();
        statement.hidden = false;
        statement.select();
        return "Selected: press Ctrl+C";
      });
    }),
    action("Save CSV", () => {
      const url = URL.createObjectURL(new Blob([csv(state)], { type: "text/csv" }));
      html("a", { href: url, download: `${state.runName}_selection.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }),
    action("Keys  ?", ask),
    statement,
  );
  const doing = popover(more, actions, {
    parent: bar,
    opening: () => {
      statement.hidden = true;
      actions.querySelector("button").focus();
    },
  });
  const keys = help();

  const find = delayed(() => state.set("search", search.value.trim()), 180);
  search.addEventListener("input", find);
  document.addEventListener("keydown", (event) => {
    if (isTyping(event)) return;
    if (event.key === "/") search.focus();
    else if (event.key === "?") ask();
    else return;
    event.preventDefault();
  });

  const chip = ({ kind, words }) => {
    const name = html("bdi", {}, words);
    const edit = { type: "button", "aria-label": `Change ${words}`, on: { click: () => filters.open(kind) } };
    const remove = () => {
      if (kind === "search") search.value = "";
      state.set(kind, null);
      plus.focus();
    };
    const cross = html("button", { type: "button", class: "remove", "aria-label": `Remove ${words}`, on: { click: remove } }, "×");
    return html("span", { class: "chip", title: words }, EDITED.includes(kind) ? html("button", edit, name) : name, cross);
  };
  const several = isPooled(state);
  const ofSplit = () => {
    if (several) return html("button", { type: "button", class: "chip fixed", on: { click: () => filters.open("split") } }, "split: all ▾");
    return facts.splits.length ? html("span", { class: "chip fixed" }, html("bdi", {}, `split: ${facts.splits[state.rows.split[0]] ?? "none"}`)) : null;
  };
  const update = () => {
    document.documentElement.classList.toggle("filtered", state.isActive);
    const shown = state.compiled.map(chip);
    if (state.get("split") === null) shown.unshift(ofSplit());
    chips.replaceChildren(...shown.filter(Boolean));
    if (document.activeElement !== search) search.value = state.get("search") ?? "";
    const { many, note, accuracy, caution } = summary(state);
    const parts = [many[0], html("b", {}, many[1]), many[2]];
    if (note) parts.push(html("span", {}, ` · ${note}`));
    if (accuracy) parts.push(" ", html("b", {}, accuracy[0]), html("span", { class: "ends" }, ` ${accuracy[1]}`));
    if (caution) parts.push(" ", html("span", { class: caution === "descriptive" ? "tag" : "tag caution" }, caution));
    says.replaceChildren(...parts);
    clear.hidden = !state.isActive;
    for (const { refresh } of entries.values()) refresh();
  };
  state.on(update);
  update();
}
