// Which stretch of time is looked at: the whole recording, around a mark, or the latest seconds.
//
// A room that is cancelled is gone within milliseconds, in a recording of seconds.

const PAUSE = 0.1; // seconds without a death that may end what a mark has begun
const MARGIN = 0.12; // of it, before and behind
const SHORTEST = 1e-3; // seconds
const RECENT = 30; // seconds

/** The time of the last death that belongs to a mark: later ones come after a pause. */
export function burstEnd(recording, mark) {
  const next = recording.markAfter(mark)?.t ?? Infinity;
  let last = null;
  const victims = recording.victimsOf(mark);
  const dead = victims.length > 0 ? victims : recording.diedBetween(mark.t, next);
  for (const { died } of dead) {
    if (last !== null && died - last > PAUSE && died - last > 3 * (last - mark.t)) break;
    last = died;
  }
  return last ?? Math.min(next, recording.end, mark.t + PAUSE);
}

/** The time from and to which one looks; `kind` is "whole", "mark" or "recent". */
export function windowOf(recording, kind, mark, now) {
  const { start } = recording;
  const end = Math.max(recording.end, now);
  let [from, to] = [start, end];
  if (kind === "mark" && mark !== null) {
    const last = burstEnd(recording, mark);
    const margin = MARGIN * Math.max(last - mark.t, SHORTEST);
    [from, to] = [Math.max(start, mark.t - margin), Math.min(end, last + margin)];
  } else if (kind === "recent") {
    from = Math.max(start, end - RECENT);
  }
  return { from, to: to > from ? to : from + SHORTEST };
}

/** Where in a window a time is, from 0 to 1. */
export function placeIn({ from, to }, t) {
  return Math.max(0, Math.min(1, (t - from) / (to - from)));
}

/** Round times within a window, as seen from `zero`: some five of them. */
export function ticksOf({ from, to }, zero, most = 6) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let n = Math.ceil((from - zero) / step); zero + n * step <= to; n += 1) ticks.push(n * step);
  return ticks;
}
