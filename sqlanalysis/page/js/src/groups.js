// The colors of the map: each row belongs to a group, and each group has a name, a color, and a layer (1 is drawn on top).
import { NONE } from "./aggregation.js";

export const MOST_PICKED = 6; // classes in color
const FEW_CLASSES = 12; // up to here the map shows classes at first
const STEPS = [0, 0.5, 0.7, 0.9, 0.95, 0.99, 1];
const MODES = { correct: "right / wrong", class: "class", confidence: "confidence", change: "newly right / wrong", cluster: "cluster" };

/** The column that classes are picked from: labels, else predictions; null without either. */
export const classColumn = ({ facts }) => (facts.labeled ? "label" : facts.predicted ? "pred" : null);

/** [mode, its name] of the modes that the data allow; the first is the one to start with. */
export function modesOf(state) {
  const { facts, baseline, run } = state;
  const judged = facts.labeled && facts.predicted;
  const allowed = {
    correct: judged,
    class: classColumn(state),
    confidence: facts.runs[run].has_confidence,
    change: judged && baseline >= 0,
    cluster: facts.clustered,
  };
  const modes = Object.entries(MODES).filter(([mode]) => allowed[mode]);
  return modes.length ? modes : [["none", "images"]];
}

export function startMode(state) {
  const modes = modesOf(state).map(([mode]) => mode);
  return modes.includes("class") && state.facts.classes.length <= FEW_CLASSES ? "class" : modes[0];
}

/** How often each code of a column is there, of all rows or of those of a mask. */
export function tally(values, mask = null) {
  const counts = []; // by code, from NONE on: many times as fast as a map
  for (let i = 0; i < values.length; i++) if (!mask || mask[i]) counts[values[i] - NONE] = (counts[values[i] - NONE] ?? 0) + 1;
  return new Map(counts.flatMap((n, at) => (n ? [[at + NONE, n]] : [])));
}

/** The most frequent codes of a column, at most `most`; equally frequent ones in order of code. */
export function frequent(values, most = Infinity) {
  const counts = tally(values);
  return [...counts.keys()].filter((code) => code !== NONE).sort((a, b) => counts.get(b) - counts.get(a) || a - b).slice(0, most);
}

const gray = (name) => ({ name, color: "--gray", layer: 0 });

function byCode(values, codes, name) {
  const groups = codes.map((code, at) => ({ name: name(code), color: `--c${at + 1}`, code, layer: 1 }));
  const indices = [];
  codes.forEach((code, at) => code !== null && (indices[code - NONE] = at));
  return { groups: [...groups, gray("all others")], of: (i) => indices[values[i] - NONE] ?? groups.length };
}

function byCorrect(state) {
  const groups = [{ name: "right", color: "--right", layer: 0 }, { name: "wrong", color: "--wrong", layer: 1 }, gray("no label or prediction")];
  return {
    groups,
    of: (i) => {
      const right = state.isRight(i);
      return right === null ? 2 : right ? 0 : 1;
    },
  };
}

function byChange(state) {
  const groups = [{ name: "newly right", color: "--right", layer: 1 }, { name: "newly wrong", color: "--wrong", layer: 1 }, gray("no change")];
  return {
    groups,
    of: (i) => {
      const [now, before] = [state.isRight(i), state.isRight(i, state.baseline)];
      return now === true && before === false ? 0 : now === false && before === true ? 1 : 2;
    },
  };
}

function byConfidence({ confidence }) {
  const last = STEPS.length - 2;
  const groups = STEPS.slice(0, -1).map((low, at) => ({ name: `${low * 100}–${STEPS[at + 1] * 100}%`, color: `--v${at}`, layer: 0 }));
  groups.push(gray("no confidence"));
  return {
    groups,
    of: (i) => {
      let at = last;
      while (confidence[i] < STEPS[at]) at--;
      return confidence[i] >= 0 ? at : last + 1; // NaN is not >= 0
    },
  };
}

/**
 * The groups of a mode with their sizes, and the index of each row's group.
 * `picked` are up to six codes of classes, null where a color is free; without any, few classes or all clusters show their
 * six most frequent.
 */
export function makeGroups(state, mode, picked = []) {
  const { rows, facts } = state;
  const column = mode === "cluster" ? "cluster" : classColumn(state);
  const name = (code) => (code === null ? "" : state.name(code, column));
  const chosen = () => {
    if (mode === "class" && picked.some((code) => code !== null)) return picked;
    return mode === "cluster" || facts.classes.length <= FEW_CLASSES ? frequent(rows[column], MOST_PICKED) : [];
  };
  const make = {
    correct: () => byCorrect(state),
    change: () => byChange(state),
    confidence: () => byConfidence(rows),
    none: () => ({ groups: [{ name: "images", color: "--accent", layer: 0 }], of: () => 0 }),
  };
  const { groups, of } = (make[mode] ?? (() => byCode(rows[column], chosen(), name)))();
  const group = new Uint8Array(rows.n);
  for (const entry of groups) entry.n = 0;
  for (let i = 0; i < rows.n; i++) groups[(group[i] = of(i))].n++;
  return { groups, group };
}

/** The classes to list: picked ones, then those whose name contains the text, the most frequent first. */
export function listed(codes, picked, text, name) {
  const chosen = picked.filter((code) => code !== null);
  const wanted = text.trim().toLowerCase();
  const others = codes.filter((code) => !chosen.includes(code) && name(code).toLowerCase().includes(wanted));
  return wanted ? [...chosen, ...others] : codes;
}

/** Right and n among the selected images of a run; null where none can be right or wrong. */
export function rightOf(state, k) {
  let [n, right] = [0, 0];
  for (let i = 0; i < state.rows.n; i++) {
    const answer = state.mask[i] ? state.isRight(i, k) : null;
    if (answer === null) continue;
    n++;
    right += answer ? 1 : 0;
  }
  return n ? { n, right } : null;
}
