// The inspector: why. What just happened, who died in which order, and all about one task.
//
// Each part is made of plain data, and made anew only where the data is different: a button in it
// that has the focus keeps it.

import { fill, make, say } from "./elements.js";
import { countUpTo, latest } from "./life.js";
import { count, kindOf, range, scopeWords, since, span } from "./words.js";

const MOST_MARKS = 6;
const MOST_KINDS = 10;
const MOST_PATH = 12;

export class Inspector {
  #news;
  #order;
  #task;
  #excerpts;
  #known = new Map();

  constructor({ news, order, task, excerpts }) {
    this.#news = news;
    this.#order = order;
    this.#task = task;
    this.#excerpts = excerpts;
  }

  /** Draw what a view says: recording, t, zero, since, chosen. */
  draw(view) {
    this.#part(this.#news, marksOf(view), drawMarks);
    this.#part(this.#order, orderOfDeath(view), drawOrder);
    this.#part(this.#task, describe(view, this.#excerpts), drawTask);
  }

  #part(element, data, draw) {
    const text = JSON.stringify(data);
    if (this.#known.get(element) === text) return;
    this.#known.set(element, text);
    fill(element, draw(data));
  }
}

// --- What just happened --------------------------------------------------------------------------

function marksOf({ recording, t, zero }) {
  const past = countUpTo(recording.markTimes, t);
  const first = Math.max(0, past - MOST_MARKS);
  return {
    marks: recording.marks.slice(first, past).map((mark, place) => ({
      place: first + place,
      when: since(mark.t - zero),
      text: mark.text,
    })),
    last: lastEvent(recording, t, zero),
  };
}

function lastEvent(recording, t, zero) {
  const born = recording.born[countUpTo(recording.births, t) - 1];
  const dead = recording.deaths[countUpTo(recording.deathTimes, t) - 1];
  if (dead !== undefined && !(born?.born > dead.died)) {
    return { when: since(dead.died - zero), text: `${dead.nameAt(t)} ${endWord(dead)}` };
  }
  return born === undefined
    ? null
    : { when: since(born.born - zero), text: `${born.nameAt(t)} began` };
}

function drawMarks({ marks, last }) {
  const lines = marks.map(({ place, when, text }) => {
    const go = make("button", { class: "mark-link", "data-mark": place, title: "Go there" }, text);
    return make("li", {}, make("time", {}, when), go);
  });
  if (last !== null)
    lines.push(make("li", {}, make("time", {}, last.when), make("span", {}, last.text)));
  return lines;
}

// --- Order of death ------------------------------------------------------------------------------

/** The dead since a time, by kind and by how they ended, in the order of the first of each. */
export function orderOfDeath({ recording, t, since: from, zero }) {
  const kinds = new Map();
  for (const task of recording.diedBetween(from, t)) {
    const [kind, { how }] = [kindOf(task.nameAt(t)), task.end];
    const key = `${how} ${kind}`;
    const entry = kinds.get(key) ?? { kind, how, count: 0, first: task.died - zero };
    entry.count += 1;
    entry.last = task.died - zero;
    kinds.set(key, entry);
  }
  return [...kinds.values()];
}

function drawOrder(kinds) {
  if (kinds.length === 0) return [make("li", { class: "none" }, "Nobody has died since.")];
  const lines = kinds
    .slice(0, MOST_KINDS)
    .map(({ kind, how, count: number, first, last }) =>
      make(
        "li",
        {},
        make("i", { class: "shape", "data-state": how }),
        make("b", {}, kind),
        make("span", {}, `×${number.toLocaleString("en")} ${how}`),
        make("time", {}, range(first, last)),
      ),
    );
  const more = kinds.length - MOST_KINDS;
  if (more > 0) lines.push(make("li", { class: "none" }, `and ${count(more, "kind")} more`));
  return lines;
}

// --- One task ------------------------------------------------------------------------------------

function describe({ recording, t, zero, since: from, chosen }, excerpts) {
  const lastDead = recording.deaths[countUpTo(recording.deathTimes, t) - 1];
  const task = chosen ?? (lastDead !== undefined && lastDead.died > from ? lastDead : null);
  if (task === null) return null;
  const facts = [["state", stateWords(task, t, zero)]];
  if (t >= task.died) facts.push(...endFacts(recording, task, t));
  facts.push(...scopeFacts(task, t));
  facts.push(...gaugeFacts(task, t));
  return {
    title: chosen === null ? "Last to go" : "Chosen task",
    state: task.stateAt(t),
    path: recording.pathAt(task, t).map((one) => ({ id: one.id, name: one.nameAt(t) })),
    facts,
    excerpt: t >= task.died ? excerptAt(task.end.at, excerpts) : null,
  };
}

function excerptAt(at, excerpts) {
  const excerpt = excerpts.get(at);
  if (excerpt === undefined) return null;
  return { ...excerpt, marked: Number(at.split(":")[1].split(" ")[0]) };
}

const ENDS = { cancelled: "was cancelled", raised: "raised", returned: "returned", ended: "ended" };
const endWord = (task) => ENDS[task.end.how];

function stateWords(task, t, zero) {
  if (t < task.born) return `begins at ${since(task.born - zero)}`;
  if (t >= task.died)
    return `${endWord(task)} at ${since(task.died - zero)}, aged ${span(task.died - task.born)}`;
  if (t >= task.leaks) return `an orphan for ${span(t - task.leaks)}: who started it is gone`;
  return `alive for ${span(t - task.born)}`;
}

function endFacts(recording, task, t) {
  const { exc, source, reason, by, at } = task.end;
  const author = typeof by === "number" ? (recording.tasks.get(by)?.nameAt(t) ?? `task ${by}`) : by;
  return [
    ["error", exc],
    ["source", source],
    ["reason", reason === null ? null : `“${reason}”`],
    ["by", author],
    [task.end.how === "raised" ? "raised at" : "waited at", at],
  ].filter(([, words]) => words !== null);
}

// Its own nurseries, and the one it lives in: what could end it.
function scopeFacts(task, t) {
  const facts = [];
  const place = t < task.died ? task.placeAt(t) : null;
  const around = place === null ? "" : scopeWords(place.scopeAt(t), t, t >= place.closed);
  if (around !== "") facts.push(["lives in", around]);
  const open = task.nurseries.filter(({ opened, closed }) => opened <= t && t < closed);
  open.forEach((nursery, place) => {
    const isOver = t >= task.died;
    const words =
      scopeWords(nursery.scopeAt(t), t, isOver) || (isOver ? "" : "no deadline, no shield");
    if (words !== "") facts.push([open.length > 1 ? `nursery ${place + 1}` : "nursery", words]);
  });
  return facts;
}

function gaugeFacts(task, t) {
  const gauge = latest(task.gauges, t);
  if (gauge === undefined) return [];
  const [frames, kibibytes] = gauge;
  const words =
    kibibytes === undefined
      ? count(frames, "frame")
      : `${count(frames, "frame")}, ${kibibytes} KiB`;
  return [["outbox", words]];
}

function drawTask(data) {
  if (data === null) {
    const hint = "Choose a task in the map or in the lifelines to see how it ended, and why.";
    return [make("h2", {}, "Chosen task"), make("p", { class: "none" }, hint)];
  }
  const { title, state, path, facts, excerpt } = data;
  const heading = make("h2", {}, title);
  return [
    heading,
    drawPath(path, state),
    make(
      "dl",
      {},
      ...facts.flatMap(([term, words]) => {
        const value = make("dd", { "data-fact": term });
        say(value, words);
        return [make("dt", {}, term), value];
      }),
    ),
    ...(excerpt === null ? [] : [drawExcerpt(excerpt)]),
  ];
}

function drawExcerpt({ first, lines, marked }) {
  const rows = lines.map((line, place) => {
    const number = first + place;
    const kind = number === marked ? "mark" : "span";
    return make(kind, { "data-line": number }, `${line}\n`);
  });
  return make("pre", { class: "excerpt", tabindex: 0, "aria-label": "the line" }, ...rows);
}

function drawPath(path, state) {
  const skipped = Math.max(0, path.length - MOST_PATH);
  const shown = skipped === 0 ? path : [path[0], ...path.slice(1 + skipped)];
  const parts = shown.map(({ id, name }, place) => {
    const isLast = place === shown.length - 1;
    const gap =
      skipped > 0 && place === 1 ? make("span", {}, `… ${count(skipped, "level")} …`) : null;
    const link = make("button", { class: "mark-link", "data-choose": id }, name);
    if (isLast) link.prepend(make("i", { class: "shape", "data-state": state }));
    return make("li", {}, ...[gap, link].filter(Boolean));
  });
  return make("ol", { class: "path" }, ...parts);
}
