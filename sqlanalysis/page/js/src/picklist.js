// A list of names with a search above it: of the choices of a filter, of the right classes of an image, of the map's classes.
import { delayed, html } from "./dom.js";
import { count } from "./intervals.js";

const MOST = 100; // entries at a time

export const searchField = (placeholder, label = placeholder, more = {}) =>
  html("input", { type: "search", placeholder, "aria-label": label, autocomplete: "off", spellcheck: "false", ...more });

/**
 * Fills `list` with an element, `make(entry, place)`, for each of the first entries that `find(text)` gives for the text of
 * the field, now and whenever somebody types, `wait` milliseconds later. `tell(words, entries)` is then told how many are not
 * shown, or `none` if there are no entries. Returns a function that shows the list again; the focus stays on its entry.
 */
export function pickList({ field, list, find, make, tell, none = "none", wait = 0 }) {
  let shown = [];
  const show = () => {
    const entries = find(field.value);
    const focused = shown[[...list.children].indexOf(document.activeElement)];
    shown = entries.slice(0, MOST);
    list.replaceChildren(...shown.map(make));
    list.children[shown.indexOf(focused)]?.focus();
    const rest = entries.length - shown.length;
    tell(rest ? `${count(rest)} more: type to find them` : entries.length ? "" : none, shown);
  };
  field.addEventListener("input", wait ? delayed(show, wait) : show);
  return show;
}
