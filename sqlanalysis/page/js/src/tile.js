// One image as a tile: picture, label → prediction, bars of their probabilities; and the short forms of what a run says.
import { NONE } from "./aggregation.js";
import { button, html } from "./dom.js";
import { differ } from "./state.js";

/** A probability beside a picture: whole percents, with a decimal near both ends; never 0 or 100 unless it is. */
export function short(value) {
  if (!(value >= 0)) return "–";
  if (value > 0 && value < 0.0005) return "<0.1%";
  if (value > 0.9995 && value < 1) return ">99.9%";
  return `${value < 0.01 || value > 0.99 ? Number((value * 100).toFixed(1)) : Math.round(value * 100)}%`;
}

/** What changed from the baseline to the run: "newly right", "newly wrong", "runs differ", or null. */
export function change(state, i) {
  const { rows, run, baseline } = state;
  if (baseline < 0) return null;
  const [now, before] = [state.isRight(i, run), state.isRight(i, baseline)];
  if (now === true && before === false) return "newly right";
  if (now === false && before === true) return "newly wrong";
  return differ(rows.runs[run].pred[i], rows.runs[baseline].pred[i]) ? "runs differ" : null;
}

/** The probability that the run gave the label, or null: the page has it of its first run only. */
export function probabilityOfLabel({ rows, run }, i) {
  const value = run === 0 && rows.pLabel ? rows.pLabel[i] : -1;
  return value >= 0 ? value : null;
}

/** The words for a picture that cannot be seen. */
export function describe(state, i) {
  const { rows, facts, name } = state;
  const label = rows.label[i] === NONE ? "no label" : `labeled ${name(rows.label[i], "label")}`;
  if (!facts.predicted) return label;
  return `${label}, ${rows.pred[i] === NONE ? "no prediction" : `predicted ${name(rows.pred[i], "pred")}`}`;
}

/** The large picture, else the thumbnail, else the name of the file; images of few pixels are enlarged without smoothing. */
export function picture(state, i, alt = describe(state, i)) {
  const row = state.rows.origin[i];
  const url = state.large.url(row) ?? state.thumbnails.url(row);
  if (!url) return html("span", { class: "missing" }, state.rows.file(i) || `id ${state.rows.id[i]}`);
  const img = html("img", { alt, decoding: "async", on: { load: () => img.classList.toggle("pixelated", img.naturalWidth <= 32) } });
  img.src = url;
  return img;
}

const SIGNS = { true: ["right", "✓ "], false: ["wrong", "✗ "], null: ["", ""] };

/** The prediction of a run in the color of its answer, with a sign. */
export function guess(state, i, k = state.run) {
  const right = state.isRight(i, k);
  const [kind, sign] = SIGNS[right];
  return html("b", { class: `guess ${kind}` }, html("span", { class: "sign" }, sign), html("bdi", {}, state.name(state.rows.runs[k].pred[i], "pred")));
}

/** "label → ✗ prediction", or "✓ prediction" of a right answer. */
export function answer(state, i) {
  const { rows, facts, name } = state;
  const label = html("bdi", { class: "label" }, name(rows.label[i], "label"));
  if (!facts.predicted) return html("span", { class: "names" }, label);
  const plain = state.isRight(i) === true || rows.label[i] === NONE;
  if (plain) return html("span", { class: "names" }, guess(state, i));
  return html("span", { class: "names pair" }, label, html("span", { class: "to" }, "→"), guess(state, i));
}

/** A bar of a probability with its figure; without a probability a dash. */
export function bar(value, kind) {
  const fill = html("i", { class: kind });
  fill.style.setProperty("--share", Math.min(1, Math.max(0, value || 0)));
  return html("span", { class: "share" }, html("span", { class: "rail" }, fill), html("span", {}, short(value)));
}

/** The bar of the prediction, and below a wrong answer that of the label where the page has it. */
function bars(state, i) {
  if (!state.facts.runs[state.run].has_confidence) return [];
  const right = state.isRight(i);
  const label = right === false ? probabilityOfLabel(state, i) : null;
  return [bar(state.rows.confidence[i], SIGNS[right][0]), label === null ? null : bar(label)];
}

/** The label, and what both runs answer. */
function both(state, i) {
  const { rows, facts, run, baseline, name } = state;
  const line = (k, mark) => {
    const who = html("span", { class: mark }, html("span", { class: "unseen" }, `${facts.runs[k].name}: `));
    const sure = facts.runs[k].has_confidence ? short(rows.runs[k].confidence[i]) : "";
    return html("span", { class: "names" }, who, guess(state, i, k), html("span", { class: "sure" }, sure));
  };
  return [html("bdi", { class: "names" }, name(rows.label[i], "label")), line(run, "key-dot"), line(baseline, "key-ring")];
}

/** A tile that `open` opens; `compared` shows the answers of both runs instead of the probabilities of one. */
export function tile(state, i, { compared = false, open }) {
  const tag = change(state, i);
  const frame = html("span", { class: "frame" }, picture(state, i), tag && html("span", { class: `change ${tag.replace(" ", "-")}` }, tag));
  const below = compared ? both(state, i) : [answer(state, i), ...bars(state, i)];
  return button([frame, ...below], open, { class: "tile", title: state.rows.file(i) || null });
}
