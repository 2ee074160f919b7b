// Filters, their words, and the order of the gallery against plain code over rows as objects; test_gallery_script.py runs this file.
import assert from "node:assert/strict";
import { test } from "node:test";

// The modules ask for the theme when they are loaded.
globalThis.document = { documentElement: { dataset: {} } };
globalThis.matchMedia = () => ({ matches: false });
globalThis.requestAnimationFrame = () => 0;
const SOURCES = "../../sqlanalysis/page/js/src";
const { State } = await import(`${SOURCES}/state.js`);
const { choices, csv, histogram, summary } = await import(`${SOURCES}/filterbar.js`);
const { arrange, finding, members, sizes, sorted, tabs } = await import(`${SOURCES}/gallery.js`);
const { change, probabilityOfLabel, short } = await import(`${SOURCES}/tile.js`);
const { rankNames } = await import(`${SOURCES}/names.js`);

/** Numbers that look random and are the same each time. */
function chance(seed) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
  next.whole = (n) => Math.floor(next() * n);
  next.of = (values) => values[next.whole(values.length)];
  return next;
}

const CLASSES = ["bird", "cat", "dog", "fish", "wild canine"];
const SLICES = [{ feature: "light", values: ["dark", "bright"], sql: ["a", "b"] }, { feature: "camera", values: ["P7"], sql: ["c"] }];

/** Rows as objects, with every gap that a page may have, and the state over the same rows as columns. */
function make(n, seed, change_ = () => {}) {
  const random = chance(seed);
  const list = Array.from({ length: n }, (_, i) => {
    const label = random() < 0.1 ? -2 : random.whole(5);
    const guess = () => (random() < 0.08 ? -2 : random() < 0.05 ? -1 : random() < 0.6 && label >= 0 ? label : random.whole(5));
    const sure = () => (random() < 0.08 ? -1 : random() < 0.03 ? NaN : Math.fround(random.whole(21) / 20));
    const row = { id: i * 3 + 1, label, pred: [guess(), guess()], confidence: [sure(), sure()], split: random.whole(3) - 1, cluster: random() < 0.2 ? -2 : random.whole(4) };
    // Of the second run some images have no row at all.
    if (random() < 0.1) [row.pred[1], row.confidence[1]] = [-2, -2];
    row.slices = [random.whole(3) - 1, random.whole(2) - 1];
    row.name = `${random.of(["a", "B", "é"])}${random.whole(40)}/${random.of(["x", "=y", "dog"])}.png`;
    row.pLabel = random() < 0.2 ? -1 : Math.fround(random());
    change_(row, i);
    return row;
  });
  // The page shuffles its rows: `origin` is not the identity here either.
  const origin = Uint32Array.from(list, (_, i) => (i * 13 + 3) % n);
  const place = new Uint32Array(n);
  origin.forEach((row, i) => (place[row] = i));
  const column = (Type, of) => Type.from(origin, (row) => of(list[row]));
  const rows = { n, origin, place, id: column(Float64Array, (r) => r.id), label: column(Int16Array, (r) => r.label), split: column(Int8Array, (r) => r.split) };
  rows.cluster = column(Int8Array, (r) => r.cluster);
  rows.pLabel = column(Float32Array, (r) => r.pLabel);
  rows.runs = [0, 1].map((k) => ({ pred: column(Int16Array, (r) => r.pred[k]), confidence: column(Float32Array, (r) => r.confidence[k]) }));
  rows.slices = [0, 1].map((at) => column(Int8Array, (r) => r.slices[at]));
  rows.file = (i) => list[origin[i]].name;
  const bytes = list.map(({ name }) => Buffer.from(name));
  const offsets = Int32Array.from([0, ...bytes.map((_, at) => bytes.slice(0, at + 1).reduce((sum, b) => sum + b.length, 0))]);
  rows.names = { data: [{ values: Uint8Array.from(Buffer.concat(bytes)), offsets }] };
  const runs = ["new", "old"].map((name) => ({ name, n, has_confidence: true, has_probs: true }));
  const suspects = list.flatMap(({ label, pred }, row) => (label >= 0 && pred[0] >= 0 && pred[0] !== label && row % 5 === 0 ? [{ row, suggested: pred[0], p_wrong: 0.9 }] : []));
  const facts = { run: "new", runs, n, total: n, classes: CLASSES, splits: ["train", "val"], slices: SLICES, labeled: true, predicted: true, clustered: true, suspects, folder_chars: 5, baseline: 1 };
  const holds = (text, i) => {
    const row = list[origin[i]];
    return [row.name, CLASSES[row.label], CLASSES[row.pred[state.run]]].some((word) => word?.toLowerCase().includes(text.toLowerCase()));
  };
  const state = new State(rows, facts, (text) => Uint8Array.from(origin, (_, i) => (holds(text, i) ? 1 : 0)));
  return { list, state, rows, facts };
}

/** Right (true), wrong (false), or undefined without a label or a prediction. */
const judged = (row, k) => (row.label === -2 || row.pred[k] === -2 ? undefined : row.label === row.pred[k]);

/** What each filter means, in words of its own: (value, row, run, baseline) gives whether the row meets it. */
const MEANING = {
  split: (value, row) => value.includes(row.split),
  class: (value, row) => value.includes(row.label),
  pred: (value, row, k) => value.includes(row.pred[k]),
  pair: ([label, pred], row, k) => row.label === label && row.pred[k] === pred,
  answer: (value, row, k) => judged(row, k) === { right: true, wrong: false, unknown: undefined }[value],
  confidence: ([low, high], row, k) => row.confidence[k] >= low && (row.confidence[k] < high || (high === 1 && row.confidence[k] === 1)),
  slice: ([at, code], row) => row.slices[at] === code,
  cluster: (value, row) => value.includes(row.cluster),
  change: (value, row, k, j) => {
    if (value === "differ") return row.pred[k] !== -2 && row.pred[j] !== -2 && row.pred[k] !== row.pred[j];
    const [now, before] = [judged(row, k), judged(row, j)];
    if (now === undefined || before === undefined) return false;
    return value === (now === before ? `both ${now ? "right" : "wrong"}` : `newly ${now ? "right" : "wrong"}`);
  },
  search: (value, row, k) => [row.name, CLASSES[row.label] ?? "", CLASSES[row.pred[k]] ?? ""].join("\n").toLowerCase().includes(value),
};

const some = (random, from, to) => Array.from({ length: to - from }, (_, at) => from + at).filter(() => random() < 0.4);
const VALUES = {
  split: (random) => some(random, -1, 2),
  class: (random) => some(random, -2, 5).filter((code) => code !== -1),
  pred: (random) => some(random, -2, 5),
  pair: (random) => [random.whole(5), random.whole(6) - 1],
  answer: (random) => random.of(["right", "wrong", "unknown"]),
  confidence: (random) => random.of([[0, 0.5], [0.3, 0.8], [0.55, 1], [0, 1], [0.05, 0.06]]),
  slice: (random) => random.of([[0, 0], [0, 1], [1, 0]]),
  cluster: (random) => some(random, -2, 4).filter((code) => code !== -1),
  change: (random) => random.of(["newly right", "newly wrong", "both right", "both wrong", "differ"]),
  search: (random) => random.of(["dog", "a1", "é", "=y", "zebrra"]),
};

test("50 random filters select what each condition says, for both runs", () => {
  const { list, state, rows } = make(700, 11);
  const random = chance(4);
  let nonempty = 0;
  for (let round = 0; round < 50; round++) {
    state.clear();
    state.setRun(round % 2, 1 - (round % 2));
    const kinds = Object.keys(VALUES).filter(() => random() < 0.2);
    const given = (kinds.length ? kinds : ["class"]).map((kind) => [kind, VALUES[kind](random)]).filter(([, value]) => value.length);
    for (const [kind, value] of given) state.set(kind, value);
    const meets = (row) => row.confidence[state.run] !== -2 && given.every(([kind, value]) => MEANING[kind](value, row, state.run, state.baseline));
    assert.deepEqual(Array.from(state.mask, Boolean), Array.from(rows.origin, (row) => meets(list[row])), JSON.stringify(given));
    const kept = list.filter(meets);
    const answers = kept.map((row) => judged(row, state.run)).filter((right) => right !== undefined);
    const right = answers.filter(Boolean).length;
    assert.deepEqual([state.figures.selected, state.figures.n, state.figures.correct], [kept.length, answers.length, right]);
    const { accuracy } = summary(state);
    if (accuracy) assert.ok(Math.abs(parseFloat(accuracy[0]) - (100 * right) / answers.length) < 0.0501, "the accuracy of the bar");
    if (right === 0 && kinds.includes("answer")) assert.equal(accuracy, null);
    nonempty += kept.length > 0;
  }
  assert.ok(nonempty > 25, `${nonempty} of 50 filters select something`);
});

test("the number beside a choice is what the choice selects, beside other filters too", () => {
  for (const before of [[], [["confidence", [0.3, 1]]], [["slice", [0, 1]], ["search", "dog"]], "other run"]) {
    const { state } = make(400, 7);
    if (before === "other run") state.setRun(1, 0); // some images are not of this run
    else for (const [kind, value] of before) state.set(kind, value);
    for (const kind of ["split", "class", "pred", "answer", "slice", "change", "cluster"]) {
      const was = state.get(kind);
      const offered = choices(state, kind);
      assert.ok(offered.length > 1, kind);
      for (const { value, words, n } of offered) {
        state.set(kind, ["split", "class", "pred", "cluster"].includes(kind) ? [value] : value);
        assert.equal(state.figures.selected, n, `${kind} ${words}`);
      }
      state.set(kind, was);
    }
  }
});

test("the histogram counts every image with a confidence once", () => {
  const { list, state } = make(500, 3);
  const bins = histogram(state);
  const total = bins.reduce((sum, { right, wrong, other }) => sum + right + wrong + other, 0);
  assert.equal(total, list.filter(({ confidence }) => confidence[0] >= 0).length);
  state.set("confidence", [0.5, 0.6]);
  assert.deepEqual(histogram(state), bins, "its own filter does not thin it out");
  const wrong = list.filter((row) => judged(row, 0) === false && row.confidence[0] >= 0.95);
  assert.equal(bins[19].wrong, wrong.length);
});

test("what the bar says", () => {
  const plain = (row) => Object.assign(row, { label: row.label < 0 ? 0 : row.label, pred: row.pred.map((code) => Math.max(0, code)) });
  const { state, facts, rows } = make(256, 2, plain);
  const said = () => {
    const { many, note, accuracy, caution } = summary(state);
    return [many.join(""), note, accuracy && accuracy.join(" "), caution];
  };
  const share = (text) => text.match(/^\d+\.\d+% \(\d+\.\d–\d+\.\d%\)$/);
  let [many, note, accuracy, caution] = said();
  assert.deepEqual([many, note, caution], ["All 256", "accuracy", null]);
  assert.ok(share(accuracy), accuracy);
  state.set("class", [1]);
  [many, note, accuracy, caution] = said();
  const n = state.figures.n;
  assert.deepEqual([many, note, caution], [`${n} of 256`, "accuracy", n < 30 ? "descriptive, rough: n below 30" : "descriptive"]);
  state.set("slice", [1, 0]);
  assert.ok(state.figures.n < 30);
  assert.equal(said()[3], "descriptive, rough: n below 30");
  for (const [kind, value, words] of [
    ["answer", "wrong", "only wrong images, so no accuracy"],
    ["answer", "right", "only right images, so no accuracy"],
    ["change", "newly wrong", "only wrong images, so no accuracy"],
    ["change", "both right", "only right images, so no accuracy"],
    ["pair", [0, 1], "only wrong images, so no accuracy"],
    ["pair", [0, 0], "only right images, so no accuracy"],
  ]) {
    state.clear();
    state.set(kind, value);
    assert.deepEqual(said(), [`${state.figures.selected} of 256`, words, null, null], kind);
  }
  state.clear();
  state.set("class", [0, 1]);
  state.set("pred", [2, 3]);
  assert.equal(said()[1], "only wrong images, so no accuracy", "no label that was picked is among the predictions");
  state.set("pred", [1, 2]);
  assert.equal(said()[1], "accuracy");
  state.clear();
  state.set("search", "zebrra");
  assert.deepEqual(said(), ["0 of 256", "no file or class holds “zebrra”", null, null]);
  state.set("search", "dog");
  state.set("confidence", [0.01, 0.02]);
  assert.deepEqual(said(), ["0 of 256", "no image meets all filters", null, null]);
  state.clear();
  facts.total = 1000;
  assert.equal(said()[0], "256 sampled of 1,000");
  facts.labeled = false;
  assert.deepEqual(said().slice(1), [null, null, null]);
  facts.labeled = true;
  rows.label[0] = -2;
  state.setRun(0, 1);
  assert.equal(said()[1], "accuracy on 255 of them");
});

test("a page with fewer than 30 labeled images is rough without a filter", () => {
  const { state } = make(20, 5, (row) => Object.assign(row, { label: 0, pred: [0, 1] }));
  assert.equal(summary(state).caution, "descriptive, rough: n below 30");
});

test("CSV of the selection, safe in a spreadsheet", () => {
  const names = ["=cmd|calc!A1", 'a "b", c', "-x", "é;f", "+1", "@a", "\ttab"];
  const set = (row, i) => Object.assign(row, { name: names[i], label: i === 2 ? -2 : 0, pred: [i === 2 ? -1 : 1, 0], confidence: [[0.5, -1, NaN][i] ?? 1, 0] });
  const { state, facts } = make(7, 9, set);
  facts.classes = ["+class", "b"];
  state.set("class", [0, -2]);
  const lines = csv(state).trimEnd().split("\n");
  const line = (i) => lines.find((text) => text.startsWith(`${3 * i + 1},`));
  assert.equal(lines[0], "image_id,file,label,label_name,pred,pred_name,confidence");
  assert.equal(line(0), "1,'=cmd|calc!A1,0,'+class,1,b,0.5");
  assert.equal(line(1), '4,"a ""b"", c",0,\'+class,1,b,');
  assert.equal(line(2), "7,'-x,,,-1,(outside),NaN");
  assert.equal(line(4), "13,'+1,0,'+class,1,b,1");
  assert.equal(line(5), "16,'@a,0,'+class,1,b,1");
  assert.equal(line(6), "19,'\ttab,0,'+class,1,b,1");
});

test("tabs hold what they say, in their order", async () => {
  const { list, state, rows, facts } = make(600, 21);
  state.set("split", [0, 1]);
  const kept = list.map((row, at) => ({ ...row, at })).filter(({ split }) => split >= 0);
  const own = {
    mistakes: (row) => judged(row, 0) === false,
    disagreements: (row) => MEANING.change("differ", row, 0, 1),
    least: (row) => row.confidence[0] >= 0,
    all: () => true,
  };
  const last = (value) => (value >= 0 ? value : -Infinity); // unknown ones come last
  const apart = (row) => Math.abs(row.confidence[0] - row.confidence[1]);
  const keys = {
    sure: (row) => -last(row.confidence[0]),
    unsure: (row) => (row.confidence[0] >= 0 ? row.confidence[0] : Infinity),
    loss: (row) => (row.pLabel >= 0 ? row.pLabel : Infinity),
    differ: (row) => -(own.disagreements(row) ? 2 : 0) - (row.confidence[0] >= 0 && row.confidence[1] >= 0 ? Math.fround(apart(row)) : 0),
    id: (row) => row.id,
  };
  const { values, offsets } = rows.names.data[0];
  rows.ranks = await rankNames(values, offsets, rows.n);
  const all = tabs(state);
  assert.deepEqual(all.map(({ key }) => key), ["mistakes", "disagreements", "suspects", "least", "all"]);
  assert.equal(all[2].title, "Suspected labels");
  const counts = sizes(state, all);
  all.forEach((tab, at) => {
    if (tab.key === "suspects") return assert.equal(counts[at], facts.suspects.filter(({ row }) => list[row].split >= 0).length);
    const wanted = kept.filter(own[tab.key]);
    assert.ok(wanted.length > 20);
    assert.equal(counts[at], wanted.length);
    assert.equal(members(state, tab).length, wanted.length);
    for (const order of ["sure", "unsure", "loss", "differ", "id"]) {
      const expected = wanted.toSorted((a, b) => Math.fround(keys[order](a)) - Math.fround(keys[order](b)) || a.at - b.at || 0);
      const shown = Array.from(arrange(state, tab, order), (i) => rows.origin[i]);
      const key = (at) => Math.fround(keys[order](list[at]));
      assert.deepEqual(shown.map(key), expected.map(({ at }) => key(at)), `${tab.key} by ${order}`);
      shown.forEach((at, k) => k && key(at) === key(shown[k - 1]) && assert.ok(at > shown[k - 1], "equal ones by id"));
    }
    const byName = Array.from(arrange(state, tab, "name"), (i) => list[rows.origin[i]].name);
    assert.deepEqual(byName, wanted.map(({ name }) => name).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  });
  state.setRun(1, -1);
  assert.deepEqual(tabs(state).map(({ key }) => key), ["mistakes", "suspects", "least", "all"]);
  assert.equal(tabs(state)[1].title, `Suspected by ${facts.runs[0].name}`, "another run has not suspected them");
  assert.ok(!tabs(state)[0].orders.includes("loss"), "the page has the probability of the label of its first run only");
  facts.runs[1].has_confidence = false;
  assert.deepEqual(tabs(state)[0].orders, ["name", "id"]);
});

test("sorting puts negative keys first, unknown ones last, and keeps a million rows apart", () => {
  const n = 1_000_000;
  const origin = Uint32Array.from({ length: n }, (_, i) => n - 1 - i);
  const rows = { origin, place: origin };
  const order = sorted(rows, Uint32Array.from({ length: n }, (_, i) => i), (i) => (i % 4 ? (i % 2 ? -1.5 : i === 2 ? NaN : -0) : 0));
  assert.deepEqual([...order.subarray(0, 3)], [n - 1, n - 3, n - 5]);
  assert.deepEqual([...order.subarray(n / 2, n / 2 + 3)], [n - 2, n - 4, n - 6], "0 and -0 are equal");
  assert.equal(order[n - 1], 2);
});

test("names are ranked by their bytes", async () => {
  const names = ["b", "abcd", "abcde", "", "abc", "é", "z", "abcd", "😀", "val/n01/x_10.png", "val/n01/x_9.png", "val/n01/x_1.png"];
  const bytes = names.map((name) => Buffer.from(name));
  const offsets = [5]; // Arrow may start anywhere
  for (const part of bytes) offsets.push(offsets.at(-1) + part.length);
  const values = Buffer.concat([Buffer.from("-----"), ...bytes]);
  const order = [...names.keys()].sort((a, b) => Buffer.compare(bytes[a], bytes[b]) || a - b);
  const ranks = await rankNames(values, offsets, names.length);
  assert.deepEqual(order.map((row) => ranks[row]), [...names.keys()]);
});

test("the sentence over the gallery", () => {
  // 10 images: 4 wrong, of which the baseline had 1 right; row 0 is suspected.
  const set = (row, i) => Object.assign(row, { label: 0, pred: [i < 4 ? 1 : 0, i === 1 ? 0 : 2], split: i < 5 ? 0 : 1 });
  const { state, facts } = make(10, 1, set);
  assert.equal(finding(state), "4 of 10 are wrong. The baseline had 1 of them right. 1 looks like a wrong label rather than a wrong answer.");
  state.set("split", [1]);
  assert.equal(finding(state), "None of the 5 images selected is wrong.");
  state.set("split", [0]);
  assert.match(finding(state), /^4 of the 5 images selected are wrong\. The baseline had 1 of them right\. /);
  state.set("answer", "wrong");
  assert.match(finding(state), /^The filters leave only wrong images: 4\. The baseline/);
  state.set("answer", "right");
  assert.equal(finding(state), "The filters leave only right images: 1.");
  state.set("split", [-1]);
  assert.equal(finding(state), "No image meets the filters.");
  state.clear();
  facts.suspects = [];
  state.setRun(0, -1);
  assert.equal(finding(state), "4 of 10 are wrong.");
});

test("the probability of the label is that of the first run, or unknown", () => {
  const { state, rows } = make(3, 1, (row, i) => Object.assign(row, { pLabel: [0.25, -1, 0][i] }));
  const shown = () => [0, 1, 2].map((row) => probabilityOfLabel(state, rows.place[row]));
  assert.deepEqual(shown(), [0.25, null, 0]);
  state.setRun(1, 0);
  assert.deepEqual(shown(), [null, null, null]);
});

test("short percentages never claim 0 or 100", () => {
  const cases = { "–": [-1, NaN], "0%": [0], "<0.1%": [1e-7, 0.0004], "0.1%": [0.001], "2%": [0.02], "50%": [0.5], "99%": [0.99], "99.7%": [0.997], ">99.9%": [0.9999], "100%": [1] };
  for (const [text, values] of Object.entries(cases)) for (const value of values) assert.equal(short(value), text, String(value));
});

test("the tag of a tile", () => {
  const pairs = [[0, 1, "newly right"], [1, 0, "newly wrong"], [1, 2, "runs differ"], [0, 0, null], [1, 1, null], [-2, 0, null], [0, -2, null]];
  const { state, rows } = make(7, 1, (row, i) => Object.assign(row, { label: 0, pred: pairs[i].slice(0, 2) }));
  pairs.forEach(([, , tag], at) => assert.equal(change(state, rows.place[at]), tag));
  state.setRun(0, -1);
  pairs.forEach((_, at) => assert.equal(change(state, rows.place[at]), null));
});

test("a run that cannot be compared is chosen, and nothing is drawn against it", () => {
  const { state } = make(64, 2);
  assert.deepEqual([state.chosen, state.baseline], [1, 1]);
  state.facts.incomparable = ["0,1"];
  state.setRun(0, 1);
  assert.deepEqual([state.chosen, state.baseline], [1, -1]);
  state.setRun(1, 0);
  assert.deepEqual([state.chosen, state.baseline], [0, 0]);
});
