// Pan by dragging, zoom by wheel and by two fingers: a view {k, x, y} that turns a position p of the box into p * k + x.
import { boundsOf } from "./dom.js";

const LEAST = 0.8;
const MOST = 200;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** The view nearest to another one that keeps k in its range, and at least a part of the box in sight. */
export function held({ k, x, y }, [width, height]) {
  const zoom = clamp(k, LEAST, MOST);
  const hold = (shift, size) => clamp(shift, (0.5 - 1.5 * zoom) * size + size / 2, (0.5 * zoom) * size);
  return { k: zoom, x: hold(x, width), y: hold(y, height) };
}

/** The view zoomed by a factor, with a position of the box held in its place. */
export function zoomed({ k, x, y }, factor, [px, py], size) {
  const to = clamp(k * factor, LEAST, MOST);
  return held({ k: to, x: px - ((px - x) * to) / k, y: py - ((py - y) * to) / k }, size);
}

export class PanZoom {
  /** `may(event)` says whether an event moves the view; `moved(view)` is called after each move. */
  constructor(box, may, moved) {
    Object.assign(this, { box, moved, view: { k: 1, x: 0, y: 0 } });
    const fingers = new Map();
    const at = (event) => {
      const { left, top } = boundsOf(box);
      return [event.clientX - left - box.clientLeft, event.clientY - top - box.clientTop];
    };
    const middle = () => {
      const [[ax, ay], [bx, by] = [ax, ay]] = [...fingers.values()];
      return { at: [(ax + bx) / 2, (ay + by) / 2], apart: Math.hypot(ax - bx, ay - by) };
    };
    box.addEventListener("wheel", (event) => {
      if (!may(event)) return;
      event.preventDefault();
      // Lines and pages of a wheel in pixels; a pinch on a touchpad comes as a wheel with Ctrl.
      const delta = event.deltaY * [1, 25, 500][event.deltaMode] * (event.ctrlKey ? 10 : 1);
      this.set(zoomed(this.view, 2 ** (-delta * 0.002), at(event), this.size));
    }, { passive: false });
    box.addEventListener("pointerdown", (event) => {
      if (fingers.size < 2 && may(event)) fingers.set(event.pointerId, at(event));
    });
    const move = (event) => {
      if (!fingers.has(event.pointerId)) return;
      const before = middle();
      // Only once it moves: a captured pointer would make a click on the box out of one on what lies over it.
      if (!box.hasPointerCapture(event.pointerId)) box.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      const after = middle();
      const { k, x, y } = this.view;
      const panned = { k, x: x + after.at[0] - before.at[0], y: y + after.at[1] - before.at[1] };
      this.set(zoomed(panned, before.apart && after.apart ? after.apart / before.apart : 1, after.at, this.size));
    };
    const end = (event) => fingers.delete(event.pointerId);
    box.addEventListener("pointermove", move);
    box.addEventListener("pointerup", end);
    box.addEventListener("pointercancel", end);
  }

  get size() {
    return [this.box.clientWidth, this.box.clientHeight];
  }

  set(view) {
    this.view = held(view, this.size);
    this.moved(this.view);
  }

  by(x, y) {
    this.set({ ...this.view, x: this.view.x + x * this.view.k, y: this.view.y + y * this.view.k });
  }

  scale(factor) {
    this.set(zoomed(this.view, factor, this.size.map((side) => side / 2), this.size));
  }
}
