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

  /** Draw what a view says: prediction, next, last, recording. */
  draw(view) {
    const said = wordsFor(view);
    find("call").hidden = said === null;
    if (said === null) return;
    const { phase, text, yes, no } = said;
    set(find("call"), "data-phase", phase);
    say(find("call-text"), text);
    for (const [id, words] of [["call-yes", yes], ["call-no", no]]) {
      find(id).hidden = words === null;
      say(find(id), words ?? "");
    }
  }
}

function wordsFor({ prediction, next, last, recording }) {
  if (prediction !== null) return wordsOf(prediction);
  if (next !== null) {
    return { phase: "next", text: `Next: ${next.text}`, yes: "Predict: what will die?", no: null };
  }
  if (last === null) return null;
  const dead = count(recording.victimsOf(last).length, "task");
  const text = `${last.text}: ${dead} died, most within ${span(burstEnd(recording, last) - last.t)}`;
  return { phase: "past", text, yes: "Go back and predict it", no: "See it slowly" };
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
