// Who is here, who is typing, and the colour of each: the room's people as the page shows them.
//
// Lists are made anew as a whole, at most once in a while, however many come and go: a thousand
// names take a few milliseconds, and bookkeeping about positions takes more lines than that is
// worth.

const TYPING = 4_000; // ms that somebody's typing is shown
const NEWS = 4_000; // ms that a coming or going is shown
const BATCH = 50; // ms in which comings and goings make one new list

const COLLATOR = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
const GRAPHEMES = Intl.Segmenter ? new Intl.Segmenter() : null;

/** The hue of a name, in degrees. The style sheet adds the lightness that suits the scheme. */
export function hueOf(name) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0) % 360;
}

/** Give an element the colour and the initial of a name; null has neither. */
export function paint(element, name) {
  element.dataset.initial = name === null ? "·" : initial(name);
  if (name === null) return;
  element.style.setProperty("--hue", hueOf(name));
  element.classList.add("coloured");
}

// The first letter that a reader would call one, be it an emoji of several code points.
function initial(name) {
  const [first] = GRAPHEMES ? [...GRAPHEMES.segment(name)].map((one) => one.segment) : name;
  return first.toLocaleUpperCase();
}

/** Who is here. Above what the server lists, it is a number and no names. */
export class People {
  #list;
  #crowd;
  #button;
  #self = null;
  #names = new Set();
  #count = 0; // where there are no names
  #drawing = null;

  constructor({ list, crowd, button }) {
    this.#list = list;
    this.#crowd = crowd;
    this.#button = button;
  }

  welcome({ name, members, count }) {
    this.#self = name;
    this.#names = new Set(members ?? []);
    this.#count = members === undefined ? count : 0;
    this.#drawSoon();
  }

  joined(name) {
    if (this.#count > 0) this.#count += 1;
    else this.#names.add(name);
    this.#drawSoon();
  }

  left(name) {
    if (this.#count > 0) this.#count -= 1;
    else this.#names.delete(name);
    this.#drawSoon();
  }

  #drawSoon() {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = null;
      this.#draw();
    }, BATCH);
  }

  #draw() {
    const number = (this.#count || this.#names.size).toLocaleString();
    this.#button.textContent = `${number} here`;
    this.#button.setAttribute("aria-label", `${number} here. Show who`);
    this.#crowd.hidden = this.#count === 0;
    this.#crowd.textContent = `${number} people, too many to list.`;
    const others = [...this.#names].filter((name) => name !== this.#self).sort(COLLATOR.compare);
    const isListed = this.#names.has(this.#self);
    this.#list.replaceChildren(
      ...(isListed ? [this.#item(this.#self)] : []),
      ...others.map((name) => this.#item(name)),
    );
  }

  #item(name) {
    const item = document.createElement("li");
    const who = document.createElement("bdi");
    who.textContent = name;
    paint(item, name);
    item.append(who);
    if (name === this.#self) {
      const you = document.createElement("span");
      you.className = "faint";
      you.textContent = "you";
      item.append(you);
    }
    return item;
  }
}

/** The line under the messages: who is typing, or else who has just come or gone. */
export class Activity {
  #line;
  #typing = new Map(); // name → timer that ends it
  #news = null; // { name, verb, timer }

  constructor(line) {
    this.#line = line;
  }

  typing(name) {
    clearTimeout(this.#typing.get(name));
    this.#typing.set(name, setTimeout(() => this.stopped(name), TYPING));
    this.#draw();
  }

  stopped(name) {
    clearTimeout(this.#typing.get(name));
    if (this.#typing.delete(name)) this.#draw();
  }

  joined(name) {
    this.#announce(name, "joined");
  }

  left(name) {
    this.stopped(name);
    this.#announce(name, "left");
  }

  /** Nobody can be seen doing anything: the connection is gone. */
  clear() {
    for (const timer of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
    clearTimeout(this.#news?.timer);
    this.#news = null;
    this.#draw();
  }

  #announce(name, verb) {
    clearTimeout(this.#news?.timer);
    const timer = setTimeout(() => {
      this.#news = null;
      this.#draw();
    }, NEWS);
    this.#news = { name, verb, timer };
    this.#draw();
  }

  #draw() {
    const names = [...this.#typing.keys()];
    this.#line.classList.toggle("typing", names.length > 0);
    this.#line.replaceChildren(...this.#words(names));
  }

  #words(names) {
    if (names.length > 3) return ["Several people are typing"];
    if (names.length > 1) return [...enumerate(names), " are typing"];
    if (names.length === 1) return [isolated(names[0]), " is typing"];
    if (this.#news !== null) return [isolated(this.#news.name), ` ${this.#news.verb}`];
    return [];
  }
}

// "Ada", "Ada and Grace", "Ada, Grace and Linus"
function enumerate(names) {
  return names.flatMap((name, index) => {
    const glue = index === 0 ? [] : [index === names.length - 1 ? " and " : ", "];
    return [...glue, isolated(name)];
  });
}

function isolated(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  return element;
}
