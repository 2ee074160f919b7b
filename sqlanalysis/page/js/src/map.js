// The map: points on a canvas over contours, pan and zoom, hover, lasso, keyboard; pictures in place of points where it
// is zoomed in and they do not overlap.
import { PanZoom } from "./panzoom.js";
import { boundsOf, delayed, shorten } from "./dom.js";
import { lasso } from "./lasso.js";
import { alike, cut } from "./names.js";
import { around, buildGrid, nearest, NOWHERE } from "./picking.js";
import { createPicture, resolve, splat } from "./splat.js";

const PICK_RADIUS = 14; // CSS pixels
const MOVING_POINTS = 60_000; // drawn while the map moves: rows are shuffled, so the first are a uniform sample
const SMALL_POINTS = 20_000; // drawn in a small map
const PICTURES_FROM = 1.8; // zoom
const PICTURE_SIDE = 44; // CSS pixels
const MOST_TRIED = 20_000; // rows that may become a picture
const MOST_RINGS = 200;
const CLICK = 4; // CSS pixels that a click may move
const DWELL = 125; // milliseconds before the card opens
const FIT = 0.94; // of the box that the points fill

/** The colors of CSS variables as numbers; the browser resolves light and dark mode. */
function colors(names) {
  const probe = document.body.appendChild(document.createElement("i"));
  const resolved = names.map((name) => {
    probe.style.color = `var(${name})`;
    const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    return { red, green, blue, css: `rgb(${red}, ${green}, ${blue})` };
  });
  probe.remove();
  return resolved;
}

/** {k, x, y} of points of this extent in the middle of a canvas: value * k + x across, y - value * k down. */
export function fit([width, height], [across, down]) {
  const k = Math.min((across * FIT) / width, (down * FIT) / height);
  return { k, x: (across - width * k) / 2, y: (down + height * k) / 2 };
}

/** Radius in CSS pixels and opacity of points, from the pixels that each has: smaller and fainter where there are many. */
export function dots(pixels, n, scale) {
  const radius = Math.max(0.75, Math.min(6, Math.min(3.6, 0.36 * (pixels / Math.max(1, n)) ** 0.33) * scale ** 0.46));
  return { radius, alphas: [Math.max(0.24, Math.min(0.55, 0.32 * radius)), Math.max(0.4, Math.min(0.85, 0.5 * radius))] };
}

/** Which of the boxes {x, y, width, height}, given by their middles, can be drawn without overlap; the first win. */
export function apart(boxes) {
  const taken = [];
  return boxes.filter((box) => {
    const free = taken.every((other) => Math.abs(box.x - other.x) * 2 >= box.width + other.width || Math.abs(box.y - other.y) * 2 >= box.height + other.height);
    if (free) taken.push(box);
    return free;
  });
}

/** One path for each level, its corners rounded; holes are in it by the even-odd rule. */
function contourPaths(contours) {
  const paths = [];
  for (const { level, path: corners } of contours) {
    const path = (paths[level] ??= new Path2D());
    const middle = ([a, b], [c, d]) => [(a + c) / 2, (b + d) / 2];
    path.moveTo(...middle(corners.at(-1), corners[0]));
    corners.forEach((corner, at) => path.quadraticCurveTo(...corner, ...middle(corner, corners[(at + 1) % corners.length])));
    path.closePath();
  }
  return paths;
}

export class PointMap {
  /** `map` is facts.map; `on` has hover(row, x, y), lasso(mask, corners), open(rows), moved(zoom). */
  constructor(box, rows, extent, map, pictures, on) {
    Object.assign(this, { box, rows, extent, pictures, on, regions: map.regions, rings: [] });
    [this.canvas, this.overlay] = box.querySelectorAll("canvas");
    this.paths = contourPaths(map.contours);
    this.grid = buildGrid(rows.x, rows.y);
    this.view = { k: 1, x: 0, y: 0 };
    this.loaded = new Map();
    this.hovered = -1;
    this.marked = -1;
    this.placed = [];
    this.settle = delayed(() => this.draw(), 120);
    this.behavior = new PanZoom(box, (event) => this.mayZoom(event), (view) => {
      this.view = view;
      this.leave();
      this.request(true);
      this.settle();
    });
    this.listen();
    new ResizeObserver(() => this.resize()).observe(box);
    this.resize();
  }

  mayZoom(event) {
    // The wheel zooms only while the map has the focus, so that the page can be scrolled.
    if (this.lassoOn || event.shiftKey || event.button) return false;
    return event.type !== "wheel" || event.ctrlKey || this.box.contains(document.activeElement);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width) return;
    this.ratio = Math.min(2, devicePixelRatio || 1); // a higher ratio costs time and cannot be seen in dots
    [this.width, this.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    if (this.canvas.width === this.width && this.canvas.height === this.height && this.picture) return;
    for (const canvas of [this.canvas, this.overlay]) [canvas.width, canvas.height] = [this.width, this.height];
    this.picture = createPicture(this.width, this.height);
    this.image = new ImageData(this.width, this.height);
    this.draw();
  }

  /** {k, x, y} of the view: a coordinate is at pixel value * k + x across and y - value * k down, in canvas pixels. */
  transform() {
    const at = fit(this.extent, [this.width, this.height]);
    const { k, x, y } = this.view;
    return { k: at.k * k, x: at.x * k + x * this.ratio, y: at.y * k + y * this.ratio };
  }

  /** From a position in CSS pixels of the box to the units of the points. */
  locate([x, y]) {
    const at = this.transform();
    return [(x * this.ratio - at.x) / at.k, (at.y - y * this.ratio) / at.k];
  }

  screen(row) {
    const at = this.transform();
    return [(this.rows.x[row] * at.k + at.x) / this.ratio, (at.y - this.rows.y[row] * at.k) / this.ratio];
  }

  color(groups, group) {
    this.groups = groups;
    this.rows.group = group;
    this.recolor();
  }

  recolor() {
    const resolved = colors(["--gray", "--accent", "--ink", "--ground", "--strong", "--wrong", ...this.groups.map(({ color }) => color)]);
    [this.gray, this.accent, this.ink, this.ground, this.strong, this.wrong] = resolved;
    this.inks = resolved.slice(6).map((ink, at) => ({ ...ink, layer: this.groups[at].layer }));
    this.small = new Map();
    for (const ring of this.rings) ring.css = null;
    this.request();
  }

  request(moving = false) {
    this.moving = moving;
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.draw(this.moving);
      this.moving = false;
    });
  }

  draw(moving = false) {
    const { rows, picture, image, width, height, ratio } = this;
    if (!this.inks || !picture) return;
    const at = this.transform();
    const end = moving ? Math.min(rows.n, MOVING_POINTS) : rows.n;
    const { radius, alphas } = dots((width * height) / ratio ** 2, rows.n, this.view.k);
    splat(picture, rows, end, at, radius * ratio, this.inks, rows.n / end);
    resolve(picture, image.data, alphas, this.gray);
    const context = this.canvas.getContext("2d");
    context.putImageData(image, 0, 0);
    this.drawContours(context, at, ratio);
    if (!moving) this.placed = this.view.k >= PICTURES_FROM ? this.arrange(at) : [];
    this.drawPictures(context, at);
    this.drawOverlay();
    this.box.dataset.pictures = this.placed.length;
    this.on.moved(this.view.k);
  }

  /** Contours under what is drawn already: fills below lines. */
  drawContours(context, at, line) {
    context.save();
    context.globalCompositeOperation = "destination-over";
    context.setTransform(at.k, 0, 0, -at.k, at.x, at.y);
    context.lineWidth = line / at.k;
    context.strokeStyle = this.strong.css;
    context.fillStyle = this.ink.css;
    context.globalAlpha = 0.55;
    for (const path of this.paths) if (path) context.stroke(path);
    context.globalAlpha = 0.025;
    for (const path of this.paths) if (path) context.fill(path, "evenodd");
    context.restore();
  }

  /** A small map of all points in a canvas as large as it is shown, with a ring around a row, or a frame around the view. */
  drawSmall(canvas, row = -1) {
    if (!this.inks) return;
    const [width, height] = [canvas.clientWidth || canvas.width, canvas.clientHeight || canvas.height].map((side) => Math.round(side * this.ratio));
    const at = fit(this.extent, [width, height]);
    const key = `${width} ${height}`;
    if (!this.small.has(key)) {
      const picture = createPicture(width, height);
      const image = new ImageData(width, height);
      const end = Math.min(this.rows.n, SMALL_POINTS);
      splat(picture, { ...this.rows, mask: this.everywhere() }, end, at, 0.8 * this.ratio, this.inks, 1);
      resolve(picture, image.data, [0.45, 0.75], this.gray);
      this.small.set(key, image);
    }
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.putImageData(this.small.get(key), 0, 0);
    this.drawContours(context, at, 0.7 * this.ratio);
    context.strokeStyle = this.ink.css;
    context.lineWidth = 2 * this.ratio;
    if (row >= 0) {
      context.beginPath();
      context.arc(this.rows.x[row] * at.k + at.x, at.y - this.rows.y[row] * at.k, 6 * this.ratio, 0, 2 * Math.PI);
      context.stroke();
      return;
    }
    const [[left, top], [right, bottom]] = [[0, 0], [this.width, this.height]].map(([x, y]) => this.locate([x / this.ratio, y / this.ratio]));
    context.strokeRect(left * at.k + at.x, at.y - top * at.k, (right - left) * at.k, (top - bottom) * at.k);
  }

  everywhere() {
    return (this.ones ??= new Uint8Array(this.rows.n).fill(1));
  }

  inView(row, at) {
    const px = this.rows.x[row] * at.k + at.x;
    const py = at.y - this.rows.y[row] * at.k;
    return px >= 0 && py >= 0 && px <= this.width && py <= this.height && this.rows.x[row] !== NOWHERE;
  }

  /** Rows in view that are shown as pictures, apart from each other; closer together the farther the map is zoomed in. */
  arrange(at) {
    const { x, y, mask, n, origin } = this.rows;
    const side = Math.max(PICTURE_SIDE + 6, 78 - 8 * this.view.k) * this.ratio;
    const taken = new Map();
    const found = [];
    // The row that was asked for, then selected rows; the others fill the gaps.
    for (let turn = this.marked < 0 ? 0 : -1, tried = 0; turn < 2 * n && tried < MOST_TRIED; turn++) {
      const i = turn < 0 ? this.marked : turn % n;
      if ((turn >= 0 && mask[i] !== (turn < n ? 1 : 0)) || !this.inView(i, at)) continue;
      tried++;
      const [px, py] = [x[i] * at.k, -y[i] * at.k];
      const [column, line] = [Math.floor(px / side), Math.floor(py / side)];
      let free = true;
      for (let c = column - 1; free && c <= column + 1; c++) {
        for (let l = line - 1; free && l <= line + 1; l++) {
          const other = taken.get(c * 65_536 + l);
          free = !other || Math.abs(other[0] - px) >= side || Math.abs(other[1] - py) >= side;
        }
      }
      if (!free || !this.pictures.has(origin[i])) continue;
      taken.set(column * 65_536 + line, [px, py]);
      found.push(i);
    }
    return found;
  }

  /** Square crops with rounded corners; an orange edge is a wrong answer. */
  drawPictures(context, at) {
    const side = PICTURE_SIDE * this.ratio;
    const edge = 2 * this.ratio;
    for (const row of this.placed) {
      const image = this.load(this.rows.origin[row]);
      if (!image.complete || !image.naturalWidth) continue;
      const cut = Math.min(image.naturalWidth, image.naturalHeight);
      const x = this.rows.x[row] * at.k + at.x - side / 2;
      const y = at.y - this.rows.y[row] * at.k - side / 2;
      context.save();
      context.globalAlpha = this.rows.mask[row] ? 1 : 0.35;
      context.beginPath();
      context.roundRect(x - edge, y - edge, side + 2 * edge, side + 2 * edge, 5 * this.ratio);
      context.fillStyle = this.on.isWrong(row) ? this.wrong.css : this.ground.css;
      context.fill();
      context.beginPath();
      context.roundRect(x, y, side, side, 3 * this.ratio);
      context.clip();
      context.imageSmoothingEnabled = cut > 32;
      context.drawImage(image, (image.naturalWidth - cut) / 2, (image.naturalHeight - cut) / 2, cut, cut, x, y, side, side);
      context.restore();
    }
  }

  load(origin) {
    if (!this.loaded.has(origin)) {
      const image = new Image();
      image.onload = () => this.settle();
      image.src = this.pictures.url(origin);
      this.loaded.set(origin, image);
    }
    return this.loaded.get(origin);
  }

  drawOverlay() {
    if (!this.inks) return;
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    context.save();
    context.scale(this.ratio, this.ratio);
    if (this.corners) this.drawLasso(context);
    if (!this.placed.length) this.drawNames(context);
    for (const ring of this.rings) {
      const { rows, color, name } = ring;
      const css = (ring.css ??= colors([color])[0].css);
      for (const row of rows.slice(0, MOST_RINGS)) {
        if (this.rows.x[row] === NOWHERE) continue;
        this.ring(context, row, css, 2);
        const [x, y] = this.screen(row);
        if (name) this.write(context, cut(shorten(name), 24), x + 12, y, css, "left");
      }
    }
    for (const row of [this.marked, this.hovered]) if (row >= 0) this.ring(context, row, this.ink.css, 2.5);
    context.restore();
  }

  ring(context, row, css, width) {
    context.beginPath();
    context.arc(...this.screen(row), this.placed.includes(row) ? PICTURE_SIDE * 0.8 : 7, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = css;
    context.stroke();
  }

  drawLasso(context) {
    const at = this.transform();
    context.beginPath();
    for (const [a, b] of this.corners) context.lineTo((a * at.k + at.x) / this.ratio, (at.y - b * at.k) / this.ratio);
    context.closePath();
    context.fillStyle = context.strokeStyle = this.accent.css;
    context.globalAlpha = 0.07;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    context.stroke();
    context.setLineDash([]);
  }

  drawNames(context) {
    const at = this.transform();
    context.font = "600 12px system-ui, sans-serif";
    const [width, height] = [this.width / this.ratio, this.height / this.ratio];
    const equal = alike(this.regions.map(({ name }) => name), 24);
    const boxes = this.regions.map(({ name, x, y }) => {
      const text = equal.get(name) ?? cut(name, 24);
      const wide = context.measureText(text).width + 8;
      const keep = (value, half, most) => Math.max(half + 4, Math.min(most - half - 4, value));
      const [px, py] = [(x * at.k + at.x) / this.ratio, (at.y - y * at.k) / this.ratio];
      if (px < 0 || py < 0 || px > width || py > height) return null;
      return { text, x: keep(px, wide / 2, width), y: keep(py, 8, height), width: wide, height: 17 };
    });
    for (const { text, x, y } of apart(boxes.filter(Boolean))) this.write(context, text, x, y, this.ink.css, "center");
  }

  write(context, text, x, y, css, align) {
    Object.assign(context, { font: "600 12px system-ui, sans-serif", textAlign: align, textBaseline: "middle", lineJoin: "round", lineWidth: 4 });
    context.strokeStyle = this.ground.css;
    context.globalAlpha = 0.85;
    context.strokeText(text, x, y);
    context.globalAlpha = 1;
    context.fillStyle = css;
    context.fillText(text, x, y);
  }

  pick(point) {
    const [a, b] = this.locate(point);
    const at = this.transform();
    const pictured = this.placed.find((row) => {
      const [x, y] = this.screen(row);
      return Math.max(Math.abs(x - point[0]), Math.abs(y - point[1])) <= PICTURE_SIDE / 2;
    });
    return pictured ?? nearest(this.grid, a, b, (PICK_RADIUS * this.ratio) / at.k, (row) => this.rows.mask[row]);
  }

  hover(point) {
    const row = this.pick(point);
    if (row === this.hovered) return;
    this.hovered = row;
    this.drawOverlay();
    clearTimeout(this.dwell);
    if (row < 0) this.on.hover(-1);
    else this.dwell = setTimeout(() => this.on.hover(row, ...this.screen(row)), DWELL);
  }

  leave() {
    clearTimeout(this.dwell);
    if (this.hovered < 0) return;
    this.hovered = -1;
    this.on.hover(-1);
    this.drawOverlay();
  }

  /** Opens the images around a row, the nearest first. */
  open(row) {
    if (row >= 0) this.on.open(around(this.grid, row, MOST_RINGS, (other) => this.rows.mask[other]));
  }

  listen() {
    const { box } = this;
    const point = (event) => {
      const { left, top } = boundsOf(box);
      return [event.clientX - left - box.clientLeft, event.clientY - top - box.clientTop];
    };
    box.addEventListener("pointerdown", (event) => {
      if (!box.contains(document.activeElement)) box.focus({ preventScroll: true });
      this.down = point(event);
      if (!event.isPrimary || event.button || !(this.lassoOn || event.shiftKey)) return;
      event.preventDefault();
      box.setPointerCapture(event.pointerId);
      this.leave();
      this.corners = [this.locate(point(event))];
      this.last = point(event);
      this.pulling = true;
    });
    box.addEventListener("pointermove", (event) => {
      const at = point(event);
      if (!this.pulling) {
        if (!event.buttons && event.pointerType !== "touch") this.hover(at);
        return;
      }
      if (Math.hypot(at[0] - this.last[0], at[1] - this.last[1]) < 3) return;
      this.last = at;
      this.corners.push(this.locate(at));
      this.drawOverlay();
    });
    const end = () => {
      if (!this.pulling) return;
      this.pulling = false;
      this.pulled = true;
      this.enclose(this.corners.length > 2 ? this.corners : null);
    };
    box.addEventListener("pointerup", end);
    box.addEventListener("pointercancel", end);
    box.addEventListener("pointerleave", () => !this.pulling && this.leave());
    box.addEventListener("click", (event) => {
      const [x, y] = point(event);
      const moved = this.down && Math.hypot(x - this.down[0], y - this.down[1]) > CLICK;
      if (moved || this.pulled || this.lassoOn) {
        this.pulled = false;
        return;
      }
      const row = this.pick(point(event));
      // A finger has no hover: the first tap shows the card, the second opens the image.
      if (event.pointerType === "touch" && row !== this.hovered) this.hover(point(event));
      else this.open(row);
    });
    box.addEventListener("keydown", (event) => this.key(event));
  }

  enclose(corners) {
    this.corners = corners;
    this.drawOverlay();
    const mask = new Uint8Array(this.rows.n);
    this.on.lasso(corners && { mask: lasso(this.rows.x, this.rows.y, corners, mask), corners });
  }

  key(event) {
    const step = 60 / this.view.k;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const scales = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) this.behavior.by(...moves[event.key]);
    else if (scales[event.key]) this.scale(scales[event.key]);
    else if (event.key === "0") this.reset();
    else if (event.key.toLowerCase() === "l") this.on.lassoKey();
    else if (event.key === "Enter") this.enter();
    else return;
    event.preventDefault();
  }

  /** Enter opens the image nearest to the middle; with the lasso on, it selects what is in view. */
  enter() {
    const [width, height] = [this.width / this.ratio, this.height / this.ratio];
    if (this.lassoOn) return this.enclose([[0, 0], [width, 0], [width, height], [0, height]].map((corner) => this.locate(corner)));
    const [a, b] = this.locate([width / 2, height / 2]);
    return this.open(nearest(this.grid, a, b, 131_072, (row) => this.rows.mask[row]));
  }

  scale(factor) {
    this.behavior.scale(factor);
  }

  reset() {
    this.marked = -1;
    this.behavior.set({ k: 1, x: 0, y: 0 });
  }

  /** Zooms to a row, and rings it until another is shown or the whole map is. */
  show(row) {
    this.marked = row;
    const at = fit(this.extent, [this.width / this.ratio, this.height / this.ratio]);
    const k = Math.max(4, this.view.k);
    const [x, y] = [this.rows.x[row] * at.k + at.x, at.y - this.rows.y[row] * at.k];
    const [width, height] = [this.width / this.ratio, this.height / this.ratio];
    this.behavior.set({ k, x: width / 2 - x * k, y: height / 2 - y * k });
  }
}
