// The switches of run and baseline, the head that belongs to them, and the section that the reader sees.
import { all, boundsOf, byId, html } from "./dom.js";

/** Shows the head of run and baseline; without one for the pair, that of the run alone. */
function showVerdict({ run, chosen }) {
  const heads = all(".verdict .of");
  const find = (j) => heads.find(({ dataset }) => Number(dataset.run) === run && Number(dataset.baseline) === j);
  const shown = find(chosen) ?? find(-1);
  for (const head of heads) head.hidden = head !== shown;
}

function startSwitches(state) {
  const [run, baseline] = [byId("run"), byId("baseline")];
  if (!run) return;
  run.value = state.run;
  baseline.value = state.chosen;
  const change = (event) => {
    const [k, j] = [Number(run.value), Number(baseline.value)];
    // A run is not its own baseline: the two change places.
    if (k === j) state.setRun(k, event.target === run ? state.run : -1);
    else state.setRun(k, j);
  };
  run.addEventListener("change", change);
  baseline.addEventListener("change", change);
  state.on((why) => {
    if (why !== "run") return;
    run.value = state.run;
    baseline.value = state.chosen;
    showVerdict(state);
    document.documentElement.classList.toggle("other-run", state.run !== 0 || state.chosen !== state.facts.baseline);
  });
}

function startContents() {
  const links = all(".contents a");
  const targets = links.map((link) => byId(link.hash.slice(1)).closest("section"));
  const mark = () => {
    const line = innerHeight / 3;
    let at = 0;
    targets.forEach((target, index) => {
      if (boundsOf(target).top <= line) at = index;
    });
    links.forEach((link, index) => (index === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      mark();
    });
  }, { passive: true });
  mark();
}

/** The tables below a section are those of its first run and of all images. */
function startTables({ facts }) {
  for (const button of all(".open-tables")) {
    const section = button.closest("section");
    const still = section.querySelector(".still");
    if (!still) {
      button.hidden = true;
      continue;
    }
    const baseline = facts.runs[facts.baseline];
    still.prepend(html("p", { class: "small muted" }, `Of all images of ${facts.runs[0].name}${baseline ? `, with ${baseline.name} as its baseline` : ""}.`));
    button.addEventListener("click", () => button.setAttribute("aria-expanded", String(section.classList.toggle("tables"))));
  }
}

/** A link into something that is folded unfolds it. */
function startLinks() {
  for (const link of all(".needs")) link.addEventListener("click", () => (byId(link.hash.slice(1)).closest("details").open = true));
}

export function start(state) {
  startLinks();
  // These findings are of all images of the first run, whatever is chosen.
  for (const id of ["map", "checks"]) {
    const ofRun = html("span", { class: "opened-note" }, " Of ", html("bdi", {}, state.facts.run), ".");
    byId(`${id}-finding`)?.append(ofRun, html("span", { class: "whole-note" }, " Of all images."));
  }
  startSwitches(state);
  startTables(state);
  startContents();
  state.on(() => document.documentElement.classList.toggle("filtered", state.isActive));
}
