// What the colors of the map stand for: every row gets a group, every group a name, a hue and a SQL condition.
import { NONE } from "./aggregation.js";

const HUES = 12;
const STEPS = [0, 0.5, 0.7, 0.9, 0.95, 0.99, 1];

export const MODES = { label: "label", pred: "prediction", correct: "right or wrong", confidence: "confidence", differ: "disagreement" };

/** The CSS variable of a kind; the class `dot KIND` has the same color. */
export function variable(kind) {
  const named = { "": "--c0", right: "--accent", wrong: "--wrong" };
  return named[kind] ?? `--${kind.replace("h", "c")}`;
}

export const isWrong = ({ label, pred }, i) => label[i] !== NONE && pred[i] !== NONE && label[i] !== pred[i];

function byClass(rows, column, name) {
  const counts = new Map();
  for (const code of rows[column]) counts.set(code, (counts.get(code) ?? 0) + 1);
  const known = [...counts.keys()].filter((code) => code !== NONE);
  const kept = known.sort((a, b) => counts.get(b) - counts.get(a) || a - b).slice(0, HUES);
  kept.sort((a, b) => (a < 0) - (b < 0) || a - b);
  const groups = kept.map((code, at) => ({ name: name(code, column), kind: `h${at + 1}`, sql: `${column} = ${code}` }));
  const places = new Map(kept.map((code, at) => [code, at]));
  if (known.length > HUES) {
    for (const code of known.slice(HUES)) places.set(code, groups.length);
    const sql = `${column} not in (${kept.join(", ")})`;
    groups.push({ name: `other (${known.length - HUES} classes)`, kind: "", sql });
  }
  places.set(NONE, groups.length);
  groups.push({ name: name(NONE, column), kind: "", sql: `${column} is null` });
  return { groups, of: (i) => places.get(rows[column][i]) };
}

function byCorrect(rows) {
  const groups = [
    { name: "right", kind: "right", sql: "correct" },
    { name: "wrong", kind: "wrong", sql: "not correct", weight: 6 },
    { name: "no label or prediction", kind: "", sql: "correct is null" },
  ];
  const of = (i) => (rows.label[i] === NONE || rows.pred[i] === NONE ? 2 : rows.label[i] === rows.pred[i] ? 0 : 1);
  return { groups, of };
}

function byConfidence(rows) {
  const last = STEPS.length - 2;
  const groups = STEPS.slice(0, -1).map((low, at) => {
    const high = STEPS[at + 1];
    const end = at === last ? `<= 1` : `< ${high}`;
    const sql = `confidence::double >= ${low} and confidence::double ${end}`;
    return { name: `${low * 100}–${high * 100}%`, kind: `v${at}`, sql };
  });
  groups.push({ name: "no confidence", kind: "", sql: "(confidence is null or isnan(confidence))" });
  return {
    groups,
    of: (i) => {
      const value = rows.confidence[i];
      if (!(value >= 0)) return last + 1;
      let at = last;
      while (value < STEPS[at]) at--;
      return at;
    },
  };
}

function byDisagreement(rows) {
  const most = Math.min(HUES - 1, rows.differ.reduce((most, n) => Math.max(most, n), 0));
  const kinds = ["", "h4", "h2", "h5", "h6", "h7", "h3", "h8", "h9", "h11", "h12", "h10"];
  const groups = kinds.slice(0, most + 1).map((kind, n) => {
    const more = n === HUES - 1 ? " or more" : "";
    return { name: n ? `${n}${more} other ${n === 1 ? "run differs" : "runs differ"}` : "all runs agree", kind, weight: n ? 4 : 1 };
  });
  return { groups, of: (i) => Math.min(rows.differ[i], most) };
}

/** Groups of one mode, those without rows left out, with their sizes; and each row's group. */
export function makeGroups(rows, mode, name) {
  const make = { label: byClass, pred: byClass, correct: byCorrect, confidence: byConfidence, differ: byDisagreement };
  const { groups, of } = make[mode](rows, mode, name);
  const group = new Uint8Array(rows.n);
  for (const entry of groups) entry.n = 0;
  for (let i = 0; i < rows.n; i++) groups[(group[i] = of(i))].n++;
  return { groups, group };
}
