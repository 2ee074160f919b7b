// The order of the rows, and the search in their names.

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

/** Arrow's text column (UTF-8 and offsets) as one lower-case string, with the place where each row begins. */
export function readNames(values, offsets, n) {
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
