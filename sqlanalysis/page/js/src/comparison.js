// Comparison: every image by which run is right, change of recall by class, and images whose answer changed.
import { bdi, choose, el, gather, grid, opener, refill, startFinding } from "./charts.js";
import { byId, html, svg } from "./dom.js";
import { count, percent, plural, points, pointsInterval } from "./intervals.js";
import { lazily } from "./lazy.js";
import { quoteText } from "./state.js";
import { place, scale, strip } from "./strip.js";

const CLASSES = 20;
const LEAST = 5; // images of a class in the chart
const TILES = 8;

/** Both runs over the selected images: counts as mcnemar and agreement give them, classes as compare_classes does. */
export function figuresOf(state) {
  return state.compared;
}

/** The classes of the chart: the largest changes among those of some images, from gain to loss. */
export const drawnClasses = (classes) =>
  classes
    .filter((row) => row.n >= LEAST)
    .sort((a, b) => Math.abs(b.diff) - Math.abs(a.diff) || b.n - a.n || a.label - b.label)
    .slice(0, CLASSES)
    .sort((a, b) => b.diff - a.diff || b.n - a.n || a.label - b.label);

const KINDS = ["newly wrong", "newly right", "both wrong, apart"];
const KIND_OF = { 5: 0, 7: 1, 4: 2 }; // by outcome: 3 * run + baseline, each 1 wrong or 2 right

export function start(state) {
  const box = byId("comparison-live");
  if (!box || !state.whole.n) return;
  startFinding(state, "comparison");
  const view = { kind: 0 };
  const { rows, name } = state;
  const press = (value) => state.set("change", state.get("change") === value ? null : value);

  const field = (n, value, words, tone) => {
    const chosen = state.get("change") === value;
    return html("button", { type: "button", class: `field ${tone}`, "data-key": value, "aria-pressed": String(chosen), on: { click: () => press(value) } }, el("b", count(n)), el("span", words));
  };
  function square(figures) {
    const { bothRight, runOnly, baselineOnly, bothWrong, alike, n } = figures;
    const [now, before] = [state.runName, state.baselineName];
    const parts = [[bothRight, "both"], [runOnly, "right"], [baselineOnly, "wrong"], [bothWrong, "gray"]];
    let at = 0;
    const bars = parts.map(([value, tone]) => {
      const x = place(at, [0, n]);
      at += value;
      return svg("rect", { x, width: place(value, [0, n]), y: 0, height: 10, class: tone });
    });
    const corner = (words, which) => html("span", { class: `side ${which}` }, bdi(words), el("span", which.includes("no") ? " wrong" : " right"));
    return html(
      "div",
      { class: "outcomes" },
      el("span"),
      corner(now, "top"),
      corner(now, "top no"),
      corner(before, "row"),
      field(bothRight, "both right", "both right", "both"),
      field(baselineOnly, "newly wrong", "newly wrong", "wrong"),
      corner(before, "row no"),
      field(runOnly, "newly right", "newly right", "right"),
      field(bothWrong, "both wrong", `both wrong, ${count(alike)} of them alike`, "gray"),
      el("div.shares", svg("svg", { class: "strip", height: 10, "aria-hidden": "true" }, ...bars), el("p.key", `the same counts as shares of ${count(n)}`)),
    );
  }

  function changes(figures) {
    const shown = drawnClasses(figures.classes);
    if (!shown.length) return el("p.empty", `No class has ${LEAST} images that both runs have answered.`);
    const reach = Math.max(...shown.flatMap((row) => row.ends.map(Math.abs)), 0.05);
    const step = [0.02, 0.05, 0.1, 0.25, 0.5].find((each) => reach / each <= 3) ?? 0.5;
    const low = Math.min(0, Math.floor(Math.min(...shown.map((row) => row.ends[0])) / step) * step);
    const high = Math.max(0, Math.ceil(Math.max(...shown.map((row) => row.ends[1])) / step) * step);
    const domain = [low, high];
    const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, at) => Math.round((low + at * step) * 100) / 100);
    const tone = (row) => (row.ends[0] > 0 ? "right" : row.ends[1] < 0 ? "wrong" : "gray");
    const columns = [
      { head: "class", class: "name", cell: (row) => bdi(name(row.label, "label")) },
      { head: "n", class: "num", cell: (row) => count(row.n) },
      { head: "", class: "wide", cell: (row) => strip({ domain, grid: ticks, ends: row.ends, at: row.diff, tone: tone(row), zero: true, height: 22 }) },
      { head: "points", cell: (row) => html("span", { class: { right: "better", wrong: "worse", gray: "same" }[tone(row)], title: pointsInterval(row.ends) }, row.diff ? points(row.diff) : "0") },
    ];
    const write = (value) => (value ? `${value > 0 ? "+" : "−"}${Math.round(Math.abs(value) * 100)}` : "0");
    const foot = ["", "", scale({ domain, grid: ticks, write }), ""];
    const chosen = (row) => state.get("class")?.includes(row.label) ?? false;
    const pick = (row) => state.set("class", chosen(row) ? null : [row.label]);
    return grid("Change of recall of each class, in points", columns, shown, { press: pick, pressed: chosen, foot });
  }

  function tiles(figures) {
    const [now, before] = [rows.runs[state.run].pred, rows.runs[state.baseline].pred];
    const right = (pred, i) => pred[i] === rows.label[i] && pred[i] >= 0;
    const outcomes = state.outcomeOf;
    const kinds = Int8Array.from({ length: 9 }, (_, outcome) => KIND_OF[outcome] ?? -1);
    const kindOf = (i) => {
      const kind = kinds[outcomes[i]];
      return kind === 2 && now[i] === before[i] ? -1 : kind;
    };
    const lists = gather(state, KINDS.length, kindOf, 1000);
    const sizes = [figures.baselineOnly, figures.runOnly, figures.bothWrong - figures.alike];
    if (!sizes.some(Boolean)) return null;
    if (!sizes[view.kind]) view.kind = sizes.findIndex(Boolean);
    const [list, words] = [lists[view.kind], KINDS[view.kind]];
    const answer = (i, k) => {
      const { pred, confidence } = rows.runs[k];
      const hit = right(pred, i);
      const sure = confidence[i] >= 0 ? ` ${percent(confidence[i])}` : "";
      return [
        el("span.who", bdi(state.facts.runs[k].name)),
        html("span", { class: hit ? "right" : "wrong" }, el("span", hit ? "✓ " : "✗ "), hit ? bdi(name(pred[i], "pred")) : el("b", bdi(name(pred[i], "pred"))), el("span.faint", sure)),
      ];
    };
    const items = list.slice(0, TILES).map((i, at) =>
      el("figure.flip", opener(state, list, at, words, 96), el("figcaption", el("b", bdi(name(rows.label[i], "label"))), ...answer(i, state.baseline), ...answer(i, state.run))),
    );
    const options = KINDS.map((label, at) => [at, `${label} ${count(sizes[at])}`]).filter((_, at) => sizes[at]);
    const pick = (at) => {
      view.kind = at;
      draw();
    };
    const title = words[0].toUpperCase() + words.slice(1);
    const head = el("div.toolbar", el("p.subhead", el("b", title), el("span", bdi(state.baselineName), " → ", bdi(state.runName), ` · surest first · ${plural(sizes[view.kind], "image")}`)), choose("Which images", options, view.kind, pick));
    return el("div.flips", head, el("div.fliptiles", ...items));
  }

  function draw() {
    const figures = figuresOf(state);
    if (!figures) {
      const command = el("code", `sqlanalysis report DB OUT.html --run ${state.runName} --run BASELINE`);
      refill(box, el("p.say", ...(state.facts.runs.length > 1 ? ["Choose a baseline at the top of the page: then every image, class and changed answer of both runs stands here."] : [command])));
      return;
    }
    if (!figures.n) {
      refill(box, el("p.empty", "No image is selected that both runs have answered."));
      return;
    }
    const bare = state.onlyWrong || state.onlyRight;
    const left = el("div", el("h3", "Every image, by who is right"), el("p.key", "click a field: show its images"), square(figures));
    const right = bare
      ? null
      : el("div", el("h3", "Change of recall by class"), el("p.key", `points of 100, classes of ${LEAST} and more images · colored: its own interval leaves out zero`), changes(figures));
    refill(box, el("div.two", left, right ?? ""), tiles(figures));
  }
  state.queries.comparison = () => {
    if (state.baseline < 0) return [];
    const other = quoteText(state.baselineName);
    return [
      { name: "Both runs", text: state.query("mcnemar", other) },
      { name: "Agreement", text: state.query("agreement", other) },
      { name: "Change by class", text: state.query("compare_classes", other) },
    ];
  };
  lazily(state, box, draw);
}
