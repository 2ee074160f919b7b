// Find the nearest point with a grid of 512 × 512 cells over the range of uint16, filled by counting sort.
const BITS = 7;
const SIDE = 512;
export const NOWHERE = 65535; // the coordinate of an image that is not on the map

export function buildGrid(x, y) {
  const starts = new Uint32Array(SIDE * SIDE + 1);
  const cell = (i) => (y[i] >> BITS) * SIDE + (x[i] >> BITS);
  for (let i = 0; i < x.length; i++) if (x[i] !== NOWHERE) starts[cell(i) + 1]++;
  for (let c = 0; c < SIDE * SIDE; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  const rows = new Uint32Array(starts[SIDE * SIDE]);
  for (let i = 0; i < x.length; i++) if (x[i] !== NOWHERE) rows[next[cell(i)]++] = i;
  return { x, y, starts, rows };
}

/** The row nearest to (a, b) within a radius, among those that `pickable(row)` allows; -1 when there is none. */
export function nearest({ x, y, starts, rows }, a, b, radius, pickable) {
  const clamp = (value) => Math.max(0, Math.min(SIDE - 1, value >> BITS));
  let [best, row] = [radius * radius, -1];
  for (let gy = clamp(b - radius); gy <= clamp(b + radius); gy++) {
    const line = gy * SIDE;
    const end = starts[line + clamp(a + radius) + 1];
    for (let k = starts[line + clamp(a - radius)]; k < end; k++) {
      const distance = (x[rows[k]] - a) ** 2 + (y[rows[k]] - b) ** 2;
      if (distance <= best && pickable(rows[k])) [best, row] = [distance, rows[k]];
    }
  }
  return row;
}

/** Up to `most` rows around one, the nearest first, itself at the head; only those that `pickable(row)` allows. */
export function around({ x, y, starts, rows }, row, most, pickable) {
  const clamp = (value) => Math.max(0, Math.min(SIDE - 1, value >> BITS));
  const distance = (other) => (x[other] - x[row]) ** 2 + (y[other] - y[row]) ** 2;
  for (let radius = 256; ; radius *= 2) {
    const near = [];
    for (let gy = clamp(y[row] - radius); gy <= clamp(y[row] + radius); gy++) {
      const end = starts[gy * SIDE + clamp(x[row] + radius) + 1];
      for (let k = starts[gy * SIDE + clamp(x[row] - radius)]; k < end; k++) {
        const other = rows[k];
        if (other !== row && distance(other) <= radius * radius && pickable(other)) near.push(other);
      }
    }
    if (near.length < most - 1 && radius < 131_072) continue;
    return [row, ...near.sort((a, b) => distance(a) - distance(b) || a - b).slice(0, most - 1)];
  }
}
