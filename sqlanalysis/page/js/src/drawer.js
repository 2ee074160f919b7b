// The SQL drawer: the queries behind a section, with the filter of the page in them.
import { html } from "./dom.js";
import { copy } from "./theme.js";

const SQL =
  /(--[^\n]*|\/\*[^]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$))|(\b(?:all|and|anti|as|asc|between|by|case|cast|count|cross|desc|distinct|else|end|except|exists|false|filter|from|full|group|having|in|inner|intersect|is|join|lateral|left|like|limit|not|null|nulls|offset|on|or|order|outer|over|partition|pivot|qualify|right|sample|select|semi|struct_pack|then|true|union|unnest|using|values|when|where|window|with)\b)/gi;

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
export function promise(isLive, words, database) {
  const holds = !isLive
    ? "The query is of all images, not of the page's filter."
    : words.length
      ? `The query holds the page's filter (${words.join(" · ")}).`
      : "The page has no filter, so the query is of all images.";
  return [`${holds} Run it in the DuckDB shell or with `, `duckdb.connect(${JSON.stringify(database)})`, "; it gives the numbers of this page."];
}

const readable = (value) => {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
};

class Drawer {
  constructor(state) {
    Object.assign(this, { state, tab: "Shell", at: 0 });
    this.kicker = html("p", { class: "kicker" });
    this.heading = html("h2", { id: "drawer-title", tabindex: -1 });
    this.choice = html("select", { "aria-label": "Query", on: { change: () => this.pick(Number(this.choice.value)) } });
    this.tabs = ["Shell", "Python"].map((name) =>
      html("button", { type: "button", role: "tab", id: `drawer-${name}`, "aria-controls": "drawer-code", on: { click: () => this.turn(name), keydown: (event) => this.move(event) } }, name),
    );
    this.copy = html("button", { type: "button", class: "copy-query", on: { click: () => copy(this.copy, this.code.textContent, () => "Select and press Ctrl+C") } }, "Copy");
    this.code = html("code");
    this.panel = html("pre", { id: "drawer-code", role: "tabpanel", tabindex: 0 }, this.code);
    this.table = html("div", { class: "first-rows", tabindex: 0, role: "region", "aria-label": "First rows" });
    this.words = html("p", { class: "promise" });
    const close = html("button", { type: "button", class: "close", "aria-label": "Close", on: { click: () => this.close() } }, "✕");
    this.dialog = html(
      "dialog",
      { id: "drawer", "aria-labelledby": "drawer-title", on: { close: () => this.closed() } },
      html("div", { class: "title" }, html("div", {}, this.kicker, this.heading), close),
      this.choice,
      html("div", { class: "tabs-line" }, html("div", { role: "tablist", "aria-label": "Form of the query" }, ...this.tabs), this.copy),
      this.panel,
      this.table,
      this.words,
    );
    document.body.append(this.dialog);
    state.on(() => this.dialog.open && this.render());
    // The drawer is not modal: Escape closes it from everywhere, unless something above it takes the key.
    addEventListener("keydown", (event) => {
      const above = document.querySelector("dialog:modal, :popover-open");
      if (event.key !== "Escape" || event.defaultPrevented || !this.dialog.open || above) return;
      event.preventDefault();
      this.close();
    });
  }

  open(section, opener, at = 0) {
    Object.assign(this, { section, opener, at });
    this.render();
    if (!this.dialog.open) this.dialog.show();
    this.heading.focus();
  }

  close() {
    this.dialog.close();
  }

  closed() {
    if (this.opener?.isConnected) this.opener.focus();
  }

  pick(at) {
    this.at = at;
    this.render();
  }

  turn(name) {
    this.tab = name;
    this.render();
  }

  move(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    this.turn(this.tab === "Shell" ? "Python" : "Shell");
    this.tabs.find(({ textContent }) => textContent === this.tab).focus();
  }

  render() {
    const { state, section, tab } = this;
    const queries = queriesOf(state, section);
    this.at = Math.min(this.at, queries.length - 1);
    const { name, text, rows, isLive } = queries[this.at];
    const title = document.getElementById(section)?.textContent ?? "";
    this.kicker.textContent = `SQL · ${title}`;
    this.heading.textContent = name;
    this.choice.hidden = queries.length < 2;
    const option = ([query, at]) => html("option", { value: at, selected: at === this.at }, query.name);
    const groups = [[true, "with the page's filter"], [false, "of all images"]].map(([live, label]) => {
      const group = [...queries.entries()].filter(([, query]) => query.isLive === live).map(([at, query]) => option([query, at]));
      return group.length ? html("optgroup", { label }, ...group) : null;
    });
    this.choice.replaceChildren(...groups.filter(Boolean));
    for (const button of this.tabs) {
      const chosen = button.textContent === tab;
      button.setAttribute("aria-selected", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `drawer-${tab}`);
    const database = state.facts.database ?? "FILE.duckdb";
    const pieces = tab === "Shell" ? highlight(text) : python(text, database);
    this.code.replaceChildren(...pieces.map(([kind, piece]) => (kind ? html("span", { class: kind }, piece) : piece)));
    this.table.hidden = !rows?.rows.length;
    if (rows?.rows.length) this.table.replaceChildren(tableOf(rows));
    const [before, code, after] = promise(isLive, state.words(), database);
    this.words.replaceChildren(before, html("code", {}, code), after);
  }
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

/** The live queries of a section, then those that stand in the page. */
function queriesOf(state, section) {
  const live = (state.queries[section]?.() ?? []).map((query) => ({ ...query, isLive: true }));
  const still = [...document.querySelectorAll(`.sql[data-section="${CSS.escape(section)}"]`)].map((block) => ({
    name: block.dataset.name ?? block.id.replace(/^sql-/, "").replaceAll(/[-_]/g, " "),
    text: block.querySelector("code").textContent,
    isLive: false,
  }));
  return [...live, ...still];
}

export function start(state) {
  state.queries ??= {};
  let drawer;
  state.openSql = (section, opener = document.activeElement, at = 0) => {
    drawer ??= new Drawer(state);
    drawer.open(section, opener, at);
  };
  for (const button of document.querySelectorAll("button.open-sql")) {
    const { section } = button.dataset;
    button.hidden = !queriesOf(state, section).length;
    button.setAttribute("aria-haspopup", "dialog");
    button.addEventListener("click", () => state.openSql(section, button));
  }
}
