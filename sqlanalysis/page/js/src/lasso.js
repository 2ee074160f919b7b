/** Sets `mask` to 1 for the points inside a closed polygon (even-odd rule); corners are [x, y] in the units of the points. */
export function lasso(x, y, corners, mask) {
  mask.fill(0);
  const n = corners.length;
  if (n < 3) return mask;
  const px = Float64Array.from(corners, (corner) => corner[0]);
  const py = Float64Array.from(corners, (corner) => corner[1]);
  const [left, right] = [Math.min(...px), Math.max(...px)];
  const [top, bottom] = [Math.min(...py), Math.max(...py)];
  for (let i = 0; i < x.length; i++) {
    const a = x[i];
    const b = y[i];
    // Most points are outside of the bounding box, which is cheaper to test.
    if (a < left || a > right || b < top || b > bottom) continue;
    let inside = 0;
    for (let j = 0, k = n - 1; j < n; k = j++) {
      if (py[j] > b !== py[k] > b && a < ((px[k] - px[j]) * (b - py[j])) / (py[k] - py[j]) + px[j]) inside ^= 1;
    }
    mask[i] = inside;
  }
  return mask;
}
