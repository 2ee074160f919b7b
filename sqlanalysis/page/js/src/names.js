// The random order of the rows, short forms of names, and the search in file names.

/** A fixed random order: the first rows, however many, are then a uniform sample. */
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

/** A name of at most `most` characters: a longer one is cut at its end. */
export const cut = (name, most) => ([...name].length > most ? `${[...name].slice(0, most - 1).join("")}…` : name);

/** The names that `cut` would make equal, the longest first, each with a form of its own: cut in the middle, else numbered. */
export function alike(names, most) {
  const all = new Set(names);
  const counts = new Map();
  for (const name of all) counts.set(cut(name, most), (counts.get(cut(name, most)) ?? 0) + 1);
  const found = [...all].filter((name) => counts.get(cut(name, most)) > 1 && cut(name, most) !== name);
  const head = most >> 2;
  return new Map(
    found
      .sort((a, b) => b.length - a.length)
      .map((name) => {
        let text;
        for (let n = 1, end = ""; !text || all.has(text); end = ` (${++n})`) {
          text = `${[...name].slice(0, head).join("")}…${[...name].slice(head + 1 + end.length - most).join("")}${end}`;
        }
        all.add(text);
        return [name, text];
      }),
  );
}

/** Arrow's text column (UTF-8 and byte offsets) as one lower-case string, with the index where each row starts. */
export function readNames(values, offsets, n) {
  const bytes = values.subarray(offsets[0], offsets[n]);
  const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  let starts = offsets;
  if (whole.length !== bytes.length) {
    // Not only ASCII: count UTF-16 units, 0 for a continuation byte and 2 for the first of four bytes.
    starts = new Uint32Array(n + 1);
    for (let i = 0, at = 0, index = 0; i <= n; i++) {
      for (; at < offsets[i] - offsets[0]; at++) index += (bytes[at] & 0xc0) === 0x80 ? 0 : bytes[at] >= 0xf0 ? 2 : 1;
      starts[i] = index;
    }
  }
  const lower = whole.toLowerCase();
  // A few letters have a longer lower case, which would shift the indices.
  const same = lower.length === whole.length;
  return { lower: same ? lower : whole.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()), starts, n };
}

/** The mask of rows (in the order of the page's table) whose name contains the text. */
export function findNames({ lower, starts, n }, wanted) {
  const mask = new Uint8Array(n);
  let row = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && wanted; at = lower.indexOf(wanted, at)) {
    while (starts[row + 1] <= at) row++;
    mask[row] = at + wanted.length <= starts[row + 1] ? 1 : 0; // not across two names
    at = mask[row] ? starts[row + 1] : at + 1;
  }
  return mask;
}

const PIECE = 30; // milliseconds of work between two pauses

/** The place of each row of the page's table when sorted by name, byte by byte, equal names by row; it leaves pauses. */
export async function rankNames(values, offsets, n) {
  // Sorted by four bytes at a time: above, these bytes as a number; below, 21 bits of row. Rows with equal bytes go on.
  const STEP = 2 ** 21;
  const packed = Float64Array.from({ length: n }, (_, row) => row);
  const upper = (at) => Math.floor(packed[at] / STEP);
  const waiting = [[0, n, 0]];
  let start = performance.now();
  while (waiting.length) {
    if (performance.now() - start > PIECE) {
      await new Promise((go) => setTimeout(go));
      start = performance.now();
    }
    const [from, to, depth] = waiting.pop();
    for (let at = from; at < to; at++) {
      const row = packed[at] - upper(at) * STEP;
      let digits = 0;
      for (let byte = offsets[row] + depth, k = 0; k < 4; k++, byte++) digits = digits * 256 + (byte < offsets[row + 1] ? values[byte] : 0);
      packed[at] = digits * STEP + row;
    }
    packed.subarray(from, to).sort();
    for (let first = from, at = from + 1; at <= to; at++) {
      if (at < to && upper(at) === upper(first)) continue;
      if (at - first > 1 && upper(first)) waiting.push([first, at, depth + 4]); // 0: all of them end here
      first = at;
    }
  }
  const ranks = new Uint32Array(n);
  for (let at = 0; at < n; at++) ranks[packed[at] - upper(at) * STEP] = at;
  return ranks;
}
