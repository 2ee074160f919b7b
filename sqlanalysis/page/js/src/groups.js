// The colors of the map: each row belongs to a group, and each group has a name, a color (mark) and a SQL condition.
import { NONE } from "./aggregation.js";

const HUES = 12;
const STEPS = [0, 0.5, 0.7, 0.9, 0.95, 0.99, 1];

export const MODES = { label: "label", pred: "prediction", correct: "right or wrong", confidence: "confidence", differ: "disagreement", cluster: "cluster" };

/** The CSS variable with the color of a mark; the class `dot MARK` has the same color. */
export function variable(mark) {
  const named = { "": "--c0", right: "--accent", wrong: "--wrong" };
  return named[mark] ?? `--${mark.replace("h", "c")}`;
}

export const isWrong = ({ label, pred }, i) => label[i] !== NONE && pred[i] !== NONE && label[i] !== pred[i];

function byClass(rows, column, name) {
  const counts = new Map();
  for (const code of rows[column]) counts.set(code, (counts.get(code) ?? 0) + 1);
  const known = [...counts.keys()].filter((code) => code !== NONE);
  const kept = known.sort((a, b) => counts.get(b) - counts.get(a) || a - b).slice(0, HUES);
  kept.sort((a, b) => (a < 0) - (b < 0) || a - b);
  const groups = kept.map((code, at) => ({ name: name(code, column), mark: `h${at + 1}`, sql: `${column} = ${code}` }));
  const indices = new Map(kept.map((code, at) => [code, at]));
  if (known.length > HUES) {
    for (const code of known.slice(HUES)) indices.set(code, groups.length);
    const sql = `${column} not in (${kept.join(", ")})`;
    const n = known.length - HUES;
    groups.push({ name: column === "cluster" ? `other (${n} clusters)` : `other (${n} classes)`, mark: "", sql });
  }
  indices.set(NONE, groups.length);
  groups.push({ name: name(NONE, column), mark: "", sql: `${column} is null` });
  return { groups, of: (i) => indices.get(rows[column][i]) };
}

function byCorrect(rows) {
  const groups = [
    { name: "right", mark: "right", sql: "correct" },
    { name: "wrong", mark: "wrong", sql: "not correct", weight: 6 },
    { name: "no label or prediction", mark: "", sql: "correct is null" },
  ];
  const of = (i) => (rows.label[i] === NONE || rows.pred[i] === NONE ? 2 : rows.label[i] === rows.pred[i] ? 0 : 1);
  return { groups, of };
}

function byConfidence(rows) {
  const last = STEPS.length - 2;
  const groups = STEPS.slice(0, -1).map((low, at) => {
    const high = STEPS[at + 1];
    const end = at === last ? `<= 1` : `< ${high}`;
    // The cast makes DuckDB compare as the page does, in double precision.
    const sql = `confidence::double >= ${low} and confidence::double ${end}`;
    return { name: `${low * 100}–${high * 100}%`, mark: `v${at}`, sql };
  });
  groups.push({ name: "no confidence", mark: "", sql: "(confidence is null or isnan(confidence))" });
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
  const marks = ["", "h4", "h2", "h5", "h6", "h7", "h3", "h8", "h9", "h11", "h12", "h10"];
  const groups = marks.slice(0, most + 1).map((mark, n) => {
    const more = n === HUES - 1 ? " or more" : "";
    return { name: n ? `${n}${more} other ${n === 1 ? "run differs" : "runs differ"}` : "all runs agree", mark, weight: n ? 4 : 1 };
  });
  return { groups, of: (i) => Math.min(rows.differ[i], most) };
}

/** The groups of a mode with their sizes, and the index of each row's group. */
export function makeGroups(rows, mode, name) {
  const make = { label: byClass, pred: byClass, correct: byCorrect, confidence: byConfidence, differ: byDisagreement, cluster: byClass };
  const { groups, of } = make[mode](rows, mode, name);
  const group = new Uint8Array(rows.n);
  for (const entry of groups) entry.n = 0;
  for (let i = 0; i < rows.n; i++) groups[(group[i] = of(i))].n++;
  return { groups, group };
}
