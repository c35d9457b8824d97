// Keys and clicks: from what a browser tells to what the page can do.

const find = (id) => document.getElementById(id);

/** Have a page do what it is told, as long as the tab lives. */
export function listen(page) {
  document.addEventListener("keydown", (event) => press(page, event));
  document.addEventListener("click", ({ target }) => click(page, target.closest("button")));
  document.addEventListener("focusin", ({ target }) => page.visit(Number(target.dataset?.task)));
  find("help").addEventListener("click", () => find("keys").showModal());
  find("keys-close").addEventListener("click", () => find("keys").close());
  addEventListener("resize", () => page.change());
}

function click(page, button) {
  if (button === null) return;
  const { task, choose, mark, unfold, top } = button.dataset;
  if (task ?? choose) page.choose(Number(task ?? choose));
  else if (mark) page.goToMark(page.recording.marks[Number(mark)]);
  else if (unfold) page.unfold(unfold);
  else if (top !== undefined) page.stepInto(top === "" ? null : Number(top));
}

// What a key does returns false where it does nothing, and the browser may have it.
const KEYS = {
  ArrowLeft: (page, { shiftKey }) => (shiftKey ? page.stepMark(-1) : page.step(-1)),
  ArrowRight: (page, { shiftKey }) => (shiftKey ? page.stepMark(1) : page.step(1)),
  ArrowUp: (page, { target }) => page.rove(target, -1),
  ArrowDown: (page, { target }) => page.rove(target, 1),
  Home: (page) => page.seek(page.recording.start),
  End: (page) => (page.live ? page.follow() : page.seek(page.recording.end)),
  Escape: (page) => page.escape(),
  " ": (page) => page.play(),
  p: (page) => page.prediction === null && page.predict(),
  "?": () => find("keys").showModal(),
};

function press(page, event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || find("keys").open) return;
  if (!Object.hasOwn(KEYS, key)) return;
  // A select and a button know what to do with their own keys.
  if (target.matches?.("select") || (key === " " && target.matches?.("button"))) return;
  if (KEYS[key](page, event) !== false) event.preventDefault();
}
