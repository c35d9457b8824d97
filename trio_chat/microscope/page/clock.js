// The time that is shown, and what moves it: playing, stepping, or the server, where it is live.

import { countUpTo } from "./life.js";

const JUST_BEFORE = 5e-10; // seconds; less than lies between any two events

export class Clock {
  t = 0;
  speed = 1 / 50;
  playing = false;
  following = false;
  #last = 0; // ms, when it was moved last
  #heard = 0; // ms, when the latest event came

  /** News came: what is now is counted from here. */
  hear(now) {
    this.#heard = now;
  }

  /** The recording's time at this moment, as far as one can tell between two events. */
  present(recording, now) {
    return recording.end + (this.#heard === 0 ? 0 : (now - this.#heard) / 1000);
  }

  seek(t) {
    this.t = t;
    this.playing = false;
    this.following = false;
  }

  play(now) {
    this.playing = true;
    this.following = false;
    this.#last = now;
  }

  follow() {
    this.playing = false;
    this.following = true;
  }

  /** Move on to this moment; return whether the end was reached. */
  advance(now, limit) {
    this.t = Math.min(limit, this.t + ((now - this.#last) / 1000) * this.speed);
    this.#last = now;
    if (this.t >= limit) this.playing = false;
    return !this.playing;
  }
}

/** The time right before a mark, or any event. */
export const before = (t) => t - JUST_BEFORE;

/** The time of the next event, or of the previous one. */
export function neighbour(times, t, step) {
  const place = countUpTo(times, t);
  return step > 0 ? (times[place] ?? t) : (times[place - 2] ?? times[0] ?? t);
}
