// Draw points as a density of color: the color of a pixel is the weighted mean of the points on it, and its opacity grows
// with their number. The order of points does not matter; groups of layer 1 are drawn over those of layer 0.

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
  const layers = [new Float32Array(size * 4), new Float32Array(size * 4)];
  return { width, height, margin, full, layers, dim: new Float32Array(size) };
}

/**
 * Draws rows `0 … end` into the picture's layers.
 * `at` turns coordinates into pixels: {k, x, y} with pixel = value * k + x across, and y - value * k down.
 * Rows with mask 0 go to `dim`; the others take the color and the layer of their group.
 */
export function splat(picture, rows, end, at, radius, groups, boost) {
  const { width, height, margin, full, layers, dim } = picture;
  const { x, y, group, mask } = rows;
  const { offsets, covers } = disc(Math.min(radius, margin - 1), full);
  picture.used = groups.some(({ layer }) => layer);
  layers[0].fill(0);
  if (picture.used) layers[1].fill(0);
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
    const { red, green, blue, layer } = groups[group[i]];
    const sums = layers[layer];
    for (let j = 0; j < offsets.length; j++) {
      const w = covers[j] * boost;
      const index = (center + offsets[j]) * 4;
      sums[index] += red * w;
      sums[index + 1] += green * w;
      sums[index + 2] += blue * w;
      sums[index + 3] += w;
    }
  }
}

/** Converts the sums to pixels: layer 1 over layer 0 over dim points; `alphas` are the opacities of one point of each layer. */
export function resolve(picture, pixels, alphas, gray) {
  const { width, height, margin, full, layers, dim, used } = picture;
  const [sums, over] = layers;
  // The opacity of n points is 1 - (1 - alpha)^n.
  const [fade, strong] = alphas.map((alpha) => Math.log(1 - alpha));
  const faint = Math.log(1 - alphas[0] * 0.35);
  for (let row = 0, out = 0; row < height; row++) {
    for (let index = (row + margin) * full + margin, end = index + width; index < end; index++, out += 4) {
      const at = index * 4;
      const weight = sums[at + 3];
      const above = used ? over[at + 3] : 0;
      const below = dim[index];
      if (weight === 0 && below === 0 && above === 0) {
        pixels[out + 3] = 0;
        continue;
      }
      const top = above ? 1 - Math.exp(strong * above) : 0;
      const middle = weight ? (1 - Math.exp(fade * weight)) * (1 - top) : 0;
      const under = below ? Math.min(0.4, 1 - Math.exp(faint * below)) * (1 - top) * (1 - middle) : 0;
      const [a, b] = [above ? top / above : 0, weight ? middle / weight : 0];
      const total = top + middle + under;
      pixels[out] = ((above && over[at] * a) + sums[at] * b + gray.red * under) / total;
      pixels[out + 1] = ((above && over[at + 1] * a) + sums[at + 1] * b + gray.green * under) / total;
      pixels[out + 2] = ((above && over[at + 2] * a) + sums[at + 2] * b + gray.blue * under) / total;
      pixels[out + 3] = total * 255;
    }
  }
}
