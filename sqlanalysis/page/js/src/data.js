// The data of the page: facts (JSON) and Arrow tables in base64: rows and details (gzip), small and large thumbnails.
import { tableFromIPC } from "@uwdata/flechette";
import { shuffle } from "./names.js";

const text = (id) => document.getElementById(id)?.textContent ?? "";

export const readFacts = () => JSON.parse(text("facts"));

function fromBase64(encoded) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(encoded);
  return Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const readTable = async (id) => (text(id) ? tableFromIPC(await gunzip(fromBase64(text(id)))) : null);

/** Columns as typed arrays in shuffled order; `origin` is the row of the page's table, `place` its inverse. */
export async function readRows(facts) {
  const table = await readTable("rows");
  const n = table.numRows;
  const origin = shuffle(n);
  const place = new Uint32Array(n);
  for (let i = 0; i < n; i++) place[origin[i]] = i;
  const take = (name) => {
    const values = table.getChild(name)?.toArray();
    if (!values) return null;
    const taken = new values.constructor(n);
    for (let i = 0; i < n; i++) taken[i] = values[origin[i]];
    return taken;
  };
  const ids = new Float64Array(n);
  const steps = table.getChild("id_step").toArray();
  // Ids are stored as differences, which compress better.
  for (let row = 0, id = 0; row < n; row++) ids[place[row]] = id += Number(steps[row]);
  const names = table.getChild("name");
  const suffix = (k) => (k ? `_${k}` : "");
  return {
    n,
    origin,
    place,
    id: ids,
    x: take("x"),
    y: take("y"),
    label: take("label"),
    split: take("split"),
    cluster: take("cluster"),
    pLabel: take("p_label"),
    runs: facts.runs.map((_, k) => ({ pred: take(`pred${suffix(k)}`), confidence: take(`confidence${suffix(k)}`) })),
    slices: facts.slices.map((_, at) => take(`slice_${at}`)),
    names,
    file: (i) => names.at(origin[i]),
  };
}

/** What the dialog shows beyond the rows, opened on first use: `details(i)` is an object or null. */
export function openDetails(rows, facts) {
  let table;
  let index;
  const open = async () => {
    table = await readTable("details");
    index = new Map();
    if (table) Array.from(table.getChild("row").toArray()).forEach((row, at) => index.set(row, at));
  };
  const list = (name, at) => {
    const value = table.getChild(name)?.at(at);
    return value ? Array.from(value) : null;
  };
  return async (i) => {
    if (!index) await open();
    const at = index.get(rows.origin[i]);
    if (at === undefined) return null;
    const meta = table.getChild("meta")?.at(at);
    return {
      top: facts.runs.map((_, k) => {
        const classes = list(`classes_${k}`, at);
        return classes && { classes, probs: list(`probs_${k}`, at) };
      }),
      neighbors: list("neighbors", at)?.map((row) => rows.place[row]) ?? null,
      agree: Number(table.getChild("agree")?.at(at) ?? -1),
      nNear: Number(table.getChild("n_near")?.at(at) ?? 0),
      width: table.getChild("width_px")?.at(at) ?? null,
      height: table.getChild("height_px")?.at(at) ?? null,
      meta: meta ? JSON.parse(meta) : {},
    };
  };
}

/** Pictures of a block by row of the page's table, as object URLs that are created on first use and kept. */
export function openPictures(id) {
  const encoded = text(id);
  let pictures;
  const indices = new Map();
  const urls = new Map();
  const open = () => {
    const table = tableFromIPC(fromBase64(encoded));
    table.getChild("row").toArray().forEach((row, index) => indices.set(row, index));
    pictures = table.getChild("image");
  };
  return {
    has(row) {
      if (!pictures && encoded) open();
      return indices.has(row);
    },
    url(row) {
      if (!this.has(row)) return null;
      if (!urls.has(row)) {
        const bytes = pictures.at(indices.get(row));
        urls.set(row, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
      }
      return urls.get(row);
    },
  };
}
