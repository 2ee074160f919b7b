// Figures of the rows with mask 1, as defined by the macros accuracy, per_class, confusion_matrix, calibration_curve.
import { holm, pairedEnds, signTest, wilson } from "./intervals.js";

export const NONE = -2; // no label or no prediction; a confidence of NULL is -1, since NaN is a possible confidence
const BINS = 15;

/** Counts over the selected rows (all of them without a mask); images without a label or a prediction count in `selected` only. */
export function aggregate({ n, label, pred, confidence }, mask, classes) {
  const width = classes + 1; // the last column holds predictions outside the classes
  const dense = width * width < 1e6 ? new Uint32Array((classes + 1) * width) : null; // many times as fast as a map
  const cells = new Map();
  const bins = Array.from({ length: BINS }, () => ({ n: 0, correct: 0, sum: 0 }));
  let [selected, counted, correct, sum, known] = [0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    if (mask && !mask[i]) continue;
    selected++;
    if (label[i] === NONE || pred[i] === NONE) continue;
    counted++;
    const right = label[i] === pred[i] && label[i] >= 0 ? 1 : 0;
    correct += right;
    // A label may be outside the classes as well: -1, which has the first row.
    const cell = (label[i] + 1) * width + (pred[i] < 0 ? classes : pred[i]);
    if (dense) dense[cell]++;
    else cells.set(cell, (cells.get(cell) ?? 0) + 1);
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
  dense?.forEach((times, cell) => times && cells.set(cell, times));
  const pairs = [...cells].map(([cell, times]) => {
    const column = cell % width;
    return { label: Math.floor(cell / width) - 1, pred: column === classes ? -1 : column, n: times };
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
    if (label < 0) continue;
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

/** Of every row whether a run is right (1), wrong (0), or neither (-1), as the macro `_correct` says. */
export function judge({ n, label }, { pred }) {
  const rights = new Int8Array(n);
  for (let i = 0; i < n; i++) rights[i] = label[i] === NONE || pred[i] === NONE ? -1 : label[i] === pred[i] && label[i] >= 0 ? 1 : 0;
  return rights;
}

/** A run against a baseline over the selected images that both have answered: in all, and by class. Rows as `runs` of the page. */
export function paired({ n, label }, run, baseline, mask, classes) {
  const fields = ["n", "bothRight", "runOnly", "baselineOnly", "bothWrong"];
  const counts = new Uint32Array((classes + 1) * 5); // the last row holds labels outside the classes
  let [same, alike] = [0, 0];
  const [ours, theirs] = [run.pred, baseline.pred];
  for (let i = 0; i < n; i++) {
    if (mask && !mask[i]) continue;
    const a = ours[i];
    const b = theirs[i];
    const c = label[i];
    if (c === NONE || a === NONE || b === NONE) continue;
    const now = a === c && c >= 0;
    const before = b === c && c >= 0;
    const row = (c < 0 ? classes : c) * 5;
    counts[row]++;
    counts[row + (now ? (before ? 1 : 2) : before ? 3 : 4)]++;
    if (a === b) same++;
    if (a === b && !now) alike++;
  }
  const read = (row) => Object.fromEntries(fields.map((field, at) => [field, counts[row * 5 + at]]));
  const each = Array.from({ length: classes + 1 }, (_, row) => read(row));
  const total = Object.fromEntries(fields.map((field) => [field, each.reduce((sum, row) => sum + row[field], 0)]));
  const rows = each
    .map((row, at) => ({ ...row, label: at }))
    .filter((row) => row.n && row.label < classes)
    .map((row) => ({
      ...row,
      recall: (row.bothRight + row.runOnly) / row.n,
      before: (row.bothRight + row.baselineOnly) / row.n,
      diff: (row.runOnly - row.baselineOnly) / row.n,
      ends: pairedEnds(row.runOnly, row.baselineOnly, row.n),
      p: signTest(row.runOnly, row.baselineOnly),
    }));
  const corrected = holm(rows.map((row) => row.p));
  rows.forEach((row, at) => (row.pHolm = corrected[at]));
  return { ...total, same, alike, classes: rows, p: signTest(total.runOnly, total.baselineOnly) };
}

/** Rows in order of their keys of 32 bits, upward, equal ones as they were: two passes of counting sort. */
function byKey(keys) {
  let order = null;
  for (const shift of [0, 16]) {
    const starts = new Uint32Array(2 ** 16 + 1);
    for (let at = 0; at < keys.length; at++) starts[((keys[at] >>> shift) & 0xffff) + 1]++;
    for (let digit = 0; digit < 2 ** 16; digit++) starts[digit + 1] += starts[digit];
    const next = new Uint32Array(keys.length);
    for (let at = 0; at < keys.length; at++) {
      const i = order ? order[at] : at;
      next[starts[(keys[i] >>> shift) & 0xffff]++] = i;
    }
    order = next;
  }
  return order;
}

const known = new WeakMap();

/** The answers of a run that have a confidence, the surest first: sorted once, since a filter does not change the order. */
function bySureness(rows, run) {
  if (known.has(run)) return known.get(run);
  const rights = judge(rows, run);
  const answered = new Uint32Array(rows.n);
  const float = new Float32Array(rows.n);
  let n = 0;
  for (let i = 0; i < rows.n; i++) {
    if (rights[i] < 0 || !(run.confidence[i] >= 0)) continue;
    float[n] = run.confidence[i] + 0; // -0 becomes 0
    answered[n++] = i;
  }
  // The bits of a number that is not negative grow with it; turned over, the highest comes first.
  const keys = new Uint32Array(float.buffer, 0, n).map((bits) => ~bits);
  const order = byKey(keys);
  const found = { rows: new Uint32Array(n), values: new Float32Array(n), rights: new Uint8Array(n) };
  for (let at = 0; at < n; at++) {
    found.rows[at] = answered[order[at]];
    found.values[at] = float[order[at]];
    found.rights[at] = rights[found.rows[at]];
  }
  known.set(run, found);
  return found;
}

/** Confidences of the selected images with an answer, highest first, and how many of those up to each are right. */
export function surest(rows, run, mask) {
  const every = bySureness(rows, run);
  const n = every.rows.length;
  const values = new Float32Array(n);
  const hits = new Uint32Array(n + 1);
  let at = 0;
  for (let k = 0; k < n; k++) {
    if (mask && !mask[every.rows[k]]) continue;
    values[at] = every.values[k];
    hits[at + 1] = hits[at] + every.rights[k];
    at++;
  }
  return { values: values.subarray(0, at), hits: hits.subarray(0, at + 1) };
}

/** The surest share of the answers, all of equal confidence together: least confidence, how many, how many of them right. */
export function answering({ values, hits }, share) {
  if (!values.length) return null;
  let kept = Math.max(1, Math.ceil(share * values.length - 1e-9));
  const threshold = values[kept - 1];
  while (kept < values.length && values[kept] === threshold) kept++;
  return { threshold, kept, correct: hits[kept], accuracy: hits[kept] / kept, ends: wilson(hits[kept], kept) };
}

/** Steps of risk_coverage: error rate of the surest images, at most about `limit` of them. */
export function riskSteps({ values, hits }, limit) {
  const steps = [];
  let last = 0;
  for (let kept = 1; kept <= values.length; kept++) {
    if (kept < values.length && values[kept] === values[kept - 1]) continue; // equal confidences are one step
    const part = Math.floor((kept * limit) / values.length);
    if (part === last) continue;
    last = part;
    const wrong = kept - hits[kept];
    steps.push({ kept, coverage: kept / values.length, risk: wrong / kept, ends: wilson(wrong, kept), threshold: values[kept - 1] });
  }
  return steps;
}
