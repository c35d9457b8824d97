// The tree at one time, and which part of it is shown.
//
// A node is a task; a hall is a nursery with the tasks in it, by kind, and with the nurseries that
// the same task has opened within it. Deaths change nothing here, for the dead stay in their place.

import { countUpTo } from "./life.js";
import { kindOf } from "./words.js";

const DEEPEST_HALL = 8; // nurseries within nurseries of one task; deeper ones stand beside them

/** The tree of the tasks born by a time: its nodes, each behind its parent. */
export function treeAt(recording, t) {
  const nodes = new Map();
  for (const task of recording.tasks.values()) {
    if (task.born <= t) nodes.set(task, makeNode(task, t));
  }
  const halls = new Map();
  for (const node of nodes.values()) openHalls(node, halls, t);
  const order = [];
  for (const node of nodes.values()) {
    const hall = halls.get(node.task.placeAt(t));
    if (hall === undefined) order.push(node);
    else enter(node, hall);
  }
  const roots = order.slice();
  for (const node of order) {
    // It grows on the way.
    for (const child of node.children) {
      child.depth = node.depth + 1;
      order.push(child);
    }
  }
  for (let index = order.length - 1; index >= 0; index -= 1) {
    const node = order[index];
    node.index = index;
    if (node.parent !== null) node.parent.size += node.size;
  }
  return { roots, order, byId: new Map(order.map((node) => [node.task.id, node])) };
}

function makeNode(task, t) {
  const name = task.nameAt(t);
  return {
    task,
    name,
    kind: kindOf(name),
    parent: null,
    children: [],
    halls: [],
    depth: 0,
    size: 1,
    index: 0,
  };
}

function openHalls(node, halls, t) {
  for (const nursery of node.task.nurseries) {
    if (nursery.opened > t) continue;
    const around = halls.get(nursery.around);
    const depth = around === undefined ? 0 : around.depth + 1;
    const hall = { nursery, node, groups: new Map(), halls: [], depth };
    halls.set(nursery, hall);
    (depth > 0 && depth < DEEPEST_HALL ? around : node).halls.push(hall);
  }
}

function enter(node, hall) {
  node.parent = hall.node;
  hall.node.children.push(node);
  if (!hall.groups.has(node.kind)) {
    const key = `${hall.nursery.id}/${node.kind}`;
    hall.groups.set(node.kind, { key, kind: node.kind, nodes: [] });
  }
  hall.groups.get(node.kind).nodes.push(node);
}

/** The tree at a time, made anew only where another one is asked for. */
export class Trees {
  #key = null;
  #tree = null;

  at(recording, t) {
    const key = `${recording.generation} ${countUpTo(recording.shapes, t)}`;
    if (key !== this.#key) {
      this.#tree = treeAt(recording, t);
      this.#key = key;
    }
    return this.#tree;
  }
}

/** How many live in each node's part of the tree, by its index. */
export function countLiving(tree, t) {
  const living = new Int32Array(tree.order.length);
  for (let index = tree.order.length - 1; index >= 0; index -= 1) {
    const { task, parent } = tree.order[index];
    if (t < task.died) living[index] += 1;
    if (parent !== null) living[parent.index] += living[index];
  }
  return living;
}

/** How many keep a place in each node's part of the tree: all but those who came and went. */
export function countPlaces(tree, recording, t) {
  const places = new Int32Array(tree.order.length);
  for (let index = tree.order.length - 1; index >= 0; index -= 1) {
    const { task, parent } = tree.order[index];
    const isGone = t >= task.died && recording.cameAndWent(task);
    if (places[index] > 0 || !isGone) places[index] += 1;
    if (parent !== null) places[parent.index] += places[index];
  }
  return places;
}

/** Which nodes of a group are shown, `limit` of them and those to `keep`; the rest is folded.

    Where not all are shown, it is only those that are `preferred`: a group of which thousands have
    come and gone shows who is there. */
export function foldGroup(group, limit, keep, preferred) {
  const { nodes } = group;
  if (nodes.length <= limit + 1) return { shown: nodes, hidden: [] };
  const chosen = new Set();
  for (const node of nodes) if (keep.has(node.task)) chosen.add(node);
  for (const node of nodes) {
    if (chosen.size >= limit) break;
    if (preferred(node)) chosen.add(node);
  }
  return {
    shown: nodes.filter((node) => chosen.has(node)),
    hidden: nodes.filter((node) => !chosen.has(node)),
  };
}

/** All tasks in a node's part of the tree, itself first. */
export function tasksBelow(node) {
  const found = [node];
  for (const one of found) for (const child of one.children) found.push(child);
  return found.map((one) => one.task);
}
