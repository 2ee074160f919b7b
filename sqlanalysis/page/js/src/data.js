// The data of the page: an Arrow table of rows (base64 of gzip), one of thumbnails (base64), and facts (JSON).
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

/** Columns as typed arrays in shuffled order; `origin` is the index of each row in the page's table. */
export async function readRows() {
  const table = tableFromIPC(await gunzip(fromBase64(text("rows"))));
  const n = table.numRows;
  const origin = shuffle(n);
  const column = (name) => table.getChild(name)?.toArray();
  const take = (values) => {
    const taken = new values.constructor(n);
    for (let i = 0; i < n; i++) taken[i] = values[origin[i]];
    return taken;
  };
  const ids = new Float64Array(n);
  const steps = column("id_step");
  // Ids are stored as differences, which compress better.
  for (let i = 0, id = 0; i < n; i++) ids[i] = id += Number(steps[i]);
  const differ = column("differ");
  return {
    n,
    origin,
    id: take(ids),
    x: take(column("x")),
    y: take(column("y")),
    label: take(column("label")),
    pred: take(column("pred")),
    cluster: take(column("cluster")),
    confidence: take(column("confidence")),
    differ: differ ? take(differ) : null,
    names: table.getChild("name"),
  };
}

/** Thumbnails by row of the page's table, as object URLs that are created on first use and kept while the page is open. */
export function openThumbnails() {
  const encoded = text("thumbnails");
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
