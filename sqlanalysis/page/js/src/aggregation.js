// Figures of the rows with mask 1, as defined by the macros accuracy, per_class, confusion_matrix, calibration_curve.
import { wilson } from "./intervals.js";

export const NONE = -2; // no label or no prediction; a confidence of NULL is -1, since NaN is a possible confidence
const BINS = 15;

/** Counts over the selected rows (all of them without a mask); images without a label or a prediction count in `selected` only. */
export function aggregate({ n, label, pred, confidence }, mask, classes) {
  const width = classes + 1; // the last column holds predictions outside the classes
  const cells = new Map();
  const bins = Array.from({ length: BINS }, () => ({ n: 0, correct: 0, sum: 0 }));
  let [selected, counted, correct, sum, known] = [0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    if (mask && !mask[i]) continue;
    selected++;
    if (label[i] === NONE || pred[i] === NONE) continue;
    counted++;
    const right = label[i] === pred[i] ? 1 : 0;
    correct += right;
    const cell = label[i] * width + (pred[i] < 0 ? classes : pred[i]);
    cells.set(cell, (cells.get(cell) ?? 0) + 1);
    const value = confidence[i];
    if (value < 0) continue;
    known++;
    sum += value;
    const bin = bins[Math.max(0, Math.min(BINS - 1, Math.floor(value * BINS)))];
    if (!bin) continue; // NaN: `known` and `sum` count it, so that the calibration error becomes NaN
    bin.n++;
    bin.correct += right;
    bin.sum += value;
  }
  const pairs = [...cells].map(([cell, times]) => {
    const column = cell % width;
    return { label: Math.floor(cell / width), pred: column === classes ? -1 : column, n: times };
  });
  return {
    selected,
    n: counted,
    correct,
    accuracy: counted ? correct / counted : null,
    ends: wilson(correct, counted),
    confidence: known ? sum / known : null,
    pairs,
    classes: perClass(pairs),
    ...reliability(bins, sum, known),
  };
}

function perClass(pairs) {
  const rows = new Map();
  for (const { label, pred, n } of pairs) {
    if (!rows.has(label)) rows.set(label, { label, n: 0, correct: 0 });
    const row = rows.get(label);
    row.n += n;
    if (label === pred) row.correct += n;
  }
  return [...rows.values()]
    .map((row) => ({ ...row, recall: row.correct / row.n, ends: wilson(row.correct, row.n) }))
    .sort((a, b) => a.recall - b.recall || b.n - a.n || a.label - b.label);
}

function reliability(bins, sum, known) {
  const rows = bins
    .map((bin, number) => ({ ...bin, bin: number }))
    .filter((bin) => bin.n)
    .map((bin) => ({
      bin: bin.bin,
      n: bin.n,
      confidence: bin.sum / bin.n,
      accuracy: bin.correct / bin.n,
      ends: wilson(bin.correct, bin.n),
    }));
  const error = rows.reduce((total, bin) => total + bin.n * Math.abs(bin.confidence - bin.accuracy), 0);
  return { bins: rows, ece: known ? (Number.isNaN(sum) ? NaN : error / known) : null };
}

/** Up to `limit` selected rows: mistakes, the most confident first, then the least confident of the others. */
export function worst({ n, label, pred, confidence }, mask, limit) {
  const rows = [];
  const scores = [];
  for (let i = 0; i < n; i++) {
    if (!mask[i]) continue;
    const value = confidence[i] >= 0 ? confidence[i] : NaN;
    const wrong = label[i] !== NONE && pred[i] !== NONE && label[i] !== pred[i];
    // Mistakes have scores from 2 on, the most confident first; other rows are below 2, the least confident first.
    const score = Number.isNaN(value) ? (wrong ? 2 : 0) : wrong ? 2 + value : 1 - value;
    if (rows.length === limit && score <= scores[limit - 1]) continue;
    let index = rows.length; // insertion keeps equal scores in order of rows
    while (index > 0 && scores[index - 1] < score) index--;
    rows.splice(index, 0, i);
    scores.splice(index, 0, score);
    rows.length = scores.length = Math.min(limit, rows.length);
  }
  return rows;
}
