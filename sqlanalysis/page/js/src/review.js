// Label review: what people say of labels, the accuracy that would follow, and the file that `apply-labels` reads.
import { NONE } from "./aggregation.js";
import { byId, html } from "./dom.js";
import { count, interval, percent, wilson } from "./intervals.js";
import { copy } from "./theme.js";

const PAGE = 24; // cards at a time
const MOST_OPTIONS = 100; // classes in the menu at a time
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
    this.store = new Store(`sqlanalysis-labels ${facts.run} ${rows.n} ${facts.written ?? ""}`, storage);
    const kept = new Map(Object.entries(this.store.read()).map(([id, mark]) => [Number(id), mark]));
    for (let i = 0; kept.size && i < rows.n; i++) {
      const mark = kept.get(rows.id[i]);
      if (mark && facts.classes[mark.label] !== undefined) this.marks.set(i, mark);
    }
  }

  on(listener) {
    this.listeners.push(listener);
  }

  /** The label of row `i` is this class, which is its label or another one; said twice, it is taken back. */
  say(i, label) {
    if (!(label >= 0)) return;
    const review = label === this.state.rows.label[i] ? "ok" : "wrong";
    if (this.marks.get(i)?.label === label) this.marks.delete(i);
    else this.marks.set(i, { review, label, at: this.now().toISOString() });
    this.unsaved = this.marks.size > 0;
    const kept = [...this.marks].map(([row, mark]) => [this.state.rows.id[row], mark]);
    this.store.works = this.store.write(Object.fromEntries(kept));
    for (const listener of this.listeners) listener(i);
  }

  ok(i) {
    this.say(i, this.state.rows.label[i]);
  }

  csv() {
    this.unsaved = false;
    return toCsv(this.state.rows, this.state.facts.classes, this.marks);
  }

  /** Accuracy of the chosen run over all images with the new labels. */
  after() {
    return corrected(this.state.rows, this.state.whole, this.marks);
  }
}

/** The most probable classes of run 0 for a row, at least its prediction. */
export async function likely(state, i, suggested) {
  const top = (await state.details(i))?.top[0]?.classes ?? [state.rows.runs[0].pred[i]];
  return [...new Set([suggested ?? top[0], ...top])].filter((code) => code >= 0).slice(0, 5);
}

/** A menu of classes with a search. One menu serves many buttons below `parent`; `ask()` gives {likely, label, choose}. */
export class ClassMenu {
  constructor(parent, classes, id) {
    Object.assign(this, { classes, at: 0 });
    const list = `${id}-list`;
    this.input = html("input", {
      type: "search", role: "combobox", placeholder: "Find a class", "aria-label": "Right class", autofocus: true, autocomplete: "off",
      "aria-expanded": "true", "aria-controls": list, on: { input: () => this.show(0), keydown: (event) => this.press(event) },
    });
    this.list = html("ul", { id: list, role: "listbox", "aria-label": "Classes" });
    this.more = html("p", { class: "more", role: "status" });
    this.menu = html("div", { class: "class-menu", popover: "auto", id, on: { beforetoggle: (event) => this.toggle(event) } }, this.input, this.list, this.more);
    parent.append(this.menu);
    addEventListener("scroll", ({ target }) => this.menu.matches(":popover-open") && !this.menu.contains(target) && this.menu.hidePopover(), true);
  }

  /** Makes a button open the menu. */
  attach(button, ask) {
    button.popoverTargetElement = this.menu;
    button.setAttribute("aria-haspopup", "dialog");
    button.addEventListener("click", () => Object.assign(this, { button, ask }));
  }

  async toggle({ newState }) {
    if (newState !== "open") return;
    const { left, top, bottom } = this.button.getBoundingClientRect();
    const below = bottom + 330 < innerHeight || top < innerHeight - bottom;
    const { style } = this.menu;
    style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - 248))}px`;
    style.top = below ? `${bottom + 4}px` : "auto";
    style.bottom = below ? "auto" : `${innerHeight - top + 4}px`;
    this.input.value = "";
    this.asked = { likely: [], label: null };
    this.show(0);
    this.asked = await this.ask();
    this.show(0);
  }

  show(at) {
    const { likely: first, label } = this.asked;
    const found = choices(this.classes, first, this.input.value).filter((code) => code !== label);
    this.found = found.slice(0, MOST_OPTIONS);
    this.list.replaceChildren(
      ...this.found.map((code, place) => {
        const number = first.indexOf(code) + 1;
        const option = html("li", { role: "option", id: `${this.list.id}-${place}`, on: { click: () => this.choose(code) } }, html("bdi", {}, this.classes[code]));
        if (number) option.append(html("kbd", { "aria-hidden": "true" }, String(number)));
        return option;
      }),
    );
    const rest = found.length - this.found.length;
    this.more.textContent = rest ? `${count(rest)} more: type to find them` : found.length ? "" : "No class has this name.";
    this.move(at);
  }

  move(at) {
    this.at = Math.max(0, Math.min(this.found.length - 1, at));
    for (const [place, option] of [...this.list.children].entries()) option.setAttribute("aria-selected", place === this.at);
    const option = this.list.children[this.at];
    this.input.setAttribute("aria-activedescendant", option?.id ?? "");
    option?.scrollIntoView({ block: "nearest" });
  }

  press(event) {
    event.stopPropagation();
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in moves) this.move(this.at + moves[event.key]);
    else if (event.key === "Enter" && this.found.length) this.choose(this.found[this.at]);
    else return;
    event.preventDefault();
  }

  choose(code) {
    this.menu.hidePopover();
    this.asked.choose(code);
  }
}

const bar = (share, kind) => {
  const known = share >= 0;
  const meter = html("span", { class: `meter ${kind}`, "aria-hidden": "true" }, html("i"));
  meter.firstChild.style.width = known ? `${Math.max(0.5, 100 * Math.min(1, share))}%` : "0";
  return html("span", { class: "meter-line" }, meter, html("span", { class: "share" }, known ? percent(share) : "–"));
};

/** Shows on both buttons what was said of row `i`. */
export function showMark(state, i, ok, wrong, word) {
  const mark = state.review.marks.get(i);
  const labeled = state.rows.label[i] >= 0;
  ok.setAttribute("aria-pressed", mark?.review === "ok");
  ok.hidden = !labeled;
  wrong.setAttribute("aria-pressed", mark?.review === "wrong");
  const text = mark?.review === "wrong" ? `→ ${state.facts.classes[mark.label]} ▾` : `${labeled ? word : "Give a label"} ▾`;
  wrong.replaceChildren(html("bdi", {}, text));
}

class Cards {
  constructor(state, root) {
    Object.assign(this, { state, root, limit: PAGE, stale: true, cards: new Map() });
    this.list = html("ul", { class: "review-cards", on: { keydown: (event) => this.press(event), focusin: ({ target }) => this.rove(target) } });
    this.progress = html("p", { class: "review-words", "aria-live": "polite" });
    this.done = html("progress", { "aria-hidden": "true", max: 1, value: 0 });
    this.save = html("button", { type: "button", class: "review-save", on: { click: () => this.export() } }, "Export labels.csv");
    this.command = html("button", { type: "button", class: "review-command", title: "Copy", on: { click: () => copy(this.command.lastChild, this.line, () => this.line) } }, html("code", {}, this.line));
    this.foot = html("span", { class: "review-range" });
    this.more = html("button", { type: "button", on: { click: () => this.grow() } }, "Show more");
    const keys = [["O", "ok"], ["W", "wrong"], ["1–5", "class"], ["← →", "move"]].map(([key, what]) => html("span", {}, html("b", {}, key), ` ${what}`));
    root.replaceChildren(
      html("div", { class: "review-head" }, this.progress, this.done, this.command, this.save),
      html("p", { class: "review-note" }, this.note()),
      this.list,
      html("div", { class: "review-foot" }, this.foot, this.more, html("span", { class: "review-keys" }, ...keys)),
    );
    this.menu = new ClassMenu(root, state.facts.classes, "review-menu");
  }

  get line() {
    return `sqlanalysis apply-labels ${this.state.facts.database ?? "FILE.duckdb"} labels.csv`;
  }

  note() {
    if (this.state.facts.redacted) return "This page leaves out file names, so apply-labels could not tell the images: to export labels, write it without redaction.";
    return "Say what is right. Nothing leaves this file: the database stays as it is until you export the list and apply it.";
  }

  export() {
    const url = URL.createObjectURL(new Blob([this.state.review.csv()], { type: "text/csv" }));
    html("a", { href: url, download: "labels.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  grow() {
    const at = this.limit;
    this.limit += PAGE;
    this.render();
    this.list.children[at]?.focus();
  }

  /** Suspected labels within the filters, as {i, suggested}. */
  suspects() {
    const { rows, facts, mask } = this.state;
    return facts.suspects.map(({ row, suggested }) => ({ i: rows.place[row], suggested })).filter(({ i }) => mask[i]);
  }

  render() {
    this.stale = false;
    this.shown = this.suspects();
    this.cards.clear();
    const cards = this.shown.slice(0, this.limit).map((suspect, at) => this.card(suspect, at));
    this.list.replaceChildren(...cards);
    const { facts, isActive } = this.state;
    const none = facts.suspects.length ? `None of the ${count(facts.suspects.length)} suspected labels is selected.` : "No label is suspected. Any image can be reviewed where it is opened.";
    this.foot.textContent = cards.length ? `1–${count(cards.length)} of ${count(this.shown.length)}${isActive ? " selected" : ""}` : none;
    this.more.hidden = cards.length >= this.shown.length;
    this.say();
  }

  card({ i, suggested }, at) {
    const { state } = this;
    const { rows, name } = state;
    const { pred, confidence } = rows.runs[0];
    const to = suggested ?? pred[i];
    const names = `${name(rows.label[i], "label")} → ${name(to, "pred")}`;
    const url = state.large.url(rows.origin[i]) ?? state.thumbnails.url(rows.origin[i]);
    const picture = url ? html("img", { src: url, alt: "" }) : html("span", { class: "missing" }, rows.file(i) || `id ${rows.id[i]}`);
    const list = () => state.open(this.shown.map((one) => one.i), at, "Suspected labels");
    const ok = html("button", { type: "button", on: { click: () => state.review.ok(i) } }, "Label ok");
    const wrong = html("button", { type: "button" });
    const agree = html("p", { class: "agree" });
    const bars = html("div", { class: "bars" }, bar(to === pred[i] ? confidence[i] : -1, "wrong"), rows.pLabel ? bar(rows.pLabel[i], "label") : "");
    const card = html(
      "li",
      { class: "review-card", tabindex: at ? -1 : 0, "aria-label": names },
      html("button", { type: "button", class: "picture", tabindex: -1, "aria-label": `Open ${rows.file(i) || `image ${rows.id[i]}`}`, on: { click: list } }, picture),
      html("div", {}, html("p", { class: "names" }, html("bdi", {}, name(rows.label[i], "label")), html("span", { class: "arrow" }, " → "), html("b", {}, html("bdi", {}, name(to, "pred")))), bars, agree, html("div", { class: "acts" }, ok, wrong)),
    );
    this.menu.attach(wrong, async () => ({ likely: await likely(state, i, to), label: rows.label[i], choose: (code) => state.review.say(i, code) }));
    this.cards.set(i, { card, ok, wrong, to });
    this.mark(i);
    state.details(i).then((details) => {
      if (details?.nNear > 0 && details.agree >= 0) agree.textContent = `${details.agree} of ${details.nNear} neighbors agree`;
      const top = details?.top[0];
      if (top && to !== pred[i] && top.classes.includes(to)) bars.firstChild.replaceWith(bar(top.probs[top.classes.indexOf(to)], "wrong"));
    });
    return card;
  }

  mark(i) {
    const parts = this.cards.get(i);
    if (!parts) return;
    showMark(this.state, i, parts.ok, parts.wrong, "Wrong");
    parts.card.classList.toggle("done", this.state.review.marks.has(i));
  }

  /** How far the review is, and what would follow from it. */
  say() {
    const { state } = this;
    const { marks } = state.review;
    const shown = (this.shown ?? this.suspects()).filter(({ i }) => marks.has(i)).length;
    const total = (this.shown ?? this.suspects()).length;
    const [others, changed, after] = [marks.size - shown, changes(state.rows, marks), state.review.after()];
    const parts = [html("b", {}, count(shown)), ` of ${count(total)} reviewed`];
    if (others) parts.push(`, ${count(others)} other ${others === 1 ? "image" : "images"}`);
    if (marks.size) parts.push(` · ${count(changed)} ${changed === 1 ? "label changes" : "labels change"}`);
    if (changed && after.n && !state.onlyWrong && !state.onlyRight) {
      parts.push(` · accuracy ${state.isActive ? "of all images " : ""}would be `, html("b", {}, percent(after.accuracy)), ` (${interval(after.ends)})`);
    }
    this.progress.replaceChildren(...parts);
    this.done.value = total ? shown / total : 0;
    this.save.disabled = !marks.size || state.facts.redacted;
  }

  rove(target) {
    const card = target.closest(".review-card");
    for (const other of this.list.children) other.tabIndex = other === card ? 0 : -1;
  }

  async press(event) {
    const card = event.target.closest(".review-card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = [...this.list.children].indexOf(card);
    const { i, suggested } = this.shown[at];
    const key = event.key.toLowerCase();
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const moves = { arrowright: 1, arrowleft: -1, arrowdown: columns, arrowup: -columns };
    if (key in moves) this.list.children[at + moves[key]]?.focus();
    else if (key === "o") this.state.review.ok(i);
    else if (key === "w") this.cards.get(i).wrong.click();
    else if (key === "enter" && event.target === card) card.querySelector(".picture").click();
    else if (/^[1-5]$/.test(key)) {
      const code = (await likely(this.state, i, suggested ?? this.state.rows.runs[0].pred[i]))[key - 1];
      if (code !== undefined) this.state.review.say(i, code);
    } else return;
    event.preventDefault();
  }
}

const storage = () => {
  try {
    return localStorage;
  } catch {
    return null; // blocked
  }
};

export function start(state) {
  state.facts.suspects ??= [];
  state.review = new Review(state, storage());
  addEventListener("beforeunload", (event) => {
    if (state.review.unsaved && !state.review.store.works) event.preventDefault();
  });
  const status = byId("review-status");
  const tell = () => {
    const n = state.review.marks.size;
    if (status) status.textContent = n ? `${count(n)} ${n === 1 ? "label" : "labels"} reviewed\nNothing leaves this file.` : "";
  };
  tell();
  state.review.on(tell);
  const root = byId("review");
  if (!root) return;
  const cards = new Cards(state, root);
  // Pictures are decoded once the cards are seen.
  let seen = false;
  const render = () => (seen ? cards.render() : (cards.stale = true));
  new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    if (seen && cards.stale) cards.render();
  }, { rootMargin: "200px" }).observe(root);
  state.on(render);
  state.review.on((i) => {
    cards.mark(i);
    cards.say();
  });
}
