// The recording: what is known of every task, at every time.
//
// Lines go in as they come; whatever the page shows is asked for by time, and no question changes
// anything. So scrubbing needs no replay: a task knows when it was born and when it died, a nursery
// what its scope was when. Times are made to differ, by a nanosecond where they must, so that each
// time stands for exactly the events up to it, and "right before" any event can be said.

import { Nursery, Task, countUpTo } from "./life.js";
import { readLine } from "./lines.js";

const NUDGE = 1e-9; // seconds
const FLEETING = 2; // seconds
const MOST_DEAD = 100_000; // that are remembered

export class Recording {
  unread = 0; // lines that could not be read
  #deadly = { key: null, marks: [] };

  constructor() {
    this.#begin(null);
  }

  #begin(hello) {
    this.generation = (this.generation ?? 0) + 1;
    this.about = hello;
    this.tasks = new Map();
    this.nurseries = new Map();
    this.marks = []; // {t, text}
    this.markTimes = [];
    this.times = []; // of every event
    this.shapes = []; // times at which the tree changed other than by a death
    this.births = [];
    this.born = []; // tasks, in the order in which they began
    this.deathTimes = [];
    this.deaths = []; // tasks, in the order in which they died
    this.leakStarts = [];
    this.leakEnds = [];
  }

  get start() {
    return this.times[0] ?? 0;
  }

  get end() {
    return this.times.at(-1) ?? 0;
  }

  /** Take one line. What can't be read is counted, and that is all it does. */
  take(line) {
    if (line.trim() === "") return;
    const event = readLine(line);
    if (event === null || !this.#apply(event)) this.unread += 1;
  }

  aliveAt(t) {
    return countUpTo(this.births, t) - countUpTo(this.deathTimes, t);
  }

  orphansAt(t) {
    return countUpTo(this.leakStarts, t) - countUpTo(this.leakEnds, t);
  }

  /** The task that opened the nursery in which a task is; null for a root. */
  parentAt(task, t) {
    const place = task.placeAt(t);
    return place === null || place.of === null || place.opened > t ? null : place.of;
  }

  /** From the root down to a task. */
  pathAt(task, t) {
    const path = [];
    const seen = new Set();
    for (let one = task; one !== null && !seen.has(one); one = this.parentAt(one, t)) {
      seen.add(one);
      path.unshift(one);
    }
    return path;
  }

  /** The last mark at or before a time, or null. */
  markAt(t) {
    return this.marks[countUpTo(this.markTimes, t) - 1] ?? null;
  }

  /** The mark after a mark, or null. */
  markAfter(mark) {
    return this.marks[countUpTo(this.markTimes, mark.t)] ?? null;
  }

  /** Whether a task that is dead came and went: it lived for a short while, and at no mark.

      There may be thousands of them. Where there are no marks, it is short beside all the rest. */
  cameAndWent({ born, died }) {
    const lived = died - born;
    if (lived > FLEETING || this.markAt(died)?.t >= born) return false;
    return this.marks.length > 0 || lived < (died - this.start) / 2;
  }

  /** The marks of which somebody died. */
  deadlyMarks() {
    const key = `${this.generation} ${this.times.length}`;
    if (this.#deadly.key !== key) {
      const marks = this.marks.filter((mark) => this.victimsOf(mark).length > 0);
      this.#deadly = { key, marks };
    }
    return this.#deadly.marks;
  }

  /** Who died later than one time and not later than another, without the microscope's own. */
  diedBetween(from, to) {
    const [first, last] = [countUpTo(this.deathTimes, from), countUpTo(this.deathTimes, to)];
    return this.deaths.slice(first, last).filter((task) => !task.isOurs);
  }

  /** The tasks that lived when a mark was made, and died before the next one. */
  victimsOf(mark) {
    const dead = this.diedBetween(mark.t, this.markAfter(mark)?.t ?? Infinity);
    return dead.filter((task) => task.born < mark.t);
  }

  // --- Events ------------------------------------------------------------------------------------

  #apply(event) {
    if (event.e === "hello") this.#begin(event);
    const t = this.times.length === 0 ? event.t : Math.max(event.t, this.end + NUDGE);
    const reads = {
      hello: () => true,
      open: () => this.#open(t, event),
      close: () => this.#close(t, event),
      spawn: () => this.#spawn(t, event),
      move: () => this.#move(t, event),
      name: () => this.#rename(t, event),
      scope: () => this.#scope(t, event),
      gauge: () => this.#gauge(t, event),
      exit: () => this.#exit(t, event),
      mark: () => this.#mark(t, event),
    };
    const taken = reads[event.e]();
    if (taken) this.times.push(t);
    return taken;
  }

  // A nursery that is named before it was opened is made at once, and nobody's as yet.
  #nursery(id, t) {
    let nursery = this.nurseries.get(id);
    if (nursery === undefined) this.nurseries.set(id, (nursery = new Nursery(id, t)));
    return nursery;
  }

  #open(t, { id, of }) {
    const task = this.tasks.get(of);
    const nursery = this.#nursery(id, t);
    if (nursery.of !== null || task === undefined) return nursery.of === task;
    if (this.#isWithin(task, nursery)) return false; // Nobody lives inside himself.
    nursery.of = task;
    nursery.opened = t;
    nursery.around = task.nurseries.findLast((one) => one.closed === Infinity) ?? null;
    task.nurseries.push(nursery);
    this.shapes.push(t);
    return true;
  }

  #close(t, { id }) {
    const nursery = this.nurseries.get(id);
    if (nursery === undefined) return true; // Opened before the recording began.
    nursery.closed = Math.min(nursery.closed, t);
    this.shapes.push(t);
    return true;
  }

  #spawn(t, { id, name, within }) {
    if (this.tasks.has(id)) return false;
    const task = new Task(id, t, name);
    this.tasks.set(id, task);
    this.births.push(t);
    this.born.push(task);
    this.shapes.push(t);
    if (within !== null) this.#enter(t, task, this.#nursery(within, t));
    return true;
  }

  #move(t, { id, within }) {
    const task = this.tasks.get(id);
    if (task === undefined) return true;
    const nursery = this.#nursery(within, t);
    if (nursery.of !== null && this.#isWithin(nursery.of, null, task)) return false;
    task.placeAt(t)?.tasks.delete(task);
    this.#enter(t, task, nursery);
    this.shapes.push(t);
    return true;
  }

  #enter(t, task, nursery) {
    task.places.push([t, nursery]);
    task.isOurs ||= nursery.of?.isOurs === true;
    if (task.died !== Infinity) return;
    nursery.tasks.add(task);
    if (nursery.of !== null && nursery.of.died !== Infinity) this.#orphan(t, task);
  }

  #orphan(t, task) {
    if (task.leaks !== Infinity) return;
    task.leaks = t;
    this.leakStarts.push(t);
  }

  // Whether a task lives, at whatever depth, in a nursery, or in one of another task's.
  #isWithin(task, nursery, other = null) {
    const seen = new Set();
    for (let one = task; one !== null && !seen.has(one); one = this.parentAt(one, Infinity)) {
      if (one === other || (nursery !== null && one.placeAt(Infinity) === nursery)) return true;
      seen.add(one);
    }
    return false;
  }

  #rename(t, { id, name }) {
    const task = this.tasks.get(id);
    if (task !== undefined) {
      task.names.push([t, name]);
      this.shapes.push(t);
    }
    return true;
  }

  #scope(t, { id, cancelled, deadline, shield, reason, source }) {
    const nursery = this.nurseries.get(id);
    if (nursery === undefined) return true;
    const before = nursery.scopeAt(t);
    // Why it was cancelled is told once, by the first who died of it.
    const why = {
      reason: reason ?? before?.reason ?? null,
      source: source ?? before?.source ?? null,
    };
    nursery.scopes.push([
      t,
      { cancelled, deadline, shield, ...why, since: before?.cancelled ? before.since : t },
    ]);
    return true;
  }

  #gauge(t, { id, outbox }) {
    this.tasks.get(id)?.gauges.push([t, outbox]);
    return true;
  }

  #mark(t, { text }) {
    this.marks.push({ t, text });
    this.markTimes.push(t);
    return true;
  }

  #exit(t, event) {
    const task = this.tasks.get(event.id);
    if (task === undefined) return true;
    if (task.died !== Infinity) return false;
    task.died = t;
    task.end = event;
    this.deaths.push(task);
    this.deathTimes.push(t);
    if (task.leaks !== Infinity) this.leakEnds.push(t);
    task.placeAt(t)?.tasks.delete(task);
    for (const nursery of task.nurseries) {
      for (const child of nursery.tasks) this.#orphan(t, child);
      task.wasOutlived ||= nursery.tasks.size > 0;
    }
    if (this.deaths.length > MOST_DEAD) this.#forget(this.deathTimes[MOST_DEAD >> 1]);
    return true;
  }

  // A page that is left open must not grow for ever: what died up to a time is no more, unless
  // somebody outlived it. The recording begins then.
  #forget(t) {
    for (const task of this.tasks.values()) {
      if (task.died > t || task.wasOutlived) continue;
      this.tasks.delete(task.id);
      for (const nursery of task.nurseries) this.nurseries.delete(nursery.id);
    }
    const later = (times) => times.slice(countUpTo(times, t));
    this.deaths = this.deaths.slice(countUpTo(this.deathTimes, t));
    for (const list of ["deathTimes", "times", "shapes", "leakEnds"])
      this[list] = later(this[list]);
    this.born = this.born.filter((task) => task.died > t);
    this.births = this.born.map((task) => task.born);
    this.leakStarts = this.born
      .map((task) => task.leaks)
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    this.marks = this.marks.filter((mark) => mark.t > t);
    this.markTimes = later(this.markTimes);
    this.generation += 1;
  }
}
