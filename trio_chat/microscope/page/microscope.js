// The microscope's page: a function of a recording and a time, and what moves the time.
//
// It lives as long as the tab. The recording grows by what the source tells; everything else that
// can change stands in `Page`: the time, what is looked at, what is unfolded, what is predicted.
// A frame draws all of it, and changes only what is different.

import { Call } from "./call.js";
import { Clock, before, neighbour } from "./clock.js";
import { say } from "./elements.js";
import { drawHeader } from "./header.js";
import { listen } from "./input.js";
import { Inspector } from "./inspector.js";
import { LabDesk } from "./lab.js";
import { Lifelines } from "./lifelines.js";
import { TaskMap } from "./map.js";
import { Prediction } from "./prediction.js";
import { countUpTo } from "./life.js";
import { Recording } from "./recording.js";
import { findLines, takeToken, watch } from "./source.js";
import { Transport } from "./transport.js";
import { Trees, countLiving, countPlaces } from "./tree.js";
import { windowOf } from "./window.js";

const RECENTLY = 10; // seconds in which a death counts as news, where there is no mark
const LIVE_FRAME = 100; // ms between two frames of what is live
const SLOWEST = 1 / 200;
const QUICK = 0.05; // seconds: what is over within them is played at the slowest speed

const find = (id) => document.getElementById(id);
const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

class Page {
  recording = new Recording();
  clock = new Clock();
  live = false;
  look = "whole";
  mark = null; // the one that "around the mark" is about, and from which times are counted
  chosen = null;
  rover = null; // the task that Tab leads to
  unfolded = new Map(); // steps by fold
  top = null; // the task whose part of the tree is the map; null for all
  prediction = null;
  seen = -Infinity; // the latest time that was shown

  #trees = new Trees();
  #endings = new Trees();
  #generation = 0;
  #frame = null;
  #map = new TaskMap(find("map"));
  #lifelines = new Lifelines(find("lifelines"), { onTime: (t) => this.seek(t) });
  #inspector = new Inspector({ news: find("news"), order: find("order"), task: find("task") });
  #transport = new Transport({
    seek: (t) => this.seek(t),
    play: () => this.play(),
    step: (by) => this.step(by),
    mark: (by) => this.stepMark(by),
    look: (kind) => this.lookAt(kind),
    follow: () => this.follow(),
    pace: (speed) => this.change(() => (this.clock.speed = speed)),
  });
  #call = new Call({ yes: () => this.agree(), no: () => this.decline() });
  #lab = new LabDesk(() => this.follow());

  // --- What one can do ---------------------------------------------------------------------------

  change(how) {
    how?.();
    this.#frame ??= requestAnimationFrame((now) => {
      this.#frame = null;
      this.#draw(now);
    });
  }

  seek(t) {
    this.change(() => {
      const { start, end } = this.recording;
      this.clock.seek(
        Math.max(Math.min(start, before(this.recording.marks[0]?.t ?? start)), Math.min(end, t)),
      );
      this.#turnToMark();
    });
  }

  // Out of the stretch around one mark, time leads into that of another one.
  #turnToMark() {
    const { t } = this.clock;
    const { from, to } = windowOf(this.recording, this.look, this.mark, t);
    if (this.look === "mark" && this.prediction === null && (t < from || t > to)) {
      this.mark = this.recording.markAt(t) ?? this.recording.marks[0] ?? null;
    }
  }

  step(by) {
    this.seek(neighbour(this.recording.times, this.clock.t, by));
  }

  /** Go to right before the next or previous mark. */
  stepMark(by) {
    const { marks } = this.recording;
    const past = countUpTo(this.recording.markTimes.map(before), this.clock.t);
    const stands = past > 0 && before(marks[past - 1].t) === this.clock.t;
    const place = by > 0 ? past : past - (stands ? 2 : 1);
    if (place < 0) this.seek(this.recording.start);
    else if (place >= marks.length) this.seek(this.recording.end);
    else this.goToMark(marks[place]);
  }

  goToMark(mark) {
    this.mark = mark;
    this.seek(before(mark.t));
  }

  play() {
    this.change(() => {
      if (this.clock.playing) {
        this.clock.playing = false;
        return;
      }
      const { from, to } = this.#window();
      if (this.clock.following || this.clock.t >= Math.min(to, this.recording.end))
        this.clock.t = from;
      this.clock.play(performance.now());
    });
  }

  follow() {
    this.change(() => {
      if (this.look === "mark") this.look = "recent";
      this.clock.follow();
    });
  }

  lookAt(kind) {
    this.change(() => {
      this.look = kind;
      if (kind !== "mark") return;
      this.mark ??= this.recording.markAt(this.clock.t) ?? this.recording.marks[0] ?? null;
      const { from, to } = this.#window();
      if (this.clock.t < from || this.clock.t > to) this.seek(before(this.mark.t));
      this.#pace();
    });
  }

  #pace() {
    const { from, to } = this.#window();
    this.clock.speed = to - from < QUICK ? SLOWEST : 1 / 50;
  }

  choose(id) {
    const task = this.recording.tasks.get(id);
    if (task === undefined) return;
    this.change(() => {
      if (this.prediction?.phase !== "choosing") this.chosen = this.chosen === task ? null : task;
      else this.#predict(task);
    });
  }

  #predict(task) {
    const node = this.#tree().byId.get(task.id);
    if (node !== undefined) this.prediction.toggleNode(node, this.clock.t);
  }

  /** Let Tab lead to a task. */
  visit(id) {
    const task = this.recording.tasks.get(id);
    if (task !== undefined && task !== this.rover) this.change(() => (this.rover = task));
  }

  /** Move the focus by so many tasks, where it is among tasks; return whether it is. */
  rove(element, by) {
    const view = [this.#map, this.#lifelines].find((one) => one.holds(element));
    view?.step(by);
    return view !== undefined;
  }

  stepInto(id) {
    this.change(() => (this.top = id));
  }

  /** Unfold a group; in a prediction, take those who are folded. */
  unfold(key) {
    const tasks = this.#map.hiddenIn(key);
    this.change(() => {
      if (this.prediction?.phase === "choosing" && tasks !== null)
        this.prediction.toggle(tasks, this.clock.t);
      else this.unfolded.set(key, (this.unfolded.get(key) ?? 0) + 1);
    });
  }

  // --- Predictions -------------------------------------------------------------------------------

  /** The mark that one could predict now: the next one of which somebody dies. */
  nextMark() {
    const { marks } = this.recording;
    const first = countUpTo(this.recording.markTimes, this.clock.t);
    return marks.slice(first).find((mark) => this.recording.victimsOf(mark).length > 0) ?? null;
  }

  agree() {
    const phase = this.prediction?.phase;
    if (phase === "choosing") this.#show();
    else if (phase !== "showing") this.predict(this.prediction?.mark);
  }

  /** Choose nothing, and end a prediction. */
  escape() {
    this.change(() => {
      if (this.prediction === null) this.chosen = null;
      else this.prediction = null;
    });
  }

  decline() {
    if (this.prediction === null) this.replay(this.#lastMark());
    else this.change(() => (this.prediction = null));
  }

  /** Show slowly what a mark has led to. */
  replay(mark) {
    if (mark === null) return;
    this.look = "mark";
    this.goToMark(mark);
    this.#pace();
    this.clock.play(performance.now());
  }

  predict(mark = this.nextMark() ?? this.#lastMark()) {
    if (mark === null) return;
    this.prediction = new Prediction(mark);
    this.chosen = null;
    this.seen = before(mark.t);
    this.look = "mark";
    this.goToMark(mark);
    this.#pace();
  }

  #show() {
    this.prediction.show(this.recording);
    if (isStill()) this.clock.t = this.#window().to;
    else this.clock.play(performance.now());
    this.change();
  }

  // What has been played to the end of a prediction is judged: late victims died meanwhile as well.
  #judge() {
    const { prediction } = this;
    if (prediction?.phase !== "showing" || this.clock.playing) return;
    const last = Math.max(
      this.clock.t,
      ...[...prediction.victims].map((task) => task.died).slice(-1),
    );
    this.clock.t = last;
    prediction.phase = "scored";
  }

  // The latest mark that had a consequence: one may look at it slowly.
  #lastMark() {
    const { marks } = this.recording;
    const past = countUpTo(this.recording.markTimes, this.clock.t);
    return (
      marks.slice(0, past).findLast((mark) => this.recording.victimsOf(mark).length > 0) ?? null
    );
  }

  // --- Drawing -----------------------------------------------------------------------------------

  #window() {
    return windowOf(this.recording, this.look, this.mark, this.clock.following ? this.clock.t : 0);
  }

  #tree() {
    return this.#trees.at(this.recording, this.clock.t);
  }

  #draw(now) {
    this.#forgetWhatIsGone();
    this.#move(now);
    this.#judge();
    this.seen = Math.max(this.seen, this.clock.t);
    const view = this.#view();
    drawHeader(view);
    this.#transport.draw(view);
    this.#call.draw(view);
    this.#map.draw(view);
    this.#inspector.draw(view);
    this.#lifelines.draw({ ...view, tree: this.#endings.at(this.recording, view.window.to) });
    this.#lab.draw(view);
    if (this.clock.playing) this.change();
    else if (this.clock.following) setTimeout(() => this.change(), LIVE_FRAME);
  }

  #forgetWhatIsGone() {
    if (this.#generation === this.recording.generation) return;
    this.#generation = this.recording.generation;
    const isGone = (task) => task !== null && this.recording.tasks.get(task.id) !== task;
    if (isGone(this.chosen)) this.chosen = null;
    if (isGone(this.rover)) this.rover = null;
    if (!this.recording.marks.includes(this.mark)) this.mark = null;
    if (this.prediction !== null && !this.recording.marks.includes(this.prediction.mark))
      this.prediction = null;
    if (this.mark === null && this.look === "mark") this.look = this.live ? "recent" : "whole";
  }

  #move(now) {
    if (this.clock.following) this.clock.t = this.clock.present(this.recording, now);
    else if (this.clock.playing)
      this.clock.advance(now, Math.min(this.#window().to, this.recording.end));
  }

  #view() {
    const { recording, clock, chosen, prediction, look, live, mark, unfolded, top } = this;
    const { t } = clock;
    const tree = this.#tree();
    const current = recording.markAt(t);
    const zero = look === "mark" ? mark : (current ?? recording.marks[0] ?? null);
    const living = countLiving(tree, t);
    const places = countPlaces(tree, t);
    return {
      recording,
      clock,
      t,
      tree,
      living,
      places,
      chosen,
      look,
      live,
      mark,
      unfolded,
      top,
      prediction,
      window: this.#window(),
      zero: zero?.t ?? recording.start,
      since: Math.max(
        current?.t ?? -Infinity,
        look === "recent" || current === null ? t - RECENTLY : -Infinity,
      ),
      keep: new Set(chosen === null ? [] : recording.pathAt(chosen, t)),
      rover: tree.byId.has(this.rover?.id) ? this.rover : (tree.roots[0]?.task ?? null),
      choosing: prediction?.phase === "choosing",
      seen: this.seen,
      guess: (task) => prediction?.judge(task) ?? null,
      next: this.nextMark(),
      last: this.#lastMark(),
    };
  }

  // --- Beginning ---------------------------------------------------------------------------------

  /** Begin with a recording that is complete: right before the first mark that kills. */
  open(lines) {
    for (const line of lines) this.recording.take(line);
    this.#generation = this.recording.generation;
    this.clock.t = before(this.recording.start);
    const mark = this.nextMark();
    if (mark === null) this.seek(this.recording.end);
    else {
      this.look = "mark";
      this.goToMark(mark);
      this.#pace();
    }
  }

  /** Begin with a server, and follow it. */
  connect() {
    const token = takeToken();
    this.live = true;
    this.look = "recent";
    this.clock.follow();
    this.#lab.open(token);
    watch(token, {
      onLine: (line) => {
        this.recording.take(line);
        this.clock.hear(performance.now());
        if (!this.clock.following) this.change();
      },
      onState: (state, words) => this.#tell(state, words),
    });
    this.change();
  }

  #tell(state, words) {
    const element = find("state");
    element.hidden = false;
    element.dataset.state = state;
    say(element, words);
    if (state !== "live") this.clock.hear(0);
  }
}

const page = new Page();
listen(page);
if (location.search.includes("embed") || location.hash.includes("embed") || window.top !== window) {
  document.documentElement.toggleAttribute("data-embed", true);
}
const lines = findLines();
if (lines === null) page.connect();
else page.open(lines);
