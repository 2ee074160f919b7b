// The section of the map: colors and their legend, the list of classes, the panel of a lasso, the card of a point.
import { NONE } from "./aggregation.js";
import { boundsOf, button, byId, html, svg } from "./dom.js";
import { copier, saveCsv } from "./filterbar.js";
import { classColumn, frequent, listed, makeGroups, modesOf, MOST_PICKED, rightOf, startMode } from "./groups.js";
import { count, interval, percent } from "./intervals.js";
import { lazily } from "./lazy.js";
import { PointMap } from "./map.js";
import { pickList, searchField } from "./picklist.js";
import { describe, guess, picture, probabilityOfLabel, short } from "./tile.js";

const MOST_RINGED = 60; // points of picked classes
const MOST_SHOWN = 8; // mistakes in the panel of a lasso
const MOST_NAMES = 4; // classes in it
const OVERVIEW_FROM = 1.3; // zoom
const SMALL = 30; // labeled images; below, a selection is rough

const bar = (shares, label) => {
  let x = 0;
  const parts = shares.map(([share, css]) => {
    const part = svg("rect", { x: x * 100, y: 0, width: Math.max(0, share * 100), height: 6, class: css });
    x += share;
    return part;
  });
  return svg("svg", { class: "map-bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": label ? null : "true", role: label ? "img" : null, "aria-label": label }, ...parts);
};
const dot = (color) => svg("svg", { class: `dot ${color.slice(2)}`, viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("circle", { cx: 5, cy: 5, r: 4 }));

class View {
  constructor(state) {
    const { rows, facts } = state;
    Object.assign(this, { state, rows, mode: startMode(state), picked: Array(MOST_PICKED).fill(null) });
    this.column = classColumn(state);
    this.name = (code) => state.name(code, this.column);
    this.pictures = {
      has: (row) => state.large.has(row) || state.thumbnails.has(row),
      url: (row) => state.large.url(row) ?? state.thumbnails.url(row),
    };
    byId("map-live").hidden = false;
    this.map = new PointMap(byId("box"), rows, facts.extent, facts.map, this.pictures, {
      hover: (row, x, y) => this.card(row, x, y),
      lasso: (value) => this.enclose(value),
      open: (list) => state.open?.(list, 0, "Map"),
      moved: (zoom) => this.overview(zoom),
      isWrong: (row) => state.isRight(row) === false,
      lassoKey: () => this.setLasso(!this.map.lassoOn),
    });
    const click = (id, act) => byId(id).addEventListener("click", act);
    click("lasso", () => this.setLasso(!this.map.lassoOn));
    click("closer", () => this.map.scale(1.5));
    click("farther", () => this.map.scale(1 / 1.5));
    click("reset", () => this.map.reset());
    byId("map-section").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (this.map.lassoOn) this.setLasso(false);
      else if (state.get("lasso")) state.set("lasso", null);
    });
    this.isOther = true;
    state.on((why) => (this.isOther ||= why === "run"));
    this.fresh = lazily(state, byId("box"), () => this.update());
  }

  update() {
    const { state, map } = this;
    if (this.isOther) {
      this.isOther = false;
      this.codes = this.column ? frequent(this.rows[this.column]) : [];
      if (!modesOf(state).some(([mode]) => mode === this.mode)) this.mode = startMode(state);
      this.color();
    }
    map.corners = state.get("lasso")?.corners ?? null;
    this.rings();
    map.leave();
    map.request();
    this.side();
  }

  setLasso(on) {
    this.map.lassoOn = on;
    byId("lasso").setAttribute("aria-pressed", on);
    byId("box").classList.toggle("lasso", on);
  }

  enclose(value) {
    this.setLasso(false);
    this.state.set("lasso", value);
    if (!value) this.update();
  }

  color() {
    const { groups, group } = makeGroups(this.state, this.mode, this.picked);
    this.map.color(groups, group);
    const modes = modesOf(this.state).map(([mode, name]) =>
      button(name, () => this.setMode(mode), { "aria-pressed": String(mode === this.mode), "data-mode": mode }),
    );
    const focused = document.activeElement?.dataset?.mode;
    byId("map-modes").replaceChildren(...modes);
    if (focused) modes.find((mode) => mode.dataset.mode === focused)?.focus();
    const byClass = this.mode === "class";
    const shown = byClass ? [] : groups.filter(({ n, name, color }) => n && (color !== "--gray" || !name.startsWith("no label")));
    const entries = shown.map(({ name, color, n }) => html("li", {}, dot(color), html("bdi", {}, name), html("span", { class: "n" }, ` ${count(n)}`)));
    // The list beside the map is the legend of the classes.
    if (byClass) {
      const some = this.picked.some((code) => code !== null) ? "picked classes" : groups.length > 1 ? `${groups.length > MOST_PICKED ? "the six most frequent" : "all"} classes` : "none; pick classes";
      entries.push(html("li", {}, `colored: ${some}`));
    }
    this.colors = new Map(byClass ? groups.filter(({ code }) => code !== undefined && code !== null).map(({ code, color }) => [code, color]) : []);
    byId("map-legend").replaceChildren(...entries);
  }

  setMode(mode) {
    this.mode = mode;
    this.color();
    this.rings();
    this.map.request();
    if (!byId("map-classes").hidden) this.list();
  }

  /** Rings around what a search found, and around the points of picked classes where they are few. */
  rings() {
    const { state, rows, picked, map } = this;
    const found = (test) => {
      const list = [];
      for (let i = 0; i < rows.n && list.length <= 200; i++) if (state.mask[i] && test(i)) list.push(i);
      return list;
    };
    map.rings = [];
    if (state.get("search")) map.rings.push({ rows: found(() => true), color: "--accent" });
    if (this.mode !== "class") return;
    const ringed = picked.map((code, at) => code !== null && { rows: found((i) => rows[this.column][i] === code), color: `--c${at + 1}`, name: this.name(code) }).filter(Boolean);
    if (ringed.reduce((sum, ring) => sum + ring.rows.length, 0) > MOST_RINGED) return;
    for (const ring of ringed) map.rings.push({ ...ring, name: ring.rows.length < 3 ? ring.name : null });
  }

  pick(code) {
    const at = this.picked.indexOf(code);
    const free = this.picked.indexOf(null);
    if (at < 0 && free < 0) return;
    this.picked[at < 0 ? free : at] = at < 0 ? code : null;
    if (this.column && modesOf(this.state).some(([mode]) => mode === "class")) this.mode = this.picked.some((one) => one !== null) ? "class" : startMode(this.state);
    this.setMode(this.mode);
  }

  side() {
    const lasso = this.state.get("lasso");
    byId("map-classes").hidden = Boolean(lasso) || !this.column;
    byId("map-panel").hidden = !lasso;
    if (lasso) this.panel();
    else if (this.column) this.list();
  }

  /** A function from a class to its figures among the selected images: n, and how many are right and wrong. */
  counts() {
    const { state, rows, column } = this;
    const [n, right, wrong] = [0, 1, 2].map(() => new Uint32Array(state.facts.classes.length + 2)); // from NONE = -2 on
    const [codes, rights] = [rows[column], state.rightsOf(state.run)];
    for (let i = 0; i < rows.n; i++) {
      if (!state.mask[i]) continue;
      const at = codes[i] - NONE;
      n[at]++;
      if (rights[i] === 1) right[at]++;
      else if (rights[i] === 0) wrong[at]++;
    }
    return (code) => ({ n: n[code - NONE], right: right[code - NONE], wrong: wrong[code - NONE] });
  }

  list() {
    this.tallied = this.counts();
    if (!this.showList) this.buildList();
    this.showList();
  }

  listed(text) {
    return listed(this.codes, this.picked, text, this.name);
  }

  row(code) {
    const at = this.picked.indexOf(code);
    const { n, right, wrong } = this.tallied(code);
    const known = right + wrong;
    const said = this.judged ? `, ${count(right)} right, ${count(wrong)} wrong` : "";
    const shares = known ? [[right / known, "right"], [wrong / known, "wrong"]] : [];
    const parts = [dot(this.colors.get(code) ?? "--free"), html("bdi", {}, this.name(code)), this.judged ? bar(shares) : null, html("span", { class: "n" }, count(n))];
    return button(parts, () => this.pick(code), {
      "data-code": code,
      class: `map-row${this.judged ? " judged" : ""}`,
      "aria-pressed": String(at >= 0),
      "aria-label": `${this.name(code)}: ${count(n)} images${said}`,
      disabled: !this.picked.includes(null) && at < 0,
    });
  }

  buildList() {
    const { facts } = this.state;
    this.judged = facts.labeled && facts.predicted;
    // Enter picks what is found, if it is not more than the free colors.
    const enter = ({ key }) => {
      if (key !== "Enter") return;
      const codes = this.listed(field.value).filter((code) => !this.picked.includes(code));
      const free = this.picked.filter((code) => code === null).length;
      if (field.value.trim() && codes.length <= free) codes.forEach((code) => this.pick(code));
    };
    const field = searchField("Find a class", "Find a class", { on: { keydown: enter } });
    const list = html("div", { class: "map-rows", role: "group", "aria-label": "Classes, pick up to six" });
    const found = html("span", { id: "map-found", "aria-live": "polite" });
    const note = html("p", { class: "aside", id: "map-note" });
    byId("map-classes").replaceChildren(
      html("div", { class: "map-find" }, field, found),
      html("div", { class: `map-row heads${this.judged ? " judged" : ""}`, "aria-hidden": "true" }, html("span"), html("span", {}, "pick up to six"), this.judged ? html("span", {}, "right / wrong") : null, html("span", { class: "n" }, "images")),
      list,
      note,
    );
    const tell = (words) => {
      const wanted = field.value.trim().toLowerCase();
      const n = this.codes.filter((code) => this.name(code).toLowerCase().includes(wanted)).length;
      found.textContent = wanted ? `${count(n)} of ${count(this.codes.length)}` : "";
      const isFull = !this.picked.includes(null);
      const hint = this.judged && facts.classes.length > 12 && this.picked.every((code) => code === null) && "More than 12 classes: color says right or wrong until you pick classes.";
      note.textContent = [
        words,
        isFull ? "Six are picked; press one again to free its color." : hint,
        this.column === "pred" && "Classes are predictions: no image has a label.",
      ].filter(Boolean).join(" ");
    };
    this.showList = pickList({ field, list, find: (text) => this.listed(text), make: (code) => this.row(code), tell, none: "", wait: 100 });
  }

  panel() {
    const { state, rows } = this;
    const { figures } = state;
    const some = figures.n > 0 && !state.onlyWrong && !state.onlyRight;
    const tag = figures.n < SMALL ? "descriptive, rough" : "descriptive";
    const others = state.words().filter((words) => words !== "lasso");
    const parts = [html("p", { class: "panel-head" }, `Lasso${others.length ? ` · ${others.join(" · ")}` : ""} `, html("span", { class: `tag${figures.n < SMALL ? " caution" : ""}` }, tag))];
    if (some) {
      const before = state.baseline >= 0 ? rightOf(state, state.baseline) : null;
      const baseline = before ? ` · baseline ${percent(before.right / before.n)}` : "";
      parts.push(
        html("p", { class: "big" }, percent(figures.accuracy)),
        html("p", { class: "aside" }, `${count(figures.correct)} of ${count(figures.n)} right · ${interval(figures.ends)}${baseline}`),
        this.axis(figures, before && before.right / before.n),
      );
    } else parts.push(html("p", { class: "big" }, count(figures.selected)), html("p", { class: "aside" }, figures.selected === 1 ? "image" : "images"));
    if (this.column) parts.push(...this.mostOf());
    const nWrong = state.wrong.length;
    const wrong = Array.from(state.wrong.subarray(0, 1000));
    wrong.sort((a, b) => this.pictures.has(rows.origin[b]) - this.pictures.has(rows.origin[a]) || rows.confidence[b] - rows.confidence[a]);
    if (wrong.length) {
      const tiles = wrong.slice(0, MOST_SHOWN).map((i, at) => this.tile(i, () => state.open?.(wrong, at, "Mistakes in the lasso")));
      parts.push(html("h3", {}, `Mistakes in it${nWrong > tiles.length ? `, ${tiles.length} of ${count(nWrong)}` : ""}`), html("div", { class: "map-tiles" }, ...tiles));
    }
    const { copying, statement } = copier(state);
    copying.id = "copy-sql";
    const actions = [button("Show images", () => byId("images")?.scrollIntoView()), copying, button("Save CSV", () => saveCsv(state), { id: "save-csv" }), button("Clear", () => state.set("lasso", null))];
    parts.push(html("div", { class: "actions" }, ...actions), statement);
    parts.push(html("p", { class: "aside" }, "Beyond 1.8× zoom, pictures take the place of points where they fit; the rest stay points. An orange edge is a wrong answer."));
    byId("map-panel").replaceChildren(...parts);
  }

  axis({ accuracy, ends }, before) {
    const at = (share) => 4 + share * 192;
    return svg(
      "svg", { class: "map-axis", viewBox: "0 0 200 12", "aria-hidden": "true" },
      svg("line", { class: "rail", x1: 4, x2: 196, y1: 6, y2: 6 }),
      svg("line", { class: "ends", x1: at(ends[0]), x2: at(ends[1]), y1: 6, y2: 6 }),
      before === null ? null : svg("circle", { class: "before", cx: at(before), cy: 6, r: 2.6 }),
      svg("circle", { class: "now", cx: at(accuracy), cy: 6, r: 3 }),
    );
  }

  mostOf() {
    const counts = this.counts();
    const codes = this.codes.filter((code) => counts(code).n).sort((a, b) => counts(b).n - counts(a).n || a - b);
    const total = this.state.figures.selected;
    const lines = codes.slice(0, MOST_NAMES).map((code) => {
      const { n } = counts(code);
      return html("li", {}, html("bdi", {}, this.name(code)), bar([[n / total, "accent"]]), html("span", { class: "n" }, count(n)));
    });
    return lines.length ? [html("h3", {}, "Most of it"), html("ul", { class: "map-most" }, ...lines)] : [];
  }

  names(i) {
    const { state, rows } = this;
    const label = rows.label[i] === NONE ? null : html("bdi", {}, state.name(rows.label[i], "label"));
    if (rows.pred[i] === NONE) return [label];
    return label && !state.isRight(i) ? [label, " → ", guess(state, i)] : [guess(state, i)];
  }

  tile(i, act) {
    const said = describe(this.state, i);
    return button(picture(this.state, i, ""), act, { title: said, "aria-label": `Open ${said}` });
  }

  /** The card beside a point; row -1 hides it. */
  card(i, x, y) {
    const card = byId("map-card");
    card.hidden = i < 0;
    if (i < 0) return;
    const { rows, state } = this;
    const wrong = state.isRight(i) === false;
    const line = (value, css, said) => {
      if (!(value >= 0)) return null;
      return html("p", { class: "map-share" }, bar([[value, css], [1 - value, "track"]], `${said} ${short(value)}`), short(value));
    };
    const parts = [
      html("p", { class: "map-names" }, ...this.names(i).filter(Boolean)),
      line(rows.confidence[i], wrong ? "wrong" : "right", "prediction"),
      wrong ? line(probabilityOfLabel(state, i) ?? -1, "second", "label") : null,
      html("p", { class: "aside" }, html("bdi", {}, rows.file(i) || `id ${rows.id[i]}`)),
    ];
    const shown = this.pictures.has(rows.origin[i]) ? picture(state, i, "") : "";
    card.replaceChildren(shown, html("div", {}, ...parts.filter(Boolean)));
    const stage = boundsOf(card.parentElement);
    const { width, height } = boundsOf(card);
    const right = x + 16 + width < stage.width;
    card.style.left = `${Math.max(4, right ? x + 16 : Math.min(x - 16, stage.width) - width)}px`;
    card.style.top = `${Math.max(4, Math.min(stage.height - height - 4, y - 10))}px`;
  }

  overview(zoom) {
    const canvas = byId("overview");
    canvas.hidden = zoom < OVERVIEW_FROM;
    if (!canvas.hidden) this.map.drawSmall(canvas);
  }
}

export function start(state) {
  const { rows, facts } = state;
  const isPlaced = (i) => Boolean(view) && rows.x[i] !== 65535;
  const view = facts.map && facts.extent && byId("box") ? new View(state) : null;
  /** Draws the place of an image into a canvas; false where the image has none. */
  state.drawPlace = (canvas, i) => {
    if (!isPlaced(i)) return false;
    view.fresh();
    view.map.drawSmall(canvas, i);
    return true;
  };
  /** Scrolls to the map and zooms to an image; false where it has no place. */
  state.showOnMap = (i) => {
    if (!isPlaced(i)) return false;
    byId("box").scrollIntoView({ block: "center" });
    byId("box").focus({ preventScroll: true });
    view.map.show(i);
    return true;
  };
  const recolor = state.recolor;
  state.recolor = () => {
    recolor?.();
    view?.fresh();
    view?.map.recolor();
  };
}
