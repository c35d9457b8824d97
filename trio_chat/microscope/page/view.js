// The view: all that a frame is drawn from, worked out once for every part of the page.

import { countLiving, countPlaces } from "./tree.js";

const RECENTLY = 10; // seconds in which a death counts as news, where there is no mark

/** What a page shows now, given the tree of that time and the stretch of time around it. */
export function viewOf(page, tree, window) {
  const { recording, clock, chosen, rover, prediction, look, live, mark } = page;
  const { t } = clock;
  const current = recording.markAt(t);
  const zero = look === "mark" ? mark : (current ?? recording.marks[0] ?? null);
  const isRecent = look === "recent" || current === null;
  return {
    ...{ recording, clock, t, tree, window, chosen, prediction, look, live, mark },
    unfolded: page.unfolded,
    top: page.top,
    seen: page.seen,
    living: countLiving(tree, t), // by a node's index
    places: countPlaces(tree, recording, t), // by a node's index
    zero: zero?.t ?? recording.start, // what times are counted from
    since: Math.max(current?.t ?? -Infinity, isRecent ? t - RECENTLY : -Infinity),
    keep: new Set(chosen === null ? [] : recording.pathAt(chosen, t)), // what no fold hides
    rover: tree.byId.has(rover?.id) ? rover : (tree.roots[0]?.task ?? null),
    choosing: prediction?.phase === "choosing",
    guess: (task) => prediction?.judge(task) ?? null,
    next: page.nextMark(),
    last: page.lastMark(),
  };
}
