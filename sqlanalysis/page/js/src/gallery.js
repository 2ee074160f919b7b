// The images of the selection in any order: tabs, sorting, and a grid that holds only the tiles in sight.
import { button, byId, html } from "./dom.js";
import { isTyping } from "./filterbar.js";
import { count } from "./intervals.js";
import { rankNames } from "./names.js";
import { differ } from "./state.js";
import { probabilityOfLabel, tile } from "./tile.js";

const SIZES = { S: { tile: 96, phone: 80, rows: 4 }, M: { tile: 150, phone: 108, rows: 3 }, L: { tile: 236, phone: 168, rows: 2 } };
const CAPTION = { names: 26, bars: 58 }; // pixels below a picture, in every size
const ROW_GAP = 16;
const EDGE = 4; // room for the outline of a tile
const WINDOW = 4000; // rows of tiles that the scroll area holds at once: browsers limit the height of an element
const ROOM = 50; // rows before the end of that window at which it moves on

const known = (value) => (value >= 0 ? value : NaN);

/** Orders: words, and the key that is sorted upward; images without a key come last. */
const ORDERS = {
  sure: { words: "confidence", key: ({ rows }) => (i) => -known(rows.confidence[i]) },
  unsure: { words: "confidence, low first", key: ({ rows }) => (i) => known(rows.confidence[i]) },
  // -log p of the label falls with p, so p itself gives the order.
  loss: { words: "loss", key: (state) => (i) => probabilityOfLabel(state, i) ?? NaN },
  differ: { words: "disagreement", key: ({ rows, run, baseline }) => disagreement(rows.runs[run], rows.runs[baseline]) },
  outlier: { words: "outlier", key: ({ rows }) => (i) => -rows.outlier[i] },
  name: { words: "file name", key: ({ rows }) => (i) => rows.ranks[rows.origin[i]] },
  id: { words: "id", key: () => () => 0 },
};

/** Images with two answers first, then by how far the confidences are apart. */
function disagreement(one, other) {
  return (i) => {
    const apart = Math.abs(known(one.confidence[i]) - known(other.confidence[i]));
    return -(differ(one.pred[i], other.pred[i]) ? 2 : 0) - (Number.isNaN(apart) ? 0 : apart);
  };
}

/** The list sorted upward by a key, equal keys by image id, NaN last. */
export function sorted({ origin, place }, list, key) {
  // One native sort of numbers: above, the bits of the key as a 32-bit float, made to grow with it; below, 21 bits of row.
  const packed = new Float64Array(list.length);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let at = 0; at < list.length; at++) {
    const value = key(list[at]);
    float[0] = Number.isNaN(value) ? Infinity : value + 0; // -0 becomes 0
    packed[at] = (bits[0] < 2 ** 31 ? bits[0] + 2 ** 31 : 2 ** 32 - 1 - bits[0]) * 2 ** 21 + origin[list[at]];
  }
  packed.sort();
  const order = new Uint32Array(list.length);
  for (let at = 0; at < order.length; at++) order[at] = place[packed[at] - Math.floor(packed[at] / 2 ** 21) * 2 ** 21];
  return order;
}

/** The tabs that the data allow: name, order at first, other orders, and which of the selected images it holds. */
export function tabs(state) {
  const { rows, facts, run, baseline } = state;
  const { pred, confidence } = rows;
  const compared = baseline >= 0;
  const sure = facts.runs[run].has_confidence;
  const orders = [
    ...(sure ? ["sure", "unsure"] : []),
    ...(run === 0 && rows.pLabel && facts.labeled ? ["loss"] : []),
    ...(compared ? ["differ"] : []),
    ...(rows.outlier ? ["outlier"] : []),
    ...(facts.redacted ? [] : ["name"]),
    "id",
  ];
  const before = rows.runs[baseline]?.pred;
  const rights = state.rightsOf(run);
  const isWrong = (i) => rights[i] === 0;
  const all = [
    facts.labeled && facts.predicted && { key: "mistakes", title: sure ? "Confident mistakes" : "Mistakes", order: sure ? "sure" : "id", has: isWrong },
    compared && { key: "disagreements", title: "Disagreements", order: "differ", has: (i) => differ(pred[i], before[i]) },
    facts.labeled && facts.runs[0].has_probs && facts.suspects && { key: "suspects", title: run ? `Suspected by ${facts.runs[0].name}` : "Suspected labels" },
    sure && { key: "least", title: "Least confident", order: "unsure", has: (i) => confidence[i] >= 0 },
    { key: "all", title: "All", order: "id", has: () => true },
  ];
  return all.filter(Boolean).map((tab) => ({ ...tab, orders }));
}

/** The selected images of a tab, not in order. */
export function members({ selected }, { has }) {
  const list = new Uint32Array(selected.length);
  let n = 0;
  for (let at = 0; at < selected.length; at++) if (has(selected[at])) list[n++] = selected[at];
  return list.subarray(0, n);
}

export const arrange = (state, tab, order) => sorted(state.rows, members(state, tab), ORDERS[order].key(state));

/** How many selected images each tab holds. */
export function sizes(state, all) {
  const { mask, rows, facts, selected } = state;
  return all.map(({ has, key }) => {
    if (key === "all") return selected.length;
    if (!has) return facts.suspects.filter(({ row }) => mask[rows.place[row]]).length;
    let n = 0;
    for (let at = 0; at < selected.length; at++) if (has(selected[at])) n++;
    return n;
  });
}

/** The sentence at the head of the section, of what is selected. */
export function finding(state) {
  const { rows, facts, figures, mask, run, baseline, isActive } = state;
  const { selected, n } = figures;
  if (!selected) return "No image meets the filters.";
  if (!n) return isActive ? `${count(selected)} of ${count(state.n)} images selected.` : `${count(state.n)} images${facts.labeled ? "" : " without labels"}.`;
  const wrong = n - figures.correct;
  let had = 0;
  if (baseline >= 0) for (const i of state.wrong) if (state.isRight(i, baseline)) had++;
  const suspected = run ? 0 : (facts.suspects ?? []).filter(({ row }) => mask[rows.place[row]] && state.isRight(rows.place[row]) === false).length;
  const images = isActive || n < selected ? `${n < selected ? " labeled" : ""} image${n > 1 ? "s" : ""}` : "";
  const whole = `${isActive ? "the " : ""}${count(n)}${images}${isActive ? " selected" : ""}`;
  let first = `${wrong ? count(wrong) : "None"} of ${whole} ${wrong > 1 ? "are" : "is"} wrong.`;
  if (state.onlyWrong) first = `The filters leave only wrong images: ${count(wrong)}.`;
  if (state.onlyRight) first = `The filters leave only right images: ${count(n)}.`;
  const texts = [first];
  if (wrong && baseline >= 0) texts.push(`The baseline had ${count(had)} of them right.`);
  // A weak run contradicts most labels, which says nothing of them.
  if (suspected && suspected * 2 <= wrong) texts.push(suspected > 1 ? `${count(suspected)} look like wrong labels rather than wrong answers.` : "1 looks like a wrong label rather than a wrong answer.");
  return texts.join(" ");
}

/** One line about the marks on the tiles. */
function explain(state, { key, orders }) {
  const mark = (kind, ...words) => html("span", {}, html("i", { class: kind }), html("span", {}, ...words));
  if (key === "disagreements") return [html("span", {}, "label"), mark("key-dot", state.runName), mark("key-ring", state.baselineName)];
  const { labeled, predicted } = state.facts;
  const words = html("span", {}, [labeled && "label", predicted && "prediction"].filter(Boolean).join(" → "));
  if (!orders.includes("sure")) return [words];
  const isWrong = key === "mistakes";
  const prediction = mark(isWrong ? "stripe wrong" : "stripe", html("span", { class: "wide" }, "probability of the "), "prediction");
  return orders.includes("loss") ? [words, prediction, mark("stripe label", isWrong ? "of the label" : "of the label, if another")] : [words, prediction];
}

/** A grid over a list of images of any length: it holds the tiles in sight, in a scroll area of its own. */
function startGrid(state, where) {
  const inner = html("div", { class: "tiles" });
  const space = html("div", { class: "space" }, inner);
  const area = html("div", { class: "area", tabindex: -1, role: "group" }, space);
  const empty = html("p", { class: "muted", hidden: true }, "None of the selected images belongs here.");
  const place = html("span", {});
  const slider = html("input", { type: "range", "aria-label": "Position in the images" });
  const hint = html("span", { class: "hint" });
  const foot = html("div", { class: "foot" }, place, slider, hint);
  foot.hidden = true; // until there is a list
  where.append(area, empty, foot);
  const tiles = new Map(); // by place in the list
  let list = new Uint32Array(0);
  let [title, isCompared, size] = ["", false, "M"];
  let at = 0; // the tile that Tab reaches; keys move from it to the others
  let base = 0; // the first row that the scroll area holds
  let [columns, rows, visible, pitch, width] = [1, 0, 0, 1, 0];

  const set = (element, name, value) => element.style.setProperty(name, value);
  /** The first row in sight, of the whole list. */
  const first = () => base + Math.round(area.scrollTop / pitch);

  function mark(next) {
    tiles.get(at)?.setAttribute("tabindex", -1);
    at = next;
    tiles.get(at)?.setAttribute("tabindex", 0);
  }

  function make(one) {
    const open = () => {
      mark(one);
      state.open?.(list, one, title);
    };
    const element = tile(state, list[one], { compared: isCompared, open });
    element.addEventListener("focus", () => mark(one));
    element.tabIndex = one === at ? 0 : -1;
    tiles.set(one, element);
    return element;
  }

  /** Adds the tiles in sight and one row around them, and removes all others. */
  function render() {
    const row = Math.floor(area.scrollTop / pitch);
    const top = Math.max(0, row - 1);
    const from = (base + top) * columns;
    const to = Math.min(list.length, (base + row + visible + 2) * columns);
    for (const [one, element] of tiles) {
      if (one >= from && one < to) continue;
      if (element === document.activeElement) area.focus({ preventScroll: true });
      element.remove();
      tiles.delete(one);
    }
    set(inner, "transform", `translateY(${top * pitch}px)`);
    let next = inner.firstChild;
    for (let one = from; one < to; one++) {
      if (tiles.has(one)) next = tiles.get(one).nextSibling;
      else inner.insertBefore(make(one), next);
    }
    const start = first() * columns;
    place.textContent = `${count(start + 1)}–${count(Math.min(list.length, start + visible * columns))} of ${count(list.length)}`;
    slider.value = first();
    slider.setAttribute("aria-valuetext", place.textContent);
  }

  /** Scrolls to a row of the whole list. */
  function goTo(row) {
    base = Math.max(0, Math.min(rows - WINDOW, Math.round(row) - WINDOW / 2));
    set(space, "height", `${Math.min(rows, WINDOW) * pitch - ROW_GAP + 2 * EDGE}px`);
    area.scrollTop = (row - base) * pitch;
    render();
  }

  /** Lays out the list from a place in it on. */
  function layOut(from) {
    width = area.clientWidth;
    if (!width) return;
    const isNarrow = width < 600;
    const gap = isNarrow ? 8 : 16;
    const inside = width - 2 * EDGE;
    columns = Math.max(1, Math.floor((inside + gap) / (SIZES[size][isNarrow ? "phone" : "tile"] + gap)));
    const tall = (inside - gap * (columns - 1)) / columns + (isCompared || state.facts.runs[state.run].has_confidence ? CAPTION.bars : CAPTION.names);
    pitch = tall + ROW_GAP;
    rows = Math.ceil(list.length / columns);
    visible = Math.min(rows, SIZES[size].rows);
    set(inner, "--columns", columns);
    set(inner, "--gap", `${gap}px`);
    set(inner, "--tall", `${tall}px`);
    set(area, "height", `${Math.max(0, visible * pitch - ROW_GAP) + 2 * EDGE}px`);
    const last = rows - visible;
    slider.max = last;
    slider.hidden = !last;
    hint.replaceChildren(last ? "scroll, or " : "", html("b", {}, "J K"), " to move, ", html("b", {}, "Enter"), " to open");
    tiles.clear();
    inner.replaceChildren();
    goTo(Math.min(last, Math.floor(from / columns)));
  }

  /** Moves the focus to an image of the list, which is scrolled into sight. */
  function focus(next) {
    if (!list.length) return;
    mark(Math.max(0, Math.min(list.length - 1, next)));
    const row = Math.floor(at / columns);
    const top = base + area.scrollTop / pitch;
    if (row < top || row > top + visible - 1) goTo(row < top ? row : row - visible + 1);
    tiles.get(at).focus({ preventScroll: true });
    area.scrollIntoView({ block: "nearest" });
  }

  area.addEventListener("scroll", () => {
    const row = area.scrollTop / pitch;
    if ((base > 0 && row < ROOM) || (base + WINDOW < rows && row > WINDOW - ROOM)) goTo(base + row);
    else render();
  });
  area.addEventListener("keydown", (event) => {
    const page = columns * visible;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -at, End: list.length };
    if (!(event.key in steps) || isTyping(event)) return;
    event.preventDefault();
    focus(at + steps[event.key]);
  });
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  new ResizeObserver(() => area.clientWidth !== width && layOut(first() * columns)).observe(area);
  return {
    show(images, name, compared) {
      [list, title, isCompared, at] = [images, name, compared, 0];
      area.setAttribute("aria-label", `${title}: ${count(list.length)}`);
      empty.hidden = list.length > 0;
      foot.hidden = area.hidden = !list.length;
      layOut(0);
    },
    wait: (words) => (place.textContent = words),
    resize(name) {
      size = name;
      layOut(first() * columns);
    },
    /** The next or previous image; from elsewhere, the first in sight. */
    step: (by) => focus(area.contains(document.activeElement) ? at + by : first() * columns),
  };
}

export function start(state) {
  const where = byId("gallery");
  if (!where) return;
  const sentence = byId("images-finding");
  const review = byId("review");
  const written = { text: sentence.textContent, run: state.run, baseline: state.baseline };
  const chosen = {}; // the order that somebody chose, by tab
  let all = tabs(state);
  let tab = all[0];
  let isStale = true;
  let isSeen = false;

  const list = html("div", { class: "tabs", role: "tablist", "aria-label": "Which images" });
  const sort = html("select");
  const sizer = html("div", { class: "sizes", role: "group", "aria-label": "Size of the pictures" });
  const marks = html("p", { class: "marks" });
  const panel = html("div", { role: "tabpanel", id: "gallery-panel" }, marks);
  const tools = html("div", { class: "tools" }, html("label", { class: "sort" }, "Sort", sort), sizer);
  where.append(html("div", { class: "above" }, list, tools), panel);
  review?.setAttribute("role", "tabpanel");
  const grid = startGrid(state, panel);

  for (const size of Object.keys(SIZES)) {
    const press = () => {
      for (const one of sizer.children) one.setAttribute("aria-pressed", one.textContent === size);
      grid.resize(size);
    };
    sizer.append(button(size, press, { "aria-pressed": String(size === "M"), "aria-label": `Size ${size}` }));
  }

  /** Ranks the file names once, and then lists the images again. */
  async function rankFiles() {
    grid.wait("sorting names …");
    const { values, offsets } = state.rows.names.data[0];
    state.rows.ranks = await rankNames(values, offsets, state.rows.n);
    refresh();
  }

  /** Lists the images of the tab again, now or when somebody sees them or prints the page. */
  function refresh(isWanted = isSeen) {
    isStale = !isWanted;
    if (isStale || tab.key === "suspects") return;
    const order = tab.orders.includes(chosen[tab.key]) ? chosen[tab.key] : tab.order;
    if (order === "name" && !state.rows.ranks) return rankFiles();
    grid.show(arrange(state, tab, order), tab.title, tab.key === "disagreements");
  }

  function choose(next) {
    tab = next;
    const isReview = tab.key === "suspects";
    for (const one of list.children) {
      const isIt = one.id === `tab-${tab.key}`;
      one.setAttribute("aria-selected", isIt);
      one.tabIndex = isIt ? 0 : -1;
    }
    panel.hidden = tools.hidden = isReview;
    if (review) review.hidden = !isReview;
    (isReview ? review : panel)?.setAttribute("aria-labelledby", `tab-${tab.key}`);
    sort.replaceChildren(...tab.orders.map((order) => html("option", { value: order }, ORDERS[order].words)));
    sort.value = chosen[tab.key] ?? tab.order;
    marks.replaceChildren(...explain(state, tab));
    const isWritten = written.text && !state.isActive && state.run === written.run && state.baseline === written.baseline;
    const asked = `Here ${state.facts.runs[0].name} is sure of another class than the label. Say which is right; the labels stay as they are until you apply the list.`;
    sentence.textContent = isReview ? asked : isWritten ? written.text : finding(state);
    refresh();
  }

  function update() {
    all = tabs(state);
    const sizes_ = sizes(state, all);
    const hasFocus = list.contains(document.activeElement);
    const choice = ({ key, title }, at) => {
      const attributes = { role: "tab", id: `tab-${key}`, "aria-controls": key === "suspects" ? "review" : panel.id };
      return button([title, html("span", { class: "n" }, count(sizes_[at]))], () => choose(all[at]), attributes);
    };
    list.replaceChildren(...all.map(choice));
    choose(all.find(({ key }) => key === tab.key) ?? all[0]);
    if (hasFocus) byId(`tab-${tab.key}`).focus();
  }

  sort.addEventListener("change", () => {
    chosen[tab.key] = sort.value;
    refresh();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(all.at((all.findIndex(({ key }) => key === tab.key) + step) % all.length));
    byId(`tab-${tab.key}`).focus();
  });
  document.addEventListener("keydown", (event) => {
    const by = { j: 1, k: -1 }[event.key];
    if (!by || isTyping(event) || !isSeen || panel.hidden) return;
    event.preventDefault();
    grid.step(by);
  });
  state.showTab = (name) => choose(all.find(({ key }) => key === name) ?? tab);
  const observe = ([{ isIntersecting }]) => {
    isSeen = isIntersecting;
    if (isSeen && isStale) refresh();
  };
  new IntersectionObserver(observe, { rootMargin: "300px" }).observe(where);
  addEventListener("beforeprint", () => isStale && refresh(true));
  state.on(update);
  update();
}
