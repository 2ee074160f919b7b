// Per class: recall, precision and change as one table with strips; for classes of few images a table without a chart.
import { bdi, el, gather, grid, menu, opener, refill, startFinding } from "./charts.js";
import { byId, html } from "./dom.js";
import { count, interval, percent, plural, points, wilson } from "./intervals.js";
import { lazily } from "./lazy.js";
import { quoteText } from "./state.js";
import { scale, strip } from "./strip.js";

const FIRST = 30;
const FEW = 5;

/** Where the strips begin, and the lines across them: from the step below the least mark to 100 %. */
function axisOf(rows) {
  const marks = rows.flatMap((row) => [row.ends?.[0], row.beforeEnds?.[0], row.precision, row.recall]).filter((value) => value >= 0);
  const least = Math.min(1, ...marks);
  const step = [0.05, 0.1, 0.2].find((each) => (1 - least) / each <= 5) ?? 0.2;
  const low = Math.max(0, Math.floor(least / step + 1e-9) * step);
  return { domain: [low, 1], grid: Array.from({ length: Math.round((1 - low) / step) + 1 }, (_, at) => Math.round((low + at * step) * 100) / 100) };
}
const ORDERS = {
  lowest: ["Lowest first", (a, b) => a.recall - b.recall || b.n - a.n || a.label - b.label],
  name: ["By name", (a, b) => a.name.localeCompare(b.name)],
  n: ["Most images first", (a, b) => b.n - a.n || a.label - b.label],
  change: ["Largest change first", (a, b) => Math.abs(b.diff ?? 0) - Math.abs(a.diff ?? 0) || a.label - b.label],
};

/** The figures of every class with selected images, as per_class and compare_classes give them. */
export function figuresOf(state) {
  const { figures } = state;
  const predicted = new Map();
  for (const { pred, n } of figures.pairs) predicted.set(pred, (predicted.get(pred) ?? 0) + n);
  const both = state.compared?.classes ?? [];
  const compared = new Map(both.map((row) => [row.label, row]));
  return figures.classes.map((row) => {
    const other = compared.get(row.label);
    return {
      ...row,
      name: state.name(row.label, "label"),
      predicted: predicted.get(row.label) ?? 0,
      precision: predicted.get(row.label) ? row.correct / predicted.get(row.label) : null,
      before: other?.before ?? null, // of the images that both runs have answered, as is the difference
      beforeEnds: other ? wilson(other.bothRight + other.baselineOnly, other.n) : null,
      diff: other?.diff ?? null,
      diffEnds: other?.ends ?? null,
      pHolm: other?.pHolm ?? null,
    };
  });
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length ? (sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2) : 0;
}

/** Whether there are too few images of a class for a chart; decided by all images, so that a filter does not change the form. */
const isFew = (state) => median(state.whole.classes.map((row) => row.n)) < FEW;

const gain = (row) => (!row.diffEnds ? "" : row.diffEnds[0] > 0 ? "better" : row.diffEnds[1] < 0 ? "worse" : "same");

export function start(state) {
  const box = byId("per-class-live");
  if (!box || !state.whole.n) return;
  startFinding(state, "per-class", "classes");
  const view = { order: "lowest", wanted: "", all: false };
  const list = html("div");
  const search = html("input", { type: "search", "aria-label": "Find a class", placeholder: "Find a class" });
  search.addEventListener("input", () => {
    view.wanted = search.value.trim().toLowerCase();
    draw();
  });
  const options = () => Object.entries(ORDERS).filter(([key]) => key !== "change" || state.baseline >= 0);
  const order = html("span");
  const drawMenu = () => {
    if (state.baseline < 0 && view.order === "change") view.order = "lowest";
    order.replaceChildren(menu("Order of the classes", options().map(([key, [words]]) => [key, words]), view.order, (key) => {
      view.order = key;
      draw();
    }));
  };
  const many = state.whole.classes.length > FIRST;
  const legend = el("p.key");
  box.append(el("div.toolbar", many ? search : legend, many ? legend : null, order), list);

  const press = (row) => {
    const now = state.get("class");
    state.set("class", now?.length === 1 && now[0] === row.label ? null : [row.label]);
  };
  const pressed = (row) => state.get("class")?.includes(row.label) ?? false;
  const n = { head: "n", class: "num", cell: (row) => (row.n < FEW ? el("i", count(row.n)) : count(row.n)) };
  const name = { head: "class", class: "name", cell: (row) => bdi(row.name) };

  // With right or with wrong images only there is no recall: the counts are all there is.
  const counted = (rows) => {
    const head = state.onlyWrong ? "wrong" : "right";
    const value = (row) => count(state.onlyWrong ? row.n - row.correct : row.correct);
    return el("div.short", grid("Counts of each class", [name, { head, class: "num", cell: value }], rows, { press, pressed }));
  };
  const charted = (rows) => {
    const overall = state.figures.accuracy;
    const across = axisOf(rows);
    const mark = (row) =>
      strip({ ...across, ends: row.ends, at: row.recall, before: row.before, beforeEnds: row.beforeEnds, tick: row.precision, line: overall });
    const axis = () => scale({ ...across, write: (share) => `${Math.round(share * 100)}${share === 1 ? "%" : ""}` });
    const columns = [
      name,
      n,
      { head: "", class: "wide", cell: mark },
      { head: "recall", class: "strong", cell: (row) => percent(row.recall) },
      { head: "95% interval", class: "faint", cell: (row) => interval(row.ends) },
      ...(state.baseline < 0
        ? []
        : [
            { head: "baseline", class: "faint", cell: (row) => percent(row.before) },
            { head: "difference", cell: (row) => html("span", { class: gain(row) }, row.diff ? points(row.diff) : row.diff === 0 ? "0" : "–") },
          ]),
      { head: "precision", class: "faint", cell: (row) => percent(row.precision) },
    ];
    const foot = columns.map((column) => (column.class === "wide" ? axis() : ""));
    return grid("Recall and precision of each class", columns, rows, { press, pressed, foot });
  };
  const listed = (rows) => {
    const at = new Map(rows.map((row, index) => [row.label, index]));
    const images = gather(state, rows.length, (i) => at.get(state.rows.label[i]) ?? -1, Infinity);
    const mean = (row) => {
      const known = images[at.get(row.label)].map((i) => state.rows.confidence[i]).filter((value) => value >= 0);
      return known.length ? (known.reduce((sum, value) => sum + value, 0) / known.length).toFixed(3) : "–";
    };
    const answer = (right, of) =>
      of === 1 ? html("span", { class: right ? "better" : "worse" }, right ? "✓" : "✗") : `${count(right)} of ${count(of)}`;
    const top = (row) => {
      const cell = el("span", "–");
      const found = images[at.get(row.label)];
      Promise.all(found.map((i) => state.details(i))).then((details) => {
        const lists = details.map((each) => each?.top?.[state.run]?.classes);
        if (found.length && lists.every(Boolean)) cell.replaceChildren(answer(lists.filter((classes) => classes.includes(row.label)).length, found.length));
      });
      return cell;
    };
    const columns = [
      name,
      { head: "", class: "pictures", cell: (row) => (images[at.get(row.label)].length ? opener(state, images[at.get(row.label)], 0, row.name, 24) : "") },
      n,
      { head: "right", cell: (row) => answer(row.correct, row.n) },
      ...(state.facts.runs[state.run].has_probs && state.details ? [{ head: "top-5", cell: top }] : []),
      { head: "confidence", class: "faint", cell: mean },
    ];
    return el("div.short", grid("Classes, their images and answers", columns, rows, { press, pressed }));
  };

  function draw() {
    const few = isFew(state);
    const bare = state.onlyWrong || state.onlyRight;
    const rows = figuresOf(state).sort(ORDERS[view.order][1]);
    const found = rows.filter((row) => row.name.toLowerCase().includes(view.wanted));
    const shown = view.all ? found : found.slice(0, FIRST);
    legend.replaceChildren(
      ...(few || bare
        ? [el("span", `${plural(found.length, "class", "classes")}${found.length > shown.length ? `, ${shown.length} shown` : ""}`)]
        : [
            el("span.mark.run", "recall, this run"),
            state.baseline < 0 ? null : el("span.mark.ring", "baseline"),
            el("span.mark.tick", "precision"),
            el("span", "lines: 95% intervals · dashed: all images"),
            el("span", el("i", "n"), ` in italics: fewer than ${FEW} images`),
          ].filter(Boolean)),
    );
    const more = found.length > FIRST;
    const toggle = () => {
      view.all = !view.all;
      draw();
    };
    const words = view.all ? `Show the first ${FIRST}` : `Show all ${count(found.length)}`;
    const make = bare ? counted : few ? listed : charted;
    refill(
      list,
      few && !bare ? sentence(state, rows) : null,
      shown.length ? make(shown) : el("p.empty", view.wanted ? `No class holds “${view.wanted}”.` : "No labeled image is selected."),
      more ? html("button", { type: "button", class: "showmore", on: { click: toggle } }, words) : null,
    );
  }

  const update = () => {
    drawMenu();
    draw();
  };
  state.queries["per-class"] = () => [
    { name: "Per class", text: state.query("per_class") },
    ...(state.baseline < 0 ? [] : [{ name: "Change of recall", text: state.query("compare_classes", quoteText(state.baselineName)) }]),
  ];
  lazily(state, box, update);
}

/** What is to say of classes with few images: how many of them are right. */
function sentence(state, rows) {
  const right = rows.filter((row) => row.correct === row.n).length;
  const middle = median(state.whole.classes.map((row) => row.n));
  const few = middle === 1 ? "Most classes have one image: recall is 0 or 1" : `Half of the classes have at most ${plural(Math.floor(middle), "image")}`;
  const one = state.whole.classes.every((row) => row.n === 1);
  return html(
    "p",
    { class: "say" },
    el("b", one ? "One image a class: recall is 0 or 1, so there is nothing to draw." : `${few}, so there is little to draw.`),
    ` ${plural(right, "class is", "classes are")} all right, ${count(rows.length - right)} ${rows.length - right === 1 ? "has" : "have"} mistakes. A chart needs about five images a class; a map of classes to groups (`,
    el("code", "class_map"),
    ") gives figures that can be told apart.",
  );
}
