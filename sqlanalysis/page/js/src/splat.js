// Draw points as a density of color: the color of a pixel is the weighted mean of the points on it, and its opacity grows
// with their weight. The order of points does not matter, so no class hides another.

import { NOWHERE } from "./picking.js";

/** Offsets and coverages of a disc of this radius, in a picture `width` pixels wide. */
function disc(radius, width) {
  const reach = Math.ceil(radius);
  const offsets = [];
  const covers = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, radius + 0.5 - Math.hypot(dx, dy));
      if (cover > 0.1) {
        offsets.push(dy * width + dx);
        covers.push(cover);
      }
    }
  }
  return { offsets: Int32Array.from(offsets), covers: Float32Array.from(covers), reach };
}

/** Buffers to draw into, with a margin that makes tests for the border unnecessary. */
export function createPicture(width, height, margin = 16) {
  const full = width + 2 * margin;
  const size = full * (height + 2 * margin);
  return { width, height, margin, full, sums: new Float32Array(size * 4), dim: new Float32Array(size) };
}

/**
 * Draws rows `0 … end` into the picture's sums.
 * `at` turns coordinates into pixels: {k, x, y} with pixel = value * k + x across, and y - value * k down.
 * Rows with mask 0 go to `dim`; the others take the color and the weight of their group.
 */
export function splat(picture, rows, end, at, radius, groups, boost) {
  const { width, height, margin, full, sums, dim } = picture;
  const { x, y, group, mask } = rows;
  const { offsets, covers } = disc(Math.min(radius, margin - 1), full);
  sums.fill(0);
  dim.fill(0);
  const reach = margin - 1;
  for (let i = 0; i < end; i++) {
    if (x[i] === NOWHERE) continue;
    const px = Math.round(x[i] * at.k + at.x);
    const py = Math.round(at.y - y[i] * at.k);
    if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
    const center = (py + margin) * full + px + margin;
    if (!mask[i]) {
      for (let j = 0; j < offsets.length; j++) dim[center + offsets[j]] += covers[j] * boost;
      continue;
    }
    const { red, green, blue, weight } = groups[group[i]];
    for (let j = 0; j < offsets.length; j++) {
      const w = covers[j] * weight * boost;
      const index = (center + offsets[j]) * 4;
      sums[index] += red * w;
      sums[index + 1] += green * w;
      sums[index + 2] += blue * w;
      sums[index + 3] += w;
    }
  }
}

/** Converts the sums to pixels: selected points over dim ones. */
export function resolve(picture, pixels, alpha, gray) {
  const { width, height, margin, full, sums, dim } = picture;
  // The opacity of n points is 1 - (1 - alpha)^n, here with weights as exponents.
  const fade = Math.log(1 - alpha);
  const faint = Math.log(1 - alpha * 0.35);
  for (let row = 0, out = 0; row < height; row++) {
    for (let index = (row + margin) * full + margin, end = index + width; index < end; index++, out += 4) {
      const weight = sums[index * 4 + 3];
      const below = dim[index];
      if (weight === 0 && below === 0) {
        pixels[out + 3] = 0;
        continue;
      }
      const top = weight ? 1 - Math.exp(fade * weight) : 0;
      const under = below ? Math.min(0.55, 1 - Math.exp(faint * below)) * (1 - top) : 0;
      const share = weight ? top / weight : 0;
      const total = top + under;
      pixels[out] = (sums[index * 4] * share + gray.red * under) / total;
      pixels[out + 1] = (sums[index * 4 + 1] * share + gray.green * under) / total;
      pixels[out + 2] = (sums[index * 4 + 2] * share + gray.blue * under) / total;
      pixels[out + 3] = total * 255;
    }
  }
}
