// Calibration: confidence against accuracy with what chance allows, and what changes if only the surest answers count.
import { answering, riskSteps, surest } from "./aggregation.js";
import { el, fitted, frame, keepFocus, line, refill, startFinding, text } from "./charts.js";
import { byId, html, pressable, svg } from "./dom.js";
import { chanceRange, count, fixed, interval, percent, plural } from "./intervals.js";
import { lazily } from "./lazy.js";

const BINS = 15;
const SHARES = [99, 95, 90, 80, 70, 60, 50];
const STEPS = 400;
const PLOT = 250;

/** Bins of calibration_curve with the range that chance gives a calibrated run, and the steps of risk_coverage. */
export function figuresOf(state) {
  const { rows, figures, mask, run, baseline } = state;
  const steps = surest(rows, rows.runs[run], mask);
  const bins = figures.bins.map((bin) => {
    const range = chanceRange(bin.n, Math.min(1, bin.confidence)).map((k) => k / bin.n);
    return { ...bin, correct: Math.round(bin.accuracy * bin.n), range };
  });
  return {
    bins,
    ece: figures.ece,
    steps,
    risk: riskSteps(steps, STEPS),
    before: baseline < 0 ? [] : riskSteps(surest(rows, rows.runs[baseline], mask), STEPS),
  };
}

/** The least round number of percent that is not below a share, and its steps. */
export function roundUp(share) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => share / each <= 5) ?? 0.2;
  const top = Math.min(1, Math.max(step, Math.ceil(share / step - 1e-9) * step));
  return Array.from({ length: Math.round(top / step) + 1 }, (_, at) => at * step);
}

const hundred = (share) => String(Math.round(share * 100));

export function start(state) {
  const box = byId("calibration-live");
  if (!box || !state.whole.n) return;
  startFinding(state, "calibration");
  let figures;
  let share = 80;
  const press = (bin) => {
    const value = [bin.bin / BINS, (bin.bin + 1) / BINS];
    const now = state.get("confidence");
    state.set("confidence", now && now[0] === value[0] && now[1] === value[1] ? null : value);
  };
  const binWords = (bin) => {
    const ends = `confidence ${percent(bin.bin / BINS)} to ${percent((bin.bin + 1) / BINS)}: ${plural(bin.n, "image")}`;
    if (state.onlyWrong || state.onlyRight) return ends;
    const chance = `by chance ${hundred(bin.range[0])}–${hundred(bin.range[1])}%`;
    return `${ends}, mean ${percent(bin.confidence)}, accuracy ${percent(bin.accuracy)} (${interval(bin.ends)}), ${chance}`;
  };
  const xAxis = (x, y, words) => [
    ...[0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => text(x(value), y, hundred(value), { "text-anchor": "middle", class: "tickname" })),
    text(x(1), y + 18, words, { "text-anchor": "end", class: "tickname" }),
  ];

  function reliability(width) {
    const [left, top, right] = [36, 10, 16];
    const x = (value) => left + value * (width - left - right);
    const y = (value) => top + (1 - value) * PLOT;
    const bare = state.onlyWrong || state.onlyRight;
    const { bins } = figures;
    const most = Math.max(...bins.map(({ n }) => n));
    const low = bare ? top : y(0) + 42; // histogram
    const tall = 56;
    const height = (n) => (n ? Math.max(1.5, tall * Math.sqrt(n / most)) : 0);
    const bottom = low + tall + 14;
    const gridLines = [0, 0.2, 0.4, 0.6, 0.8, 1].flatMap((value) => [
      line(x(0), y(value), x(1), y(value), "rule"),
      text(left - 8, y(value) + 4, hundred(value), { "text-anchor": "end", class: "tickname" }),
      line(x(value), y(0), x(value), y(1), "rule"),
    ]);
    const bands = bins.map(({ bin, range }) =>
      svg("rect", { x: x(bin / BINS) + 0.5, width: x(1 / BINS) - x(0) - 1, y: y(range[1]), height: Math.max(1, y(range[0]) - y(range[1])), class: "chance" }),
    );
    const points = bins.map(({ confidence, accuracy, ends, n }) => [
      line(x(confidence), y(ends[0]), x(confidence), y(ends[1]), "ends run"),
      svg("circle", { cx: x(confidence), cy: y(accuracy), r: 2.5 + 4.5 * Math.sqrt(n / most), class: "point run" }),
    ]);
    const bars = bins.map((bin) => {
      const [from, to] = [x(bin.bin / BINS) + 1, x((bin.bin + 1) / BINS) - 1];
      const [all, wrong] = [height(bin.n), height(bin.n - bin.correct)];
      const base = low + tall;
      const chosen = state.get("confidence")?.[0] === bin.bin / BINS;
      const words = binWords(bin);
      return pressable(
        svg(
          "g",
          { class: chosen ? "bin chosen" : "bin", "aria-label": words, "aria-pressed": String(chosen), "data-key": String(bin.bin) },
          svg("title", {}, words),
          svg("rect", { x: from - 1, width: to - from + 2, y: bare ? top - 8 : y(1), height: base - (bare ? top - 8 : y(1)), class: "hit" }),
          svg("rect", { x: from, width: to - from, y: base - all, height: all, class: "right", "fill-opacity": 0.6 }),
          // Square roots do not add up, so wrong ones are drawn from the bottom at their own height.
          svg("rect", { x: from, width: to - from, y: base - wrong, height: wrong, class: "wrong" }),
          text((from + to) / 2, base - all - 4, bin.n < 10_000 ? count(bin.n) : `${Math.round(bin.n / 1000)}k`, { "text-anchor": "middle", class: "tickname" }),
        ),
        () => press(bin),
      );
    });
    return frame(
      width,
      bottom + 26,
      bare ? "Images by confidence" : "Accuracy against confidence, and images by confidence",
      ...(bare ? [] : [...gridLines, ...bands, line(x(0), y(0), x(1), y(1), "ideal"), ...points.flat(), text(x(0), low - 22, "images in each bin, square-root height", { class: "tickname" })]),
      line(x(0), low + tall + 0.5, x(1), low + tall + 0.5, "rule"),
      ...bars,
      ...xAxis(x, bottom + 4, "confidence, %"),
    );
  }

  function risk(width) {
    const [left, top, right] = [36, 10, 16];
    const { risk: curve, before, steps } = figures;
    const settled = (rows) => rows.filter((row) => row.coverage >= 0.1);
    const highest = Math.max(...settled(curve).map((row) => row.risk), ...settled(before).map((row) => row.risk), curve.at(-1).ends[1]);
    const ticks = roundUp(highest);
    const x = (value) => left + value * (width - left - right);
    const y = (value) => top + (1 - Math.min(1, value / ticks.at(-1))) * PLOT;
    const at = (row, value) => `${x(row.coverage).toFixed(1)} ${y(value).toFixed(1)}`;
    // Between two steps no share can be answered, so the line goes straight from one to the next.
    const path = (rows, of) => rows.map((row, index) => `${index ? "L" : "M"}${at(row, of(row))}`).join("");
    const band = `${path(curve, (row) => row.ends[1])}${[...curve].reverse().map((row) => `L${at(row, row.ends[0])}`).join("")}Z`;
    const chosen = answering(steps, share / 100);
    const [kept, wrong] = [chosen.kept / steps.values.length, 1 - chosen.accuracy];
    const side = kept > 0.35 ? ["end", -8] : ["start", 8];
    return frame(
      width,
      top + PLOT + 40,
      "Error rate among the surest answers, by the share that is answered",
      ...ticks.flatMap((value) => [line(x(0), y(value), x(1), y(value), "rule"), text(left - 8, y(value) + 4, hundred(value), { "text-anchor": "end", class: "tickname" })]),
      svg("path", { d: band, class: "band" }),
      before.length ? svg("path", { d: path(before, (row) => row.risk), class: "curve before" }) : svg("g"),
      svg("path", { d: path(curve, (row) => row.risk), class: "curve run" }),
      line(x(kept), y(0), x(kept), top, "zero"),
      svg("circle", { cx: x(kept), cy: y(wrong), r: 5, class: "point run edged" }),
      text(x(kept) + side[1], top + 12, `${percent(wrong)} errors`, { "text-anchor": side[0], class: "halo strong" }),
      text(x(kept) + side[1], top + 28, interval([1 - chosen.ends[1], 1 - chosen.ends[0]]), { "text-anchor": side[0], class: "halo tickname" }),
      ...xAxis(x, top + PLOT + 18, "share of the images answered, %"),
    );
  }

  const [one, two] = [el("div.plot"), el("div.plot")];
  const drawn = [fitted(one, (width) => (figures?.bins.length ? reliability(width) : html("span"))), fitted(two, (width) => (figures?.risk.length ? risk(width) : html("span")))];
  const sentence = html("p", { class: "say", "aria-live": "polite" });
  const slider = html("input", { type: "range", min: 1, max: 100, step: 1, value: share, "aria-label": "Share of the images that are answered, the surest first" });
  const chips = el("p.picks");
  const move = (value) => {
    share = value;
    slider.value = value;
    answer();
    drawn[1].redraw();
  };
  slider.addEventListener("input", () => move(Number(slider.value)));
  function answer() {
    const found = answering(figures.steps, share / 100);
    const of = figures.steps.values.length; // an image without a confidence is never among the surest
    const known = of < state.figures.n ? " with a confidence" : "";
    const parts = ["Answer the surest ", el("b", `${share}%`), `: ${count(found.kept)} of ${plural(of, "image")}${known}, confidence ≥ `, el("b", fixed(found.threshold, 3)), ", accuracy ", el("b", percent(found.accuracy)), ` (${interval(found.ends)}).`];
    sentence.replaceChildren(...parts);
    slider.setAttribute("aria-valuetext", sentence.textContent);
    chips.replaceChildren(
      "surest ",
      ...SHARES.map((each) => html("button", { type: "button", "aria-pressed": String(each === share), on: { click: () => move(each) } }, `${each}%`)),
    );
  }
  const title = (words, key) => [el("h3", words), el("p.key", key)];
  const first = html("div");
  const second = html("div");

  function draw() {
    figures = figuresOf(state);
    const bare = state.onlyWrong || state.onlyRight;
    const known = state.facts.runs[state.run].has_confidence;
    box.classList.toggle("two", figures.bins.length > 0 && !bare);
    if (!figures.bins.length) {
      refill(box, el("p.empty", known ? "No labeled image with a confidence is selected." : `${state.runName} has no confidences: give add-predictions a column confidence or probs.`));
      return;
    }
    const gap = state.isActive ? ` · mean gap of the selection ${Number.isFinite(figures.ece) ? fixed(figures.ece, 3) : "–"}` : "";
    const wrong = state.onlyWrong ? "Only wrong images are selected" : "Only right images are selected";
    const about = bare ? title("How sure are these answers?", `${wrong}, so there is no accuracy · click a bar: show its images`) : title("Is it right as often as it is sure?", `accuracy by confidence, % · gray: where chance puts a calibrated run · click a bin: show its images${gap}`);
    refill(first, ...about, one, el("p.key", state.onlyWrong ? null : el("span.mark.right", "right"), state.onlyRight ? null : el("span.mark.wrong", "wrong")));
    if (!bare) {
      answer();
      const baseline = figures.before.length ? ` · gray: ${state.baselineName}` : "";
      refill(second, ...title("What if it answers less?", `errors among the answered, % · band: 95% interval${baseline}`), two, slider, sentence, chips);
    }
    if (first.parentNode !== box || bare === second.isConnected) refill(box, first, bare ? null : second);
    for (const each of drawn) each.redraw();
  }
  state.queries.calibration = () => {
    if (figures) fresh(); // the answers of the state that is, not of the one that was drawn
    const found = figures?.steps && answering(figures.steps, share / 100);
    return [
      { name: "Bins of confidence", text: state.query("calibration_curve") },
      { name: "Calibration error", text: state.query("calibration_error") },
      { name: "Risk and coverage", text: state.query("risk_coverage", `max_points := ${STEPS}`) },
      ...(found ? [{ name: `The surest ${share}%`, text: state.query("at_threshold", String(found.threshold)) }] : []),
    ];
  };
  const fresh = lazily(state, box, () => keepFocus(box, draw));
}
