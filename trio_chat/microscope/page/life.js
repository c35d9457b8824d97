// One task and one nursery, with all that is known of them at every time.

const OURS = "microscope";

/** How many of the sorted numbers are at most `limit`. */
export function countUpTo(numbers, limit) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The latest entry of `[t, value]` pairs at a time; undefined before the first. */
export function latest(pairs, t) {
  for (let place = pairs.length - 1; place >= 0; place -= 1) {
    if (pairs[place][0] <= t) return pairs[place][1];
  }
  return undefined;
}

export class Task {
  constructor(id, t, name) {
    this.id = id;
    this.born = t;
    this.died = Infinity;
    this.end = null; // the exit event
    this.names = [[t, name]];
    this.places = []; // nurseries
    this.nurseries = [];
    this.gauges = [];
    this.leaks = Infinity; // since when it has outlived the task that started it
    this.wasOutlived = false;
    this.isOurs = name === OURS; // of the microscope itself, which is none of the experiment's
  }

  nameAt(t) {
    return latest(this.names, t) ?? this.names[0][1];
  }

  placeAt(t) {
    return latest(this.places, t) ?? null;
  }

  stateAt(t) {
    if (t < this.born) return "unborn";
    if (t >= this.died) return this.end.how;
    return t >= this.leaks ? "orphan" : "alive";
  }
}

export class Nursery {
  constructor(id, t) {
    this.id = id;
    this.opened = t;
    this.closed = Infinity;
    this.of = null; // the task that opened it; null while nobody has said who
    this.around = null; // the nursery of the same task within which it was opened
    this.scopes = [];
    this.tasks = new Set(); // in it now, living ones
  }

  scopeAt(t) {
    return latest(this.scopes, t) ?? null;
  }
}
