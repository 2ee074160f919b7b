// Runs the page's own functions of review, dialog and drawer on given values; test_review_script.py judges the answers.
import { readFileSync } from "node:fs";

globalThis.document = { documentElement: {} };
globalThis.matchMedia = () => ({});
const source = "../../sqlanalysis/page/js/src";
const review = await import(`${source}/review.js`);
const dialog = await import(`${source}/dialog.js`);
const drawer = await import(`${source}/drawer.js`);
const given = JSON.parse(readFileSync(0, "utf8"));

const marksOf = (list) => new Map(list.map(([i, label, at = ""]) => [i, { review: label === given.rows.label[i] ? "ok" : "wrong", label, at }]));
const rows = { ...given.rows, n: given.rows.label.length, pred: given.rows.runs[0].pred, file: (i) => given.rows.file[i] };
const names = (code) => given.classes[code] ?? `(${code})`;

const memory = (limit = Infinity) => {
  const kept = new Map();
  return {
    getItem: (key) => kept.get(key) ?? null,
    removeItem: (key) => kept.delete(key),
    setItem(key, value) {
      if (value.length > limit) throw new Error("full");
      kept.set(key, value);
    },
    keys: () => [...kept.keys()],
  };
};

function session(storage, facts = {}) {
  const state = { rows, facts: { run: "a", classes: given.classes, written: "now", ...facts } };
  return new review.Review(state, storage, () => new Date("2026-11-26T12:00:00Z"));
}

function keeping() {
  const storage = memory();
  const first = session(storage);
  for (const [i, label] of given.marks) first.say(i, label);
  first.ok(given.marks[0][0]);
  const again = session(storage);
  again.say(...given.marks[1].slice(0, 2)); // said twice: taken back
  const full = session(memory(10));
  full.say(...given.marks[1].slice(0, 2));
  const timeless = session(storage, { written: undefined });
  timeless.say(...given.marks[1].slice(0, 2));
  const blocked = session(null);
  blocked.say(...given.marks[1].slice(0, 2));
  const unsaved = [first, full].map((one) => one.unsaved);
  full.csv();
  return {
    first: [...first.marks],
    again: [...again.marks],
    other: session(storage, { written: "later" }).marks.size,
    keys: storage.keys(),
    works: [first, full, blocked, timeless].map(({ store }) => store.works),
    unsaved: [...unsaved, full.unsaved],
  };
}

const slices = given.state.facts.slices;
const state = {
  ...given.state,
  rows,
  name: names,
  isRight: (i, k = given.state.run) => {
    const [label, pred] = [rows.label[i], rows.runs[k].pred[i]];
    return label === -2 || pred === -2 ? null : label === pred;
  },
};
const answers = {
  corrected: given.cases.map(({ label, pred, whole, marks }) => review.corrected({ label, pred }, whole, new Map(marks.map(([i, code]) => [i, { label: code }])))),
  changes: review.changes(rows, marksOf(given.marks)),
  csv: review.toCsv(rows, given.classes, marksOf(given.marks)),
  choices: given.searches.map(([likely, text]) => review.choices(given.classes, likely, text)),
  keeping: keeping(),
  answers: given.tops.map(([k, i, top]) => dialog.answers(rows, k, i, top)),
  neighbors: given.neighbors.map(dialog.neighborWords),
  change: given.changes.map((values) => dialog.changeWords(...values)),
  properties: given.details.map(([i, details]) => dialog.properties(state, i, details)),
  highlight: given.queries.map(drawer.highlight),
  python: given.queries.map((query) => drawer.python(query, given.database).map(([, text]) => text).join("")),
  promise: given.promises.map((values) => drawer.promise(...values).join("")),
};
process.stdout.write(JSON.stringify(answers));
