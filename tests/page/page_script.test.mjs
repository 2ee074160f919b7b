// The page's own functions against what DuckDB computed; test_page_script.py writes the numbers and runs this file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { aggregate, worst } from "../../sqlanalysis/page/js/src/aggregation.js";
import { makeGroups } from "../../sqlanalysis/page/js/src/groups.js";
import { percent, wilson } from "../../sqlanalysis/page/js/src/intervals.js";
import { lasso } from "../../sqlanalysis/page/js/src/lasso.js";
import { findNames, readNames, shuffle } from "../../sqlanalysis/page/js/src/names.js";
import { buildGrid, nearest } from "../../sqlanalysis/page/js/src/picking.js";
import { Selection } from "../../sqlanalysis/page/js/src/selection.js";
import { createPicture, resolve, splat } from "../../sqlanalysis/page/js/src/splat.js";

const given = JSON.parse(readFileSync(process.env.PAGE_NUMBERS, "utf8"));
const close = (shown, wanted, what) => {
  if (wanted === null || Number.isNaN(wanted)) assert.ok(shown === null || Number.isNaN(shown), what);
  else assert.ok(Math.abs(shown - wanted) <= 1e-12 * Math.max(1, Math.abs(wanted)), `${what}: ${shown} is not ${wanted}`);
};
const both = (shown, low, high, what) => {
  close(shown?.[0] ?? null, low, what);
  close(shown?.[1] ?? null, high, what);
};
const rowsOf = (columns) => ({
  ...columns,
  n: columns.label.length,
  confidence: Float32Array.from(columns.confidence, (value) => (value === "NaN" ? NaN : value)),
});

for (const { name, columns, mask, classes, accuracy, per_class, cells, curve, ece, worst: order } of given.cases) {
  const rows = rowsOf(columns);
  const figures = aggregate(rows, mask, classes);
  test(`${name}: accuracy`, () => {
    assert.equal(figures.selected, mask.reduce((sum, value) => sum + value, 0));
    assert.deepEqual([figures.n, figures.correct], [accuracy.n, accuracy.correct]);
    close(figures.accuracy, accuracy.accuracy, "accuracy");
    both(figures.ends, accuracy.ci_low, accuracy.ci_high, "interval");
  });
  test(`${name}: recall of each class`, () => {
    const shown = new Map(figures.classes.map((row) => [row.label, row]));
    assert.equal(shown.size, per_class.length);
    for (const row of per_class) {
      const { n, correct, recall, ends } = shown.get(row.class);
      assert.deepEqual([n, correct], [row.support, row.tp]);
      close(recall, row.recall, `class ${row.class}`);
      both(ends, row.recall_low, row.recall_high, `class ${row.class}`);
    }
  });
  test(`${name}: confusion`, () => {
    const key = ({ label, pred }) => label * 1000 + pred;
    assert.deepEqual(figures.pairs.sort((a, b) => key(a) - key(b)), cells);
  });
  test(`${name}: calibration`, () => {
    assert.deepEqual(figures.bins.map((bin) => [bin.bin, bin.n]), curve.map((row) => [row.bin, row.n]));
    curve.forEach((row, at) => {
      close(figures.bins[at].confidence, row.confidence, "confidence");
      close(figures.bins[at].accuracy, row.accuracy, "accuracy");
      both(figures.bins[at].ends, row.ci_low, row.ci_high, "interval");
    });
    close(figures.ece, ece === "NaN" ? NaN : ece, "ece");
  });
  test(`${name}: worst first`, () => {
    const found = worst(rows, mask, 24);
    const wrong = found.filter((i) => rows.label[i] >= 0 && rows.pred[i] !== -2 && rows.label[i] !== rows.pred[i]);
    assert.deepEqual(found.slice(0, wrong.length), wrong, "mistakes come first");
    const known = (values) => values.filter((value) => value >= 0);
    assert.deepEqual(known(wrong.map((i) => rows.confidence[i])), order.map(Math.fround));
    assert.equal(found.length, Math.min(24, figures.selected));
  });
}

test("Wilson intervals", () => {
  for (const [k, n, low, high] of given.wilson) both(wilson(k, n), low, high, `${k} of ${n}`);
});

test("shares are written as Python writes them", () => {
  for (const [share, text] of given.percent) assert.equal(percent(share), text, String(share));
  assert.equal(percent(null), "–");
  assert.equal(percent(NaN), "–");
});

test("lasso and picking", () => {
  const { x, y, corners, inside, probes } = given.points;
  const mask = lasso(Uint16Array.from(x), Uint16Array.from(y), corners, new Uint8Array(x.length));
  assert.deepEqual(Array.from(mask), inside);
  const grid = buildGrid(Uint16Array.from(x), Uint16Array.from(y));
  for (const [a, b, radius, distance] of probes) {
    const row = nearest(grid, a, b, radius, () => true);
    const found = row < 0 ? null : (x[row] - a) ** 2 + (y[row] - b) ** 2;
    assert.equal(found, distance, `${a} ${b} ${radius}`);
    assert.equal(nearest(grid, a, b, radius, () => false), -1);
  }
});

test("a lasso that crosses itself leaves its middle out; one of two corners holds nothing", () => {
  const star = [[50, 0], [79, 90], [2, 35], [98, 35], [21, 90]];
  const mask = new Uint8Array(2);
  assert.deepEqual(Array.from(lasso([50, 50], [50, 20], star, mask)), [0, 1]);
  assert.deepEqual(Array.from(lasso([50, 50], [50, 20], star.slice(0, 2), mask)), [0, 0]);
});

test("search in names of any script", () => {
  const encoder = new TextEncoder();
  const parts = ["train/Straße.JPG", "😀 Éclair", "", "abc", "cab", "=cmd|calc", "ab\nc"].map((name) => encoder.encode(name));
  const offsets = Int32Array.from([0, ...parts]).fill(0);
  parts.forEach((part, at) => (offsets[at + 1] = offsets[at] + part.length));
  const values = Uint8Array.from(parts.flatMap((part) => [...part]));
  const names = readNames(values, offsets, parts.length);
  const found = (text) => Array.from(findNames(names, text)).join("");
  assert.equal(found("straße.jpg"), "1000000");
  assert.equal(found("éclair"), "0100000");
  assert.equal(found("abc"), "0001000");
  assert.equal(found("ab"), "0001101");
  assert.equal(found("ca"), "0000110");
  assert.equal(found("cc"), "0000000", "no hit across two names");
  assert.equal(found(""), "0000000");
});

test("the shuffled order holds every row once, the same each time", () => {
  const order = shuffle(1000);
  assert.deepEqual([...order].sort((a, b) => a - b), [...Array(1000).keys()]);
  assert.deepEqual(order, shuffle(1000));
  const first = order.slice(0, 200).reduce((sum, row) => sum + row, 0) / 200;
  assert.ok(Math.abs(first - 500) < 70, "a first part is a fair sample");
});

test("SQL and CSV of a selection", () => {
  const rows = { n: 3, id: [7, 5, 9], label: [0, 1, -2], pred: [0, 0, -1], confidence: [0.5, -1, NaN] };
  rows.file = (row) => ["=cmd|calc!A1", 'a "b", c', "-x"][row];
  const selection = new Selection(rows, 'we"ird');
  selection.cell = { label: 1, pred: 0 };
  selection.update();
  assert.match(selection.sql(), /from "we""ird"\nwhere label = 1\n {4}and pred = 0;/);
  selection.cell = null;
  selection.lasso = [1, 1, 0];
  selection.update();
  assert.match(selection.sql(), /where image_id in \(5, 7\);/);
  selection.lasso = [0, 0, 0];
  selection.update();
  assert.match(selection.sql(), /where false;/);
  selection.clear();
  const lines = selection.csv((code) => (code < 0 ? "" : `+class ${code}`)).split("\n");
  assert.equal(lines[1], "7,'=cmd|calc!A1,0,'+class 0,0,'+class 0,0.5");
  assert.equal(lines[2], `5,"a ""b"", c",1,'+class 1,0,'+class 0,`);
  assert.equal(lines[3], "9,'-x,,,-1,,");
});

test("every row is in one group, and groups add up", () => {
  const rows = rowsOf(given.cases[0].columns);
  rows.differ = Uint8Array.from(rows.label, (_, i) => i % 3);
  for (const mode of ["label", "pred", "correct", "confidence", "differ"]) {
    const { groups, group } = makeGroups(rows, mode, (code) => `class ${code}`);
    assert.equal(groups.reduce((sum, entry) => sum + entry.n, 0), rows.n, mode);
    assert.ok(groups.filter((entry) => /^h\d/.test(entry.mark)).length <= 12, mode);
    groups.forEach((entry, at) => assert.equal(group.filter((value) => value === at).length, entry.n));
  }
});

test("the picture does not depend on the order of points", () => {
  const n = 200;
  const draw = (order) => {
    const rows = { x: order.map((i) => (i * 7919) % 60000), y: order.map((i) => (i * 104729) % 60000) };
    rows.group = order.map((i) => i % 3);
    rows.mask = order.map((i) => (i % 5 ? 1 : 0));
    const groups = [{ red: 255, green: 0, blue: 0, weight: 1 }, { red: 0, green: 255, blue: 0, weight: 1 }, { red: 0, green: 0, blue: 255, weight: 2 }];
    const picture = createPicture(60, 60);
    splat(picture, rows, n, { k: 0.001, x: 0, y: 60 }, 2, groups, 1);
    const pixels = new Uint8ClampedArray(60 * 60 * 4);
    resolve(picture, pixels, 0.5, { red: 128, green: 128, blue: 128 });
    return pixels;
  };
  const forward = draw([...Array(n).keys()]);
  const backward = draw([...Array(n).keys()].reverse());
  assert.ok(forward.some((value) => value > 0));
  assert.ok(forward.every((value, at) => Math.abs(value - backward[at]) <= 1));
});
