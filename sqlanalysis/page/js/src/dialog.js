// The image dialog: one image of a list with everything the page knows of it.
import { NONE } from "./aggregation.js";
import { html } from "./dom.js";
import { count, percent } from "./intervals.js";
import { ClassMenu, likely, showMark } from "./review.js";
import { quoteName } from "./state.js";
import { copy } from "./theme.js";

const TINY = 32; // pixels up to which a picture is enlarged without smoothing

/**
 * What a run says of a row, most probable first: [{code, share, is}] with is "right", "wrong", "label" or "". Without
 * probabilities it is the prediction alone; a label beyond the first five follows if its probability is known.
 */
export function answers(rows, k, i, top) {
  const { pred, confidence } = rows.runs[k];
  const label = rows.label[i];
  const known = label !== NONE && pred[i] !== NONE;
  const kind = (code) => (code === pred[i] ? (known ? (code === label ? "right" : "wrong") : "only") : code === label ? "label" : "");
  const list = top ? top.classes.map((code, at) => ({ code, share: top.probs[at], is: kind(code) })) : [];
  // The prediction always stands there, also one that is not the most probable class.
  if (!list.some(({ code }) => code === pred[i])) list.unshift({ code: pred[i], share: confidence[i], is: kind(pred[i]) });
  if (k === 0 && rows.pLabel?.[i] >= 0 && !list.some(({ code }) => code === label)) list.push({ code: label, share: rows.pLabel[i], is: "label" });
  return list;
}

/** Labels of the nearest images in words: "3 labeled wild canine, 3 dog". */
export function neighborWords(names) {
  const times = new Map();
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1);
  const order = [...times].sort((a, b) => b[1] - a[1]);
  const shown = order.slice(0, order.length > 3 ? 2 : 3);
  const words = shown.map(([name, n], at) => `${n} ${at ? "" : "labeled "}${name}`);
  const rest = names.length - shown.reduce((sum, [, n]) => sum + n, 0);
  return [...words, ...(rest ? [`${rest} ${rest === 1 ? "other" : "others"}`] : [])].join(", ");
}

/** How the answers of run and baseline differ, null where there is nothing to say. */
export function changeWords(now, before, differ) {
  if (now === null || before === null) return null;
  if (now !== before) return now ? "newly right" : "newly wrong";
  return now ? "both right" : differ ? "both wrong, and differ" : "both wrong";
}

const readable = (value) => {
  if (typeof value !== "number" || Number.isInteger(value)) return typeof value === "object" ? JSON.stringify(value) : String(value);
  return Math.abs(value) < 0.01 ? value.toPrecision(2) : value.toFixed(2);
};

/** What is known of a row beside its answers, as [term, text, class of the text]. */
export function properties(state, i, details) {
  const { facts, rows, name, run, baseline } = state;
  const { camera, taken, ...others } = details?.meta ?? {};
  const shot = [camera, taken].filter((value) => value !== undefined && value !== null).map(readable).join(", ");
  const slices = facts.slices
    .map(({ feature, values }, at) => [feature, values[rows.slices[at]?.[i]]])
    .filter(([feature, value]) => value !== undefined && !["split", "cluster"].includes(feature))
    .map(([feature, value]) => `${feature}: ${value}`);
  const change = baseline < 0 ? null : changeWords(state.isRight(i), state.isRight(i, baseline), rows.pred[i] !== rows.runs[baseline].pred[i]);
  return [
    ["file", rows.file(i)],
    ["id", String(rows.id[i])],
    ["split", facts.splits[rows.split[i]] ?? ""],
    [camera ? "camera" : "taken", shot],
    ...Object.entries(others).map(([term, value]) => [term, value === null ? "" : readable(value)]),
    ["slices", slices.join(", ")],
    ["cluster", facts.clustered && rows.cluster[i] !== NONE ? String(rows.cluster[i]) : ""],
    ["change", change ?? "", change?.replace(/,.*/, "").replace(" ", "-")],
  ].filter(([, text]) => text);
}

/** The address of the full image in the folder beside the page. */
export const fullImage = (files, id) => `./${files.split("/").map(encodeURIComponent).join("/")}/${id}.webp`;

function meter({ code, share, is }, name) {
  const sign = { right: "✓ ", label: "✓ ", wrong: "✗ " }[is] ?? "";
  const bar = html("span", { class: "meter", "aria-hidden": "true" }, html("i"));
  bar.firstChild.style.width = share >= 0 ? `${Math.max(0.4, 100 * Math.min(1, share))}%` : "0";
  const words = html("span", { class: "class" }, sign, html("bdi", {}, name(code, "pred")));
  return html("li", { class: is || null }, words, html("span", { class: "share" }, share >= 0 ? percent(share) : "–"), bar);
}

class Dialog {
  constructor(state) {
    Object.assign(this, { state, before: [] });
    const button = (words, act, attributes = {}) => html("button", { type: "button", ...attributes, on: { click: act } }, words);
    this.image = html("img", { class: "large", on: { load: () => this.loaded(), error: () => this.failed() } });
    this.missing = html("p", { class: "missing" });
    this.caption = html("p", { class: "caption" });
    this.previous = button("‹", () => this.step(-1), { class: "step to-previous", "aria-label": "Previous image" });
    this.next = button("›", () => this.step(1), { class: "step to-next", "aria-label": "Next image" });
    this.back = button("", () => this.leave(), { class: "back" });
    this.where = html("span", {});
    this.names = html("h2", { id: "viewer-names", tabindex: -1, autofocus: true });
    this.runs = html("div", { class: "tops" });
    this.others = html("div", { class: "tops" });
    this.more = html("details", { class: "more-runs" }, html("summary", {}), this.others);
    this.note = html("p", { class: "note" });
    this.near = html("div", { class: "near" });
    this.nearWords = html("p", {});
    this.around = html("section", { "aria-label": "Nearest images" }, html("div", { class: "near-line" }, html("p", {}, "Nearest images"), this.nearWords), this.near);
    this.place = html("canvas", { class: "place", role: "img", "aria-label": "Place on the map" });
    this.show = button("Show on the map", () => this.toMap(), { class: "link" });
    this.meta = html("dl", {});
    this.ok = button("Label ok", () => state.review.ok(this.i), { title: "L" });
    this.wrong = html("button", { type: "button", title: "W" });
    this.dialog = html(
      "dialog",
      { id: "viewer", "aria-labelledby": "viewer-names", on: { click: (event) => this.click(event), keydown: (event) => this.press(event), close: () => this.closed() } },
      html("div", { class: "stage" }, this.image, this.missing, this.previous, this.next, this.caption),
      html(
        "div",
        { class: "side" },
        html("div", { class: "title" }, html("div", { "aria-live": "polite" }, html("p", {}, this.back, this.where), this.names), button("✕", () => this.dialog.close(), { class: "close", "aria-label": "Close" })),
        this.runs,
        this.more,
        this.note,
        this.around,
        html("section", { class: "about", "aria-label": "Place and properties" }, this.place, html("div", {}, this.meta, this.show)),
        html(
          "div",
          { class: "acts" },
          this.ok,
          this.wrong,
          button("Copy id", ({ currentTarget }) => this.copy(currentTarget, String(state.rows.id[this.i])), { class: "apart" }),
          button("Copy SQL", ({ currentTarget }) => this.copy(currentTarget, this.sql())),
        ),
      ),
    );
    this.menu = new ClassMenu(this.dialog, state.facts.classes, "viewer-menu");
    this.menu.attach(this.wrong, async () => {
      const { i } = this;
      return { likely: await likely(state, i), label: state.rows.label[i], choose: (code) => state.review.say(i, code) };
    });
    document.body.append(this.dialog);
    state.review.on(() => this.dialog.open && this.mark());
  }

  /** Opens row `list[at]` of a list that has a title. */
  open(list, at, title) {
    const start = performance.now();
    if (!this.dialog.open) {
      this.opener = document.activeElement;
      this.before = [];
    }
    Object.assign(this, { list, at, title });
    this.render();
    if (!this.dialog.open) this.dialog.showModal();
    const painted = () => performance.measure("sqlanalysis:dialog", { start, end: performance.now() });
    requestAnimationFrame(() => setTimeout(painted)); // a timeout in a frame runs after it was painted
  }

  get i() {
    return this.list[this.at];
  }

  step(by) {
    this.go(this.at + by);
  }

  go(at) {
    const to = Math.max(0, Math.min(this.list.length - 1, at));
    if (to === this.at) return;
    this.at = to;
    this.render();
  }

  /** Opens nearest images as a list of their own, with a way back. */
  follow(list, at) {
    this.before.push({ list: this.list, at: this.at, title: this.title });
    this.open(list, at, `Nearest images of ${this.state.rows.id[this.i]}`);
    this.names.focus();
  }

  leave() {
    Object.assign(this, this.before.pop());
    this.render();
    this.names.focus();
  }

  closed() {
    const { opener } = this;
    this.image.removeAttribute("src");
    if (opener?.isConnected) opener.focus();
    else document.querySelector(`[data-i="${this.i}"]`)?.focus(); // the tile was drawn anew meanwhile
  }

  toMap() {
    const { i } = this;
    this.dialog.close();
    this.state.showOnMap(i);
  }

  click({ target, clientX: x, clientY: y }) {
    if (target !== this.dialog) return;
    const { left, right, top, bottom } = this.dialog.getBoundingClientRect();
    if (x < left || x > right || y < top || y > bottom) this.dialog.close();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.menu.menu.contains(event.target)) return;
    const acts = {
      arrowleft: () => this.step(-1),
      arrowright: () => this.step(1),
      home: () => this.go(0),
      end: () => this.go(this.list.length - 1),
      backspace: () => this.before.length && this.leave(),
      l: () => this.state.review.ok(this.i),
      w: () => this.wrong.click(),
    };
    const act = acts[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  sql() {
    const { state } = this;
    return `select image_id, uri, label_name, pred_name, confidence\nfrom ${quoteName(state.runName)}\nwhere image_id = ${state.rows.id[this.i]};\n`;
  }

  copy(button, text) {
    copy(button, text, () => "No clipboard here");
  }

  render() {
    const { state, list, at, title, i } = this;
    const { rows, name } = state;
    const right = state.isRight(i);
    this.where.textContent = `${title} · ${count(at + 1)} of ${count(list.length)}`;
    this.back.hidden = !this.before.length;
    this.back.textContent = `‹ ${this.before.at(-1)?.title ?? ""}`;
    const label = html("bdi", {}, name(rows.label[i], "label"));
    const guess = html("span", { class: right === null ? null : right ? "right" : "wrong" }, right ? "✓ " : "", html("bdi", {}, name(rows.pred[i], "pred")));
    if (!state.facts.predicted) this.names.replaceChildren(label);
    else if (right) this.names.replaceChildren(guess);
    else this.names.replaceChildren(label, html("span", { class: "arrow" }, " → "), guess);
    this.previous.setAttribute("aria-disabled", at === 0);
    this.next.setAttribute("aria-disabled", at === list.length - 1);
    this.picture();
    this.mark();
    this.drawPlace();
    this.fill(null);
    state.details(i).then((details) => this.i === i && this.dialog.open && this.fill(details ?? {}));
  }

  /** The best picture the page has: a full image beside it, the large thumbnail, the small one, or the name. */
  picture() {
    const { state, i } = this;
    const { rows, facts } = state;
    const row = rows.origin[i];
    const large = state.large.url(row);
    const small = large ?? state.thumbnails.url(row);
    this.inside = small && { url: small, words: large ? "large thumbnail of this page" : "small thumbnail of this page" };
    const full = facts.files ? { url: fullImage(facts.files, rows.id[i]), words: `from ${facts.files}/` } : null;
    this.image.alt = `labeled ${rows.label[i] === NONE ? "nothing" : state.name(rows.label[i], "label")}${facts.predicted ? `, predicted ${state.name(rows.pred[i], "pred")}` : ""}`;
    this.image.classList.remove("pixelated");
    this.use(full ?? this.inside);
  }

  use(source) {
    this.source = source;
    this.image.hidden = !source;
    this.missing.hidden = Boolean(source);
    if (source) this.image.src = source.url;
    else this.image.removeAttribute("src");
    const file = this.state.rows.file(this.i) || `Image ${this.state.rows.id[this.i]}`;
    const why = this.state.facts.files ? "its file is not in the folder beside this page" : "its thumbnail is not in this page";
    this.missing.replaceChildren(html("bdi", {}, file), html("span", {}, `Not shown: ${why}.`));
    this.say();
  }

  loaded() {
    this.image.classList.toggle("pixelated", this.image.naturalWidth <= TINY && this.image.naturalHeight <= TINY);
  }

  failed() {
    if (this.source && this.source !== this.inside) this.use(this.inside);
    else this.use(null);
  }

  say() {
    const { source, size } = this;
    const words = [size, source?.words].filter(Boolean).join(" · ");
    const isFull = source && source !== this.inside;
    this.caption.replaceChildren(words, isFull ? html("a", { href: source.url, target: "_blank", rel: "noopener" }, "Open the file") : "");
    this.caption.hidden = !words;
  }

  mark() {
    showMark(this.state, this.i, this.ok, this.wrong, "Label wrong");
  }

  drawPlace() {
    const { state, i, place } = this;
    const can = Boolean(state.drawPlace) && state.rows.x?.[i] !== 65535;
    place.hidden = this.show.hidden = !can;
    this.show.hidden ||= !state.showOnMap;
    if (!can) return;
    place.width = 222 * devicePixelRatio;
    place.height = 180 * devicePixelRatio;
    state.drawPlace(place, i);
  }

  /** Everything that details tell; null while they are being read, {} where the page has none of this image. */
  fill(details) {
    const { state, i } = this;
    const { facts, rows, run, baseline } = state;
    this.size = details?.width ? `${details.width} × ${details.height} px` : "";
    this.say();
    const shown = baseline < 0 ? [run] : [run, baseline];
    const rest = [...facts.runs.keys()].filter((k) => !shown.includes(k));
    this.runs.hidden = !facts.predicted;
    this.runs.replaceChildren(...shown.map((k) => this.top(k, details)));
    this.more.hidden = !rest.length;
    this.more.firstChild.textContent = `${rest.length} more ${rest.length === 1 ? "run" : "runs"}`;
    this.others.replaceChildren(...rest.map((k) => this.top(k, details)));
    const lacks = details && !details.top && facts.predicted;
    this.note.hidden = !lacks;
    this.note.textContent = lacks ? "Of this image the page holds prediction and confidence only; the SQL gives the rest." : "";
    const near = details?.neighbors ?? [];
    this.around.hidden = !near.length;
    this.nearWords.textContent = neighborWords(near.map((j) => state.name(rows.label[j], "label")));
    this.near.replaceChildren(...near.map((j, at) => this.neighbor(j, near, at)));
    const listed = properties(state, i, details).map(([term, text, kind]) => html("div", {}, html("dt", {}, term), html("dd", { class: kind }, html("bdi", {}, text))));
    this.meta.replaceChildren(...listed);
  }

  top(k, details) {
    const { state, i } = this;
    const kind = k === state.run ? "run" : k === state.baseline ? "baseline" : "other";
    const list = answers(state.rows, k, i, details?.top?.[k]);
    return html("div", { class: "top" }, html("h3", { class: kind }, html("bdi", {}, state.facts.runs[k].name)), html("ol", {}, ...list.map((one) => meter(one, state.name))));
  }

  neighbor(j, list, at) {
    const { state, i } = this;
    const { rows } = state;
    const row = rows.origin[j];
    const url = state.large.url(row) ?? state.thumbnails.url(row);
    const label = state.name(rows.label[j], "label");
    const picture = url ? html("img", { src: url, alt: "" }) : html("span", { class: "missing" }, `id ${rows.id[j]}`);
    const same = rows.label[j] === rows.label[i] ? "same" : null;
    return html("button", { type: "button", class: same, title: label, on: { click: () => this.follow(list, at) } }, picture, html("bdi", {}, label));
  }
}

export function start(state) {
  let dialog;
  state.open = (list, at, title) => {
    dialog ??= new Dialog(state);
    dialog.open(list, at, title);
  };
  // What the first opening reads is unpacked while nobody waits for it.
  const warm = () => {
    if (!state.rows.n) return;
    state.large.has(0);
    state.thumbnails.has(0);
    state.details(0);
  };
  (window.requestIdleCallback ?? ((act) => setTimeout(act, 1000)))(warm);
}
