// Runs the page's own modules over the data blocks of a page, without a browser: filters in, figures and SQL out.
// node filters.mjs SOURCES BLOCKS.json: BLOCKS has the blocks by id, and `steps`: lists of [kind, value] with run and baseline.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [sources, file] = process.argv.slice(2);
const { blocks, steps } = JSON.parse(readFileSync(file, "utf8"));
globalThis.document = { getElementById: (id) => (id in blocks ? { textContent: blocks[id] } : null) };
globalThis.requestAnimationFrame = () => {};
const load = (name) => import(pathToFileURL(join(sources, `${name}.js`)).href);
const { readFacts, readRows } = await load("data");
const { State } = await load("state");
const { searcher } = await load("search");

const facts = readFacts();
const rows = await readRows(facts);
const state = new State(rows, facts, searcher(rows, facts));
const answers = steps.map(({ run, baseline, filters }) => {
  state.clear();
  state.setRun(run, baseline);
  for (const [kind, value] of filters) state.set(kind, value);
  const { figures } = state;
  const ids = [];
  for (let i = 0; i < rows.n; i++) if (state.mask[i]) ids.push(rows.id[i]);
  return {
    ids: ids.sort((a, b) => a - b),
    words: state.words(),
    sql: state.sql(),
    queries: Object.fromEntries(["accuracy", "per_class", "confusion_matrix", "calibration_error", "calibration_curve"].map((name) => [name, state.scoped(state.query(name))])),
    figures: { ...figures, ece: Number.isNaN(figures.ece) ? "NaN" : figures.ece },
  };
});
process.stdout.write(JSON.stringify(answers));
