// The SQL drawer: the queries behind a section, with the filter of the page in them.
import { all, button, byId, html } from "./dom.js";
import { count } from "./intervals.js";
import { quoteText } from "./state.js";
import { copy } from "./theme.js";

const FIRST = 10; // rows of a query that are shown
const MOST = 20_000; // characters shown: a lasso may list a million ids
const SQL =
  /(--[^\n]*|\/\*[^]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$))|(\b(?:all|and|anti|as|asc|between|by|case|cast|count|create|cross|desc|distinct|else|end|except|exists|false|filter|from|full|group|having|in|inner|intersect|is|join|lateral|left|like|limit|not|null|nulls|offset|on|or|order|outer|over|partition|pivot|qualify|replace|right|sample|select|semi|struct_pack|temp|then|true|union|unnest|using|values|view|when|where|window|with)\b)/gi;

/** A query in pieces [kind, text] with kinds comment, string, name, keyword and "" for the rest; together they are the query. */
export function highlight(query) {
  const pieces = [];
  let at = 0;
  for (const match of query.matchAll(SQL)) {
    if (match.index > at) pieces.push(["", query.slice(at, match.index)]);
    const kind = ["comment", "string", "name", "keyword"][match.slice(1).findIndex((found) => found !== undefined)];
    pieces.push([kind, match[0]]);
    at = match.index + match[0].length;
  }
  if (at < query.length) pieces.push(["", query.slice(at)]);
  return pieces;
}

/** A query as the inside of a Python text between triple quotes. */
export const inPython = (query) => query.replaceAll("\\", "\\\\").replaceAll('""', '\\"\\"').replace(/"$/, '\\"');

/** The pieces of a program in Python that runs a query on a database file. */
export function python(query, database) {
  return [
    ["keyword", "import"],
    ["", " duckdb\n\ncon = duckdb.connect("],
    ["string", JSON.stringify(database)],
    ["", ")\ncon.sql("],
    ["string", '"""'],
    ["", "\n"],
    ...highlight(inPython(query.trimEnd())),
    ["", "\n"],
    ["string", '"""'],
    ["", ")\n"],
  ];
}

/** What a query holds, in a sentence. */
export function promise(isLive, words, database, isSample = false) {
  const holds = !isLive
    ? "The query is of all images, not of the page's filter."
    : words.length
      ? `The query holds the page's filter (${words.join(" · ")}).`
      : "The page has no filter, so the query is of all images.";
  return [`${holds} Run it in the DuckDB shell or with `, `duckdb.connect(${JSON.stringify(database)})`, isSample ? "; its numbers are of the whole run, those of this page of a sample of it." : "; it gives the numbers of this page."];
}

const readable = (value) => {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
};

/** Makes the drawer of the page; returns a function that opens it on a section. */
function makeDrawer(state) {
  const database = state.facts.database ?? "FILE.duckdb";
  let [section, opener, at, isShell, program] = [null, null, 0, true];
  const kicker = html("p", { class: "kicker" });
  const heading = html("h2", { id: "drawer-title", tabindex: -1 });
  const choice = html("select", { "aria-label": "Query", on: { change: () => pick(Number(choice.value)) } });
  const tabs = [true, false].map((shell) => {
    const tab = button(shell ? "Shell" : "Python", () => turn(shell), { role: "tab", "aria-controls": "drawer-code" });
    tab.addEventListener("keydown", (event) => /^Arrow(Left|Right)$/.test(event.key) && turn(!isShell));
    return tab;
  });
  const code = html("code");
  const copying = button("Copy", () => copy(copying, program, () => "No clipboard"), { class: "copy-query" });
  const table = html("div", { class: "first-rows", tabindex: 0, role: "region", "aria-label": "First rows" });
  const words = html("p", { class: "promise" });
  const drawer = html(
    "dialog",
    { id: "drawer", "aria-labelledby": heading.id, on: { close: () => opener?.focus() } },
    html("div", { class: "title" }, html("div", {}, kicker, heading), button("✕", () => drawer.close(), { class: "close", "aria-label": "Close" })),
    choice,
    html("div", { class: "tabs-line" }, html("div", { role: "tablist", "aria-label": "Form of the query" }, ...tabs), copying),
    html("pre", { id: "drawer-code", role: "tabpanel", tabindex: 0, "aria-label": "Query" }, code),
    table,
    words,
  );
  document.body.append(drawer);
  state.on(() => drawer.open && render());
  // The drawer is not modal: Escape closes it from everywhere, unless something above it takes the key.
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && drawer.open && !event.defaultPrevented && !document.querySelector("dialog:modal, :popover-open")) drawer.close();
  });

  function pick(to) {
    at = to;
    render();
  }

  function turn(shell) {
    isShell = shell;
    render();
    tabs[shell ? 0 : 1].focus();
  }

  function render() {
    const queries = queriesOf(state, section);
    at = Math.min(at, queries.length - 1);
    const { name, text, rows, isLive } = queries[at];
    kicker.textContent = `SQL · ${byId(section)?.textContent}`;
    heading.textContent = name;
    choice.hidden = queries.length < 2;
    const option = (query, place) => html("option", { value: place, selected: place === at }, `${query.name}${query.isLive ? "" : ", of all images"}`);
    choice.replaceChildren(...queries.map(option));
    for (const [place, tab] of tabs.entries()) {
      tab.setAttribute("aria-selected", isShell === !place);
      tab.tabIndex = isShell === !place ? 0 : -1;
    }
    program = isShell ? text : python(text, database).map(([, piece]) => piece).join("");
    const cut = text.length > MOST ? `${text.slice(0, MOST)} … -- Copy gives all ${count(text.length)} characters` : text;
    const pieces = isShell ? highlight(cut) : python(cut, database);
    code.replaceChildren(...pieces.map(([kind, piece]) => (kind ? html("span", { class: kind }, piece) : piece)));
    const first = typeof rows === "function" ? rows() : rows;
    table.hidden = !first?.rows.length;
    if (!table.hidden) table.replaceChildren(tableOf(first));
    const [before, call, after] = promise(isLive, state.words(), database, state.facts.total > state.facts.n);
    words.replaceChildren(before, html("code", {}, call), after);
  }

  return (...given) => {
    [section, opener, at] = given;
    render();
    if (!drawer.open) drawer.show();
    heading.focus();
  };
}

function tableOf({ heads, rows }) {
  const isNumber = heads.map((_, at) => rows.every((row) => row[at] === null || typeof row[at] === "number"));
  const kind = (at) => (isNumber[at] ? "number" : null);
  return html(
    "table",
    {},
    html("caption", {}, "First rows"),
    html("thead", {}, html("tr", {}, ...heads.map((head, at) => html("th", { scope: "col", class: kind(at) }, head)))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map((value, at) => html("td", { class: kind(at) }, html("bdi", {}, readable(value))))))),
  );
}

/** A query of selected images, those that pass a test and an SQL condition: in the order of image_id, or surest first. */
function images(state, name, test = () => true, condition = "", isBySurety = false) {
  const where = [state.where(), condition].filter(Boolean).join("\n    and ");
  const text = state.select(where, `\norder by ${isBySurety ? "confidence desc, " : ""}image_id`);
  const rows = () => {
    const { mask, n, id, label, pred, confidence } = state.rows;
    // As DuckDB orders: NaN is the greatest, NULL (-1) comes last, equal ones by image_id.
    const surety = (i) => (!isBySurety ? 0 : Number.isNaN(confidence[i]) ? 2 : confidence[i]);
    const isBefore = (a, b) => surety(a) > surety(b) || (surety(a) === surety(b) && id[a] < id[b]);
    const found = [];
    for (let i = 0; i < n; i++) {
      if (!mask[i] || !test(i)) continue;
      let at = found.length;
      while (at && isBefore(i, found[at - 1])) at--;
      if (at === FIRST) continue;
      found.splice(at, 0, i);
      found.length = Math.min(FIRST, found.length);
    }
    const row = (i) => [id[i], state.name(label[i], "label"), state.name(pred[i], "pred"), confidence[i] < 0 ? null : confidence[i]];
    return { heads: ["id", "label", "prediction", "confidence"], rows: found.map(row) };
  };
  return { name, text, rows };
}

/** Queries of images, which belong to more than one section. */
function imageQueries(state, section) {
  if (section === "images" || section === "map") return [images(state, "Selected images")];
  if (section !== "comparison" || state.baseline < 0) return [];
  const pair = `paired(${quoteText(state.runName)}, ${quoteText(state.baselineName)})`;
  return [true, false].map((right) =>
    images(
      state,
      right ? "Newly right images" : "Newly wrong images",
      (i) => state.isRight(i) === right && state.isRight(i, state.baseline) === !right,
      `image_id in (select image_id from ${pair} where ${right ? "correct_run and not" : "not correct_run and"} correct_baseline)`,
      true,
    ),
  );
}

/** The live queries of a section, then those that stand in the page; `rows`, or what gives them, are their first rows. */
function queriesOf(state, section) {
  const live = [...(state.queries[section]?.() ?? []), ...imageQueries(state, section)].map((query) => ({ ...query, text: state.scoped(query.text), isLive: true }));
  const still = all(`.sql[data-section="${CSS.escape(section)}"]`).map((block) => ({
    name: block.dataset.name ?? block.id.replace(/^sql-/, "").replaceAll(/[-_]/g, " "),
    text: block.querySelector("code").textContent,
    isLive: false,
  }));
  return [...live, ...still];
}

export function start(state) {
  let open;
  state.openSql = (section, opener = document.activeElement, at = 0) => (open ??= makeDrawer(state))(section, opener, at);
  for (const one of all("button.open-sql")) {
    const { section } = one.dataset;
    one.hidden = !queriesOf(state, section).length;
    one.setAttribute("aria-haspopup", "dialog");
    one.addEventListener("click", () => state.openSql(section, one));
  }
}
