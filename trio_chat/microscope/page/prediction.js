// Predict: before a mark one says who will die of it, and then sees who did.
//
// What dies of a mark are the tasks that lived when it was made and ended before the next mark, or
// before the end of the recording. The score is how much the two sets have in common: the number in
// both, of the number in either.

import { tasksBelow } from "./tree.js";

export class Prediction {
  phase = "choosing"; // "choosing", "showing", "scored"

  constructor(mark) {
    this.mark = mark;
    this.tasks = new Set();
    this.victims = new Set();
  }

  /** Take these tasks, or, where all of them are taken, none of them. */
  toggle(tasks, t) {
    const living = tasks.filter((task) => t < task.died);
    const areTaken = living.every((task) => this.tasks.has(task));
    for (const task of living) {
      if (areTaken) this.tasks.delete(task);
      else this.tasks.add(task);
    }
  }

  toggleNode(node, t) {
    this.toggle(tasksBelow(node), t);
  }

  /** Have it shown: from here on nothing can be chosen. */
  show(recording) {
    this.victims = new Set(recording.victimsOf(this.mark));
    this.phase = "showing";
  }

  /** What a task is to the prediction: chosen, right, missed, wrong; null for nothing. */
  judge(task) {
    const isChosen = this.tasks.has(task);
    if (this.phase !== "scored") return isChosen ? "chosen" : null;
    if (this.victims.has(task)) return isChosen ? "right" : "missed";
    return isChosen ? "wrong" : null;
  }

  get score() {
    return score(this.tasks, this.victims);
  }
}

/** How well a set was predicted: right, missed and wrong as counts, and the percentage. */
export function score(expected, happened) {
  let right = 0;
  for (const one of expected) if (happened.has(one)) right += 1;
  const missed = happened.size - right;
  const wrong = expected.size - right;
  const either = right + missed + wrong;
  return { right, missed, wrong, percent: either === 0 ? 100 : Math.round((100 * right) / either) };
}
