// Elements that are made once and kept, so that a frame changes only what is different.
//
// Text from a recording only ever becomes text.

/** Make an element, with attributes and children; what is null is left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Give an attribute a value; null takes it away. */
export function set(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Give an element a text. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Give an element exactly these children, in this order. */
export function fill(element, children) {
  const now = element.childNodes;
  if (now.length === children.length && children.every((child, place) => child === now[place]))
    return;
  // Whoever has the focus keeps it, though its element is put elsewhere.
  const focused = document.activeElement;
  element.replaceChildren(...children);
  if (focused !== document.activeElement && element.contains(focused)) focused.focus();
}

/** Elements by key: made at the first asking, forgotten when a frame has gone by without them. */
export class Kept {
  #old = new Map();
  #new = new Map();

  get(key, makeIt) {
    let element = this.#new.get(key) ?? this.#old.get(key);
    if (element === undefined) element = makeIt();
    this.#new.set(key, element);
    return element;
  }

  /** A frame is complete. */
  turn() {
    this.#old = this.#new;
    this.#new = new Map();
  }
}

/** Move the focus to the next or previous of a list. */
export function rove(container, selector, step) {
  const all = [...container.querySelectorAll(selector)];
  const place = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, place + step))]?.focus();
}
