// The page is complete without this script, which adds the theme button, the copy buttons, and the interactive map.
import { NONE } from "./aggregation.js";
import { openThumbnails, readFacts, readRows } from "./data.js";
import { byId, delayed, html, pressable, svg } from "./dom.js";
import { makeGroups, MODES } from "./groups.js";
import { count } from "./intervals.js";
import { PointMap } from "./map.js";
import { findNames, readNames } from "./names.js";
import { Panel } from "./panel.js";
import { Selection } from "./selection.js";
import { startThreshold } from "./threshold.js";
import { restoreTheme, startCopying, startTheme } from "./theme.js";

/** A function from the code of a class to its name; NONE and codes outside the classes have special names. */
function namer(facts) {
  return (code, column) => {
    if (code === NONE) return { label: "no label", cluster: "no cluster" }[column] ?? "no prediction";
    if (column === "cluster") return `cluster ${code}`;
    return code < 0 ? "(outside)" : facts.classes[code];
  };
}

function fileNames(rows) {
  const cache = new Map();
  return (row) => {
    if (!cache.has(row)) cache.set(row, rows.names.at(rows.origin[row]));
    return cache.get(row);
  };
}

/** A function from a text to the mask of rows whose file name or class names contain it; names are lower-cased once. */
function searcher(rows, facts) {
  let names;
  const lower = facts.classes.map((name) => name.toLowerCase());
  return (text) => {
    const wanted = text.toLowerCase();
    const { values, offsets } = rows.names.data[0];
    names ??= readNames(values, offsets, rows.n);
    const files = findNames(names, wanted);
    const classes = Uint8Array.from(lower, (name) => (name.includes(wanted) ? 1 : 0));
    const mask = new Uint8Array(rows.n);
    for (let i = 0; i < rows.n; i++) mask[i] = files[rows.origin[i]] | classes[rows.label[i]] | classes[rows.pred[i]];
    return mask;
  };
}

function legend(groups, selection, changed) {
  const pressed = selection.legend?.pressed ?? new Set();
  const chips = groups.groups.map((group, at) => {
    if (!group.n) return null;
    const toggle = () => {
      pressed.has(at) ? pressed.delete(at) : pressed.add(at);
      selection.legend = pressed.size ? { ...groups, pressed } : null;
      changed();
      byId("legend").children[index].firstChild.focus(); // the legend was replaced, and the focus lost
    };
    const dot = svg("svg", { class: `dot ${group.mark}`, viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("circle", { cx: 5, cy: 5, r: 5 }));
    const size = html("span", { class: "n" }, count(group.n));
    const button = html("button", { type: "button", "aria-pressed": String(pressed.has(at)), on: { click: toggle } });
    button.append(dot, html("bdi", {}, group.name), " ", size);
    const index = groups.groups.slice(0, at).filter((earlier) => earlier.n).length;
    return html("li", {}, button);
  });
  byId("legend").replaceChildren(...chips.filter(Boolean));
}

/** Makes the bars and cells of the still charts select their class or pair on the map. */
function linkCharts(choose) {
  for (const figure of document.querySelectorAll("[data-choices]")) {
    const marks = figure.querySelectorAll(".mark-rect.role-mark path");
    JSON.parse(figure.dataset.choices).forEach((cell, at) => pressable(marks[at], () => choose(cell)));
    figure.querySelector("[role=img]").setAttribute("role", "group");
  }
}

async function explore() {
  const facts = readFacts();
  const rows = await readRows();
  rows.file = fileNames(rows);
  const name = namer(facts);
  const selection = new Selection(rows, facts.run);
  rows.mask = selection.mask;
  const thumbnails = openThumbnails();
  const search = searcher(rows, facts);
  let groups;

  const choose = (cell) => {
    selection.cell = cell;
    update();
  };
  const panel = new Panel(rows, facts, selection, thumbnails, name, choose);
  byId("explore").hidden = false;
  byId("map-section").classList.add("live");
  const map = new PointMap(byId("box"), rows, facts.extent, thumbnails, {
    hover: (row, x, y) => panel.card(row, x, y),
    lasso: (mask, start) => {
      selection.lasso = mask;
      update(start);
    },
  });

  function update(start = performance.now()) {
    selection.update();
    map.leave();
    map.draw();
    panel.update();
    legend(groups, selection, () => update());
    const painted = () => performance.measure("sqlanalysis:selection", { start, end: performance.now() });
    requestAnimationFrame(() => setTimeout(painted)); // a timeout in a frame runs after it was painted
  }
  const color = (mode) => {
    groups = makeGroups(rows, mode, name);
    map.color(groups.groups, groups.group);
    const had = selection.legend;
    selection.legend = null;
    if (had) update();
    else legend(groups, selection, () => update());
  };
  const clear = () => {
    selection.clear();
    map.corners = null;
    byId("search").value = "";
    update();
  };

  const known = { label: facts.labeled, pred: facts.predicted, confidence: facts.predicted, cluster: facts.clustered };
  known.correct = facts.labeled && facts.predicted;
  known.differ = Boolean(rows.differ);
  const modes = Object.entries(MODES).filter(([mode]) => known[mode]);
  const usable = modes.length ? modes : [["label", MODES.label]];
  byId("color").replaceChildren(...usable.map(([value, words]) => html("option", { value }, words)));
  byId("color").addEventListener("change", (event) => color(event.target.value));
  byId("lasso").addEventListener("click", (event) => {
    map.lassoOn = !map.lassoOn;
    event.target.setAttribute("aria-pressed", String(map.lassoOn));
    byId("box").classList.toggle("lasso", map.lassoOn);
  });
  byId("search").addEventListener(
    "input",
    delayed(() => {
      const text = byId("search").value.trim();
      selection.search = text ? { text, mask: search(text) } : null;
      update();
    }, 180),
  );
  byId("clear").addEventListener("click", clear);
  byId("closer").addEventListener("click", () => map.scale(1.5));
  byId("farther").addEventListener("click", () => map.scale(1 / 1.5));
  byId("reset").addEventListener("click", () => map.reset());
  byId("explore").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selection.isActive) clear();
  });
  linkCharts((cell) => {
    choose(cell);
    byId("map-section").scrollIntoView();
  });
  startThreshold(rows, facts.run);
  color(usable[0][0]);
  map.draw();
  panel.update();
  return map;
}

restoreTheme();
document.addEventListener("DOMContentLoaded", async () => {
  let map;
  startTheme(() => map?.recolor());
  startCopying();
  if (!byId("explore")) return;
  if (typeof DecompressionStream === "undefined") {
    byId("old-browser").hidden = false;
    return;
  }
  map = await explore();
  performance.mark("sqlanalysis:ready");
});
