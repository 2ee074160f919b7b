// Sections draw what is seen at once; what is out of sight waits until nobody waits for the page, or until it is printed.

const waiting = new Set();
let isAsked = false;

const idle = (act) => (globalThis.requestIdleCallback ? requestIdleCallback(act, { timeout: 500 }) : setTimeout(act, 50));

/** Draws one section, and lets the page answer before the next. */
function drawNext(state) {
  isAsked = false;
  waiting.values().next().value?.();
  if (waiting.size) ask(state);
  else performance.measure("sqlanalysis:all", { start: state.began ?? 0, end: performance.now() });
}

function ask(state) {
  if (isAsked) return;
  isAsked = true;
  idle(() => drawNext(state));
}

/**
 * Calls `draw` now or soon, and again after each change of the state. Returns a function after which what is drawn belongs
 * to the state that is.
 */
export function lazily(state, box, draw) {
  let [isSeen, isStale] = [false, true];
  const fresh = () => {
    waiting.delete(fresh);
    if (!isStale) return;
    isStale = false;
    draw();
  };
  const change = () => {
    isStale = true;
    if (isSeen) return fresh();
    waiting.add(fresh);
    ask(state);
  };
  const observe = (entries) => {
    isSeen = entries.at(-1).isIntersecting;
    if (isSeen) fresh();
  };
  new IntersectionObserver(observe, { rootMargin: "200px" }).observe(box.closest("section") ?? box);
  addEventListener("beforeprint", fresh);
  state.on(change);
  change();
  return fresh;
}
