// The theme button and the copy buttons, which are also on pages without a map.
import { all, byId } from "./dom.js";

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function stored(theme) {
  try {
    if (theme) localStorage.setItem("sqlanalysis-theme", theme);
    return localStorage.getItem("sqlanalysis-theme");
  } catch {
    return null; // storage is blocked: the choice lasts as long as the page
  }
}

const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");

export function restoreTheme() {
  const theme = stored();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
}

/** `changed` is called after every change of colors. */
export function startTheme(changed) {
  const button = byId("theme");
  const refresh = () => {
    button.textContent = shown() === "dark" ? "☾" : "☀";
    button.setAttribute("aria-label", shown() === "dark" ? "Light mode" : "Dark mode");
    button.title = button.getAttribute("aria-label");
    changed();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = shown() === "dark" ? "light" : "dark";
    stored(root.dataset.theme);
    refresh();
  });
  dark.addEventListener("change", refresh);
  refresh();
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

/** Copies a text and confirms it on the button; without access to the clipboard, `fallback` returns what to do. */
export async function copy(button, text, fallback) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = fallback();
  }
  setTimeout(() => {
    button.textContent = before;
  }, 2000);
}

export function startCopying() {
  for (const button of all(".sql button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const code = button.closest(".sql").querySelector("code");
      select(code);
      copy(button, code.textContent, () => "Selected: press Ctrl+C");
    });
  }
}
