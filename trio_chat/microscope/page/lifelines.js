// The lifelines: in which order. A row for each task, in the order of the tree, over a stretch of
// time; a bar from its birth to its death. Where a bar goes on behind the end of the task that
// started it, it is red from there on: a leak.
//
// What comes behind the time that is shown is there as well, under a curtain; what nobody has seen
// yet is hidden, or nobody would have to predict it.

import { Kept, fill, make, rove, say, set } from "./elements.js";
import { foldGroup } from "./tree.js";
import { placeIn, ticksOf } from "./window.js";
import { more, shortName, tickAt } from "./words.js";

const MOST_ROWS = 110;
const FIRST = 3; // of like siblings
const MORE = 40; // that one step of unfolding shows
const DEEPEST = 14; // levels that are indented

const percent = (part) => `${(100 * part).toFixed(3)}%`;

export class Lifelines {
  #element;
  #rows;
  #over; // what lies over the rows: marks, the curtain, the time
  #axis;
  #curtain; // over what is to come
  #veil; // over what nobody has seen yet
  #playhead;
  #kept = new Kept();
  #drawn = null;
  #window = null;

  constructor(element, { onTime }) {
    this.#element = element;
    this.#rows = make("div", { class: "rows" });
    this.#curtain = make("i", { class: "curtain" });
    this.#veil = make("i", { class: "veil" });
    this.#playhead = make("i", { class: "playhead" });
    this.#axis = make("div", { class: "axis", "aria-hidden": "true" });
    this.#over = make("div", { class: "over", "aria-hidden": "true" });
    element.append(this.#axis, this.#rows, this.#over);
    this.#listen(onTime);
  }

  #listen(onTime) {
    const scrub = (event) => {
      const { left, width } = this.#over.getBoundingClientRect();
      const part = Math.max(0, Math.min(1, (event.clientX - left) / width));
      onTime(this.#window.from + part * (this.#window.to - this.#window.from));
    };
    this.#element.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button") || event.button !== 0) return;
      if (event.pointerType !== "touch") this.#element.setPointerCapture(event.pointerId);
      scrub(event);
    });
    this.#element.addEventListener("pointermove", (event) => {
      if (this.#element.hasPointerCapture(event.pointerId)) scrub(event);
    });
  }

  /** Whether an element is part of it. */
  holds(element) {
    return this.#element.contains(element);
  }

  /** Move the focus by so many tasks. */
  step(by) {
    rove(this.#element, "[data-task]", by);
  }

  /** Draw what a view says: recording, tree, window, zero, t, seen, unfolded, keep, chosen. */
  draw(view) {
    const { window, t } = view;
    this.#window = window;
    this.#drawRows(view);
    const part = percent(placeIn(window, t));
    this.#playhead.style.left = part;
    this.#curtain.style.left = part;
    this.#veil.style.left = percent(placeIn(window, view.seen));
  }

  #drawRows(view) {
    const { recording, tree, window, zero, unfolded, chosen, rover, prediction } = view;
    const folds = [...unfolded].filter(([key]) => key.startsWith("rows ")).join();
    const ids = [chosen?.id, rover?.id, folds, tree.order.length, recording.generation];
    if (prediction !== null) ids.push(prediction.phase, prediction.tasks.size);
    const key = [window.from, window.to, zero, recording.times.length, ...ids].join(" ");
    if (key === this.#drawn) return;
    this.#drawn = key;
    fill(
      this.#rows,
      this.#listRows(view).map((row) => this.#row(row, view)),
    );
    this.#drawAxis(view);
    fill(this.#over, [this.#curtain, this.#veil, ...this.#marks(view), this.#playhead]);
    this.#kept.turn();
  }

  // --- Which rows --------------------------------------------------------------------------------

  #listRows(view) {
    const rows = [];
    const waiting = view.tree.roots.map((node) => ({ node })).reverse();
    let left = 0;
    while (waiting.length > 0) {
      const next = waiting.pop();
      if (next.node && !isWithin(next.node.task, view.window)) {
        waiting.push(...this.#below(next.node, view));
      } else if (rows.length < MOST_ROWS) {
        rows.push(next);
        if (next.node) waiting.push(...this.#below(next.node, view));
      } else {
        left += next.node ? next.node.size : next.hidden.length;
      }
    }
    if (left > 0) rows.push({ left });
    return rows;
  }

  // What comes below a node, the last first.
  #below(node, view) {
    const below = [];
    const halls = [...node.halls];
    for (const hall of halls) {
      halls.push(...hall.halls);
      for (const group of hall.groups.values()) below.push(...this.#unfolded(node, group, view));
    }
    return below.reverse();
  }

  // Those who came and went are counted only below the task that is chosen.
  #unfolded(node, group, { recording, unfolded, keep, window, chosen }) {
    const more = MORE * (unfolded.get(`rows ${group.key}`) ?? 0);
    const isLasting = ({ task }) => more > 0 || task === chosen || !recording.cameAndWent(task);
    const nodes = group.nodes.filter((one) => one.size > 1 || isWithin(one.task, window));
    const lasting = node.task === chosen ? nodes : nodes.filter(isLasting);
    const { shown, hidden } = foldGroup({ ...group, nodes: lasting }, FIRST + more, keep, (one) =>
      isWithin(one.task, window),
    );
    const below = shown.map((one) => ({ node: one }));
    if (hidden.length > 0) below.push({ group, hidden, depth: node.depth + 1 });
    return below;
  }

  // --- A row -------------------------------------------------------------------------------------

  #row(row, view) {
    if (row.left !== undefined) {
      const line = this.#kept.get("left", () => make("p", { class: "left" }));
      say(line, `… and ${row.left.toLocaleString("en")} more tasks that have no room here`);
      return line;
    }
    return row.node ? this.#life(row.node, view) : this.#foldRow(row);
  }

  #foldRow({ group, hidden, depth }) {
    const { key, kind } = group;
    const button = this.#kept.get(`fold ${key}`, () => make("button", { class: "fold" }));
    set(button, "data-unfold", `rows ${key}`);
    button.style.setProperty("--depth", Math.min(depth, DEEPEST));
    say(button, more(hidden.length, kind));
    return button;
  }

  #life(node, { window, chosen, rover, guess }) {
    const { task } = node;
    const row = this.#kept.get(`row ${task.id}`, makeRow);
    const [label, track] = row.children;
    const [bar, leak, end] = track.children;
    const parent = node.parent === null ? null : node.parent.name;
    set(row, "data-chosen", chosen === task ? "" : null);
    set(row, "data-inner", node.children.length > 0 ? "" : null);
    set(label, "data-task", task.id);
    set(label, "data-guess", guess(task));
    set(label, "tabindex", rover === task ? 0 : -1);
    set(label, "aria-label", node.name);
    label.style.setProperty("--depth", Math.min(node.depth, DEEPEST));
    say(label, shortName(node.name, parent));
    stretch(bar, window, task.born, Math.min(task.died, task.leaks));
    stretch(leak, window, task.leaks, task.died);
    set(end, "data-how", isEndWithin(task, window) ? task.end.how : null);
    end.style.left = percent(placeIn(window, task.died));
    return row;
  }

  // --- What lies over them -----------------------------------------------------------------------

  #drawAxis({ window, zero }) {
    const width = this.#over.clientWidth;
    const most = Math.max(2, Math.min(8, Math.floor(width / 90)));
    const fits = (tick) => (1 - placeIn(window, zero + tick)) * width > 64;
    const ticks = ticksOf(window, zero, most);
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : Infinity;
    const labels = ticks
      .filter(fits)
      .map((tick, place) => {
        const label = this.#kept.get(`tick ${place}`, () => make("span"));
        say(label, tickAt(tick, step));
        label.style.left = percent(placeIn(window, zero + tick));
        return label;
      });
    fill(this.#axis, labels);
  }

  #marks({ recording, window }) {
    const marks = recording.marks.filter(({ t }) => t >= window.from && t <= window.to);
    return marks.slice(-20).map((mark, place, all) => {
      const line = this.#kept.get(`mark ${place}`, () => make("span", { class: "mark" }));
      const next = all[place + 1];
      const [from, to] = [placeIn(window, mark.t), next ? placeIn(window, next.t) : 1];
      say(line, to - from > 0.04 ? mark.text : "");
      line.style.left = percent(from);
      line.style.width = percent(to - from);
      return line;
    });
  }
}

function makeRow() {
  const track = make("span", { class: "track" });
  track.append(
    make("i", { class: "bar" }),
    make("i", { class: "leak" }),
    make("i", { class: "end" }),
  );
  return make("div", { class: "row" }, make("button"), track);
}

// A bar over the part of a stretch of time that lies within the window.
function stretch(bar, window, from, to) {
  const hidden = !(from < to) || from > window.to || to < window.from;
  bar.hidden = hidden;
  if (hidden) return;
  const [left, right] = [placeIn(window, from), placeIn(window, to)];
  bar.style.left = percent(left);
  bar.style.width = percent(right - left);
}

// Whoever is dead but was outlived is there, for those who are behind.
const isWithin = (task, { from, to }) => task.born <= to && (task.died >= from || task.wasOutlived);
const isEndWithin = (task, { from, to }) => task.died >= from && task.died <= to;
