// The log: the room's messages in their order, as elements.
//
// It knows where it stands in the room's numbering (`epoch` and `last`), and so drops what it has
// shown already and says where something is missing. A log lives as long as the page. What the
// server counts anew goes below what stands there; the oldest elements go when there are too many.

import { paint } from "./people.js";
import { prose } from "./prose.js";

const MOST = 1_000; // elements kept
const TOGETHER = 5 * 60; // s: messages of one person this close share one heading
const NEAR = 80; // px from the end that still count as being there
const QUIET = 400; // ms that a screen reader gets to look away while the past is filled in

// English words need English dates: a reader's own way of writing them, where that is English.
const LOCALE = navigator.languages.find((tag) => /^en\b/.test(tag)) ?? "en-GB";
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "numeric", minute: "2-digit" });
const MOMENT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long" });
const DATE = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "long", year: "numeric" });

const plural = (count, one, many) =>
  count === 1 ? one : `${count.toLocaleString(LOCALE)} ${many}`;

/** "Today", "Yesterday", "Monday, 3 March", or with the year where it is another one. */
export function dayName(date, now = new Date()) {
  const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate());
  const days = Math.round((midnight(now) - midnight(date)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return date.getFullYear() === now.getFullYear() ? DAY.format(date) : DATE.format(date);
}

export class Log {
  #list;
  #scroller;
  #newer; // the button that leads to the newest message
  #epoch = null;
  #last = 0; // the last number shown in this epoch; 0 before the first
  #past = 0; // up to this number it is history, and read to nobody
  #shown = new Map(); // seq → element, of this epoch
  #previous = null; // { name, isMine, time } of the message above, where the next may join it
  #day = null;
  #atEnd = true;
  #top = 0; // where the scroller stood when we last looked
  #unseen = 0;
  #settling = null; // timer of the next look at how tall everything is
  #speaking = null; // timer of the end of the past

  constructor({ list, scroller, newer }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#newer = newer;
    // `value` as the tutorial's tests read it: one message a line. An output element's own would
    // run the words of all messages together.
    Object.defineProperty(list, "value", { get: () => this.text, configurable: true });
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    newer.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#settleSoon()).observe(scroller);
    setInterval(() => this.#nameDays(), 60_000);
  }

  /** The number of the last message shown, and the epoch it counts in; nothing before the first. */
  get position() {
    return this.#last === 0 ? {} : { since: this.#last, epoch: this.#epoch };
  }

  get text() {
    const lines = [...this.#list.querySelectorAll(".message")].map((element) => {
      const name = element.querySelector(".name").textContent;
      const text = element.querySelector(".text").textContent;
      return name ? `${name}: ${text}` : text;
    });
    return lines.join("\n");
  }

  /** A connection begins. What follows is what was missed, or up to `seq` the past. */
  welcome({ epoch, seq, recovered }) {
    if (epoch !== this.#epoch) this.beginAnew();
    this.#epoch = epoch;
    this.#past = recovered ? this.#last : seq;
    if (this.#last >= this.#past) this.#speak(0);
    else this.#hush();
  }

  /** The numbers that follow have nothing to do with those shown. */
  beginAnew() {
    if (this.#last > 0) this.note("The room began anew. The server no longer has what is above.");
    this.#last = 0;
    this.#shown.clear();
  }

  /** Put a message, or the mark of a removed one, at the end; `isMine` if this page sent it. */
  add(event, isMine) {
    const { seq } = event;
    if (seq <= this.#last) return;
    if (this.#last > 0 && seq > this.#last + 1) {
      const missing = seq - this.#last - 1;
      this.note(plural(missing, "A message is missing here.", "messages are missing here."));
    }
    if (seq > this.#past) this.#speak(0);
    const element = event.type === "deleted" ? this.#tombstone() : this.#message(event, isMine);
    this.#last = seq;
    this.#shown.set(seq, element);
    this.#list.append(element);
    if (seq === this.#past) this.#speak(QUIET);
    if (!this.#atEnd && seq > this.#past) this.#unseen += 1;
    this.#settleSoon();
  }

  /** A message was removed: one that stands here loses its words, and in history it is a mark. */
  remove(event) {
    if (event.seq > this.#last) {
      this.add(event, false);
      return;
    }
    const element = this.#shown.get(event.seq);
    if (element === undefined) return;
    element.classList.add("deleted");
    element.querySelector(".text").replaceChildren("message deleted");
  }

  /** Say something that nobody in the room has said. */
  note(text) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = text;
    this.#list.append(note);
    this.#previous = null;
    this.#settleSoon();
  }

  /** Go to the newest message, and stay with what comes. */
  follow() {
    this.#atEnd = true;
    this.#settleSoon();
  }

  /** Something below the messages has grown or gone. */
  resized() {
    this.#settleSoon();
  }

  #message({ name, message, time }, isMine) {
    const date = new Date(time * 1000);
    this.#separateDays(date);
    const previous = this.#previous;
    // Without a name nobody knows whether it is the same person.
    const goesOn =
      name !== null &&
      previous?.name === name &&
      previous.isMine === isMine &&
      time - previous.time < TOGETHER;
    this.#previous = { name, isMine, time };

    const element = document.createElement("article");
    element.className = "message";
    element.classList.toggle("mine", isMine);
    element.classList.toggle("goes-on", goesOn);
    const who = document.createElement("bdi");
    who.className = "name";
    who.textContent = name ?? "somebody";
    paint(element, name);
    const when = document.createElement("time");
    when.dateTime = date.toISOString();
    when.title = MOMENT.format(date);
    when.textContent = CLOCK.format(date);
    const heading = document.createElement("p");
    heading.className = "heading";
    heading.append(who, " ", when);
    const text = document.createElement("p");
    text.className = "text";
    text.dir = "auto";
    text.append(...prose(message));
    element.append(heading, text);
    return element;
  }

  #tombstone() {
    const element = document.createElement("article");
    element.className = "message deleted";
    const who = document.createElement("bdi");
    who.className = "name";
    const text = document.createElement("p");
    text.className = "text";
    text.textContent = "message deleted";
    element.append(who, text);
    this.#previous = null;
    return element;
  }

  #separateDays(date) {
    const day = date.toDateString();
    if (day === this.#day) return;
    this.#day = day;
    this.#previous = null;
    this.#list.append(separator(date));
  }

  #nameDays() {
    for (const time of this.#list.querySelectorAll(".day time")) {
      const name = dayName(new Date(time.dateTime));
      if (time.textContent !== name) time.textContent = name;
    }
  }

  // A live region reads what is added while it is live, so it is live only for what is new.
  #speak(after) {
    clearTimeout(this.#speaking);
    const speak = () => this.#list.setAttribute("aria-live", "polite");
    if (after === 0) speak();
    else this.#speaking = setTimeout(speak, after);
  }

  #hush() {
    clearTimeout(this.#speaking);
    this.#list.setAttribute("aria-live", "off");
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    // Only somebody who scrolls up leaves the end. That it has moved away by itself says nothing.
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#atEnd = true;
    else if (scrollTop < this.#top) this.#atEnd = false;
    this.#top = scrollTop;
    this.#label();
  }

  // Adding is cheap and measuring is not, so a burst of messages is measured once, after it.
  #settleSoon() {
    this.#settling ??= setTimeout(() => {
      this.#settling = null;
      this.#trim();
      if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#top = this.#scroller.scrollTop;
      this.#label();
    }, 16);
  }

  #trim() {
    const excess = this.#list.childElementCount - MOST;
    if (excess <= 0) return;
    const before = this.#scroller.scrollHeight;
    for (const element of [...this.#list.children].slice(0, excess)) element.remove();
    for (const [seq, element] of this.#shown) {
      if (element.isConnected) break;
      this.#shown.delete(seq);
    }
    const first = this.#list.querySelector(".day, time");
    if (first?.localName === "time") this.#list.prepend(separator(new Date(first.dateTime)));
    // Whoever reads further up keeps the line that they read.
    if (!this.#atEnd) this.#scroller.scrollTop -= before - this.#scroller.scrollHeight;
  }

  #label() {
    if (this.#atEnd) this.#unseen = 0;
    this.#newer.hidden = this.#atEnd;
    const what = plural(this.#unseen, "1 new message", "new messages");
    this.#newer.textContent = `${this.#unseen === 0 ? "Newest" : what} ↓`;
  }
}

function separator(date) {
  const element = document.createElement("p");
  element.className = "day";
  const time = document.createElement("time");
  time.dateTime = date.toISOString();
  time.textContent = dayName(date);
  element.append(time);
  return element;
}
