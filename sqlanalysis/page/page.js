"use strict";

// The page is complete without this script: it adds the theme button and the copy buttons, nothing else.
(function () {
  const root = document.documentElement;

  function stored(theme) {
    try {
      if (theme) localStorage.setItem("sqlanalysis-theme", theme);
      return localStorage.getItem("sqlanalysis-theme");
    } catch {
      return null; // storage is blocked: the choice lasts as long as the page
    }
  }

  function shown() {
    return root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }

  function startTheme() {
    const button = document.getElementById("theme");
    const name = () => {
      button.textContent = shown() === "dark" ? "Light mode" : "Dark mode";
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = shown() === "dark" ? "light" : "dark";
      stored(root.dataset.theme);
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
  }

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  async function copy(button) {
    const code = button.closest(".sql").querySelector("code");
    const before = button.textContent;
    select(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => {
      button.textContent = before;
    }, 2000);
  }

  const theme = stored();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  document.addEventListener("DOMContentLoaded", () => {
    startTheme();
    for (const button of document.querySelectorAll("button.copy")) {
      button.hidden = false;
      button.addEventListener("click", () => copy(button));
    }
  });
})();
