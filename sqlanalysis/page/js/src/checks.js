// Data checks: the images of a finding are selected, and the suspected labels reviewed, where they are found.
import { all, byId, html } from "./dom.js";
import { count } from "./intervals.js";

/** The rows of ids, which are given in order, as differences; ids that are not on the page have none. */
export function rowsOf({ n, id, place }, steps) {
  const found = [];
  let wanted = 0;
  for (const step of steps) {
    wanted += step;
    let [from, to] = [0, n];
    while (from < to) {
      const half = (from + to) >> 1;
      if (id[place[half]] < wanted) from = half + 1;
      else to = half;
    }
    if (id[place[from]] === wanted) found.push(place[from]);
  }
  return found;
}

/** How many images of a finding the run has on this page, and the filter that selects them; none: labels to review. */
function finder(state, { words, steps, codes }) {
  const { rows, facts } = state;
  if (codes) return [() => state.whole.classes.reduce((sum, { label, n }) => sum + (codes.includes(label) ? n : 0), 0), () => ["class", codes]];
  if (!steps) return [() => facts.suspects.length];
  const found = rowsOf(rows, steps);
  const mask = () => found.reduce((made, i) => made.fill(1, i, i + 1), new Uint8Array(rows.n));
  return [() => found.filter((i) => !state.base || state.base[i]).length, () => ["found", { words, mask: mask() }]];
}

function startButton(state, opener) {
  const finding = state.facts.sections.checks[opener.dataset.finding];
  const [onPage, filter] = finder(state, finding);
  const note = html("span", { class: "n" });
  opener.closest("tr").querySelector(".text").append(note);
  opener.addEventListener("click", () => {
    const tab = filter ? "all" : "suspects";
    // The finding is of all images: what else is selected gives way to it, or to a review of which nothing would be left.
    if (filter) state.only(...filter());
    else if (!state.facts.suspects.some(({ row }) => state.mask[state.rows.place[row]])) state.clear();
    state.showTab(tab);
    byId("images").scrollIntoView();
    byId(`tab-${tab}`).focus({ preventScroll: true });
  });
  const update = () => {
    const n = onPage();
    opener.hidden = !n;
    note.textContent = n < finding.n ? ` · ${count(n)} of ${count(finding.n)} images are on this page` : "";
  };
  state.on((why) => why === "run" && update());
  update();
}

export function start(state) {
  for (const opener of all(".checklist button")) startButton(state, opener);
}
