// The page is complete without this script, which makes it answer: filters, pictures, map, charts of a selection.
import { openDetails, openPictures, readFacts, readRows } from "./data.js";
import { byId, shortened } from "./dom.js";
import { alike } from "./names.js";
import { searcher } from "./search.js";
import { State } from "./state.js";
import { restoreTheme, startCopying, startTheme } from "./theme.js";
import * as header from "./header.js";
import * as filterbar from "./filterbar.js";
import * as gallery from "./gallery.js";
import * as review from "./review.js";
import * as dialog from "./dialog.js";
import * as map from "./mapview.js";
import * as classes from "./classes.js";
import * as confusion from "./confusion.js";
import * as calibration from "./calibration.js";
import * as comparison from "./comparison.js";
import * as slices from "./slices.js";
import * as checks from "./checks.js";
import * as drawer from "./drawer.js";

// Each starts its part of the page, if the page has it, and listens to the state.
const PARTS = [header, filterbar, gallery, review, dialog, map, classes, confusion, calibration, comparison, slices, checks, drawer];

const ROOM = 20; // characters of a class name that every list of the page shows

async function start() {
  const facts = readFacts();
  const rows = await readRows(facts);
  for (const [name, short] of alike(facts.classes, ROOM)) shortened.set(name, short);
  const state = new State(rows, facts, searcher(rows, facts));
  state.thumbnails = openPictures("thumbnails");
  state.large = openPictures("large");
  state.details = openDetails(rows, facts);
  document.documentElement.classList.add("live");
  for (const part of PARTS) part.start(state);
  return state;
}

restoreTheme();
document.addEventListener("DOMContentLoaded", async () => {
  const recolored = [];
  startTheme(() => recolored.forEach((act) => act()));
  startCopying();
  if (!byId("facts")) return;
  if (typeof DecompressionStream === "undefined") {
    byId("old-browser").hidden = false;
    return;
  }
  const state = await start();
  recolored.push(() => state.recolor?.());
  performance.mark("sqlanalysis:ready");
});
