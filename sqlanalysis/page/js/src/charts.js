// Pieces that the sections share: small charts as SVG, tables, switches, pictures.
import { byId, html, svg } from "./dom.js";
import { percent } from "./intervals.js";

/** An element by its tag and classes, "p.key". */
export const el = (of, ...children) => {
  const [tag, ...classes] = of.split(".");
  return html(tag, { class: classes.join(" ") || null }, ...children);
};
export const text = (x, y, content, attributes = {}) => svg("text", { x, y, ...attributes }, content);
export const line = (x1, y1, x2, y2, cssClass) => svg("line", { x1, y1, x2, y2, class: cssClass });
export const frame = (width, height, label, ...children) =>
  svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label }, ...children);
export const bdi = (name) => el("bdi", name);

/** Calls `draw(width)` now and whenever the width of the element changes: texts keep their size at any width. */
export function fitted(node, draw) {
  let width = 0;
  const act = () => {
    const now = Math.round(node.clientWidth);
    if (now && now !== width) node.replaceChildren(draw((width = now)));
  };
  new ResizeObserver(act).observe(node);
  return {
    redraw() {
      width = 0;
      act();
    },
  };
}

/** A switch of a few states: buttons, of which one is pressed. */
export function choose(label, options, chosen, act) {
  const buttons = options.map(([value, words]) =>
    html("button", { type: "button", "aria-pressed": String(value === chosen), on: { click: () => act(value) } }, words),
  );
  return html("div", { class: "choose", role: "group", "aria-label": label }, ...buttons);
}

/** A menu of orders and the like. */
export function menu(label, options, chosen, act) {
  const entries = options.map(([value, words]) => html("option", { value, selected: value === chosen }, words));
  return html("select", { "aria-label": label, on: { change: (event) => act(event.target.value) } }, ...entries);
}

/**
 * A table in a box that scrolls, its first column in sight. `columns`: {head, cell(row), class}. With `press(row)`, a click
 * on a row or the button in its first cell acts; `pressed(row)` says whether the row is chosen.
 */
export function grid(caption, columns, rows, { press = null, pressed = () => false, foot = null } = {}) {
  const head = columns.map(({ head: words, class: cssClass }) => (words ? html("th", { scope: "col", class: cssClass }, words) : html("td", { class: cssClass })));
  const body = rows.map((row) => {
    const chosen = pressed(row);
    const cells = columns.map((column, at) => {
      const content = [column.cell(row)].flat();
      if (at) return html("td", { class: column.class }, ...content);
      const button = press && html("button", { type: "button", class: "plain", "aria-pressed": String(chosen) }, ...content);
      return html("th", { scope: "row", class: column.class }, ...(press ? [button] : content));
    });
    return html("tr", { class: chosen ? "chosen" : null, on: press ? { click: () => press(row) } : {} }, ...cells);
  });
  const last = foot ? el("tfoot", el("tr", ...foot.map((cell, at) => html("td", { class: columns[at].class }, cell)))) : null;
  const table = html("table", { class: `lines${press ? " pressed" : ""}` }, el("caption", caption), el("thead", el("tr", ...head)), el("tbody", ...body), last);
  return html("div", { class: "sideways", tabindex: 0, role: "region", "aria-label": caption }, table);
}

/** Draws a part of the page again; the focus stays on what has the same `data-key`, or the same words. */
export function keepFocus(box, act) {
  const before = box.contains(document.activeElement) ? document.activeElement : null;
  const key = (node) => node.dataset.key ?? `${node.tagName}${node.getAttribute("aria-label") ?? node.textContent}`;
  const wanted = before && key(before);
  act();
  if (!before || before === document.activeElement) return;
  const found = [...box.querySelectorAll("button, select, input, [tabindex]")].find((node) => key(node) === wanted);
  found?.focus({ preventScroll: true });
}

/** Replaces what a part of the page holds, with the focus kept and a table as far to the side as it was. */
export function refill(box, ...children) {
  keepFocus(box, () => {
    const scrolled = box.querySelector(".sideways")?.scrollLeft ?? 0;
    box.replaceChildren(...children.filter((child) => child !== null));
    if (scrolled) box.querySelector(".sideways")?.scrollTo({ left: scrolled });
  });
}

/** Sentences of what is wrong with an image: "label → prediction, 97.1%". */
export function say(state, i, k = state.run) {
  const { rows, name } = state;
  const { pred, confidence } = rows.runs[k];
  const sure = confidence[i] >= 0 ? `, ${percent(confidence[i])}` : "";
  return `labeled ${name(rows.label[i], "label")}, predicted ${name(pred[i], "pred")}${sure}`;
}

/** A thumbnail, or an empty square where the page has none. */
export function picture(state, i, size, alt = say(state, i)) {
  const row = state.rows.origin[i];
  const url = (size > 64 ? state.large?.url(row) : null) ?? state.thumbnails?.url(row) ?? state.large?.url(row);
  if (!url) return html("span", { class: "pic none", title: alt });
  const img = html("img", { class: "pic", alt, title: alt, width: size, height: size });
  img.src = url;
  return img;
}

/** A picture that opens the dialog on its list. */
export function opener(state, list, at, title, size) {
  const open = (event) => {
    event.stopPropagation();
    state.open?.(list, at, title);
  };
  return html("button", { type: "button", class: "open", on: { click: open } }, picture(state, list[at], size));
}

/**
 * Lists of selected images, or of those `among` them, by `which(i)` (-1: in none of `count` lists), each with its up to
 * `limit` surest, surest first.
 */
export function gather(state, count, which, limit, among = state.selected) {
  const lists = Array.from({ length: count }, () => []);
  const { rows } = state;
  for (const i of among) {
    const at = which(i);
    if (at >= 0) lists[at].push(i);
  }
  const sure = (i) => (rows.confidence[i] >= 0 ? rows.confidence[i] : -1); // NaN and NULL come last
  return lists.map((list) => {
    if (list.length > 4 * limit) {
      // Numbers of one type are sorted many times as fast as rows.
      const values = new Float32Array(list.length);
      for (let at = 0; at < list.length; at++) values[at] = sure(list[at]);
      const least = values.sort().at(-limit);
      list = list.filter((i) => sure(i) >= least);
    }
    return list.sort((a, b) => sure(b) - sure(a) || rows.id[a] - rows.id[b]).slice(0, limit);
  });
}

/** Keeps the finding at the head of a section that of the run and baseline that are chosen; a filter does not change it. */
export function startFinding(state, id, key = id) {
  const box = byId(`${id}-finding`);
  if (!box) return;
  const note = html("span", { class: "whole-note" }, " Of all images.");
  box.append(note);
  state.on((why) => {
    const found = state.facts.sections?.[key]?.findings;
    if (why !== "run" || !found) return;
    const parts = found[`${state.run},${state.chosen}`] ?? found[`${state.run},-1`] ?? found[state.run] ?? ["No baseline is chosen."];
    note.hidden = !parts.flat().join("");
    box.replaceChildren(...parts.map((part) => (Array.isArray(part) ? el("b", bdi(part[0])) : part)), note);
  });
}
