// The microscope's page: a function of a recording and a time, and what moves the time.
//
// It lives as long as the tab. The recording grows by what the source tells; everything else that
// can change stands in `Page`: the time, what is looked at, what is unfolded, what is predicted.
// A frame draws all of it, and changes only what is different.

import { Call } from "./call.js";
import { Clock, before, neighbour } from "./clock.js";
import { drawHeader } from "./header.js";
import { listen } from "./input.js";
import { Inspector } from "./inspector.js";
import { LabDesk } from "./lab.js";
import { countUpTo } from "./life.js";
import { Lifelines } from "./lifelines.js";
import { TaskMap } from "./map.js";
import { Prediction } from "./prediction.js";
import { Recording } from "./recording.js";
import { connect, findExcerpts, findLines, openRecording } from "./source.js";
import { Transport } from "./transport.js";
import { Trees } from "./tree.js";
import { viewOf } from "./view.js";
import { windowOf } from "./window.js";

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
  #timer = null;
  #about = null; // the recording's hello, as it was last drawn
  #map = new TaskMap(find("map"));
  #lifelines = new Lifelines(find("lifelines"), { onTime: (t) => this.seek(t) });
  #inspector = new Inspector({
    news: find("news"),
    order: find("order"),
    task: find("task"),
    excerpts: findExcerpts(),
  });
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

  /** Watch a server, or show the recording that stands in the page. */
  begin() {
    listen(this);
    const lines = findLines();
    if (lines === null) this.#lab.open(connect(this));
    else openRecording(this, lines);
  }

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
      this.clock.seek(Math.max(before(start), Math.min(end, t)));
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
      const end = Math.min(to, this.recording.end);
      if (this.clock.following || this.clock.t >= end) this.clock.t = from;
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
      this.pace();
    });
  }

  /** Play slowly what would be over at once. */
  pace() {
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
    const isChoosing = this.prediction?.phase === "choosing";
    this.change(() => {
      if (isChoosing && tasks !== null) this.prediction.toggle(tasks, this.clock.t);
      else this.unfolded.set(key, (this.unfolded.get(key) ?? 0) + 1);
    });
  }

  // --- Predictions -------------------------------------------------------------------------------

  /** The mark that one could predict now: the next one of which somebody dies. */
  nextMark() {
    return this.recording.deadlyMarks().find((mark) => mark.t > this.clock.t) ?? null;
  }

  /** The latest mark of which somebody died: one may look at it slowly. */
  lastMark() {
    return this.recording.deadlyMarks().findLast((mark) => mark.t <= this.clock.t) ?? null;
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
    if (this.prediction === null) this.replay(this.lastMark());
    else this.change(() => (this.prediction = null));
  }

  /** Show slowly what a mark has led to. */
  replay(mark) {
    if (mark === null) return;
    this.look = "mark";
    this.goToMark(mark);
    this.pace();
    this.clock.play(performance.now());
  }

  predict(mark = this.nextMark() ?? this.lastMark()) {
    if (mark === null) return;
    this.prediction = new Prediction(mark);
    this.chosen = null;
    this.seen = before(mark.t);
    this.look = "mark";
    this.goToMark(mark);
    this.pace();
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
    const last = [...prediction.victims].at(-1)?.died ?? this.clock.t;
    this.clock.t = Math.max(this.clock.t, last);
    prediction.phase = "scored";
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
    const view = viewOf(this, this.#tree(), this.#window());
    drawHeader(view);
    this.#transport.draw(view);
    this.#call.draw(view);
    this.#map.draw(view);
    this.#inspector.draw(view);
    this.#lifelines.draw({ ...view, tree: this.#endings.at(this.recording, view.window.to) });
    this.#lab.draw(view);
    clearTimeout(this.#timer);
    if (this.clock.playing) this.change();
    else if (this.clock.following) this.#timer = setTimeout(() => this.change(), LIVE_FRAME);
  }

  #forgetWhatIsGone() {
    if (this.#generation === this.recording.generation) return;
    this.#generation = this.recording.generation;
    if (this.#about !== this.recording.about) this.seen = -Infinity;
    this.#about = this.recording.about;
    if (!this.clock.following) this.clock.t = Math.min(this.clock.t, this.recording.end);
    const isGone = (task) => task !== null && this.recording.tasks.get(task.id) !== task;
    if (isGone(this.chosen)) this.chosen = null;
    if (isGone(this.rover)) this.rover = null;
    if (!this.recording.marks.includes(this.mark)) this.mark = null;
    if (!this.recording.marks.includes(this.prediction?.mark)) this.prediction = null;
    if (this.mark === null && this.look === "mark") this.look = this.live ? "recent" : "whole";
  }

  #move(now) {
    if (this.clock.following) this.clock.t = this.clock.present(this.recording, now);
    if (!this.clock.playing) return;
    this.clock.advance(now, Math.min(this.#window().to, this.recording.end));
  }
}

if (location.search.includes("embed") || location.hash.includes("embed") || window.top !== window) {
  document.documentElement.toggleAttribute("data-embed", true);
}
new Page().begin();
