// The call to predict: one line that says what comes next, and asks who will die of it.

import { say, set } from "./elements.js";
import { burstEnd } from "./window.js";
import { count, span } from "./words.js";

const find = (id) => document.getElementById(id);

export class Call {
  constructor({ yes, no }) {
    find("call-yes").addEventListener("click", yes);
    find("call-no").addEventListener("click", no);
  }

  /** Draw what a view says: prediction, next, last, recording, t. */
  draw(view) {
    const said = wordsFor(view);
    find("call").hidden = said === null;
    if (said === null) return;
    const { phase, text, yes, no } = said;
    set(find("call"), "data-phase", phase);
    say(find("call-text"), text);
    for (const [id, words] of [
      ["call-yes", yes],
      ["call-no", no],
    ]) {
      find(id).hidden = words === null;
      say(find(id), words ?? "");
    }
  }
}

function wordsFor({ prediction, next, last, recording, t }) {
  if (prediction !== null) return wordsOf(prediction);
  if (next !== null) {
    return { phase: "next", text: `Next: ${next.text}`, yes: "Predict: what will die?", no: null };
  }
  if (last === null) return null;
  const text = `${last.text}: ${wordsOfPast(recording, last, t)}`;
  return { phase: "past", text, yes: "Go back and predict it", no: "See it slowly" };
}

// How many have died of a mark up to a time. A few may have died much later than most.
function wordsOfPast(recording, mark, t) {
  const victims = recording.victimsOf(mark);
  const dead = victims.filter((task) => task.died <= t);
  if (dead.length === 0) return "nobody has died of it so far";
  const end = Math.min(t, burstEnd(recording, mark));
  const most = dead.at(-1).died > end ? "most of them within" : "within";
  const soFar = dead.length < victims.length ? " so far" : "";
  const time = span(Math.min(end, dead.at(-1).died) - mark.t);
  return `${count(dead.length, "task")} died${soFar}, ${most} ${time}`;
}

function wordsOf(prediction) {
  const { phase, mark, tasks } = prediction;
  if (phase === "choosing") {
    const text = `“${mark.text}”: what will die? Click it. ${count(tasks.size, "task")} chosen.`;
    return { phase, text, yes: "Show me", no: "Leave it" };
  }
  if (phase === "showing") return { phase, text: `“${mark.text}” …`, yes: null, no: "Leave it" };
  const { right, missed, wrong, percent } = prediction.score;
  const text = `${percent} %: ${right} right ✓, ${missed} missed !, ${wrong} wrongly expected ✗`;
  return { phase, text, yes: "Again", no: "Done" };
}
