// The map: points on a canvas, pan and zoom by d3, hover, lasso, keyboard; thumbnails instead of dots when few are in view.
import { select } from "d3-selection";
import { zoom, zoomIdentity } from "d3-zoom";
import { delayed } from "./dom.js";
import { variable } from "./groups.js";
import { lasso } from "./lasso.js";
import { buildGrid, nearest, NOWHERE } from "./picking.js";
import { createPicture, resolve, splat } from "./splat.js";

const PICK_RADIUS = 14; // CSS pixels
const MOVING_POINTS = 60_000; // drawn while the map moves: rows are shuffled, so the first are a uniform sample
const MOST_PICTURES = 150;
const PICTURE_SIDE = 44; // CSS pixels
const DWELL = 125; // milliseconds before the card opens

/** The colors of CSS variables as numbers; the browser resolves light and dark mode. */
export function colors(names) {
  const probe = document.body.appendChild(document.createElement("i"));
  const resolved = names.map((name) => {
    probe.style.color = `var(${name})`;
    const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    return { red, green, blue, css: `rgb(${red}, ${green}, ${blue})` };
  });
  probe.remove();
  return resolved;
}

export class PointMap {
  /** `extent` is [width, height] of the points; `on` has hover(row, x, y), lasso(mask or null). */
  constructor(box, rows, extent, thumbnails, on) {
    Object.assign(this, { box, rows, extent, thumbnails, on });
    [this.canvas, this.overlay] = box.querySelectorAll("canvas");
    this.grid = buildGrid(rows.x, rows.y);
    this.view = zoomIdentity;
    this.pictures = new Map();
    this.hovered = -1;
    this.drawing = false;
    this.settle = delayed(() => this.draw(), 120);
    this.behavior = zoom()
      .scaleExtent([0.8, 200])
      .filter((event) => this.mayZoom(event))
      .on("zoom", ({ transform }) => {
        this.view = transform;
        this.leave();
        this.request(true);
        this.settle();
      });
    select(box).call(this.behavior).on("dblclick.zoom", null);
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
    const { width, height } = this.box.getBoundingClientRect();
    if (!width) return;
    this.ratio = Math.min(2, devicePixelRatio || 1); // a higher ratio costs time and cannot be seen in dots
    [this.width, this.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    if (this.canvas.width === this.width && this.canvas.height === this.height && this.picture) return;
    for (const canvas of [this.canvas, this.overlay]) [canvas.width, canvas.height] = [this.width, this.height];
    this.picture = createPicture(this.width, this.height);
    this.image = new ImageData(this.width, this.height);
    this.behavior.extent([[0, 0], [width, height]]).translateExtent([[-width / 2, -height / 2], [width * 1.5, height * 1.5]]);
    this.draw();
  }

  /** {k, x, y} of the view: a coordinate is at pixel value * k + x across and y - value * k down, in canvas pixels. */
  transform() {
    const [width, height] = this.extent;
    const fit = Math.min((this.width * 0.94) / width, (this.height * 0.94) / height);
    const { k, x, y } = this.view;
    const left = (this.width - width * fit) / 2;
    const bottom = (this.height + height * fit) / 2;
    return { k: fit * k, x: left * k + x * this.ratio, y: bottom * k + y * this.ratio };
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
    const resolved = colors(["--c0", "--accent", "--ink", ...this.groups.map((group) => variable(group.mark))]);
    [this.gray, this.accent, this.ink] = resolved;
    this.inks = resolved.slice(3).map((ink, at) => ({ ...ink, weight: this.groups[at].weight ?? 1 }));
    this.request();
  }

  request(moving = false) {
    this.moving = moving;
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw(this.moving);
      this.moving = false;
    });
  }

  draw(moving = false) {
    const { rows, picture, image } = this;
    if (!this.inks || !picture) return;
    const at = this.transform();
    const end = moving ? Math.min(rows.n, MOVING_POINTS) : rows.n;
    // Dots are smaller and more transparent the more points there are per pixel; zooming in makes them larger.
    const crowd = (this.width * this.height * this.view.k ** 1.4) / Math.max(1, rows.n);
    const radius = Math.max(0.75, Math.min(6, 0.5 * (crowd / this.ratio ** 2) ** 0.33)) * this.ratio;
    const alpha = Math.max(0.22, Math.min(0.88, 0.3 * radius / this.ratio + 0.02));
    splat(picture, rows, end, at, radius, this.inks, rows.n / end);
    resolve(picture, image.data, alpha, this.gray);
    const context = this.canvas.getContext("2d");
    context.putImageData(image, 0, 0);
    if (!moving) this.drawPictures(context, at);
    this.drawOverlay();
  }

  /** Rows to show as images if few points are in view; one per cell of a grid, so that images do not overlap. */
  visible(at, side) {
    const { x, y, mask, n, origin } = this.rows;
    const [left, right] = [-at.x / at.k, (this.width - at.x) / at.k];
    const [low, high] = [(at.y - this.height) / at.k, at.y / at.k];
    const seen = [];
    for (let i = 0; i < n; i++) {
      if (x[i] < left || x[i] > right || y[i] < low || y[i] > high || x[i] === NOWHERE) continue;
      seen.push(i);
      if (seen.length > MOST_PICTURES) return [];
    }
    const taken = new Set();
    return seen.filter((row) => {
      const cell = `${Math.floor((x[row] * at.k) / side)} ${Math.floor((y[row] * at.k) / side)}`;
      return mask[row] && this.thumbnails.has(origin[row]) && !taken.has(cell) && taken.add(cell);
    });
  }

  drawPictures(context, at) {
    const side = PICTURE_SIDE * this.ratio;
    const edge = 2 * this.ratio;
    const seen = this.visible(at, side);
    for (const row of seen) {
      const image = this.load(this.rows.origin[row]);
      if (!image.complete || !image.naturalWidth) continue;
      const scale = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
      const x = this.rows.x[row] * at.k + at.x - width / 2;
      const y = at.y - this.rows.y[row] * at.k - height / 2;
      context.fillStyle = this.inks[this.rows.group[row]].css;
      context.fillRect(x - edge, y - edge, width + 2 * edge, height + 2 * edge);
      context.imageSmoothingEnabled = image.naturalWidth > 32;
      context.drawImage(image, x, y, width, height);
    }
    this.pictured = seen.length;
  }

  load(origin) {
    if (!this.pictures.has(origin)) {
      const image = new Image();
      image.onload = () => this.settle();
      image.src = this.thumbnails.url(origin);
      this.pictures.set(origin, image);
    }
    return this.pictures.get(origin);
  }

  drawOverlay() {
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    context.save();
    context.scale(this.ratio, this.ratio);
    if (this.corners) {
      context.beginPath();
      const at = this.transform();
      for (const [a, b] of this.corners) context.lineTo((a * at.k + at.x) / this.ratio, (at.y - b * at.k) / this.ratio);
      context.closePath();
      context.setLineDash([5, 4]);
      context.lineWidth = 1.5;
      context.strokeStyle = this.ink.css;
      context.stroke();
    } else if (this.hovered < 0) {
      context.restore();
      return;
    }
    if (this.hovered >= 0) {
      context.beginPath();
      context.setLineDash([]);
      context.arc(...this.screen(this.hovered), 6.5, 0, 2 * Math.PI);
      context.lineWidth = 2;
      context.strokeStyle = this.ink.css;
      context.stroke();
    }
    context.restore();
  }

  pick(point) {
    const [a, b] = this.locate(point);
    const radius = (PICK_RADIUS * this.ratio) / this.transform().k;
    return nearest(this.grid, a, b, radius, (row) => this.rows.mask[row]);
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
    this.hovered = -1;
    this.on.hover(-1);
    this.drawOverlay();
  }

  listen() {
    const { box } = this;
    const point = (event) => {
      const { left, top } = box.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    box.addEventListener("pointerdown", (event) => {
      if (!box.contains(document.activeElement)) box.focus({ preventScroll: true });
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
      if (this.corners.length < 3) this.corners = null;
      this.drawOverlay();
      const start = performance.now();
      const mask = new Uint8Array(this.rows.n);
      if (this.corners) this.on.lasso(lasso(this.rows.x, this.rows.y, this.corners, mask), start);
    };
    box.addEventListener("pointerup", (event) => {
      if (event.pointerType === "touch" && !this.pulling) this.hover(point(event));
      end();
    });
    box.addEventListener("pointercancel", end);
    box.addEventListener("pointerleave", () => !this.pulling && this.leave());
    box.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const step = 60 / this.view.k;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const scales = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) this.behavior.translateBy(select(this.box), ...moves[event.key]);
    else if (scales[event.key]) this.scale(scales[event.key]);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  scale(factor) {
    this.behavior.scaleBy(select(this.box), factor);
  }

  reset() {
    this.behavior.transform(select(this.box), zoomIdentity);
  }
}
