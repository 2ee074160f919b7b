// The page's own functions against what DuckDB computed; test_page_script.py writes the numbers and runs this file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { aggregate } from "../../sqlanalysis/page/js/src/aggregation.js";
import { listed, makeGroups, modesOf, rightOf, startMode } from "../../sqlanalysis/page/js/src/groups.js";
import { percent, wilson } from "../../sqlanalysis/page/js/src/intervals.js";
import { lasso } from "../../sqlanalysis/page/js/src/lasso.js";
import { apart, dots, fit } from "../../sqlanalysis/page/js/src/map.js";
import { alike, cut, findNames, readNames, shuffle } from "../../sqlanalysis/page/js/src/names.js";
import { held, zoomed } from "../../sqlanalysis/page/js/src/panzoom.js";
import { around, buildGrid, nearest } from "../../sqlanalysis/page/js/src/picking.js";
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

for (const { name, columns, mask, classes, accuracy, per_class, cells, curve, ece } of given.cases) {
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

test("names that look alike when cut have short forms that differ", () => {
  const long = "northern leaf ".repeat(22);
  const twins = [`${long}blight`, `${long}rust`];
  const middles = ["a", "b", "c"].map((letter) => `${long}${letter}${"😀".repeat(30)}`);
  const others = ["rust", "a quite different name of many words", "northerly", `nort…${"😀".repeat(9)}`];
  for (const most of [14, 18, 20, 24]) {
    const given = [...twins, ...middles, ...others, ...twins];
    const short = alike(given, most);
    assert.deepEqual(new Set(short.keys()), new Set([...twins, ...middles]));
    const shown = [...new Set(given)].map((name) => short.get(name) ?? cut(name, most));
    assert.equal(new Set(shown).size, shown.length, "all differ");
    for (const text of shown) assert.ok([...text].length <= most && text.isWellFormed(), text);
    assert.ok(short.get(twins[0]).endsWith("blight") && short.get(twins[1]).endsWith("rust"));
    const lengths = [...short.keys()].map((name) => name.length);
    assert.deepEqual(lengths, lengths.toSorted((a, b) => b - a), "no name is looked for within a longer one first");
  }
  assert.equal(alike(["rust", "blight"], 20).size, 0);
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

/** A state with two runs: 40 images of `classes` classes, some without label or prediction, the baseline wrong elsewhere. */
const stateOf = (classes, { labeled = true, predicted = true } = {}) => {
  const n = 40;
  const codes = (code) => Int16Array.from({ length: n }, (_, i) => code(i));
  const rows = {
    n,
    label: codes((i) => (!labeled || i === 7 ? -2 : i % classes)),
    runs: [
      { pred: codes((i) => (!predicted || i === 8 ? -2 : i % 5 ? i % classes : -1)), confidence: Float32Array.from({ length: n }, (_, i) => (i === 3 ? NaN : i === 4 ? -1 : i / n)) },
      { pred: codes((i) => (i % 4 ? i % classes : (i + 1) % classes)), confidence: new Float32Array(n) },
    ],
    cluster: codes((i) => (i % 9) - 1),
    mask: new Uint8Array(n).fill(1),
  };
  Object.assign(rows, rows.runs[0]);
  const facts = { classes: Array.from({ length: classes }, (_, i) => `class ${i}`), labeled, predicted, clustered: true, runs: [{ has_confidence: true }, { has_confidence: true }] };
  const isRight = (i, k = 0) => (rows.label[i] === -2 || rows.runs[k].pred[i] === -2 ? null : rows.label[i] === rows.runs[k].pred[i]);
  return { rows, facts, run: 0, baseline: 1, mask: rows.mask, isRight, name: (code, column) => `${column} ${code}` };
};

test("every row is in one group of every mode, groups add up, and six colors are the most", () => {
  for (const classes of [4, 30]) {
    const state = stateOf(classes);
    assert.deepEqual(modesOf(state).map(([mode]) => mode), ["correct", "class", "confidence", "change", "cluster"]);
    for (const [mode] of modesOf(state)) {
      const { groups, group } = makeGroups(state, mode);
      assert.equal(groups.reduce((sum, entry) => sum + entry.n, 0), state.rows.n, mode);
      assert.ok(groups.filter((entry) => /^--c/.test(entry.color)).length <= 6, mode);
      groups.forEach((entry, at) => assert.equal(group.filter((value) => value === at).length, entry.n));
    }
    const size = (mode, name) => makeGroups(state, mode).groups.find((entry) => entry.name === name).n;
    const { n, right } = rightOf(state, 0);
    assert.deepEqual([size("correct", "right"), size("correct", "wrong"), size("correct", "no label or prediction")], [right, n - right, 2]);
    const rows = [...Array(40).keys()];
    assert.equal(size("change", "newly wrong"), rows.filter((i) => state.isRight(i) === false && state.isRight(i, 1)).length);
    assert.equal(size("confidence", "no confidence"), 2);
    assert.equal(size("confidence", "0–50%"), 18);
  }
});

test("the map starts with classes up to twelve, then with right and wrong, and has only modes that the data allow", () => {
  assert.equal(startMode(stateOf(12)), "class");
  assert.equal(startMode(stateOf(13)), "correct");
  const modes = (state) => modesOf(state).map(([mode]) => mode);
  assert.deepEqual(modes(stateOf(4, { labeled: false })), ["class", "confidence", "cluster"]);
  assert.deepEqual(modes({ ...stateOf(4), baseline: -1 }), ["correct", "class", "confidence", "cluster"]);
  const bare = stateOf(4, { labeled: false, predicted: false });
  Object.assign(bare.facts, { clustered: false, runs: [{ has_confidence: false }] });
  assert.deepEqual(modes(bare), ["none"]);
  assert.equal(makeGroups(bare, "none").groups[0].n, 40);
});

test("picked classes keep their colors, a freed color stays free, and all others are gray", () => {
  const state = stateOf(30);
  const { groups, group } = makeGroups(state, "class", [3, null, 5, null, null, null]);
  assert.deepEqual([groups[0].color, groups[0].n, groups[1].n, groups[2].color, groups[2].n], ["--c1", 2, 0, "--c3", 2]);
  assert.deepEqual([groups[6].color, groups[6].n, group[3], group[5], group[6]], ["--gray", 36, 0, 2, 6]);
  assert.equal(makeGroups(state, "class", Array(6).fill(null)).groups.length, 1, "none of many classes has a color");
});

test("the list holds picked classes and those that a search finds", () => {
  const name = (code) => ["Fox", "red fox", "cat", "dog"][code];
  assert.deepEqual(listed([3, 1, 0, 2], [2, null], "", name), [3, 1, 0, 2]);
  assert.deepEqual(listed([3, 1, 0, 2], [2, null], " FOX ", name), [2, 1, 0]);
});

test("images around a point come nearest first, itself at the head", () => {
  const { x, y } = given.points;
  const [px, py] = [Uint16Array.from(x), Uint16Array.from(y)];
  const grid = buildGrid(px, py);
  const distance = (i) => (x[i] - x[5]) ** 2 + (y[i] - y[5]) ** 2;
  const known = x.map((_, i) => i).filter((i) => x[i] !== 65535 && i !== 5 && i % 3);
  const sorted = known.sort((a, b) => distance(a) - distance(b) || a - b);
  for (const most of [1, 4, 30, 100_000]) {
    const found = around(grid, 5, most, (i) => i % 3 !== 0);
    assert.deepEqual(found, [5, ...sorted.slice(0, most - 1)]);
  }
});

test("names that would overlap are left out, the first stay", () => {
  const box = (x, y, text) => ({ x, y, width: 40, height: 17, text });
  assert.deepEqual(apart([box(0, 0, "a"), box(39, 5, "b"), box(41, 5, "c"), box(0, 18, "d")]).map(({ text }) => text), ["a", "c", "d"]);
});

test("points fit the box in one scale, and are smaller where there are more", () => {
  const at = fit([60000, 30000], [600, 600]);
  assert.ok(Math.abs(at.x - 18) < 1e-9 && Math.abs(60000 * at.k + at.x - 582) < 1e-9);
  assert.ok(Math.abs(at.y - (300 + 15000 * at.k)) < 1e-9, "in the middle");
  const radii = [256, 3925, 100_000, 1_000_000].map((n) => dots(719 * 596, n, 1).radius);
  assert.ok(radii.every((radius, k) => k === 0 || radius <= radii[k - 1]));
  assert.ok(Math.abs(radii[1] - 1.7) < 0.05, String(radii));
  assert.ok(dots(719 * 596, 3925, 1).alphas.every((alpha, k) => Math.abs(alpha - [0.54, 0.85][k]) < 0.02));
});

test("the picture does not depend on the order of points, and the upper layer covers the lower", () => {
  const n = 200;
  const draw = (order, top) => {
    const rows = { x: order.map((i) => (i * 7919) % 60000), y: order.map((i) => (i * 104729) % 60000) };
    rows.group = order.map((i) => i % 3);
    rows.mask = order.map((i) => (i % 5 ? 1 : 0));
    const groups = [{ red: 255, green: 0, blue: 0, layer: 0 }, { red: 0, green: 255, blue: 0, layer: 0 }, { red: 0, green: 0, blue: 255, layer: top }];
    const picture = createPicture(60, 60);
    splat(picture, rows, n, { k: 0.001, x: 0, y: 60 }, 2, groups, 1);
    const pixels = new Uint8ClampedArray(60 * 60 * 4);
    resolve(picture, pixels, [0.5, 0.999], { red: 128, green: 128, blue: 128 });
    return { pixels, blue: rows.x.map((value, i) => [value, rows.y[i], rows.group[i] === 2 && rows.mask[i]]).filter(([, , is]) => is) };
  };
  for (const top of [0, 1]) {
    const forward = draw([...Array(n).keys()], top);
    const backward = draw([...Array(n).keys()].reverse(), top);
    assert.ok(forward.pixels.some((value) => value > 0));
    assert.ok(forward.pixels.every((value, at) => Math.abs(value - backward.pixels[at]) <= 1));
    const pure = forward.blue.every(([x, y]) => {
      const at = (Math.min(59, Math.round(60 - y / 1000)) * 60 + Math.min(59, Math.round(x / 1000))) * 4;
      return forward.pixels[at + 2] > 245 && forward.pixels[at] < 10;
    });
    assert.equal(pure, top === 1);
  }
});

test("zooming holds the position under the pointer, and the view stays in its limits", () => {
  const size = [800, 500];
  const view = { k: 2, x: -300, y: -120 };
  for (const at of [[0, 0], [400, 250], [799, 10]]) {
    const next = zoomed(view, 1.5, at, size);
    assert.ok(Math.abs(next.k - 3) < 1e-12);
    for (const [shift, before, position] of [[next.x, view.x, at[0]], [next.y, view.y, at[1]]]) {
      assert.ok(Math.abs((position - shift) / next.k - (position - before) / view.k) < 1e-9, "the same point of the map");
    }
  }
  assert.equal(zoomed(view, 1e6, [0, 0], size).k, 200);
  assert.equal(zoomed(view, 1e-6, [0, 0], size).k, 0.8);
  for (const far of [1e9, -1e9]) {
    const { k, x, y } = held({ k: 4, x: far, y: far }, size);
    // What is in sight begins at most half a box before the map, and ends at most half a box behind it.
    for (const [shift, side] of [[x, 800], [y, 500]]) {
      assert.ok(-shift / k >= -side / 2 - 1e-9);
      assert.ok((side - shift) / k <= 1.5 * side + 1e-9);
    }
  }
});
