// The three charts of a selection as SVG: recall of each class, confusion, calibration. `whole` has the figures of the run.
import { pressable, svg } from "./dom.js";
import { count, interval, percent } from "./intervals.js";

export const MOST_CLASSES = 14;

const cut = (name, length) => (name.length > length ? `${[...name].slice(0, length - 1).join("")}…` : name);
const room = (names, length) => 16 + 6.6 * Math.min(length, Math.max(...names.map((name) => name.length)));
const text = (x, y, content, attributes = {}) => svg("text", { x, y, ...attributes }, content);
const line = (x1, y1, x2, y2, cssClass) => svg("line", { x1, y1, x2, y2, class: cssClass });

/** A mark that selects a class or a cell when pressed. */
const choice = (label, act, ...children) =>
  pressable(svg("g", { "aria-label": label }, svg("title", {}, label), ...children), act);

const frame = (width, height, label, ...children) =>
  svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label }, ...children);

export function classBars(figures, whole, name, choose) {
  const rows = figures.classes.slice(0, MOST_CLASSES);
  const [left, right, step, top] = [room(rows.map((row) => name(row.label)), 17), 300, 24, 8];
  const across = (share) => left + share * (right - left);
  const bottom = top + rows.length * step;
  const overall = new Map(whole.classes.map((row) => [row.label, row.recall]));
  const axis = [0, 0.5, 1].flatMap((share) => [
    line(across(share), top, across(share), bottom, "grid"),
    text(across(share), bottom + 16, `${share * 100}%`, { "text-anchor": "middle", class: "faint" }),
  ]);
  const bars = rows.map((row, at) => {
    const y = top + at * step;
    const middle = y + step / 2;
    const label = `${name(row.label)}: recall ${percent(row.recall)} (${interval(row.ends)}) of ${count(row.n)}`;
    return choice(
      label,
      () => choose({ label: row.label }),
      svg("rect", { x: 0, y, width: 352, height: step, class: "hit" }),
      text(left - 8, middle + 4, cut(name(row.label), 17), { "text-anchor": "end" }),
      svg("rect", { x: left, y: y + 5, width: across(row.recall) - left, height: step - 10, rx: 2, class: "bar" }),
      line(across(row.ends[0]), middle, across(row.ends[1]), middle, "ends"),
      line(across(overall.get(row.label)), y + 3, across(overall.get(row.label)), y + step - 3, "whole"),
      text(348, middle + 4, count(row.n), { "text-anchor": "end", class: "faint" }),
    );
  });
  return frame(352, bottom + 22, "Recall of each class in the selection", ...axis, ...bars);
}

export function confusion(figures, name, choose) {
  const sizes = new Map();
  for (const { label, pred, n } of figures.pairs) {
    for (const code of new Set([label, pred])) sizes.set(code, (sizes.get(code) ?? 0) + n);
  }
  const kept = [...sizes.keys()].sort((a, b) => sizes.get(b) - sizes.get(a) || a - b).slice(0, MOST_CLASSES);
  const columns = kept.sort((a, b) => (a < 0) - (b < 0) || a - b);
  const lines = columns.filter((code) => code >= 0);
  const totals = new Map(figures.classes.map((row) => [row.label, row.n]));
  const [left, top] = [room(columns.map(name), 15), 6];
  const step = Math.max(14, Math.min(30, Math.floor(240 / columns.length)));
  const ys = new Map(lines.map((code, at) => [code, top + at * step]));
  const xs = new Map(columns.map((code, at) => [code, left + at * step]));
  const cells = figures.pairs
    .filter(({ label, pred }) => ys.has(label) && xs.has(pred))
    .map(({ label, pred, n }) => {
      const share = n / totals.get(label);
      const [x, y] = [xs.get(pred), ys.get(label)];
      const answer = label === pred ? "right" : "wrong";
      // The square root makes rare confusions visible beside a diagonal near 1.
      const opacity = 0.05 + 0.95 * Math.sqrt(share);
      const square = { x: x + 1, y: y + 1, width: step - 2, height: step - 2, rx: 2, class: answer, "fill-opacity": opacity };
      const number = { "text-anchor": "middle", class: share > 0.3 ? "on" : "" };
      return choice(
        `${name(label)} → ${name(pred)}: ${count(n)}, ${percent(share)} of the class`,
        () => choose({ label, pred }),
        svg("rect", { x, y, width: step, height: step, class: "hit" }),
        svg("rect", square),
        step >= 22 ? text(x + step / 2, y + step / 2 + 4, count(n), number) : null,
      );
    });
  const bottom = top + lines.length * step;
  const names = [
    ...lines.map((code) => text(left - 8, ys.get(code) + step / 2 + 4, cut(name(code), 15), { "text-anchor": "end" })),
    ...columns.map((code) => {
      const [x, y] = [xs.get(code) + step / 2 + 4, bottom + 12];
      return text(x, y, cut(name(code), 15), { "text-anchor": "end", transform: `rotate(-45 ${x} ${y})` });
    }),
  ];
  return frame(352, bottom + 84, "Confusion in the selection: true class down, prediction across", ...names, ...cells);
}

export function calibration(figures, whole) {
  const [left, top, size] = [44, 8, 220];
  const x = (share) => left + share * size;
  const y = (share) => top + (1 - share) * size;
  const axes = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    line(x(0), y(share), x(1), y(share), "grid"),
    text(left - 8, y(share) + 4, `${share * 100}%`, { "text-anchor": "end", class: "faint" }),
    text(x(share), top + size + 18, `${share * 100}%`, { "text-anchor": "middle", class: "faint" }),
  ]);
  const path = (bins) => bins.map((bin) => `${x(bin.confidence).toFixed(1)},${y(bin.accuracy).toFixed(1)}`).join(" ");
  const points = figures.bins.map((bin) => {
    const label = `confidence ${percent(bin.confidence)}: accuracy ${percent(bin.accuracy)} (${interval(bin.ends)}) of ${count(bin.n)}`;
    const [cx, cy] = [x(bin.confidence), y(bin.accuracy)];
    return svg(
      "g",
      {},
      svg("title", {}, label),
      line(cx, y(bin.ends[0]), cx, y(bin.ends[1]), "ends"),
      svg("circle", { cx, cy, r: 4, class: "point" }),
    );
  });
  return frame(
    290,
    top + size + 42,
    "Accuracy against confidence in the selection",
    ...axes,
    line(x(0), y(0), x(1), y(1), "ideal"),
    svg("polyline", { points: path(whole.bins), class: "overall" }),
    svg("polyline", { points: path(figures.bins), class: "curve" }),
    ...points,
    text(x(0.5), top + size + 38, "mean confidence", { "text-anchor": "middle", class: "faint" }),
  );
}
