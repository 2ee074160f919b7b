// The state of the page: which run and baseline, which filters, and what follows from them. Every view reads it and listens.
import { aggregate, judge, NONE, paired } from "./aggregation.js";

export const quoteName = (name) => `"${name.replaceAll('"', '""')}"`;
export const quoteText = (text) => `'${text.replaceAll("'", "''")}'`;

const some = (column, codes, literal = String) => {
  const known = codes.filter((code) => code !== NONE).map(literal);
  const parts = [];
  if (known.length) parts.push(`${column} in (${known.join(", ")})`);
  if (known.length < codes.length) parts.push(`${column} is null`);
  return parts.length > 1 ? `(${parts.join(" or ")})` : parts[0];
};

const oneOf = (values, codes) => {
  const wanted = new Set(codes);
  return (i) => wanted.has(values[i]);
};

const isKnown = (rows, i) => rows.label[i] !== NONE && rows.pred[i] !== NONE;
/** Right, wrong, or null where there is no label or no prediction: the macro `_correct`. */
const answer = (rows, pred, i) => (rows.label[i] === NONE || pred[i] === NONE ? null : rows.label[i] === pred[i] && rows.label[i] >= 0);

const CHANGES = {
  "newly right": ["correct_run and not correct_baseline", (now, before) => now === true && before === false],
  "newly wrong": ["not correct_run and correct_baseline", (now, before) => now === false && before === true],
  "both right": ["correct_run and correct_baseline", (now, before) => now === true && before === true],
  "both wrong": ["not correct_run and not correct_baseline", (now, before) => now === false && before === false],
};
/** Whether two runs have answers that differ, of which a label says nothing. */
export const differ = (a, b) => a !== NONE && b !== NONE && a !== b;

/**
 * Each kind of filter turns its value into words, a condition over the view of the run (null: the ids are listed), and a
 * test of one row. Values are plain data, so that a filter holds for another run as well.
 */
const KINDS = {
  split: (codes, { facts, rows }) => ({
    words: `split: ${codes.map((code) => facts.splits[code] ?? "none").join(", ")}`,
    sql: some("split", codes.map((code) => (code < 0 ? NONE : code)), (code) => quoteText(facts.splits[code])),
    test: oneOf(rows.split, codes),
  }),
  class: (codes, { rows, name }) => ({
    words: `class: ${codes.map((code) => name(code, "label")).join(", ")}`,
    sql: some("label", codes),
    test: oneOf(rows.label, codes),
  }),
  pred: (codes, { rows, name }) => ({
    words: `prediction: ${codes.map((code) => name(code, "pred")).join(", ")}`,
    sql: some("pred", codes),
    test: oneOf(rows.pred, codes),
  }),
  pair: ([label, pred], { rows, name }) => ({
    words: `${name(label, "label")} → ${name(pred, "pred")}`,
    sql: `${some("label", [label])} and ${some("pred", [pred])}`,
    test: (i) => rows.label[i] === label && rows.pred[i] === pred,
  }),
  answer: (value, { rows }) => ({
    words: value,
    sql: { right: "correct", wrong: "not correct", unknown: "correct is null" }[value],
    test: (i) => answer(rows, rows.pred, i) === { right: true, wrong: false, unknown: null }[value],
  }),
  // Both ends belong to the range, except a high end below 1; the cast makes DuckDB compare in double precision, as here.
  confidence: ([low, high], { rows }) => ({
    words: `confidence ${low.toFixed(2)}–${high.toFixed(2)}`,
    sql: `confidence::double >= ${low} and confidence::double ${high < 1 ? `< ${high}` : "<= 1"}`,
    test: (i) => rows.confidence[i] >= low && (high < 1 ? rows.confidence[i] < high : rows.confidence[i] <= 1),
  }),
  slice: ([at, code], { facts, rows }) => {
    const codes = rows.slices[at];
    return {
      words: `${facts.slices[at].feature}: ${facts.slices[at].values[code]}`,
      sql: `(${facts.slices[at].sql[code]})`,
      test: (i) => codes[i] === code,
    };
  },
  cluster: (codes, { rows, name }) => ({
    words: codes.map((code) => name(code, "cluster")).join(", "),
    sql: some("cluster", codes),
    test: oneOf(rows.cluster, codes),
  }),
  change: (value, { facts, rows, run, baseline }) => {
    const before = rows.runs[baseline];
    if (value === "differ") {
      const [one, other] = [run, baseline].map((k) => quoteName(facts.runs[k].name));
      const sql = `image_id in (select one.image_id from ${one} as one join ${other} as other using (image_id) where one.pred <> other.pred)`;
      return { words: "runs differ", sql, test: (i) => differ(rows.pred[i], before.pred[i]) };
    }
    const [sql, of] = CHANGES[value];
    const pair = `${quoteText(facts.runs[run].name)}, ${quoteText(facts.runs[baseline]?.name ?? "")}`;
    return {
      words: value,
      sql: `image_id in (select image_id from paired(${pair}) where ${sql})`,
      test: (i) => of(answer(rows, rows.pred, i), answer(rows, before.pred, i)),
    };
  },
  search: (text, { facts, search }) => {
    const mask = search(text);
    const wanted = quoteText(text.toLowerCase());
    const files = facts.folder_chars === null || facts.folder_chars === undefined ? null : `uri[${facts.folder_chars + 1}:]`;
    const columns = [files, "label_name", "pred_name"].map((column) => `contains(lower(coalesce(${column}, '')), ${wanted})`);
    return { words: `“${text}”`, sql: files && `(${columns.join(" or ")})`, test: (i) => mask[i] };
  },
  // The value holds the corners for the map, and the mask of the rows inside.
  lasso: ({ mask }) => ({ words: "lasso", sql: null, test: (i) => mask[i] }),
  // The images of a finding of the data checks.
  found: ({ words, mask }) => ({ words, sql: null, test: (i) => mask[i] }),
};

export class State {
  /** `rows` as `readRows` gives them; `search(text)` gives the mask of rows whose file or class names contain a text. */
  constructor(rows, facts, search) {
    Object.assign(this, { rows, facts, search, filters: [], listeners: [], queries: {}, judged: [], known: new Map() });
    this.name = (code, column) => {
      if (column === "cluster") return code === NONE ? "no cluster" : `cluster ${code}`;
      if (code === NONE) return column === "pred" ? "no prediction" : "no label";
      return code < 0 ? "(outside)" : facts.classes[code];
    };
    this.mask = new Uint8Array(rows.n).fill(1);
    rows.mask = this.mask;
    this.choose(0, facts.runs[facts.baseline] ? facts.baseline : -1);
  }

  choose(run, baseline) {
    this.run = run;
    this.chosen = baseline === run ? -1 : baseline;
    // A run that cannot be compared is named in the head, with the reason, and nothing is drawn against it.
    this.baseline = this.facts.incomparable?.includes(`${run},${this.chosen}`) ? -1 : this.chosen;
    if (this.baseline < 0) this.filters = this.filters.filter(({ kind }) => kind !== "change");
    Object.assign(this.rows, this.rows.runs[run]);
    // Images of the page that another run has no row for are not among its images.
    const { n, confidence } = this.rows;
    const missing = run > 0 && confidence.includes(-2);
    this.outcomes = null;
    this.base = missing ? Uint8Array.from(confidence, (value) => (value === -2 ? 0 : 1)) : null;
    this.n = missing ? this.base.reduce((sum, one) => sum + one, 0) : n;
    this.whole = aggregate(this.rows, this.base, this.facts.classes.length);
    this.apply();
  }

  /** Calls `listener(why)` after each change: "run" or "filter". */
  on(listener) {
    this.listeners.push(listener);
  }

  tell(why) {
    const start = performance.now();
    for (const listener of this.listeners) listener(why);
    const painted = () => performance.measure("sqlanalysis:selection", { start: this.began ?? start, end: performance.now() });
    requestAnimationFrame(() => setTimeout(painted)); // a timeout in a frame runs after it was painted
  }

  setRun(run, baseline) {
    this.began = performance.now();
    this.choose(run, baseline);
    this.tell("run");
  }

  /** Adds a filter, or replaces the one of its kind; a value of null removes it. */
  set(kind, value) {
    if (kind === "change" && this.baseline < 0) return; // nothing to have changed from
    const at = this.filters.findIndex((filter) => filter.kind === kind);
    const empty = value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
    if (empty && at < 0) return;
    this.filters = this.filters.toSpliced(at < 0 ? this.filters.length : at, at < 0 ? 0 : 1, ...(empty ? [] : [{ kind, value }]));
    this.began = performance.now();
    this.apply();
    this.tell("filter");
  }

  /** Puts one filter in the place of all. */
  only(kind, value) {
    this.filters = [];
    this.set(kind, value);
  }

  get(kind) {
    return this.filters.find((filter) => filter.kind === kind)?.value ?? null;
  }

  clear() {
    if (!this.filters.length) return;
    this.filters = [];
    this.began = performance.now();
    this.apply();
    this.tell("filter");
  }

  get isActive() {
    return this.filters.length > 0;
  }

  /** Whether the filters admit wrong images only: then there is no accuracy to speak of. */
  get onlyWrong() {
    const [labels, preds] = [this.get("class"), this.get("pred")];
    // What is outside the classes (-1) is never right: the macro `_correct`.
    const isOutside = (codes) => codes?.includes(-1) && codes.every((code) => code < 0);
    if (isOutside(labels) || isOutside(preds)) return true;
    if (labels && preds && !labels.some((code) => code >= 0 && preds.includes(code))) return true;
    return this.filters.some(
      ({ kind, value }) =>
        (kind === "answer" && value === "wrong") ||
        (kind === "change" && (value === "newly wrong" || value === "both wrong")) ||
        (kind === "pair" && (value[0] !== value[1] || value[0] < 0)),
    );
  }

  /** Whether the filters admit right images only, which has no accuracy either. */
  get onlyRight() {
    const [labels, preds] = [this.get("class"), this.get("pred")];
    if (labels?.length === 1 && preds?.length === 1 && labels[0] === preds[0] && labels[0] >= 0) return true;
    return this.filters.some(
      ({ kind, value }) =>
        (kind === "answer" && value === "right") ||
        (kind === "change" && (value === "newly right" || value === "both right")) ||
        (kind === "pair" && value[0] === value[1] && value[0] >= 0),
    );
  }

  apply() {
    const { mask, rows } = this;
    this.compiled = this.filters.map(({ kind, value }) => ({ kind, value, ...KINDS[kind](value, this) }));
    if (this.base) mask.set(this.base);
    else mask.fill(1);
    for (const { test } of this.compiled) for (let i = 0; i < mask.length; i++) if (mask[i] && !test(i)) mask[i] = 0;
    this.known.clear();
    this.figures = this.isActive ? aggregate(rows, mask, this.facts.classes.length) : this.whole;
  }

  /** What follows from the selection, computed when it is first asked for. */
  once(what, make) {
    if (!this.known.has(what)) this.known.set(what, make());
    return this.known.get(what);
  }

  /** The selected rows. */
  get selected() {
    return this.once("selected", () => {
      const { mask, figures } = this;
      const list = new Uint32Array(figures.selected);
      for (let i = 0, n = 0; i < mask.length; i++) if (mask[i]) list[n++] = i;
      return list;
    });
  }

  /** The selected rows that the run has wrong. */
  get wrong() {
    const rights = this.rightsOf(this.run);
    return this.once("wrong", () => this.selected.filter((i) => rights[i] === 0));
  }

  /** Run and baseline over the selection, as `paired` gives it; null without a baseline. */
  get compared() {
    const { rows, run, baseline, mask, facts } = this;
    if (baseline < 0) return null;
    return this.once("compared", () => paired(rows, rows.runs[run], rows.runs[baseline], mask, facts.classes.length));
  }

  /** Of every row what run and baseline answer, as a number: 3 * run + baseline, each 0 without an answer, 1 wrong, 2 right. */
  get outcomeOf() {
    if (!this.outcomes) {
      const { run, baseline, rows } = this;
      const now = this.rightsOf(run);
      const before = baseline < 0 ? null : this.rightsOf(baseline);
      this.outcomes = new Uint8Array(rows.n);
      for (let i = 0; i < rows.n; i++) this.outcomes[i] = 3 * (now[i] + 1) + (before ? before[i] + 1 : 0);
    }
    return this.outcomes;
  }

  /** Of every row whether run `k` is right (1), wrong (0) or neither (-1). */
  rightsOf(k) {
    return (this.judged[k] ??= judge(this.rows, this.rows.runs[k]));
  }

  words() {
    return this.compiled.map(({ words }) => words);
  }

  /** The condition of all filters over the view of the run; an empty text without filters. */
  where() {
    const listed = this.compiled.some(({ sql }) => !sql);
    const conditions = this.compiled.filter(({ sql }) => sql).map(({ sql }) => sql);
    // The page has the images of its first run.
    if (this.facts.runs[this.run].n_outside) conditions.unshift(`image_id in (select image_id from ${quoteName(this.facts.runs[0].name)})`);
    if (listed) {
      const { rows, mask } = this;
      const ids = [];
      for (let i = 0; i < mask.length; i++) if (mask[i]) ids.push(rows.id[i]);
      return ids.length ? `image_id in (${ids.sort((a, b) => a - b).join(", ")})` : "false";
    }
    return conditions.join("\n    and ");
  }

  get runName() {
    return this.facts.runs[this.run].name;
  }

  get baselineName() {
    return this.facts.runs[this.baseline]?.name ?? null;
  }

  /** The selected images as SQL. */
  sql(where = this.where()) {
    return this.scoped(this.select(where));
  }

  /** Images of the run as SQL; `order` goes on with the statement. */
  select(where, order = "") {
    return `select image_id, uri, label_name, pred_name, confidence\nfrom ${quoteName(this.runName)}${where && `\nwhere ${where}`}${order};\n`;
  }

  /** A query after the views that, on a page of one split, hide the other images of its runs. */
  scoped(query) {
    const read = Object.entries(this.facts.views).filter(([run]) => query.includes(run));
    return [...read.map(([, view]) => view), query].join("\n");
  }

  /** A query of a macro over the selected images, such as query("accuracy") or query("slices", "['split']"). */
  query(macro, ...given) {
    const where = this.where();
    const call = (relation) => `from ${macro}(${[quoteText(relation), ...given].join(", ")});\n`;
    if (!where) return call(this.runName);
    return `with selected as (\n    from ${quoteName(this.runName)}\n    where ${where}\n)\n${call("selected")}`;
  }

  /** Right (true), wrong (false) or neither (null), of the run or of run `k`. */
  isRight(i, k = this.run) {
    const right = this.rightsOf(k)[i];
    return right < 0 ? null : right === 1;
  }

  isKnown(i) {
    return isKnown(this.rows, i);
  }
}
