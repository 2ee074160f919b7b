// The image dialog: one image of a list with everything the page knows of it.
import { NONE } from "./aggregation.js";
import { boundsOf, button, html } from "./dom.js";
import { count } from "./intervals.js";
import { classMenu, likely, meter, shareWords, showMark } from "./review.js";
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
  const { facts, rows, baseline } = state;
  const { camera, taken, format, n_bytes: bytes, ...others } = details?.meta ?? {};
  const shot = [camera, taken].filter((value) => value !== undefined && value !== null).map(readable).join(", ");
  const slices = facts.slices
    .map(({ feature, values }, at) => [feature, values[rows.slices[at]?.[i]]])
    .filter(([feature, value]) => value !== undefined && !["split", "cluster"].includes(feature))
    .map(([feature, value]) => `${feature}: ${value}`);
  const change = baseline < 0 ? null : changeWords(state.isRight(i), state.isRight(i, baseline), rows.pred[i] !== rows.runs[baseline].pred[i]);
  return [
    ["file", rows.file(i)],
    ["id", String(rows.id[i])],
    ["stored", [format, bytes && `${count(Math.ceil(bytes / 1000))} kB`].filter(Boolean).join(", ")],
    ["split", facts.splits[rows.split[i]] ?? ""],
    [camera ? "camera" : "taken", shot],
    ...Object.entries(others).map(([term, value]) => [term, value === null ? "" : readable(value)]),
    ["slices", slices.join(", ")],
    ["cluster", facts.clustered && rows.cluster[i] !== NONE ? String(rows.cluster[i]) : ""],
    ["change", change ?? "", change?.replace(/,.*/, "").replace(" ", "-")],
  ].filter(([, text]) => text);
}

const SIGNS = { right: "✓ ", label: "✓ ", wrong: "✗ " };

/** Makes the dialog of the page; returns a function that opens row `list[at]` of a list that has a title. */
function makeDialog(state) {
  const { facts, rows, name, review } = state;
  let [list, at, title, source, inside, size, i] = [];
  const full = new Set(facts.files ? facts.full : []);
  let before = []; // the lists that one came from by nearest images

  const image = html("img", { class: "large", on: { load: loaded, error: () => use(source === inside ? null : inside) } });
  const missing = html("p", { class: "missing" });
  const caption = html("p", { class: "caption" });
  const previous = button("‹", () => go(at - 1), { class: "step to-previous", "aria-label": "Previous image" });
  const next = button("›", () => go(at + 1), { class: "step to-next", "aria-label": "Next image" });
  const back = button("", leave, { class: "back" });
  const where = html("span");
  const names = html("h2", { id: "viewer-names", tabindex: -1, autofocus: true });
  const runs = html("div", { class: "tops" });
  const others = html("div", { class: "tops" });
  const summary = html("summary");
  const more = html("details", { class: "more-runs" }, summary, others);
  const note = html("p", { class: "note" }, "Of this image the page holds prediction and confidence only; the database has the rest.");
  const near = html("div", { class: "near" });
  const nearWords = html("p");
  const around = html("section", {}, html("div", { class: "near-line" }, html("p", {}, "Nearest images"), nearWords), near);
  const place = html("canvas", { class: "place", role: "img", "aria-label": "Place on the map" });
  const show = button("Show on the map", toMap, { class: "link" });
  const meta = html("dl");
  const ok = button("Label ok", () => review.ok(i), { title: "Key L" });
  const wrong = html("button", { type: "button", title: "Key W" });
  const toCopy = (words, text, attributes) => button(words, ({ currentTarget }) => copy(currentTarget, text(), () => "No clipboard"), attributes);
  const acts = [ok, wrong, toCopy("Copy id", () => String(rows.id[i]), { class: "to-end" }), toCopy("Copy SQL", sql)];
  const heading = html("div", { "aria-live": "polite" }, html("p", {}, back, where), names);
  const dialog = html(
    "dialog",
    { id: "viewer", "aria-labelledby": names.id, on: { click, keydown: press } },
    html("div", { class: "stage" }, image, missing, previous, next, caption),
    html(
      "div",
      { class: "side" },
      html("div", { class: "title" }, heading, button("✕", () => dialog.close(), { class: "close", "aria-label": "Close" })),
      runs,
      more,
      note,
      around,
      html("section", { class: "about" }, place, html("div", {}, meta, show)),
      html("div", { class: "acts" }, ...acts),
    ),
  );
  const mark = () => showMark(state, i, ok, wrong, "Label wrong");
  classMenu(dialog, facts.classes, "viewer-menu")(wrong, async () => {
    const of = i;
    return { likely: await likely(state, of), label: rows.label[of], choose: (code) => review.say(of, code) };
  });
  document.body.append(dialog);
  review.on(() => dialog.open && mark());

  function open(...given) {
    const start = performance.now();
    if (!dialog.open) before = [];
    [list, at, title] = given;
    render();
    if (!dialog.open) dialog.showModal(); // closing gives the focus back to where it was
    const painted = () => performance.measure("sqlanalysis:dialog", { start, end: performance.now() });
    requestAnimationFrame(() => setTimeout(painted)); // a timeout in a frame runs after it was painted
  }

  function go(to) {
    at = Math.max(0, Math.min(list.length - 1, to));
    render();
  }

  function leave() {
    [list, at, title] = before.pop();
    render();
    names.focus();
  }

  function toMap() {
    dialog.close();
    state.showOnMap(i);
  }

  function click({ target, clientX: x, clientY: y }) {
    if (target !== dialog) return;
    const { left, right, top, bottom } = boundsOf(dialog);
    if (x < left || x > right || y < top || y > bottom) dialog.close(); // on the backdrop
  }

  function press(event) {
    const acts = {
      arrowleft: () => go(at - 1),
      arrowright: () => go(at + 1),
      home: () => go(0),
      end: () => go(list.length - 1),
      backspace: () => before.length && leave(),
      l: () => review.ok(i),
      w: () => wrong.click(),
    };
    const act = acts[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  function sql() {
    return state.sql(`image_id = ${rows.id[i]}`);
  }

  function render() {
    i = list[at];
    where.textContent = `${title} · ${count(at + 1)} of ${count(list.length)}`;
    back.hidden = !before.length;
    if (before.length) back.textContent = `‹ ${before.at(-1)[2]}`;
    const right = state.isRight(i);
    const [label, guess] = [name(rows.label[i], "label"), name(rows.pred[i], "pred")];
    const isPredicted = facts.predicted;
    const parts = [html("bdi", {}, label), html("span", { class: "arrow" }, " → "), html("span", { class: right === null ? null : right ? "right" : "wrong" }, right ? "✓ " : "", html("bdi", {}, guess))];
    names.replaceChildren(...(isPredicted ? parts.slice(right || rows.label[i] === NONE ? 2 : 0) : parts.slice(0, 1)));
    image.alt = `labeled ${label}${isPredicted ? `, predicted ${guess}` : ""}`;
    previous.setAttribute("aria-disabled", at === 0);
    next.setAttribute("aria-disabled", at === list.length - 1);
    choosePicture();
    mark();
    drawPlace();
    fill(null);
    const of = i;
    state.details(i).then((details) => of === i && fill(details ?? {}));
  }

  /** The best picture the page has: a full image beside it, the large thumbnail, the small one, or the name. */
  function choosePicture() {
    const row = rows.origin[i];
    const large = state.large.url(row);
    const url = large ?? state.thumbnails.url(row);
    inside = url && { url, words: `${large ? "large" : "small"} thumbnail in this page` };
    // The folder stands in facts as a part of an address, relative to the page.
    use(full.has(row) ? { url: `./${facts.files}/${rows.id[i]}.webp`, words: `from ${decodeURIComponent(facts.files)}/` } : inside);
  }

  function use(given) {
    source = given;
    image.hidden = !source;
    missing.hidden = Boolean(source);
    if (source) image.src = source.url;
    else image.removeAttribute("src");
    missing.replaceChildren(html("bdi", {}, rows.file(i) || `Image ${rows.id[i]}`), html("span", {}, "Neither a thumbnail in this page nor a file beside it shows this image."));
    say();
  }

  function loaded() {
    image.classList.toggle("pixelated", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
  }

  function say() {
    const words = [size, source?.words].filter(Boolean).join(" · ");
    const link = source && source !== inside ? html("a", { href: source.url, target: "_blank", rel: "noopener" }, "Open the file") : "";
    caption.replaceChildren(words, link);
    caption.hidden = !words;
  }

  function drawPlace() {
    const can = Boolean(state.drawPlace) && rows.x?.[i] !== 65535;
    place.hidden = !can;
    show.hidden = !can || !state.showOnMap;
    if (!can) return;
    place.width = 178 * devicePixelRatio;
    place.height = 144 * devicePixelRatio;
    state.drawPlace(place, i);
  }

  /** All that details tell; null while they are being read, {} where the page has none of this image. */
  function fill(details) {
    const shown = [state.run, state.baseline].filter((k) => k >= 0);
    const rest = [...facts.runs.keys()].filter((k) => !shown.includes(k));
    const top = (k) => {
      const kind = k === state.run ? "run" : k === state.baseline ? "baseline" : null;
      const bars = answers(rows, k, i, details?.top?.[k]).map(({ code, share, is }) =>
        html("li", {}, html("span", { class: `class ${is}` }, SIGNS[is] ?? "", html("bdi", {}, name(code, "pred"))), html("span", { class: "part" }, shareWords(share)), meter(share, is)),
      );
      return html("div", {}, html("h3", { class: kind }, html("bdi", {}, facts.runs[k].name)), html("ol", {}, ...bars));
    };
    size = details?.width ? `${details.width} × ${details.height} px` : "";
    say();
    runs.hidden = !facts.predicted;
    runs.replaceChildren(...shown.map(top));
    more.hidden = !rest.length;
    summary.textContent = `${rest.length} more ${rest.length === 1 ? "run" : "runs"}`;
    others.replaceChildren(...rest.map(top));
    note.hidden = !details || Boolean(details.top) || !facts.predicted;
    const nearest = details?.neighbors ?? [];
    around.hidden = !nearest.length;
    nearWords.textContent = neighborWords(nearest.map((j) => name(rows.label[j], "label")));
    near.replaceChildren(...nearest.map((j, to) => neighbor(j, nearest, to)));
    meta.replaceChildren(...properties(state, i, details).map(([term, text, kind]) => html("div", {}, html("dt", {}, term), html("dd", { class: kind }, html("bdi", {}, text)))));
  }

  /** A nearest image; it opens the nearest ones as a list of their own, with a way back. */
  function neighbor(j, nearest, to) {
    const row = rows.origin[j];
    const url = state.large.url(row) ?? state.thumbnails.url(row);
    const label = name(rows.label[j], "label");
    const follow = () => {
      before.push([list, at, title]);
      open(nearest, to, `Nearest images of ${rows.id[i]}`);
      names.focus();
    };
    const picture = url ? html("img", { src: url, alt: "" }) : html("span", { class: "missing" }, `id ${rows.id[j]}`);
    const one = button(picture, follow, { class: rows.label[j] === rows.label[i] ? "same" : null, title: label });
    one.append(html("bdi", {}, label));
    return one;
  }

  return open;
}

export function start(state) {
  let open;
  const make = () => (open ??= makeDialog(state));
  state.open = (...given) => make()(...given);
  // What the first opening reads is unpacked while nobody waits for it.
  const warm = () => {
    if (!state.rows.n) return;
    make();
    state.large.has(0);
    state.thumbnails.has(0);
    state.details(0);
  };
  (window.requestIdleCallback ?? ((act) => setTimeout(act, 1000)))(warm);
}
