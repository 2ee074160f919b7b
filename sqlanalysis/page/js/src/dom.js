const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [type, act] of Object.entries(value)) node.addEventListener(type, act);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Short forms of the names that would look alike where there is no room for them, the longest name first. */
export const shortened = new Map();
/** Words with the short forms of the names in them. */
export const shorten = (words) => [...shortened].reduce((text, [name, short]) => text.replaceAll(name, short), words);

/**
 * An element with attributes, listeners under `on`, and children; strings become text nodes, never markup. A shortened name
 * keeps the whole one as its title and for screen readers.
 */
export function html(tag, attributes = {}, ...children) {
  const short = tag === "bdi" && shortened.get(children[0]);
  const node = fill(document.createElement(tag), attributes, short ? [html("span", { "aria-hidden": "true" }, short), html("span", { class: "unseen" }, children[0])] : children);
  if (short) node.title = children[0];
  return node;
}
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
/** A button that does `act` when pressed; `words` is a text, an element, or a list of them. */
export const button = (words, act, attributes = {}) => html("button", { type: "button", ...attributes, on: { click: act } }, ...[words].flat());
export const byId = (id) => document.getElementById(id);
export const all = (selector) => [...document.querySelectorAll(selector)];
/** Where an element is in the window, in px. */
export const boundsOf = (element) => element.getBoundingClientRect();

/** Makes a mark a button that reacts to click, Enter and space. */
export function pressable(mark, act) {
  mark.setAttribute("role", "button");
  mark.setAttribute("tabindex", 0);
  mark.classList.add("choice");
  mark.addEventListener("click", act);
  mark.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  });
  return mark;
}

/** A function that calls `act` after a delay; a call during the delay restarts it. */
export function delayed(act, milliseconds) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds, ...values);
  };
}

/** Lets the browser save a table in CSV under a name. */
export function saveFile(download, text) {
  const href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  html("a", { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
