// Label review: what people say of labels, the accuracy that would follow, and the file that `apply-labels` reads.
import { NONE } from "./aggregation.js";
import { boundsOf, button, byId, html, saveFile, shorten } from "./dom.js";
import { count, interval, percent, wilson } from "./intervals.js";
import { pickList, searchField } from "./picklist.js";
import { copy } from "./theme.js";

const PAGE = 24; // cards at a time
const HEADS = "image_id,file,label_name,review,new_label_name,reviewed_at";

/** The answers {n, correct} of a run with the labels of the marks (row → {review, label}); a label may also be a first one. */
export function corrected({ label, pred }, { n, correct }, marks) {
  for (const [i, { label: now }] of marks) {
    if (now === label[i] || pred[i] === NONE) continue;
    if (label[i] === NONE) n++;
    else if (label[i] === pred[i]) correct--;
    if (now === pred[i]) correct++;
  }
  return { n, correct, accuracy: n ? correct / n : null, ends: wilson(correct, n) };
}

export const changes = ({ label }, marks) => [...marks].filter(([i, mark]) => mark.label !== label[i]).length;

/** A cell of CSV. Text that a spreadsheet would evaluate starts with an apostrophe, which `apply-labels` takes off again. */
export function cell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The reviewed labels in the order of image_id, as `sqlanalysis apply-labels` reads them. */
export function toCsv(rows, classes, marks) {
  const name = (code) => cell(classes[code] ?? "");
  const lines = [...marks]
    .sort(([a], [b]) => rows.id[a] - rows.id[b])
    .map(([i, { review, label, at }]) =>
      [rows.id[i], cell(rows.file(i) ?? ""), name(rows.label[i]), review, review === "ok" ? "" : name(label), at].join(","),
    );
  return `${[HEADS, ...lines].join("\n")}\n`;
}

/** Classes to choose from: the likely ones first, then the others; with a text, those that start with it lead the rest. */
export function choices(classes, likely, text) {
  const wanted = text.trim().toLowerCase();
  const first = new Set(likely);
  const order = [...first, ...[...classes.keys()].filter((code) => !first.has(code))];
  if (!wanted) return order;
  const rank = (code) => (classes[code].toLowerCase().startsWith(wanted) ? 0 : 1);
  return order.filter((code) => classes[code].toLowerCase().includes(wanted)).sort((a, b) => rank(a) - rank(b));
}

/** The marks in the browser's storage, by image_id: another visit of the same page finds them. */
export class Store {
  constructor(key, storage) {
    Object.assign(this, { key, storage });
    this.works = this.write(this.read());
  }

  read() {
    try {
      const found = JSON.parse(this.storage.getItem(this.key) ?? "{}");
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  }

  write(marks) {
    try {
      if (Object.keys(marks).length) this.storage.setItem(this.key, JSON.stringify(marks));
      else this.storage.removeItem(this.key);
      return true;
    } catch {
      return false; // blocked or full: the marks last as long as the page
    }
  }
}

/** What was said of labels: row → {review: "ok" or "wrong", label: the right class, at: when}. */
export class Review {
  constructor(state, storage, now = () => new Date()) {
    const { facts, rows } = state;
    Object.assign(this, { state, now, marks: new Map(), listeners: [], unsaved: false });
    // All pages opened from files share one storage: the time tells them apart.
    this.store = new Store(`sqlanalysis-labels ${facts.run} ${rows.n} ${facts.written}`, facts.written ? storage : null);
    const kept = new Map(Object.entries(this.store.read()).map(([id, mark]) => [Number(id), mark]));
    for (let i = 0; kept.size && i < rows.n; i++) {
      const mark = kept.get(rows.id[i]);
      if (mark && facts.classes[mark.label] !== undefined) this.marks.set(i, mark);
    }
  }

  on(listener) {
    this.listeners.push(listener);
  }

  /** The right label of row `i` is this class, its own or another one; said twice, it is taken back. */
  say(i, label) {
    const { rows } = this.state;
    if (!(label >= 0)) return;
    if (this.marks.get(i)?.label === label) this.marks.delete(i);
    else this.marks.set(i, { review: label === rows.label[i] ? "ok" : "wrong", label, at: this.now().toISOString() });
    this.unsaved = this.marks.size > 0;
    this.store.works = this.store.write(Object.fromEntries([...this.marks].map(([row, mark]) => [rows.id[row], mark])));
    for (const listener of this.listeners) listener(i);
  }

  ok(i) {
    this.say(i, this.state.rows.label[i]);
  }

  csv() {
    this.unsaved = false;
    return toCsv(this.state.rows, this.state.facts.classes, this.marks);
  }
}

/** The most probable classes of run 0 for a row, the suspected one first; at least its prediction. */
export async function likely(state, i, suggested) {
  const top = (await state.details(i))?.top[0]?.classes ?? [state.rows.runs[0].pred[i]];
  return [...new Set([suggested ?? top[0], ...top])].filter((code) => code >= 0).slice(0, 5);
}

/**
 * A menu of classes with a search, in the top layer above `parent`. Returns a function that makes a button open it;
 * `ask()` then gives {likely, label, choose}: classes to lead, one to leave out, and what to do with the chosen one.
 */
export function classMenu(parent, classes, id) {
  let [opener, ask, asked, found, at] = [];
  const list = html("ul", { id: `${id}-list`, role: "listbox", "aria-label": "Classes" });
  const more = html("p", { class: "more", role: "status" });
  const input = searchField("Find a class", "Right class", { role: "combobox", "aria-expanded": "true", "aria-controls": list.id, autofocus: true, on: { keydown: press } });
  const menu = html("div", { class: "class-menu", popover: "auto", id, on: { beforetoggle: toggle } }, input, list, more);
  const show = pickList({
    field: input,
    list,
    find: (text) => choices(classes, asked.likely, text).filter((code) => code !== asked.label),
    make: option,
    none: "No class has this name.",
    tell: (words, shown) => {
      more.textContent = words;
      found = shown;
      move(0);
    },
  });

  async function toggle({ newState }) {
    if (newState !== "open") return;
    const { left, top, bottom } = boundsOf(opener);
    const isBelow = bottom + 330 < innerHeight || top < innerHeight - bottom;
    menu.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - 248))}px`;
    menu.style.top = isBelow ? `${bottom + 4}px` : "auto";
    menu.style.bottom = isBelow ? "auto" : `${innerHeight - top + 4}px`;
    input.value = "";
    asked = { likely: [] };
    show();
    asked = await ask();
    show();
  }

  function option(code, place) {
    const key = asked.likely.indexOf(code) + 1;
    const words = [html("bdi", {}, classes[code]), key ? html("kbd", { "aria-hidden": "true" }, String(key)) : ""];
    return html("li", { role: "option", id: `${list.id}-${place}`, on: { click: () => choose(code) } }, ...words);
  }

  function move(to) {
    at = Math.max(0, Math.min(found.length - 1, to));
    for (const [place, option] of [...list.children].entries()) option.setAttribute("aria-selected", place === at);
    input.setAttribute("aria-activedescendant", list.children[at]?.id ?? "");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    event.stopPropagation();
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (by) move(at + by);
    else if (event.key === "Enter" && found.length) choose(found[at]);
    else return;
    event.preventDefault();
  }

  function choose(code) {
    menu.hidePopover();
    asked.choose(code);
  }

  parent.append(menu);
  addEventListener("scroll", ({ target }) => menu.matches(":popover-open") && !menu.contains(target) && menu.hidePopover(), true);
  return (button, how) => {
    button.popoverTargetElement = menu;
    button.setAttribute("aria-haspopup", "dialog");
    button.addEventListener("click", () => ([opener, ask] = [button, how]));
  };
}

/** A share as a bar without words. */
export function meter(share, kind = null) {
  const fill = html("i");
  fill.style.width = share >= 0 ? `${Math.max(0.5, 100 * Math.min(1, share))}%` : "0";
  return html("span", { class: kind }, html("span", { class: "meter", "aria-hidden": "true" }, fill));
}

/** A share, or a dash where it is unknown. */
export const shareWords = (share) => (share >= 0 ? percent(share) : "–");

/** Shows on both buttons what was said of row `i`. */
export function showMark(state, i, ok, wrong, word) {
  const mark = state.review.marks.get(i);
  ok.setAttribute("aria-pressed", mark?.review === "ok");
  ok.hidden = state.rows.label[i] === NONE;
  wrong.setAttribute("aria-pressed", mark?.review === "wrong");
  const words = mark?.review === "wrong" ? `→ ${state.facts.classes[mark.label]}` : ok.hidden ? "Give a label" : word;
  wrong.title = words;
  wrong.replaceChildren(html("bdi", {}, shorten(words)), " ▾");
}

/** The cards of suspected labels within the filters; returns {render, mark}. */
function suspectCards(state, root) {
  const { facts, rows, name, review } = state;
  const { pred, confidence } = rows.runs[0];
  const command = `sqlanalysis apply-labels ${facts.database ?? "FILE.duckdb"} labels.csv`;
  const parts = new Map();
  let [limit, shown] = [PAGE, []];
  const list = html("ul", { class: "review-cards", on: { keydown: press, focusin: ({ target }) => rove(target) } });
  const progress = html("p", { class: "review-words", "aria-live": "polite" });
  const done = html("progress", { "aria-hidden": "true", max: 1, value: 0 });
  const save = button("Export labels.csv", () => saveFile("labels.csv", review.csv()), { class: "review-save" });
  const range = html("span");
  const more = button("Show more", grow);
  const line = html("code", {}, command);
  const keys = ["O ok", "W wrong", "1–5 class", "←→ move"].map((words) => html("span", {}, html("b", {}, words.split(" ")[0]), ` ${words.split(" ")[1]}`));
  const note = facts.redacted
    ? "This page leaves out file names, without which apply-labels cannot tell the images: to export labels, write the page with them."
    : "Nothing leaves this file: the database stays as it is until you export the list and apply it.";
  root.replaceChildren(
    html("div", { class: "review-head" }, progress, done, button(line, () => copy(line, command, () => command), { class: "review-command", title: "Copy" }), save),
    html("p", { class: "review-note" }, note),
    list,
    html("div", { class: "review-foot" }, range, more, html("span", { class: "review-keys" }, ...keys)),
  );
  const opens = classMenu(root, facts.classes, "review-menu");

  function grow() {
    const at = limit;
    limit += PAGE;
    render();
    list.children[at].focus();
  }

  function render() {
    shown = facts.suspects.map(({ row, suggested }) => ({ i: rows.place[row], suggested })).filter(({ i }) => state.mask[i]);
    parts.clear();
    const cards = shown.slice(0, limit).map(card);
    list.replaceChildren(...cards);
    const none = facts.suspects.length ? `None of the ${count(facts.suspects.length)} suspected labels is selected.` : "No label is suspected. Every image can be reviewed where it is opened.";
    range.textContent = cards.length ? `1–${count(cards.length)} of ${count(shown.length)}` : none;
    more.hidden = cards.length === shown.length;
    say();
  }

  function card({ i, suggested: to }, at) {
    const url = state.large.url(rows.origin[i]) ?? state.thumbnails.url(rows.origin[i]);
    const file = rows.file(i) || `image ${rows.id[i]}`;
    const picture = button(url ? html("img", { src: url, alt: "" }) : html("span", { class: "missing" }, file), () => state.open(Array.from(shown, (one) => one.i), at, "Suspected labels"), { class: "picture", tabindex: -1, "aria-label": `Open ${file}` });
    const ok = button("Label ok", () => review.ok(i));
    const wrong = html("button", { type: "button" });
    const agree = html("p", { class: "agree" });
    const row = (share, kind) => html("div", { class: "meter-line" }, meter(share, kind), html("span", {}, shareWords(share)));
    const bars = html("div", {}, row(to === pred[i] ? confidence[i] : -1, "wrong"), rows.pLabel ? row(rows.pLabel[i], "of-label") : "");
    const [label, guess] = [name(rows.label[i], "label"), name(to, "pred")];
    const names = html("p", { class: "pair" }, html("bdi", {}, label), html("span", { class: "arrow" }, " → "), html("b", {}, html("bdi", {}, guess)));
    const card = html("li", { class: "review-card", tabindex: at ? -1 : 0, "aria-label": `${label} → ${guess}` }, picture, html("div", {}, names, bars, agree, html("div", { class: "acts" }, ok, wrong)));
    opens(wrong, async () => ({ likely: await likely(state, i, to), label: rows.label[i], choose: (code) => review.say(i, code) }));
    parts.set(i, { card, ok, wrong });
    state.details(i).then((details) => {
      if (details?.nNear > 0) agree.textContent = `${details.agree} of ${details.nNear} neighbors agree`;
      const top = details?.top[0];
      const rank = top?.classes.indexOf(to) ?? -1;
      if (to !== pred[i] && rank >= 0) bars.firstChild.replaceWith(row(top.probs[rank], "wrong"));
    });
    mark(i);
    return card;
  }

  function mark(i) {
    const { card, ok, wrong } = parts.get(i) ?? {};
    if (!card) return;
    showMark(state, i, ok, wrong, "Wrong");
    card.classList.toggle("done", review.marks.has(i));
  }

  /** How far the review is, and what would follow from it. */
  function say() {
    const { marks } = review;
    const n = shown.filter(({ i }) => marks.has(i)).length;
    const [others, changed] = [marks.size - n, changes(rows, marks)];
    const words = [html("b", {}, count(n)), ` of ${count(shown.length)} reviewed`];
    if (others) words.push(`, ${count(others)} other ${others === 1 ? "image" : "images"}`);
    if (marks.size) words.push(` · ${count(changed)} ${changed === 1 ? "label changes" : "labels change"}`);
    if (changed && !state.onlyWrong && !state.onlyRight) {
      const { accuracy, ends } = corrected(rows, state.whole, marks);
      words.push(` · accuracy ${state.isActive ? "of all images " : ""}would be `, html("b", {}, percent(accuracy)), ` (${interval(ends)})`);
    }
    progress.replaceChildren(...words);
    done.value = shown.length ? n / shown.length : 0;
    save.disabled = !marks.size || facts.redacted;
  }

  /** One card is reached by Tab, the others from it by arrow keys. */
  function rove(target) {
    for (const card of list.children) card.tabIndex = card.contains(target) ? 0 : -1;
  }

  function press(event) {
    const card = event.target.closest(".review-card");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = [...list.children].indexOf(card);
    const { i, suggested } = shown[at];
    const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const key = event.key.toLowerCase();
    if (by) list.children[at + by]?.focus();
    else if (key === "o") review.ok(i);
    else if (key === "w") parts.get(i).wrong.click();
    else if (key === "enter" && event.target === card) card.querySelector(".picture").click();
    else if (key >= "1" && key <= "5") likely(state, i, suggested).then((codes) => review.say(i, codes[key - 1]));
    else return;
    event.preventDefault();
  }

  return {
    render,
    mark: (i) => {
      mark(i);
      say();
    },
  };
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null; // blocked
  }
}

export function start(state) {
  const review = new Review(state, storage());
  state.review = review;
  addEventListener("beforeunload", (event) => {
    if (review.unsaved && !review.store.works) event.preventDefault();
  });
  const status = byId("review-status");
  const tell = () => {
    const n = review.marks.size;
    if (status) status.textContent = `${n ? `${count(n)} ${n === 1 ? "label" : "labels"} reviewed\n` : ""}Nothing leaves this file.`;
  };
  tell();
  review.on(tell);
  const root = byId("review");
  if (!root) return;
  const cards = suspectCards(state, root);
  let [isSeen, isStale] = [false, true];
  // Pictures are decoded once the cards are seen.
  const refresh = () => {
    if (isSeen && isStale) cards.render();
    isStale &&= !isSeen;
  };
  const watch = ([entry]) => {
    isSeen = entry.isIntersecting;
    refresh();
  };
  new IntersectionObserver(watch, { rootMargin: "200px" }).observe(root);
  state.on(() => {
    isStale = true;
    refresh();
  });
  review.on(cards.mark);
}
