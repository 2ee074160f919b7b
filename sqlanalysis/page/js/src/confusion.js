// Confusion: the matrix in clustered order with its most frequent pairs; for many classes the pairs, with pictures.
import { aggregate } from "./aggregation.js";
import { bdi, choose, el, gather, keepFocus, opener, refill, startFinding, text } from "./charts.js";
import { boundsOf, byId, html, svg } from "./dom.js";
import { count, interval, percent, plural, wilson } from "./intervals.js";
import { lazily } from "./lazy.js";
import { alike, cut } from "./names.js";
import { strip } from "./strip.js";

const MOST = 30; // classes of a whole matrix
const PART = 25; // classes of a part of it, as in the query confused_classes
const PAIRS = 8;

/** Pairs of label and wrong prediction, as top_confusions gives them: {label, pred, n, of, share, ends, before}. */
export function figuresOf(state) {
  const { figures, rows, mask, baseline, facts } = state;
  const sizes = new Map();
  for (const { label, n } of figures.pairs) sizes.set(label, (sizes.get(label) ?? 0) + n);
  const was = baseline < 0 ? [] : aggregate({ n: rows.n, label: rows.label, ...rows.runs[baseline] }, mask, facts.classes.length).pairs;
  const before = new Map(was.map(({ label, pred, n }) => [key(label, pred), n]));
  return figures.pairs
    .map(({ label, pred, n }) => {
      const of = sizes.get(label);
      return { label, pred, n, of, share: n / of, ends: wilson(n, of), before: baseline < 0 ? null : (before.get(key(label, pred)) ?? 0) };
    })
    .sort((a, b) => b.n - a.n || a.label - b.label || a.pred - b.pred);
}

const key = (label, pred) => (label + 1) * 2 ** 24 + pred + 1; // of a pair, as a number
const isWrong = ({ label, pred }) => label !== pred || label < 0;

/** The classes of the matrix in the order of the page, and where frames of similar classes end. */
export function layout(pairs, order, frames, most) {
  let kept = new Set(order);
  if (order.length > most) {
    // The classes of the most frequent pairs, until there are enough.
    kept = new Set();
    for (const { label, pred } of pairs.filter((pair) => isWrong(pair) && pair.pred >= 0)) {
      for (const code of [label, pred]) if (kept.size < PART) kept.add(code);
    }
  }
  const lines = order.filter((code) => kept.has(code));
  const outside = pairs.some(({ pred }) => pred < 0);
  const groups = [];
  let at = 0;
  for (const size of frames) {
    const inside = order.slice(at, (at += size)).filter((code) => kept.has(code)).length;
    if (inside) groups.push(inside);
  }
  return { lines, columns: outside ? [...lines, -1] : lines, groups };
}

/** Whether nearly every mistake makes a pair of its own among many classes, so that a matrix would show nothing. */
export const isScattered = (pairs, classes) => {
  const wrong = pairs.filter(isWrong);
  const mistakes = wrong.reduce((sum, { n }) => sum + n, 0);
  return classes > MOST && mistakes > 0 && wrong.length >= 0.9 * mistakes;
};

export function start(state) {
  const box = byId("confusion-live");
  if (!box || !state.whole.n) return;
  startFinding(state, "confusion");
  const { facts, name } = state;
  const stored = facts.sections?.confusion;
  const order = stored?.order ?? facts.classes.map((_, code) => code);
  const view = { errors: false };
  const tools = html("span"); // in the head of the section
  byId("confusion").parentNode.querySelector(".quiet")?.prepend(tools);
  const label = (code) => name(code, "label");
  const pred = (code) => name(code, "pred");
  const arrow = (pair) => [bdi(label(pair.label)), el("span.to", " → "), el("b.wrong", bdi(pred(pair.pred)))];
  const press = (pair) => {
    const now = state.get("pair");
    state.set("pair", now && now[0] === pair.label && now[1] === pair.pred ? null : [pair.label, pair.pred]);
  };
  const pressed = (pair) => {
    const now = state.get("pair");
    return Boolean(now && now[0] === pair.label && now[1] === pair.pred);
  };
  const figure = (pair) => (state.onlyWrong ? count(pair.n) : `${count(pair.n)} of ${count(pair.of)}`);

  const topPairs = (pairs, limit) => {
    const shown = pairs.slice(0, limit);
    const at = new Map(shown.map((pair, index) => [key(pair.label, pair.pred), index]));
    const { rows } = state;
    const images = gather(state, shown.length, (i) => at.get(key(rows.label[i], rows.pred[i])) ?? -1, 50, state.wrong);
    const items = shown.map((pair, index) => {
      const words = `${label(pair.label)} taken for ${pred(pair.pred)}`;
      const head = html("button", { type: "button", class: "plain", "aria-pressed": String(pressed(pair)), "data-key": words, "aria-label": `${words}: ${figure(pair)}`, on: { click: () => press(pair) } }, ...arrow(pair));
      const share = state.onlyWrong ? "" : ` · ${percent(pair.share)}`;
      const list = images[index];
      return html(
        "li",
        { class: pressed(pair) ? "chosen" : null },
        head,
        el("span.sum", figure(pair), share),
        el("span.pictures", ...list.slice(0, 4).map((_, k) => opener(state, list, k, words, 32))),
        state.onlyWrong ? null : strip({ ends: pair.ends, at: pair.share, tone: "wrong", grid: [0, 1], before: pair.before === null ? null : pair.before / pair.of }),
      );
    });
    const of = state.onlyWrong ? "images" : `share of the label, 0–100%${state.baseline < 0 ? "" : " · ring: baseline"}`;
    return el("div.toppairs", el("p.subhead", el("b", "Top pairs"), el("span", of)), el("ol", ...items));
  };

  /** A picture of each mistake beside one of the class that it was taken for. */
  const apart = (pairs) => {
    const { rows } = state;
    const wanted = new Map(pairs.map((pair, at) => [key(pair.label, pair.pred), at]));
    const found = gather(state, pairs.length, (i) => wanted.get(key(rows.label[i], rows.pred[i])) ?? -1, 1, state.wrong).flat();
    const sure = (i) => (rows.confidence[i] >= 0 ? rows.confidence[i] : -1);
    const surest = found.sort((a, b) => sure(b) - sure(a) || rows.id[a] - rows.id[b]).slice(0, PAIRS);
    const example = new Map();
    for (let i = 0; i < rows.n; i++) if (!example.has(rows.label[i])) example.set(rows.label[i], i);
    const tiles = surest.map((i, at) => {
      const other = example.get(rows.pred[i]);
      return html(
        "figure",
        {},
        el("div", opener(state, surest, at, "Mistakes, surest first", 96), html("span", { "aria-hidden": "true" }, "→"), other === undefined ? el("span.pic.none") : opener(state, [other], 0, label(rows.label[other]), 96)),
        el("figcaption", ...arrow({ label: rows.label[i], pred: rows.pred[i] }), sure(i) < 0 ? "" : el("span.faint", ` ${percent(rows.confidence[i])}`)),
      );
    });
    return el("div.apart", ...tiles);
  };

  function matrix(pairs, width) {
    const { lines, columns, groups } = layout(pairs, order, stored?.groups ?? [], MOST);
    const most = columns.length > 20 ? 14 : 18;
    const equal = alike([...lines.map(label), ...columns.map(pred)], most);
    const short = (name) => equal.get(name) ?? cut(name, most);
    const names = new Map(columns.map((code) => [code, short(pred(code))]));
    const tick = (x, y, name, attributes) => {
      const node = text(x, y, short(name), { class: small, ...attributes });
      if (short(name) !== name) node.append(svg("title", {}, name));
      return node;
    };
    const longest = Math.max(...columns.map((code) => names.get(code).length), 10);
    const left = 18 + 7.6 * longest;
    const top = 18 + 5.2 * longest;
    const right = Math.max(10, 5.2 * names.get(columns.at(-1)).length - 6);
    const step = Math.max(16, Math.min(56, Math.floor((width - left - right) / columns.length)));
    const small = step < 19 ? "small" : null;
    const [x, y] = [new Map(columns.map((code, at) => [code, left + at * step])), new Map(lines.map((code, at) => [code, top + at * step]))];
    const [w, h] = [left + columns.length * step + right, top + lines.length * step + 4];
    const largest = Math.max(...pairs.filter(isWrong).map(({ n }) => n), 1);
    const cells = pairs
      .filter((pair) => x.has(pair.pred) && y.has(pair.label) && (isWrong(pair) || !view.errors))
      .sort((a, b) => y.get(a.label) - y.get(b.label) || x.get(a.pred) - x.get(b.pred))
      .map((pair, at) => {
        const [cx, cy] = [x.get(pair.pred), y.get(pair.label)];
        const share = state.onlyWrong ? pair.n / largest : pair.share;
        const kind = isWrong(pair) ? "wrong" : "right";
        const words = `${label(pair.label)} → ${pred(pair.pred)}: ${figure(pair)}${state.onlyWrong ? "" : ` (${percent(pair.share)}, ${interval(pair.ends)})`}`;
        // Square roots make rare pairs visible beside a diagonal near 1; numbers stay readable on 60 %.
        const square = svg("rect", { x: cx + 1, y: cy + 1, width: step - 2, height: step - 2, rx: 3, class: kind, "fill-opacity": (0.12 + 0.5 * Math.sqrt(share)).toFixed(2) });
        const figures = pair.n < 1000 ? String(pair.n) : `${Math.round(pair.n / 1000)}k`;
        const number = text(cx + step / 2, cy + step / 2 + 4, figures, { "text-anchor": "middle", class: small });
        const cell = svg("g", { class: pressed(pair) ? "cell chosen" : "cell", role: "button", "aria-label": words, "aria-pressed": String(pressed(pair)), "data-key": `${pair.label} ${pair.pred}`, tabindex: at ? -1 : 0 }, square, step >= 16 ? number : null);
        cell.addEventListener("click", () => press(pair));
        const enter = () => hover(cell, pair);
        cell.addEventListener("pointerenter", enter);
        cell.addEventListener("focus", enter);
        for (const type of ["pointerleave", "blur"]) cell.addEventListener(type, () => (card.hidden = true));
        return { cell, pair, cx, cy };
      });
    const drawn = svg(
      "svg",
      { viewBox: `0 0 ${w} ${h}`, width: w, height: h, class: "matrix", role: "group", "aria-label": "Confusion matrix: labels down, predictions across; arrow keys move between its cells" },
      text(left - 10, top - 22, "prediction →", { "text-anchor": "end", class: "tickname" }),
      text(left - 10, top - 7, "label ↓", { "text-anchor": "end", class: "tickname" }),
      ...lines.map((code) => tick(left - 8, y.get(code) + step / 2 + 4, label(code), { "text-anchor": "end" })),
      ...columns.map((code) => {
        const [cx, cy] = [x.get(code) + step / 2 + 2, top - 6];
        return tick(cx, cy, pred(code), { transform: `rotate(-45 ${cx} ${cy})` });
      }),
      svg("rect", { x: left, y: top, width: columns.length * step, height: lines.length * step, class: "field" }),
      ...groups.map((size, at) => {
        const before = groups.slice(0, at).reduce((sum, each) => sum + each, 0);
        return size > 1 ? svg("rect", { x: left + before * step, y: top + before * step, width: size * step, height: size * step, rx: 3, class: "cluster" }) : null;
      }).filter(Boolean),
      ...cells.map(({ cell }) => cell),
    );
    // One stop for the Tab key; arrows go to the nearest cell in their direction.
    drawn.addEventListener("keydown", (event) => {
      const here = cells.find(({ cell }) => cell === document.activeElement);
      if (!here) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        return press(here.pair);
      }
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      const along = (other) => (other.cx - here.cx) * way[0] + (other.cy - here.cy) * way[1];
      const aside = (other) => Math.abs((other.cx - here.cx) * way[1]) + Math.abs((other.cy - here.cy) * way[0]);
      const next = cells.filter((other) => along(other) > 0).sort((a, b) => aside(a) - aside(b) || along(a) - along(b))[0];
      if (!next) return;
      here.cell.setAttribute("tabindex", -1);
      next.cell.setAttribute("tabindex", 0);
      next.cell.focus();
    });
    return drawn;
  }

  const card = html("div", { class: "hovercard", hidden: true, "aria-hidden": "true" });
  function hover(cell, pair) {
    const was = pair.before === null ? "" : `baseline ${count(pair.before)} · `;
    const share = state.onlyWrong ? "" : ` (${percent(pair.share)}, ${interval(pair.ends)})`;
    card.replaceChildren(
      el("b", bdi(label(pair.label)), " → ", bdi(pred(pair.pred))),
      el("span", `${figure(pair)}${share}`),
      el("span", `${was}click: show the ${plural(pair.n, "image")}`),
    );
    card.hidden = false;
    const [stage, at] = [boundsOf(holder), boundsOf(cell)];
    const { width, height } = boundsOf(card);
    card.style.setProperty("left", `${Math.max(0, Math.min(stage.width - width, at.left - stage.left - width - 8))}px`);
    card.style.setProperty("top", `${Math.max(0, Math.min(stage.height - height, at.top - stage.top - height - 8))}px`);
  }

  const holder = el("div.matrixbox");
  let width = 0;
  function draw() {
    const pairs = figuresOf(state);
    const wrong = pairs.filter(isWrong);
    const mistakes = wrong.reduce((sum, { n }) => sum + n, 0);
    box.classList.remove("two");
    tools.replaceChildren();
    if (!wrong.length) {
      refill(box, el("p.empty", state.figures.n ? "No mistake is selected." : "No labeled image is selected."));
      return;
    }
    if (isScattered(pairs, facts.classes.length)) {
      const words = `${plural(mistakes, "mistake makes", "mistakes make")} ${plural(wrong.length, wrong.length === mistakes && mistakes > 1 ? "different pair" : "pair")}`;
      refill(box, el("p.say", el("b", words), ", so a matrix would show nothing. Each pair below: the image, and an image of the class it was taken for."), apart(wrong));
      return;
    }
    const whole = order.length <= MOST;
    const part = layout(pairs, order, [], MOST).lines;
    const among = wrong.filter((pair) => part.includes(pair.label) && part.includes(pair.pred)).reduce((sum, { n }) => sum + n, 0);
    const left = el("div.matrixcolumn");
    const key = el("p.key", state.onlyWrong ? null : el("span.mark.right", "right"), el("span.mark.wrong", "wrong"), el("span", `stronger: ${state.onlyWrong ? "more images" : "a larger share of the label"}${stored?.groups?.some((size) => size > 1) ? " · frames: classes that take most of their mistakes from each other" : ""}`));
    const note = whole ? null : el("p.key", `The ${part.length} of ${count(order.length)} classes in the most frequent pairs; they hold ${count(among)} of ${plural(mistakes, "mistake")}.`);
    left.append(...[note, holder, key].filter(Boolean));
    const states = [[false, "all"], [true, "errors only"]];
    const set = (value) => {
      view.errors = value;
      draw();
    };
    if (!state.onlyWrong && !state.onlyRight) refill(tools, choose("Cells of the matrix", states, view.errors, set));
    box.classList.add("two");
    card.hidden = true;
    box.replaceChildren(left, topPairs(wrong, PAIRS));
    width = holder.clientWidth;
    const scroller = html("div", { class: "sideways", tabindex: 0, role: "region", "aria-label": "Confusion matrix" }, matrix(pairs, width || 576));
    holder.replaceChildren(scroller, card);
  }
  new ResizeObserver(() => holder.isConnected && holder.clientWidth !== width && draw()).observe(box);
  state.queries.confusion = () => [
    { name: "Most frequent pairs", text: state.query("top_confusions") },
    { name: "Confusion matrix", text: state.query("confusion_matrix") },
  ];
  lazily(state, box, () => keepFocus(box, draw));
}
