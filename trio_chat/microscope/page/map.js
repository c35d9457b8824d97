// The map: what dies. Boxes within boxes, a task around its nurseries, a nursery around its tasks.
//
// A function of the view, drawn anew each frame over elements that are kept. However many tasks
// there are, a frame makes no more than so many elements: groups of like siblings fold, more of
// them the larger the tree is, and below a depth one has to step in.

import { Kept, fill, make, rove, say, set } from "./elements.js";
import { foldGroup, tasksBelow } from "./tree.js";
import { count, more, scopeWords, shortName, whichOf } from "./words.js";

const BUDGET = 900; // elements, about
const LIMITS = [240, 120, 60, 30, 16, 8, 4, 2]; // of like siblings: the first that keeps within it
const DEEPEST = 10; // boxes within boxes
const MORE = 60; // that one step of unfolding shows
const DOTS = 40; // like siblings without children: from so many on they are dots
const SMALL = 5; // tasks in a box that stands among single tasks
const LABELLED = 4; // like siblings: from so many on they are said to be so many

const STATES = {
  alive: "alive",
  orphan: "an orphan: still running",
  cancelled: "cancelled",
  raised: "raised",
  returned: "returned",
  ended: "ended",
};

export class TaskMap {
  #element;
  #kept = new Kept();
  #view = null;
  #limit = 0;
  #hidden = new Map();

  constructor(element) {
    this.#element = element;
  }

  /** Whether an element is part of it. */
  holds(element) {
    return this.#element.contains(element);
  }

  /** Move the focus by so many tasks. */
  step(by) {
    rove(this.#element, "[data-task]", by);
  }

  /** The tasks behind a fold of the map; null for any other fold. */
  hiddenIn(key) {
    return this.#hidden.get(key) ?? null;
  }

  /** Draw what a view says of the tree, of who is chosen or predicted, and of what is unfolded. */
  draw(view) {
    this.#view = view;
    this.#hidden.clear();
    const top = view.top === null ? null : view.tree.byId.get(view.top);
    const roots = top ? [top] : view.tree.roots;
    this.#limit = LIMITS.find((limit) => this.#costs(roots, limit) <= BUDGET) ?? 1;
    const group = { key: "roots", kind: "task", nodes: roots };
    const content = roots.length === 0 ? [] : this.#group(group, top ? top.depth : 0, null);
    fill(this.#element, top ? [this.#wayBack(top), ...content] : content);
    this.#kept.turn();
  }

  // How many elements it takes to show these nodes, or more than the budget.
  #costs(roots, limit) {
    let cost = 0;
    const base = roots[0]?.depth ?? 0;
    const waiting = [...roots];
    while (waiting.length > 0 && cost <= BUDGET) {
      const node = waiting.pop();
      const size = this.#size(node);
      if (size === 0) continue;
      if (size === 1) cost += 1;
      else if (node.depth - base >= DEEPEST) cost += 5;
      else {
        cost += 5;
        for (const nursery of node.task.nurseries) cost += nursery.scopes.length > 0 ? 2 : 1;
        for (const group of groupsOf(node)) {
          cost += 2;
          let room = limit + this.#extra(group.key);
          for (const one of group.nodes) {
            if (room === 0) break;
            if (this.#size(one) === 0) continue;
            waiting.push(one);
            room -= 1;
          }
        }
      }
    }
    return cost;
  }

  // How many tasks of a node's part of the tree have a place in the map.
  #size(node) {
    return this.#view.places[node.index];
  }

  #isLeaf(node) {
    return this.#size(node) === 1;
  }

  #isSmall(node) {
    return this.#size(node) <= SMALL && node.children.every((child) => this.#size(child) <= 1);
  }

  #extra(key) {
    return (this.#view.unfolded.get(`map ${key}`) ?? 0) * MORE;
  }

  #wayBack(top) {
    const button = this.#kept.get("way back", () =>
      make("button", { class: "fold", "data-top": "" }),
    );
    say(button, `↰ whole tree (this is ${count(top.depth, "level")} down)`);
    return button;
  }

  // --- Groups ------------------------------------------------------------------------------------

  // What a group becomes: a flow of small things, or a grid of large ones.
  #group(all, base, parent, areDots = false) {
    const group = { ...all, nodes: all.nodes.filter((node) => this.#size(node) > 0) };
    const { keep, since } = this.#view;
    const limit = this.#limit + this.#extra(group.key);
    const { shown, hidden } = foldGroup(
      group,
      limit,
      keep,
      ({ task }) => task.died >= since || task.wasOutlived,
    );
    const flow = [];
    const grid = [];
    const dots =
      areDots ||
      (areAlike(group) &&
        group.nodes.length >= DOTS &&
        group.nodes.every((node) => this.#isLeaf(node)));
    for (const node of shown) {
      if (this.#isLeaf(node)) flow.push(this.#single(node, parent, group, dots));
      else (this.#isSmall(node) ? flow : grid).push(this.#box(node, base, parent, group));
    }
    if (hidden.length > 0) (grid.length > 0 ? grid : flow).push(this.#fold(group, hidden));
    if (areAlike(group) && !areDots && flow.length > 0) flow.unshift(this.#label(group));
    const bands = [];
    const kind = dots ? "dots" : areAlike(group) ? "tiles" : "flow";
    if (flow.length > 0) bands.push(this.#band(`flow ${group.key}`, kind, flow));
    if (kind === "tiles" && flow.length > 0) this.#measure(bands[0], shown, parent, group);
    if (grid.length > 0) bands.push(this.#band(`grid ${group.key}`, "grid", grid));
    return bands;
  }

  #band(key, kind, children) {
    const band = this.#kept.get(key, () => make("div"));
    set(band, "class", kind);
    fill(band, children);
    return band;
  }

  // Tiles are as wide as the longest name and what may stand behind it, and so stay where they are.
  #measure(band, shown, parent, group) {
    const letters = Math.max(...shown.map((node) => labelOf(node, parent, group).length));
    const dots = Math.max(1, ...shown.map((node) => Math.min(3, this.#size(node) - 1)));
    band.style.setProperty("--letters", Math.min(24, letters));
    band.style.setProperty("--dots", dots);
  }

  #label({ key, kind, nodes }) {
    const label = this.#kept.get(`label ${key}`, () => make("span", { class: "kind" }));
    say(label, `${kind} ×${nodes.length.toLocaleString("en")}`);
    return label;
  }

  #fold(group, hidden) {
    const { t, guess } = this.#view;
    const alive = hidden.reduce((sum, { task }) => sum + (t < task.died ? 1 : 0), 0);
    const button = this.#kept.get(`fold ${group.key}`, () => make("button", { class: "fold" }));
    set(button, "data-unfold", `map ${group.key}`);
    this.#hidden.set(`map ${group.key}`, hidden.flatMap(tasksBelow));
    set(button, "data-alive", alive > 0 ? "" : null);
    set(button, "data-guess", alikeOrMixed(hidden.map(({ task }) => guess(task))));
    say(button, `${more(hidden.length, group.kind)}, ${alive.toLocaleString("en")} alive`);
    return button;
  }

  // --- Tasks -------------------------------------------------------------------------------------

  #task(node, form) {
    const { t, chosen, guess, rover, choosing } = this.#view;
    const { task } = node;
    const button = this.#kept.get(`task ${task.id}`, () =>
      make("button", { "data-task": task.id }),
    );
    const state = task.stateAt(t);
    const guessed = guess(task);
    set(button, "class", `task ${form}`);
    set(button, "data-state", state);
    set(button, "data-guess", guessed);
    set(button, "aria-pressed", choosing ? guessed === "chosen" : chosen === task);
    set(button, "aria-label", [node.name, STATES[state], guessed].filter(Boolean).join(", "));
    set(button, "title", form === "chip" ? null : node.name);
    set(button, "tabindex", rover === task ? 0 : -1);
    return button;
  }

  #single(node, parent, group, dots) {
    const label = labelOf(node, parent, group);
    const button = this.#task(node, dots ? "dot" : "chip");
    const text = dots ? "" : label;
    if (button.childElementCount > 0) button.replaceChildren();
    say(button, text);
    return button;
  }

  #head(node, parent, group) {
    const button = this.#task(node, "head");
    const living = this.#view.living[node.index];
    const name = this.#kept.get(`name ${node.task.id}`, () => make("b"));
    const number = this.#kept.get(`number ${node.task.id}`, () => make("small"));
    say(name, this.#isSmall(node) ? labelOf(node, parent, group) : shortName(node.name, parent));
    say(number, living === 0 ? "none alive" : living.toLocaleString("en"));
    fill(button, [name, number]);
    return button;
  }

  #box(node, base, parent, group) {
    const { task } = node;
    const box = this.#kept.get(`box ${task.id}`, () => make("section"));
    set(box, "class", this.#isSmall(node) ? "box small" : "box");
    set(box, "data-state", task.stateAt(this.#view.t));
    set(box, "data-empty", this.#view.living[node.index] === 0 ? "" : null);
    const inside =
      node.depth - base >= DEEPEST ? [this.#deeper(node)] : this.#halls(node, node.halls, base);
    fill(box, [this.#head(node, parent, group), ...inside]);
    return box;
  }

  #deeper(node) {
    const button = this.#kept.get(`deeper ${node.task.id}`, () =>
      make("button", { class: "fold" }),
    );
    set(button, "data-top", node.task.id);
    say(button, `${count(this.#size(node) - 1, "task")} further down: step in`);
    return button;
  }

  // --- Nurseries ---------------------------------------------------------------------------------

  #halls(node, halls, base) {
    const { t } = this.#view;
    return halls
      .filter((hall) => hall.nursery.closed > t || this.#holdsTasks(hall))
      .map((hall) => this.#hall(node, hall, base));
  }

  #holdsTasks(hall) {
    const halls = [hall];
    for (const one of halls) {
      for (const { nodes } of one.groups.values()) {
        if (nodes.some((node) => this.#size(node) > 0)) return true;
      }
      halls.push(...one.halls);
    }
    return false;
  }

  #hall(node, hall, base) {
    const { nursery } = hall;
    const { t } = this.#view;
    const scope = nursery.scopeAt(t);
    const over = t >= nursery.closed || t >= node.task.died;
    const element = this.#kept.get(`hall ${nursery.id}`, () => make("div", { class: "hall" }));
    set(element, "data-cancelled", scope?.cancelled ? "" : null);
    set(element, "data-shield", scope?.shield ? "" : null);
    set(element, "data-over", over ? "" : null);
    const words = scopeWords(scope, t, over);
    const content = words === "" ? [] : [this.#scope(nursery, words)];
    for (const group of this.#merge(hall)) {
      content.push(...this.#group(group, base, node.name, this.#isSmall(node)));
    }
    fill(element, [...content, ...this.#halls(node, hall.halls, base)]);
    return element;
  }

  // Tasks of which there are few of a kind share one group, so that they share a line.
  #merge(hall) {
    const few = { key: `${hall.nursery.id}/`, kind: "", nodes: [] };
    const groups = [];
    for (const group of hall.groups.values()) {
      const nodes = group.nodes.filter((node) => this.#size(node) > 0);
      if (nodes.length >= LABELLED || !nodes.every((node) => this.#isLeaf(node)))
        groups.push(group);
      else few.nodes.push(...nodes);
    }
    return few.nodes.length > 0 ? [few, ...groups] : groups;
  }

  #scope(nursery, words) {
    const line = this.#kept.get(`scope ${nursery.id}`, () => make("p", { class: "scope" }));
    say(line, words);
    return line;
  }
}

const areAlike = (group) => group.kind !== "" && group.nodes.length >= LABELLED;

const labelOf = (node, parent, group) =>
  areAlike(group) ? whichOf(node.name) : shortName(node.name, parent);

function* groupsOf(node) {
  const halls = [...node.halls];
  for (const hall of halls) {
    halls.push(...hall.halls);
    yield* hall.groups.values();
  }
}

function alikeOrMixed(values) {
  return values.every((value) => value === values[0]) ? values[0] : "mixed";
}
