// One line of figures: an interval with its point (this run), a ring (baseline), a tick (precision), a dashed line (overall).
import { svg } from "./dom.js";

/** Where a value stands on an axis, as a percentage, so that a strip fits a column of any width; never outside. */
export const place = (value, [low, high]) => `${Math.max(0, Math.min(100, (100 * (value - low)) / (high - low))).toFixed(2)}%`;

const upright = (x, cssClass, y1 = 0, y2 = "100%") => svg("line", { x1: x, x2: x, y1, y2, class: cssClass });

/**
 * A strip of marks on `domain`. All but `at` may be missing: `ends`, `before` (baseline) with `beforeEnds`, `tick`, `line`
 * (dashed), `zero` (dark line at 0). `tone` colors the run's mark: run, right, wrong or gray.
 */
export function strip({ domain = [0, 1], grid = [], ends, at, tone = "run", before = null, beforeEnds = null, tick = null, line = null, zero = false, height = 24 }) {
  const x = (value) => place(value, domain);
  const middle = height / 2;
  const lower = beforeEnds ? middle + 4 : middle;
  const y = beforeEnds ? middle - 1 : middle;
  const known = (value) => value !== null && value !== undefined;
  return svg(
    "svg",
    { class: "strip", height, "aria-hidden": "true" },
    ...grid.map((value) => upright(x(value), "rule")),
    known(line) ? upright(x(line), "whole") : null,
    zero ? upright(x(0), "zero") : null,
    beforeEnds ? svg("line", { x1: x(beforeEnds[0]), x2: x(beforeEnds[1]), y1: lower, y2: lower, class: "before" }) : null,
    known(tick) ? upright(x(tick), "tick", middle - 7, middle + 5) : null,
    ends ? svg("line", { x1: x(ends[0]), x2: x(ends[1]), y1: y, y2: y, class: `ends ${tone}` }) : null,
    known(before) ? svg("circle", { cx: x(before), cy: lower, r: 3.2, class: "ring" }) : null,
    known(at) ? svg("circle", { cx: x(at), cy: y, r: 4, class: `point ${tone}` }) : null,
  );
}

/** The numbers below or above a column of strips. */
export function scale({ domain = [0, 1], grid, write, height = 20 }) {
  const text = (value) => svg("text", { x: place(value, domain), y: height - 5, "text-anchor": "middle" }, write(value));
  return svg("svg", { class: "strip", height, "aria-hidden": "true" }, ...grid.map(text));
}
