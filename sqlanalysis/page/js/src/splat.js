// Points as a density of color: a pixel's color is the weighted mean of the points on it, its opacity grows with their
// weight. The order of points does not matter, so no class hides another.

/** Offsets and coverages of a disc of this radius, in a picture `width` pixels wide. */
function disc(radius, width) {
  const reach = Math.ceil(radius);
  const places = [];
  const covers = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, radius + 0.5 - Math.hypot(dx, dy));
      if (cover > 0.1) {
        places.push(dy * width + dx);
        covers.push(cover);
      }
    }
  }
  return { places: Int32Array.from(places), covers: Float32Array.from(covers), reach };
}

/** A picture to draw into, with a margin that spares the test for borders. */
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
  const { places, covers } = disc(Math.min(radius, margin - 1), full);
  sums.fill(0);
  dim.fill(0);
  const reach = margin - 1;
  for (let i = 0; i < end; i++) {
    if (x[i] === 65535) continue;
    const px = Math.round(x[i] * at.k + at.x);
    const py = Math.round(at.y - y[i] * at.k);
    if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
    const center = (py + margin) * full + px + margin;
    if (!mask[i]) {
      for (let j = 0; j < places.length; j++) dim[center + places[j]] += covers[j] * boost;
      continue;
    }
    const { red, green, blue, weight } = groups[group[i]];
    for (let j = 0; j < places.length; j++) {
      const w = covers[j] * weight * boost;
      const place = (center + places[j]) * 4;
      sums[place] += red * w;
      sums[place + 1] += green * w;
      sums[place + 2] += blue * w;
      sums[place + 3] += w;
    }
  }
}

/** Turns the sums into pixels: selected points over dim ones. */
export function resolve(picture, pixels, alpha, gray) {
  const { width, height, margin, full, sums, dim } = picture;
  const fade = Math.log(1 - alpha);
  const faint = Math.log(1 - alpha * 0.35);
  for (let row = 0, out = 0; row < height; row++) {
    for (let place = (row + margin) * full + margin, end = place + width; place < end; place++, out += 4) {
      const weight = sums[place * 4 + 3];
      const below = dim[place];
      if (weight === 0 && below === 0) {
        pixels[out + 3] = 0;
        continue;
      }
      const top = weight ? 1 - Math.exp(fade * weight) : 0;
      const under = below ? Math.min(0.55, 1 - Math.exp(faint * below)) * (1 - top) : 0;
      const share = weight ? top / weight : 0;
      const total = top + under;
      pixels[out] = (sums[place * 4] * share + gray.red * under) / total;
      pixels[out + 1] = (sums[place * 4 + 1] * share + gray.green * under) / total;
      pixels[out + 2] = (sums[place * 4 + 2] * share + gray.blue * under) / total;
      pixels[out + 3] = total * 255;
    }
  }
}
