// Light or dark: what the system says, unless this browser was told otherwise on this page.
//
// A classic script in the head, not a module, so that it runs before the first paint and the page
// never flashes in the wrong colours. Choosing what the system says anyway forgets the choice, so
// that the page follows the system again.

"use strict";

(() => {
  const KEY = "trio-chat:theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const remember = (theme) => {
    try {
      if (theme) localStorage.setItem(KEY, theme);
      else localStorage.removeItem(KEY);
    } catch {
      // Storage can be switched off. Then the choice lasts as long as the page.
    }
  };

  try {
    const kept = localStorage.getItem(KEY);
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {
    // As above.
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#theme");
    const label = () => {
      const text = isDark() ? "Switch to light colours" : "Switch to dark colours";
      button.setAttribute("aria-label", text);
      button.title = text;
    };
    button.addEventListener("click", () => {
      const wanted = isDark() ? "light" : "dark";
      const follows = (wanted === "dark") === system.matches;
      if (follows) delete root.dataset.theme;
      else root.dataset.theme = wanted;
      remember(follows ? null : wanted);
      label();
    });
    system.addEventListener("change", label);
    label();
  });
})();
