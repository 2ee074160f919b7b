// The selection: the rows that meet all conditions, as a mask, as text, as SQL, and as CSV.
import { NONE } from "./aggregation.js";

const quote = (name) => `"${name.replaceAll('"', '""')}"`;

export class Selection {
  constructor(rows, run) {
    this.rows = rows;
    this.run = run;
    this.mask = new Uint8Array(rows.n).fill(1);
    this.clear();
  }

  clear() {
    this.lasso = null; // mask of rows
    this.search = null; // {text, mask}
    this.cell = null; // {label, pred}, either may be missing
    this.legend = null; // {group, groups, pressed: Set}
    this.update();
  }

  get isActive() {
    return Boolean(this.lasso || this.search || this.cell || this.legend);
  }

  update() {
    const { mask, lasso, cell, legend, rows } = this;
    const matches = this.search?.mask;
    mask.fill(1);
    if (!this.isActive) return;
    const pressed = legend && Uint8Array.from(legend.groups, (_, at) => (legend.pressed.has(at) ? 1 : 0));
    for (let i = 0; i < mask.length; i++) {
      mask[i] =
        (!lasso || lasso[i]) &&
        (!matches || matches[i]) &&
        (!pressed || pressed[legend.group[i]]) &&
        (cell?.label === undefined || rows.label[i] === cell.label) &&
        (cell?.pred === undefined || rows.pred[i] === cell.pred)
          ? 1
          : 0;
    }
  }

  /** The conditions as text. */
  words(name) {
    const words = [];
    if (this.lasso) words.push("lasso");
    if (this.search) words.push(`“${this.search.text}”`);
    if (this.legend) words.push([...this.legend.pressed].map((at) => this.legend.groups[at].name).join(", "));
    if (this.cell?.label !== undefined) words.push(`label ${name(this.cell.label, "label")}`);
    if (this.cell?.pred !== undefined) words.push(`predicted ${name(this.cell.pred, "pred")}`);
    return words;
  }

  /** A query of the selected images: with the conditions if all of them are about columns, else with the list of ids. */
  sql() {
    const { cell, legend, mask, rows } = this;
    const conditions = [];
    const groups = legend ? [...legend.pressed].map((at) => legend.groups[at].sql) : [];
    if (this.lasso || this.search || groups.includes(undefined)) {
      const ids = [];
      for (let i = 0; i < mask.length; i++) if (mask[i]) ids.push(rows.id[i]);
      conditions.push(ids.length ? `image_id in (${ids.sort((a, b) => a - b).join(", ")})` : "false");
    } else {
      if (legend) conditions.push(groups.length > 1 ? `(${groups.map((sql) => `(${sql})`).join(" or ")})` : groups[0]);
      if (cell?.label !== undefined) conditions.push(`label = ${cell.label}`);
      if (cell?.pred !== undefined) conditions.push(`pred = ${cell.pred}`);
    }
    const where = conditions.length ? `\nwhere ${conditions.join("\n    and ")}` : "";
    return `select image_id, uri, label_name, pred_name, confidence\nfrom ${quote(this.run)}${where};\n`;
  }

  /** One line per selected image; text that a spreadsheet would evaluate as a formula starts with an apostrophe. */
  csv(name) {
    const { rows, mask } = this;
    const cell = (value) => {
      const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = ["image_id,file,label,label_name,pred,pred_name,confidence"];
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      const [label, pred] = [rows.label[i], rows.pred[i]].map((code) => (code === NONE ? "" : code));
      const texts = [name(rows.label[i], "label"), name(rows.pred[i], "pred")].map(cell);
      const confidence = rows.confidence[i] >= 0 ? rows.confidence[i] : "";
      lines.push([rows.id[i], cell(rows.file(i)), label, texts[0], pred, texts[1], confidence].join(","));
    }
    return `${lines.join("\n")}\n`;
  }
}
