// The panel of a selection: figures, images, charts, SQL and CSV.
import { aggregate, NONE, worst } from "./aggregation.js";
import { MOST_CLASSES, calibration, classBars, confusion } from "./charts.js";
import { byId, html } from "./dom.js";
import { isWrong } from "./groups.js";
import { count, interval, percent } from "./intervals.js";
import { copy } from "./theme.js";

const MOST_IMAGES = 24;
const SMALL = 30;

/** A thumbnail; images of few pixels are enlarged without smoothing. */
function image(url, alt) {
  const img = html("img", { alt, on: { load: () => img.classList.toggle("pixelated", img.naturalWidth <= 32) } });
  img.src = url;
  return img;
}

export class Panel {
  constructor(rows, facts, selection, thumbnails, name, choose) {
    Object.assign(this, { rows, facts, selection, thumbnails, name, choose });
    this.whole = aggregate(rows, selection.mask, facts.classes.length);
    byId("copy-sql").addEventListener("click", (event) => {
      const sql = selection.sql();
      copy(event.target, sql, () => {
        byId("statement").value = sql;
        byId("statement").hidden = false;
        byId("statement").select();
        return "Selected: press Ctrl+C";
      });
    });
    byId("save-csv").addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([selection.csv(name)], { type: "text/csv" }));
      html("a", { href: url, download: `${facts.run}_selection.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    });
  }

  update() {
    const { selection, rows, facts } = this;
    const figures = selection.isActive ? aggregate(rows, selection.mask, facts.classes.length) : this.whole;
    this.say(figures);
    const tiles = worst(rows, selection.mask, MOST_IMAGES).map((row) => this.tile(row));
    byId("shown").replaceChildren(...tiles);
    byId("charts").hidden = !(selection.isActive && figures.n);
    byId("statement").hidden = true;
    if (!byId("charts").hidden) this.draw(figures);
    this.figures = figures;
  }

  say(figures) {
    const { selection, name, rows } = this;
    const active = selection.isActive;
    const of = active ? `${count(figures.selected)} of ${count(rows.n)} images selected` : `All ${count(rows.n)} images`;
    const words = selection.words(name).join(" · ");
    byId("sentence").replaceChildren(
      html("b", {}, of),
      active ? html("span", { class: "muted" }, html("bdi", {}, ` ${words}`)) : "",
    );
    const values = [
      ["Accuracy", percent(figures.accuracy), `${interval(figures.ends)}, 95% interval${active ? ", descriptive" : ""}`],
      ["Mistakes", count(figures.n - figures.correct), `of ${count(figures.n)} with a label`],
      ["Mean confidence", percent(figures.confidence), `calibration error ${Number.isFinite(figures.ece) ? figures.ece.toFixed(3) : "–"}`],
    ];
    byId("figures").replaceChildren(
      ...(this.facts.predicted ? values : []).map(([term, figure, sub]) =>
        html("div", {}, html("dt", {}, term), html("dd", {}, html("b", {}, figure), html("small", {}, sub))),
      ),
    );
    const note = byId("note");
    note.hidden = !active || !this.facts.predicted;
    note.textContent =
      figures.n < SMALL
        ? `Only ${count(figures.n)} labeled images: too few for a reliable figure.`
        : "Selected after looking at the results: the interval describes this selection and is not a test.";
    note.classList.toggle("small", figures.n < SMALL);
    for (const id of ["clear", "copy-sql", "save-csv"]) byId(id).disabled = !active;
  }

  sure(row) {
    return this.rows.confidence[row] >= 0 ? percent(this.rows.confidence[row]) : "–";
  }

  group(row) {
    return this.facts.clustered ? this.name(this.rows.cluster[row], "cluster") : "";
  }

  /** "label → prediction" for a mistake, "✓ prediction" for a right answer, the prediction if there is no label. */
  names(row) {
    const { rows, name } = this;
    if (!this.facts.predicted) return html("span", { class: "names" }, html("bdi", {}, name(rows.label[row], "label")));
    const guess = html("bdi", {}, name(rows.pred[row], "pred"));
    if (!isWrong(rows, row)) return html("span", { class: "names" }, rows.label[row] === NONE ? "" : "✓ ", guess);
    const cross = html("span", { class: "cross", "aria-hidden": "true" }, "✗ ");
    return html("span", { class: "names" }, cross, html("bdi", {}, name(rows.label[row], "label")), " → ", guess);
  }

  tile(row) {
    const { rows, name, thumbnails } = this;
    const url = thumbnails.url(rows.origin[row]);
    const wrong = isWrong(rows, row);
    const guess = this.facts.predicted ? `, predicted ${name(rows.pred[row], "pred")}` : "";
    const alt = `labeled ${name(rows.label[row], "label")}${guess}`;
    const picture = url ? image(url, alt) : html("span", { class: "missing" }, rows.file(row));
    const below = this.facts.predicted ? this.sure(row) : this.group(row);
    const caption = html("figcaption", {}, this.names(row), html("span", { class: "small" }, below));
    return html("figure", { class: wrong ? "wrong" : null, title: rows.file(row) }, html("div", { class: "frame" }, picture), caption);
  }

  draw(figures) {
    const { whole, choose } = this;
    const name = (code) => this.name(code, code < 0 ? "pred" : "label");
    const confused = new Set();
    for (const { label, pred } of figures.pairs) confused.add(label).add(pred);
    const some = (total, which) => (total > MOST_CLASSES ? `, ${MOST_CLASSES} ${which}of ${total} classes` : "");
    byId("chart-classes").replaceChildren(classBars(figures, whole, name, choose));
    byId("chart-confusion").replaceChildren(confusion(figures, name, choose));
    byId("chart-calibration").replaceChildren(calibration(figures, whole));
    byId("chart-classes-note").textContent = `Lowest recall first${some(figures.classes.length, "")}; the tick shows the whole run.`;
    byId("chart-confusion-note").textContent = `True class down, prediction across${some(confused.size, "largest ")}; press a cell to select it.`;
  }

  /** Shows the hover card above the point if there is room, else below; row -1 hides it. */
  card(row, x, y) {
    const card = byId("card");
    card.hidden = row < 0;
    if (row < 0) return;
    const { rows, name, thumbnails } = this;
    const url = thumbnails.url(rows.origin[row]);
    const agree = rows.differ ? ` · ${rows.differ[row] ? `${rows.differ[row]} other runs differ` : "all runs agree"}` : "";
    const lines = [
      this.names(row),
      html("p", {}, this.facts.predicted ? `confidence ${this.sure(row)}${agree}` : this.group(row)),
      html("p", { class: "muted" }, html("bdi", {}, rows.file(row)), ` · id ${rows.id[row]}`),
    ];
    card.replaceChildren(...(url ? [image(url, "")] : []), html("div", {}, ...lines));
    card.classList.toggle("wrong", isWrong(rows, row));
    const stage = card.parentElement.getBoundingClientRect();
    const { width, height } = card.getBoundingClientRect();
    const left = Math.max(4, Math.min(stage.width - width - 4, x - width / 2));
    const above = y - height - 14;
    card.style.left = `${left}px`;
    card.style.top = `${above > -70 ? above : y + 14}px`;
  }
}
