// The live sections' figures against what DuckDB and scipy computed; test_sections_script.py writes the numbers.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { answering, paired, riskSteps, surest } from "../../sqlanalysis/page/js/src/aggregation.js";
import * as calibration from "../../sqlanalysis/page/js/src/calibration.js";
import * as classes from "../../sqlanalysis/page/js/src/classes.js";
import * as comparison from "../../sqlanalysis/page/js/src/comparison.js";
import * as confusion from "../../sqlanalysis/page/js/src/confusion.js";
import { atLeast, chanceRange, holm, plural, points, pValue } from "../../sqlanalysis/page/js/src/intervals.js";
import * as slices from "../../sqlanalysis/page/js/src/slices.js";
import { State } from "../../sqlanalysis/page/js/src/state.js";
import { place } from "../../sqlanalysis/page/js/src/strip.js";

globalThis.requestAnimationFrame = () => {}; // the state measures how long a browser takes to paint
const given = JSON.parse(readFileSync(process.env.PAGE_NUMBERS, "utf8"));
const close = (shown, wanted, what, within = 1e-9) => {
  if (wanted === null || wanted === "NaN") assert.ok(shown === null || Number.isNaN(shown), `${what}: ${shown} is not ${wanted}`);
  else assert.ok(Math.abs(shown - wanted) <= within * Math.max(1, Math.abs(wanted)), `${what}: ${shown} is not ${wanted}`);
};
const floats = (values) => Float32Array.from(values, (value) => (value === "NaN" ? NaN : value));

/** A state over the columns, with the images of `mask` as its only filter. */
function stateOf({ columns, mask, n_classes, values }) {
  const rows = { n: columns.label.length, id: columns.image_id, label: columns.label, slices: [columns.slice], file: String };
  rows.runs = [0, 1].map((k) => ({ pred: columns[`pred_${k}`], confidence: floats(columns[`confidence_${k}`]) }));
  const names = Array.from({ length: n_classes }, (_, code) => `class ${code}`);
  const runs = ["now", "before"].map((name) => ({ name, n: rows.n, has_confidence: true, has_probs: true }));
  const slice = { feature: "third", values, sql: values.map((_, code) => `image_id % 3 = ${code}`) };
  const state = new State(rows, { runs, baseline: 1, classes: names, splits: [], slices: [slice] }, () => null);
  state.set("lasso", { mask });
  return state;
}

for (const one of given.cases) {
  const state = stateOf(one);
  test(`${one.name}: per class`, () => {
    const shown = new Map(classes.figuresOf(state).map((row) => [row.label, row]));
    assert.equal(shown.size, one.per_class.length);
    for (const row of one.per_class) {
      const found = shown.get(row.class);
      assert.deepEqual([found.n, found.correct, found.predicted], [row.support, row.tp, row.predicted]);
      close(found.precision, row.precision, "precision");
      close(found.recall, row.recall, "recall");
      close(found.ends[0], row.recall_low, "low end");
    }
  });
  test(`${one.name}: against the baseline`, () => {
    const found = comparison.figuresOf(state);
    const wanted = one.mcnemar;
    assert.deepEqual([found.n, found.bothRight, found.runOnly, found.baselineOnly, found.bothWrong], [wanted.n, wanted.both_right, wanted.run_only, wanted.baseline_only, wanted.both_wrong]);
    close(found.p, wanted.p_exact, "p");
    close(found.n ? found.same / found.n : null, one.agreement.agreement, "agreement");
    close(found.n ? (found.bothWrong - found.alike) / found.n : null, one.agreement.wrong_differently, "wrong differently");
    const shown = new Map(found.classes.map((row) => [row.label, row]));
    assert.equal(shown.size, one.changes.length);
    for (const row of one.changes) {
      const { n, recall, before, diff, ends, p, pHolm } = shown.get(row.class);
      assert.equal(n, row.n);
      close(recall, row.recall_run, "recall");
      close(before, row.recall_baseline, "baseline");
      close(diff, row.diff, "difference");
      close(ends[0], row.ci_low, "low end");
      close(ends[1], row.ci_high, "high end");
      close(p, row.p_value, "p");
      close(pHolm, row.p_holm, "p, corrected");
    }
  });
  test(`${one.name}: pairs`, () => {
    const wrong = confusion.figuresOf(state).filter((row) => row.label !== row.pred).slice(0, 20);
    assert.deepEqual(wrong.map((row) => [row.label, row.pred, row.n]), one.pairs.map((row) => [row.label, row.pred, row.n]));
    wrong.forEach((row, at) => close(row.share, one.pairs[at].share_of_label, "share"));
  });
  test(`${one.name}: risk and coverage`, () => {
    const { risk, bins, steps } = calibration.figuresOf(state);
    assert.deepEqual(risk.map((row) => row.kept), one.risk.map((row) => row.kept));
    one.risk.forEach((row, at) => {
      close(risk[at].risk, row.risk, "risk");
      close(risk[at].coverage, row.coverage, "coverage");
      close(risk[at].threshold, row.threshold, "threshold");
    });
    assert.equal(bins.reduce((sum, bin) => sum + bin.n, 0), steps.values.length);
    for (const { share, threshold, kept, accuracy, ci_low, ci_high } of one.shares) {
      const found = answering(steps, share);
      assert.deepEqual([found.kept, found.threshold], [kept, Math.fround(threshold)]);
      close(found.accuracy, accuracy, "accuracy");
      close(found.ends[0], ci_low, "low end");
      close(found.ends[1], ci_high, "high end");
    }
  });
  test(`${one.name}: slices`, () => {
    const found = slices.figuresOf(state);
    const wanted = new Map(one.slices.map((row) => [row.slice, row]));
    assert.equal(found.length, wanted.size);
    for (const row of found) {
      const { n, n_right, before, diff } = wanted.get(row.code);
      assert.deepEqual([row.n, row.correct], [n, n_right]);
      close(row.before, before, "baseline");
      close(row.diff, diff, "to the rest");
    }
  });
}

test("chance", () => {
  for (const [n, p, low, high] of given.ranges) assert.deepEqual(chanceRange(n, p), [low, high], `${n} ${p}`);
  for (const [k, n, p, chance] of given.tails) close(atLeast(k, n, p), chance, `${k} of ${n} at ${p}`);
});

test("Holm's correction", () => {
  // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R
  holm([0.01, 0.04, 0.03, 0.005]).forEach((p, at) => close(p, [0.03, 0.06, 0.06, 0.02][at], "p"));
});

test("numbers are written as Python writes them", () => {
  for (const [value, text] of given.points) assert.equal(points(value), text, String(value));
  for (const [value, text] of given.p_values) assert.equal(pValue(value), text, String(value));
  assert.equal(plural(1, "image"), "1 image");
  assert.equal(plural(1200, "class", "classes"), "1,200 classes");
});

test("equal confidences are answered together", () => {
  const rows = { n: 4, label: [0, 0, 0, 0] };
  const steps = surest(rows, { pred: [0, 1, 0, 1], confidence: Float32Array.from([0.5, 0.9, 0.5, NaN]) }, null);
  assert.deepEqual([...steps.values], [0.9, 0.5, 0.5].map(Math.fround));
  assert.equal(answering(steps, 0.6).kept, 3);
  assert.deepEqual(riskSteps(steps, 100).map(({ kept, risk }) => [kept, risk]), [[1, 1], [3, 1 / 3]]);
  assert.equal(answering(surest({ n: 1, label: [-2] }, { pred: [0], confidence: [1] }, null), 0.5), null);
});

test("images that one run has not answered are no pair", () => {
  const rows = { n: 4, label: [0, 1, -2, -1] };
  const found = paired(rows, { pred: [0, 1, 1, -1] }, { pred: [-2, 0, 1, -1] }, null, 2);
  assert.deepEqual([found.n, found.runOnly, found.bothWrong, found.same, found.alike], [2, 1, 1, 1, 1]);
});

test("a matrix of many classes holds those of the most frequent pairs, in the order of the page", () => {
  const order = Array.from({ length: 40 }, (_, at) => 39 - at);
  const pairs = [{ label: 3, pred: 7, n: 9 }, { label: 7, pred: 1, n: 2 }, { label: 2, pred: -1, n: 1 }, { label: 5, pred: 5, n: 9 }];
  const { lines, columns, groups } = confusion.layout(pairs, order, [36, 3, 1], 30);
  assert.deepEqual(lines, [7, 3, 1]);
  assert.deepEqual(columns, [7, 3, 1, -1]);
  assert.deepEqual(groups, [1, 2]);
});

test("mistakes that are all different make no matrix", () => {
  const pairs = Array.from({ length: 50 }, (_, at) => ({ label: at, pred: at + 1, n: 1 }));
  assert.equal(confusion.isScattered(pairs, 100), true);
  assert.equal(confusion.isScattered(pairs, 20), false);
  assert.equal(confusion.isScattered([...pairs, { label: 1, pred: 3, n: 20 }], 100), false);
  assert.equal(confusion.isScattered([{ label: 1, pred: 1, n: 9 }], 100), false);
});

test("the classes of the chart are the largest changes, from gain to loss", () => {
  const rows = Array.from({ length: 30 }, (_, at) => ({ label: at, n: at < 2 ? 4 : 9, diff: (at - 15) / 30 }));
  const shown = comparison.drawnClasses(rows).map((row) => row.label);
  assert.equal(shown.length, 20);
  assert.ok(!shown.includes(0) && !shown.includes(15));
  assert.deepEqual(shown, [...shown].sort((a, b) => b - a));
});

test("marks never leave their axis, and axes end at round numbers", () => {
  assert.equal(place(1.2, [0, 1]), "100.00%");
  assert.equal(place(-1, [0, 1]), "0.00%");
  assert.equal(place(0.5, [-1, 1]), "75.00%");
  for (const share of [0.004, 0.02, 0.11, 0.3, 0.51, 1]) {
    const ticks = calibration.roundUp(share);
    assert.ok(ticks.at(-1) >= share - 1e-12 && ticks.length <= 7, String(share));
  }
  assert.equal(classes.median([1, 1, 9, 9]), 5);
});

test("under a filter to wrong answers the state says that there is no accuracy", () => {
  const state = stateOf(given.cases[0]);
  state.set("pair", [1, 2]);
  assert.equal(state.onlyWrong, true);
  assert.ok(confusion.figuresOf(state).every(({ label, pred }) => label === 1 && pred === 2));
  // What is outside the classes is never right, not even if label and prediction both are; an unknown one is no answer.
  for (const filters of [{ pred: [-1] }, { class: [-1, -2] }, { class: [-1], pred: [-1] }, { pair: [-1, -1] }]) {
    state.clear();
    for (const [kind, value] of Object.entries(filters)) state.set(kind, value);
    assert.deepEqual([state.onlyWrong, state.onlyRight, state.figures.correct], [true, false, 0], JSON.stringify(filters));
  }
  for (const filters of [{ pred: [-1, 2] }, { class: [-2] }, { class: [2], pred: [2] }]) {
    state.clear();
    for (const [kind, value] of Object.entries(filters)) state.set(kind, value);
    assert.equal(state.onlyWrong, false, JSON.stringify(filters));
  }
});
