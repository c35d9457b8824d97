// The controls of time: the scrubber with what it is over, the buttons, the time in words.
//
// Behind the slider lies how many were alive, and in red how many of them were orphans.

import { countUpTo } from "./life.js";
import { set, say } from "./elements.js";
import { placeIn } from "./window.js";
import { since } from "./words.js";

const STEPS = 10_000; // of the slider
const COLUMNS = 250; // of the picture behind it

const find = (id) => document.getElementById(id);

export class Transport {
  #slider = find("slider");
  #window = null;
  #drawn = null;

  /** `on` has a function for each wish: seek, play, step, mark, look, follow, pace. */
  constructor(on) {
    this.#slider.addEventListener("input", () => {
      const { from, to } = this.#window;
      on.seek(from + (this.#slider.valueAsNumber / STEPS) * (to - from));
    });
    const clicks = {
      play: on.play,
      back: () => on.step(-1),
      forth: () => on.step(1),
      "mark-back": () => on.mark(-1),
      "mark-forth": () => on.mark(1),
      whole: () => on.look("whole"),
      recent: () => on.look("recent"),
      around: () => on.look("mark"),
      follow: on.follow,
    };
    for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", act);
    find("speed").addEventListener("change", ({ target }) => on.pace(Number(target.value)));
  }

  /** Draw what a view says: recording, window, look, t, seen, zero, clock, live, mark. */
  draw(view) {
    const { recording, window, look, t, seen, zero, clock, live, mark } = view;
    this.#window = window;
    const value = String(Math.round(placeIn(window, t) * STEPS));
    if (this.#slider.value !== value) this.#slider.value = value;
    this.#slider.style.setProperty("--part", placeIn(window, t));
    set(this.#slider, "aria-valuetext", since(t - zero));
    say(find("now"), since(t - zero));
    set(find("play"), "data-playing", clock.playing ? "" : null);
    set(find("play"), "aria-label", clock.playing ? "Pause" : "Play");
    if (find("speed").value !== String(clock.speed)) find("speed").value = String(clock.speed);
    for (const [id, kind] of [
      ["whole", "whole"],
      ["recent", "recent"],
      ["around", "mark"],
    ]) {
      set(find(id), "aria-pressed", look === kind);
    }
    find("recent").hidden = find("follow").hidden = !live;
    find("around").hidden = mark === null;
    set(find("follow"), "aria-pressed", clock.following);
    this.#drawStrip(recording, window);
    find("strip").style.setProperty("--seen", `${100 * (1 - placeIn(window, view.seen))}%`);
  }

  #drawStrip(recording, window) {
    const key = [window.from, window.to, recording.times.length, recording.generation].join(" ");
    if (key === this.#drawn) return;
    this.#drawn = key;
    const times = Array.from(
      { length: COLUMNS + 1 },
      (_, place) => window.from + (place / COLUMNS) * (window.to - window.from),
    );
    const alive = times.map((t) => recording.aliveAt(t));
    const most = Math.max(1, ...alive);
    const paint = (selector, path) => set(find("strip").querySelector(selector), "d", path);
    paint(".living", area(alive, most));
    paint(
      ".leaking",
      area(
        times.map((t) => recording.orphansAt(t)),
        most,
      ),
    );
    const first = countUpTo(recording.markTimes, window.from - 1e-9);
    const marks = recording.marks.slice(first).filter((mark) => mark.t <= window.to);
    paint(".marks", marks.map((mark) => `M${1000 * placeIn(window, mark.t)} 0V100`).join(""));
  }
}

// A stepped area below the numbers, in a picture of 1000 by 100.
function area(numbers, most) {
  if (numbers.every((number) => number === 0)) return "M0 100";
  const width = 1000 / (numbers.length - 1);
  const heights = numbers.map((number) => (100 - (90 * number) / most).toFixed(1));
  const steps = heights.map((height, place) => `V${height}H${((place + 1) * width).toFixed(1)}`);
  return `M0 100${steps.join("")}V100Z`;
}
