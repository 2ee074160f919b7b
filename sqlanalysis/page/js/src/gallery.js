// The images of the selection in any order: tabs, sorting, and a grid that holds only the tiles in sight.
import { NONE } from "./aggregation.js";
import { byId, html } from "./dom.js";
import { isTyping } from "./filterbar.js";
import { count } from "./intervals.js";
import { differ } from "./state.js";
import { probabilityOfLabel, tile } from "./tile.js";

const SIZES = { S: { tile: 96, phone: 80, rows: 4 }, M: { tile: 150, phone: 108, rows: 3 }, L: { tile: 236, phone: 168, rows: 2 } };
const CAPTION = 58; // pixels below a picture, in every size
const WINDOW = 4000; // rows of tiles that the scroll area holds at once: browsers limit the height of an element
const ROOM = 50; // rows before the end of that window at which it moves on

const known = (value) => (value >= 0 ? value : NaN);

/** Orders: words, and the key that is sorted upward; images without a key come last. */
const ORDERS = {
  sure: { words: "confidence, high first", key: ({ rows }) => (i) => -known(rows.confidence[i]) },
  unsure: { words: "confidence, low first", key: ({ rows }) => (i) => known(rows.confidence[i]) },
  // -log p of the label falls with p, so p itself gives the order.
  loss: { words: "loss, high first", key: (state) => (i) => probabilityOfLabel(state, i) ?? NaN },
  differ: { words: "disagreement", key: ({ rows, run, baseline }) => disagreement(rows.runs[run], rows.runs[baseline]) },
  outlier: { words: "outlier", key: ({ rows }) => (i) => -rows.outlier[i] },
  name: { words: "file name", key: ({ rows }) => fileRanks(rows) },
  id: { words: "id", key: () => () => 0 },
};

/** Images with two answers first, then by how far the confidences are apart. */
function disagreement(one, other) {
  return (i) => {
    const apart = Math.abs(known(one.confidence[i]) - known(other.confidence[i]));
    return -(differ(one.pred[i], other.pred[i]) ? 2 : 0) - (Number.isNaN(apart) ? 0 : apart);
  };
}

/** The rank of each file name; the names are sorted on first use. */
function fileRanks(rows) {
  if (!rows.ranks) {
    const names = Array.from(rows.origin, (_, row) => rows.names.at(row));
    // The table of the page is in order of ids, which often is that of the names: then this is one pass.
    const order = Array.from(names.keys()).sort((a, b) => (names[a] < names[b] ? -1 : names[a] > names[b] ? 1 : 0));
    rows.ranks = new Uint32Array(rows.n);
    order.forEach((row, rank) => (rows.ranks[rows.place[row]] = rank));
  }
  return (i) => rows.ranks[i];
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
  const { label, pred, confidence } = rows;
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
  const isWrong = (i) => label[i] !== NONE && pred[i] !== NONE && label[i] !== pred[i];
  const all = [
    facts.labeled && facts.predicted && { key: "mistakes", title: "Confident mistakes", order: sure ? "sure" : "id", has: isWrong },
    compared && { key: "disagreements", title: "Disagreements", order: "differ", has: (i) => differ(pred[i], before[i]) },
    facts.labeled && facts.runs[0].has_probs && facts.suspects && { key: "suspects", title: "Suspected labels" },
    sure && { key: "least", title: "Least confident", order: "unsure", has: (i) => confidence[i] >= 0 },
    { key: "all", title: "All", order: "id", has: () => true },
  ];
  return all.filter(Boolean).map((tab) => ({ ...tab, orders }));
}

/** The selected images of a tab, not in order. */
export function members({ mask }, { has }) {
  const list = new Uint32Array(mask.length);
  let n = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] && has(i)) list[n++] = i;
  return list.subarray(0, n);
}

export const arrange = (state, tab, order) => sorted(state.rows, members(state, tab), ORDERS[order].key(state));

/** How many selected images each tab holds. */
export function sizes(state, all) {
  const { mask, rows, facts } = state;
  return all.map(({ has }) => {
    if (!has) return facts.suspects.filter(({ row }) => mask[rows.place[row]]).length;
    let n = 0;
    for (let i = 0; i < mask.length; i++) if (mask[i] && has(i)) n++;
    return n;
  });
}

/** The sentence at the head of the section, of what is selected. */
export function finding(state) {
  const { rows, facts, figures, mask, run, baseline, isActive } = state;
  const images = (n) => `${count(n)} ${n === 1 ? "image" : "images"}`;
  if (!figures.selected) return "No image meets the filters.";
  if (!figures.n) return isActive ? `${images(figures.selected)} of ${count(state.n)} selected.` : `${images(state.n)}${facts.labeled ? "" : " without labels"}.`;
  const wrong = figures.n - figures.correct;
  let had = 0;
  if (baseline >= 0) for (let i = 0; i < mask.length; i++) if (mask[i] && state.isRight(i) === false && state.isRight(i, baseline)) had++;
  const of = figures.n < figures.selected ? "labeled images" : "images";
  const whole = isActive ? `the ${count(figures.n)} ${figures.n === 1 ? "image" : of} selected` : `${count(figures.n)}${figures.n < figures.selected ? " labeled images" : ""}`;
  const suspected = run === 0 ? (facts.suspects ?? []).filter(({ row }) => mask[rows.place[row]] && state.isRight(rows.place[row]) === false).length : 0;
  let first = `${wrong ? count(wrong) : "None"} of ${whole} ${wrong > 1 ? "are" : "is"} wrong.`;
  if (isActive && state.onlyWrong) first = `The filters leave only wrong images: ${count(wrong)}.`;
  if (isActive && state.onlyRight) first = `The filters leave only right images: ${count(figures.n)}.`;
  const more = [];
  if (wrong && baseline >= 0) more.push(`the baseline had ${had ? count(had) : "none"} of them right`);
  if (suspected) more.push(`${count(suspected)} ${suspected > 1 ? "look like wrong labels" : "looks like a wrong label"} rather than ${suspected > 1 ? "wrong answers" : "a wrong answer"}`);
  const second = more.join("; ");
  return second ? `${first} ${second[0].toUpperCase()}${second.slice(1)}.` : first;
}

/** A grid over a list of images of any length, of which it holds the tiles in sight, and its own scroll area. */
class Grid {
  constructor(state, where) {
    Object.assign(this, { state, list: new Uint32Array(0), at: 0, base: 0, size: "M", tiles: new Map() });
    this.inner = html("div", { class: "tiles" });
    this.space = html("div", { class: "space" }, this.inner);
    this.area = html("div", { class: "area", tabindex: -1, role: "group", on: { scroll: () => this.scrolled() } }, this.space);
    this.empty = html("p", { class: "muted", hidden: true });
    this.place = html("span", {});
    this.slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Position in the images" });
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.keys = html("span", { class: "hint" });
    this.foot = html("div", { class: "foot" }, this.place, this.slider, this.keys);
    where.append(this.area, this.empty, this.foot);
    this.area.addEventListener("keydown", (event) => this.pressed(event));
    this.inner.addEventListener("focusin", ({ target }) => this.mark(Number(target.closest(".tile")?.dataset.at ?? this.at)));
    new ResizeObserver(() => this.area.clientWidth !== this.width && this.layOut(true)).observe(this.area);
  }

  show(list, title, compared) {
    Object.assign(this, { list, title, compared, at: 0 });
    this.area.setAttribute("aria-label", `${title}, ${count(list.length)} images`);
    this.empty.hidden = list.length > 0;
    this.empty.textContent = "None of the selected images belongs here.";
    this.layOut(false);
  }

  layOut(stay) {
    const first = stay ? this.first * this.columns : 0;
    this.width = this.area.clientWidth;
    if (!this.width) return;
    const isNarrow = this.width < 600;
    const gap = isNarrow ? 8 : 16;
    const size = SIZES[this.size];
    const inside = this.width - 8; // room for the outline of a tile
    this.columns = Math.max(1, Math.floor((inside + gap) / ((isNarrow ? size.phone : size.tile) + gap)));
    const side = (inside - gap * (this.columns - 1)) / this.columns;
    this.pitch = side + CAPTION + 16;
    this.rows = Math.ceil(this.list.length / this.columns);
    this.visible = Math.min(this.rows, size.rows);
    const set = (element, name, value) => element.style.setProperty(name, value);
    set(this.inner, "--columns", this.columns);
    set(this.inner, "--gap", `${gap}px`);
    set(this.inner, "--tall", `${side + CAPTION}px`);
    set(this.area, "height", `${Math.max(0, this.visible * this.pitch - 16) + 8}px`);
    const max = Math.max(0, this.rows - this.visible);
    this.foot.hidden = !this.list.length;
    this.slider.hidden = !max;
    this.slider.max = max;
    this.keys.replaceChildren(max ? "scroll, or " : "", html("b", {}, "J K"), " to move, ", html("b", {}, "Enter"), " to open");
    this.clear();
    this.goTo(Math.min(max, Math.floor(first / this.columns)));
  }

  clear() {
    this.tiles.clear();
    this.inner.replaceChildren();
  }

  /** The first row in sight, of the whole list. */
  get first() {
    return this.base + Math.round(this.area.scrollTop / this.pitch);
  }

  /** Scrolls to a row of the whole list. */
  goTo(row) {
    if (this.rows > WINDOW) this.base = Math.max(0, Math.min(this.rows - WINDOW, row - WINDOW / 2));
    else this.base = 0;
    this.space.style.setProperty("height", `${Math.min(this.rows, WINDOW) * this.pitch - 16 + 8}px`);
    this.area.scrollTop = (row - this.base) * this.pitch;
    this.render();
  }

  scrolled() {
    const row = this.area.scrollTop / this.pitch;
    const isNear = (this.base > 0 && row < ROOM) || (this.base + WINDOW < this.rows && row > WINDOW - ROOM);
    if (isNear) this.goTo(this.base + row);
    else this.render();
  }

  /** Adds the tiles in sight and one row around them, and removes all others. */
  render() {
    const { columns, list } = this;
    const row = Math.floor(this.area.scrollTop / this.pitch);
    const top = Math.max(0, row - 1);
    const from = (this.base + top) * columns;
    const to = Math.min(list.length, (this.base + row + this.visible + 2) * columns);
    for (const [at, element] of this.tiles) {
      if (at >= from && at < to) continue;
      if (element === document.activeElement) this.area.focus({ preventScroll: true });
      element.remove();
      this.tiles.delete(at);
    }
    this.inner.style.setProperty("transform", `translateY(${top * this.pitch}px)`);
    let next = this.inner.firstChild;
    for (let at = from; at < to; at++) {
      if (this.tiles.has(at)) next = this.tiles.get(at).nextSibling;
      else this.inner.insertBefore(this.make(at), next);
    }
    const first = this.first * columns;
    const words = list.length ? `${count(first + 1)}–${count(Math.min(list.length, first + this.visible * columns))} of ${count(list.length)}` : "";
    this.place.textContent = words;
    this.slider.value = this.first;
    this.slider.setAttribute("aria-valuetext", words);
  }

  make(at) {
    const open = () => {
      this.mark(at);
      this.state.open?.(this.list, at, this.title);
    };
    const element = tile(this.state, this.list[at], { compared: this.compared, open });
    element.dataset.at = at;
    element.tabIndex = at === this.at ? 0 : -1;
    this.tiles.set(at, element);
    return element;
  }

  /** One tile is reached by Tab, the others from it by keys. */
  mark(at) {
    const before = this.tiles.get(this.at);
    if (before) before.tabIndex = -1;
    this.at = at;
    const now = this.tiles.get(at);
    if (now) now.tabIndex = 0;
  }

  /** Moves the focus to an image of the list, which is scrolled into sight. */
  focus(at) {
    if (!this.list.length) return;
    this.mark(Math.max(0, Math.min(this.list.length - 1, at)));
    const row = Math.floor(this.at / this.columns);
    const top = this.base + this.area.scrollTop / this.pitch;
    if (row < top) this.goTo(row);
    else if (row > top + this.visible - 1) this.goTo(row - this.visible + 1);
    this.tiles.get(this.at).focus({ preventScroll: true });
    this.area.scrollIntoView({ block: "nearest" });
  }

  /** The next or previous image; from nowhere, the first in sight. */
  step(by) {
    this.focus(this.area.contains(document.activeElement) ? this.at + by : this.first * this.columns);
  }

  pressed(event) {
    const { columns, visible, list } = this;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: columns * visible, PageUp: -columns * visible };
    const at = { Home: 0, End: list.length - 1 }[event.key] ?? this.at + steps[event.key];
    if (Number.isNaN(at) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.focus(at);
  }
}

export function start(state) {
  const where = byId("gallery");
  if (!where) return;
  const sentence = byId("images-finding");
  const review = byId("review");
  const written = { text: sentence.textContent, run: state.run, baseline: state.baseline };
  const chosen = {}; // the order that somebody chose, by tab
  let [all, counts] = [tabs(state), []];
  let tab = all[0];
  let isStale = true;
  let isSeen = false;

  const list = html("div", { class: "tabs", role: "tablist", "aria-label": "Which images" });
  const sort = html("select", { on: { change: () => ((chosen[tab.key] = sort.value), refresh()) } });
  const sized = html("div", { class: "sizes", role: "group", "aria-label": "Size of the pictures" });
  const key = html("p", { class: "marks" });
  const panel = html("div", { role: "tabpanel", id: "gallery-panel" }, key);
  const tools = html("div", { class: "tools" }, html("label", { class: "sort" }, "Sort", sort), sized);
  where.append(html("div", { class: "choose" }, list, tools), panel);
  const grid = new Grid(state, panel);

  for (const size of Object.keys(SIZES)) {
    const press = () => {
      grid.size = size;
      for (const button of sized.children) button.setAttribute("aria-pressed", String(button.textContent === size));
      grid.layOut(true);
    };
    const words = { S: "small", M: "medium", L: "large" }[size];
    sized.append(html("button", { type: "button", "aria-pressed": String(size === "M"), "aria-label": `${size}: ${words}`, on: { click: press } }, size));
  }

  const explain = () => {
    const run = state.facts.runs[state.run];
    const mark = (kind, words) => html("span", {}, html("i", { class: kind }), words);
    if (tab.key === "disagreements") return [html("span", {}, "label, then"), html("span", {}, html("span", { class: "key-dot" }), state.runName), html("span", {}, html("span", { class: "key-ring" }), state.baselineName)];
    const bars = run.has_confidence ? [mark(tab.key === "mistakes" ? "wrong" : "pred", "probability of the prediction")] : [];
    if (run.has_confidence && state.run === 0 && state.rows.pLabel && state.facts.labeled) bars.push(mark("label", "of the label, where it is wrong".slice(0, tab.key === "mistakes" ? 12 : undefined)));
    return [html("span", {}, state.facts.predicted ? "label → prediction" : "label"), ...bars];
  };

  /** Lists the images of the tab again, when somebody sees it. */
  function refresh() {
    isStale = true;
    if (!isSeen || tab.key === "suspects") return;
    isStale = false;
    const order = chosen[tab.key] ?? tab.order;
    grid.show(arrange(state, tab, tab.orders.includes(order) ? order : tab.order), tab.title, tab.key === "disagreements");
  }

  function say() {
    const isWritten = !state.isActive && state.run === written.run && state.baseline === written.baseline && written.text;
    const asked = "Here the run is sure of another class than the label. Say which is right; the labels stay as they are until you apply the list.";
    sentence.textContent = tab.key === "suspects" ? asked : isWritten ? written.text : finding(state);
  }

  function choose(next, focus) {
    tab = next;
    const isReview = tab.key === "suspects";
    for (const button of list.children) {
      const isIt = button.dataset.key === tab.key;
      button.setAttribute("aria-selected", String(isIt));
      button.tabIndex = isIt ? 0 : -1;
      if (isIt && focus) button.focus();
      if (isIt) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    panel.hidden = isReview;
    tools.hidden = isReview;
    if (review) review.hidden = !isReview;
    (isReview && review ? review : panel).setAttribute("aria-labelledby", `tab-${tab.key}`);
    sort.replaceChildren(...tab.orders.map((order) => html("option", { value: order }, ORDERS[order].words)));
    sort.value = chosen[tab.key] ?? tab.order;
    key.replaceChildren(...explain());
    say();
    refresh();
  }

  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = all.findIndex(({ key }) => key === tab.key) + step;
    choose(all.at(at % all.length), true);
  };
  list.addEventListener("keydown", move);

  function update() {
    all = tabs(state);
    counts = sizes(state, all);
    const buttons = all.map(({ key, title }, at) => {
      const known = [...list.children].find((button) => button.dataset.key === key);
      const panel = key === "suspects" && review ? "review" : "gallery-panel";
      const button = known ?? html("button", { type: "button", role: "tab", id: `tab-${key}`, "data-key": key, "aria-controls": panel }, title, html("span", { class: "n" }));
      if (!known) button.addEventListener("click", () => choose(all.find((tab) => tab.key === key)));
      button.lastChild.textContent = count(counts[at]);
      return button;
    });
    if (buttons.some((button, at) => button !== list.children[at]) || buttons.length !== list.children.length) list.replaceChildren(...buttons);
    choose(all.find(({ key }) => key === tab.key) ?? all[0]);
  }

  if (review) review.setAttribute("role", "tabpanel");
  state.showTab = (name) => choose(all.find(({ key }) => key === name) ?? tab);
  new IntersectionObserver(
    ([{ isIntersecting }]) => {
      isSeen = isIntersecting;
      if (isSeen && isStale) refresh();
    },
    { rootMargin: "300px" },
  ).observe(where);
  document.addEventListener("keydown", (event) => {
    const by = { j: 1, k: -1 }[event.key];
    if (!by || isTyping(event) || !isSeen || tab.key === "suspects") return;
    event.preventDefault();
    grid.step(by);
  });
  state.on(update);
  update();
}
