// Slices: groups of images by what is known of them, with the images that went wrong there.
import { bdi, el, gather, grid, opener, refill, startFinding } from "./charts.js";
import { byId, html } from "./dom.js";
import { lazily } from "./lazy.js";
import { count, pValue, percent, points, wilson } from "./intervals.js";
import { quoteName, quoteText } from "./state.js";
import { scale, strip } from "./strip.js";

const FIRST = 15;
const LEAST = 20; // images of a slice, as in the macro slices
const MISTAKES = 5;

/** Figures of every slice with selected images, lowest accuracy first; `diff` is to the selected images outside of it. */
export function figuresOf(state) {
  const { rows, facts, figures, selected, outcomeOf } = state;
  const found = [];
  facts.slices.forEach((slice, at) => {
    const codes = rows.slices[at];
    if (!codes) return;
    const counts = new Uint32Array(slice.values.length * 9);
    for (let at = 0; at < selected.length; at++) {
      const i = selected[at];
      if (codes[i] >= 0) counts[codes[i] * 9 + outcomeOf[i]]++;
    }
    slice.values.forEach((value, code) => {
      const sum = (...outcomes) => outcomes.reduce((total, outcome) => total + counts[code * 9 + outcome], 0);
      const correct = sum(6, 7, 8);
      const n = sum(3, 4, 5) + correct;
      const hits = sum(2, 5, 8);
      const m = sum(1, 4, 7) + hits;
      if (!n) return;
      const rest = figures.n - n;
      const accuracy = correct / n;
      found.push({
        at,
        code,
        feature: slice.feature,
        value,
        words: slice.words?.[code] ?? value,
        n,
        correct,
        accuracy,
        ends: wilson(correct, n),
        before: m ? hits / m : null,
        diff: rest ? accuracy - (figures.correct - correct) / rest : null,
      });
    });
  });
  return found.sort((a, b) => a.accuracy - b.accuracy || b.n - a.n || a.at - b.at || a.code - b.code);
}

/** "Pixel 7 · camera": the value, and more quietly what it is of. */
function naming({ words, value, feature }) {
  const at = words.indexOf(" · ");
  return [bdi(at < 0 ? words : words.slice(0, at)), el("small", bdi(at < 0 ? (words === value ? feature : "") : words.slice(at + 3)))];
}

/** The round tenth at or below the least end, at most 0.8, so that the strips use their column. */
export const lowest = (shown) => Math.min(0.8, Math.max(0, Math.floor(Math.min(...shown.map((row) => Math.min(row.ends[0], row.before ?? 1))) * 10) / 10));

export function start(state) {
  const box = byId("slices-live");
  if (!box || !state.whole.n || !state.facts.slices.length) return;
  const given = state.facts.sections?.slices;
  const stored = given?.rows ?? (Array.isArray(given) ? given : []);
  const tested = new Map(stored.map((row) => [`${row.feature}\n${row.value}`, row.p_holm]));
  startFinding(state, "slices");
  const view = { all: false };
  const chosen = (row) => {
    const now = state.get("slice");
    return Boolean(now && now[0] === row.at && now[1] === row.code);
  };
  const press = (row) => state.set("slice", chosen(row) ? null : [row.at, row.code]);

  function draw() {
    const bare = state.onlyWrong || state.onlyRight;
    const found = figuresOf(state).filter((row) => bare || state.isActive || row.n >= LEAST);
    if (bare) found.sort((a, b) => b.n - a.n || a.at - b.at || a.code - b.code);
    const shown = view.all ? found : found.slice(0, FIRST);
    if (!shown.length) {
      refill(box, el("p.empty", state.figures.n ? `No slice has ${LEAST} selected images.` : "No labeled image is selected."));
      return;
    }
    const { rows } = state;
    const lists = new Map();
    for (const at of new Set(shown.map((row) => row.at))) {
      const codes = rows.slices[at];
      const found = gather(state, state.facts.slices[at].values.length, (i) => codes[i], 50, state.wrong);
      for (const row of shown) if (row.at === at) lists.set(row, found[row.code]);
    }
    const domain = [lowest(shown), 1];
    const ticks = Array.from({ length: Math.round((1 - domain[0]) * 5) + 1 }, (_, at) => 1 - at * 0.2).filter((value) => value >= domain[0] - 1e-9).reverse();
    const write = (value) => `${Math.round(value * 100)}${value > 0.999 ? "%" : ""}`;
    const pictures = (row) => {
      const list = lists.get(row);
      return el("span.pictures", ...list.slice(0, MISTAKES).map((_, at) => opener(state, list, at, `Mistakes in ${row.value}`, 24)));
    };
    // The test is of all images of the first run: another run or a selection has none.
    const hasTests = state.run === 0 && tested.size > 0;
    const name = { head: "slice", class: "name", cell: (row) => naming(row) };
    const n = { head: "n", class: "num", cell: (row) => count(row.n) };
    const mistakes = { head: "surest mistakes", class: "pictures", cell: pictures };
    const columns = bare
      ? [name, n, mistakes]
      : [
          name,
          n,
          { head: "accuracy", class: "strong", cell: (row) => percent(row.accuracy) },
          { head: "", class: "wide", cell: (row) => strip({ domain, grid: ticks, ends: row.ends, at: row.accuracy, before: row.before, line: state.figures.accuracy, height: 30 }) },
          { head: "to the rest", cell: (row) => (row.diff === null ? "–" : points(row.diff)) },
          ...(hasTests ? [{ head: state.isActive ? "p, of all images" : "p, corrected", class: "faint", cell: (row) => pValue(tested.get(`${row.feature}\n${row.value}`) ?? null) }] : []),
          mistakes,
        ];
    const foot = bare ? null : columns.map((column) => (column.class === "wide" ? scale({ domain, grid: ticks, write }) : ""));
    const rest = found.length - FIRST;
    const toggle = () => {
      view.all = !view.all;
      draw();
    };
    const key = `dashed: ${state.isActive ? "the selected" : "all"} ${count(state.figures.n)} images, ${percent(state.figures.accuracy)} · filled: this run${state.baseline < 0 ? "" : " · ring: baseline"} · lines: 95% intervals · click a row: filter the page by it`;
    refill(
      box,
      grid(bare ? "Slices, most images first" : "Slices, lowest accuracy first", columns, shown, { press, pressed: chosen, foot }),
      rest > 0 ? html("button", { type: "button", class: "showmore", on: { click: toggle } }, view.all ? `Show the first ${FIRST}` : `Show all ${count(found.length)}`) : null,
      el("p.key", bare ? "click a row: filter the page by it" : key),
    );
  }
  state.queries.slices = () =>
    state.facts.slices.map(({ feature, values, sql }) => {
      const where = state.where();
      const cases = values.map((value, code) => `        when ${sql[code]} then ${quoteText(value)}`).join("\n");
      const named = `select\n    case\n${cases}\n    end as slice,\n    correct,\nfrom ${quoteName(state.runName)}${where ? `\nwhere ${where}` : ""}`;
      const counts = "count(correct) as n,\n    count(*) filter (where correct) as n_right,\n    n_right / n as accuracy";
      return { name: feature, text: `with sliced as (\n${named}\n)\n\nselect\n    slice,\n    ${counts},\n    wilson_low(n_right, n, 0.95) as ci_low,\n    wilson_high(n_right, n, 0.95) as ci_high,\nfrom sliced\nwhere slice is not null\n    and correct is not null\ngroup by slice\norder by accuracy, n desc;\n` };
    });
  lazily(state, box, draw);
}
