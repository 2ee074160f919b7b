// The data of the page: an Arrow table of rows (base64 of gzip), one of thumbnails (base64), and facts (JSON).
import { tableFromIPC } from "@uwdata/flechette";

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

/** A random order that is the same every time: any first part of the rows is then a uniform sample. */
export function shuffle(n) {
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Columns as typed arrays in shuffled order; `origin` is the row's number in the file. */
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
    confidence: take(column("confidence")),
    differ: differ ? take(differ) : null,
    names: table.getChild("name"),
  };
}

/** Arrow's text column as one string, with the place where each row begins; `lower` has the same places. */
export function readNames(column) {
  const { values, offsets } = column.data[0];
  const n = column.length;
  const bytes = values.subarray(offsets[0], offsets[n]);
  const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  let starts = offsets;
  if (whole.length !== bytes.length) {
    starts = new Uint32Array(n + 1);
    for (let i = 0, at = 0, place = 0; i <= n; i++) {
      for (; at < offsets[i] - offsets[0]; at++) place += (bytes[at] & 0xc0) === 0x80 ? 0 : bytes[at] >= 0xf0 ? 2 : 1;
      starts[i] = place;
    }
  }
  const lower = whole.toLowerCase();
  const same = lower.length === whole.length;
  return { lower: same ? lower : whole.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()), starts, n };
}

/** Marks the rows of `names` (in the order of the file) that hold the text. */
export function findNames({ lower, starts, n }, wanted) {
  const found = new Uint8Array(n);
  let row = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && wanted; at = lower.indexOf(wanted, at)) {
    while (starts[row + 1] <= at) row++;
    found[row] = at + wanted.length <= starts[row + 1] ? 1 : 0;
    at = found[row] ? starts[row + 1] : at + 1;
  }
  return found;
}

/** Small images by row of the file: object URLs made when asked for, kept while the page is open. */
export function openThumbnails() {
  const encoded = text("thumbnails");
  let pictures;
  const places = new Map();
  const urls = new Map();
  const open = () => {
    const table = tableFromIPC(fromBase64(encoded));
    table.getChild("row").toArray().forEach((row, place) => places.set(row, place));
    pictures = table.getChild("image");
  };
  return {
    has(row) {
      if (!pictures && encoded) open();
      return places.has(row);
    },
    url(row) {
      if (!this.has(row)) return null;
      if (!urls.has(row)) {
        const bytes = pictures.at(places.get(row));
        urls.set(row, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
      }
      return urls.get(row);
    },
  };
}
