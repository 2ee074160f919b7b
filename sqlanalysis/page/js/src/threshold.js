// A slider for the confidence threshold, with the figures of the macro at_threshold.
import { NONE } from "./aggregation.js";
import { byId, html } from "./dom.js";
import { count, interval, percent, wilson } from "./intervals.js";

/** Confidences of the images with a label and a prediction, highest first, and how many of them are right so far. */
export function confidenceSteps({ n, label, pred, confidence }) {
  const rows = [];
  for (let i = 0; i < n; i++) if (label[i] !== NONE && pred[i] !== NONE && confidence[i] >= 0) rows.push(i);
  rows.sort((a, b) => confidence[b] - confidence[a]);
  const values = Float32Array.from(rows, (i) => confidence[i]);
  const right = new Uint32Array(rows.length + 1);
  rows.forEach((i, at) => (right[at + 1] = right[at] + (label[i] === pred[i] ? 1 : 0)));
  return { values, right };
}

/** How many answers have at least the confidence, and how many of those are right. */
export function answered({ values, right }, threshold) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] >= threshold) low = middle + 1;
    else high = middle;
  }
  return { n: values.length, kept: low, correct: right[low] };
}

/** Adds the slider to the page. */
export function startThreshold(rows, run) {
  const box = byId("threshold");
  const steps = box && confidenceSteps(rows);
  if (!steps?.values.length) return;
  const sentence = html("p", { "aria-live": "polite" });
  const code = html("code");
  const slider = html("input", { type: "range", id: "at-least", min: 0, max: 1, step: 0.005, value: 0.9 });
  const show = () => {
    const threshold = Number(slider.value);
    const { n, kept, correct } = answered(steps, threshold);
    const share = kept ? ` ${percent(correct / kept)} of them right, 95% interval ${interval(wilson(correct, kept))}.` : "";
    const stays = `${count(kept)} of ${count(n)} images answered, ${percent(kept / n)}.`;
    sentence.textContent = `Confidence at least ${percent(threshold)}: ${stays}${share}`;
    code.textContent = `from at_threshold('${run}', ${threshold})`;
    slider.setAttribute("aria-valuetext", sentence.textContent);
  };
  slider.addEventListener("input", show);
  box.append(html("label", { for: "at-least" }, "Answer only with at least this confidence"), slider, sentence, html("p", {}, code));
  box.hidden = false;
  show();
}
