// The lab: acts done to the server that is watched. It is there only where the server says so.

import { say } from "./elements.js";
import { act } from "./source.js";

const find = (id) => document.getElementById(id);

const ACTS = {
  cancel: (id) => ({ act: "cancel", id }),
  raise: (id) => ({ act: "raise", id }),
  deadline: (id) => ({ act: "deadline", id, seconds: 2 }),
  stall: () => ({ act: "stall", ms: 200 }),
};

export class LabDesk {
  #token = "";
  #target = null;
  #onAct;

  /** `onAct` is called before an act, so that one sees what comes of it. */
  constructor(onAct) {
    this.#onAct = onAct;
    find("lab").addEventListener("click", ({ target }) =>
      this.#click(target.closest("[data-act]")),
    );
  }

  open(token) {
    this.#token = token;
  }

  /** Draw what a view says: recording, chosen, t, live. */
  draw({ recording, chosen, t, live }) {
    const isThere = live && recording.about?.lab === true;
    find("lab").hidden = !isThere;
    if (!isThere) return;
    this.#target = chosen !== null && chosen.died === Infinity ? chosen : null;
    const words =
      this.#target === null
        ? "Choose a living task in the map, to do something to it."
        : `To ${this.#target.nameAt(t)} (${this.#target.id}):`;
    say(find("target"), words);
    for (const button of find("lab").querySelectorAll("[data-act]")) {
      button.disabled = this.#target === null && button.dataset.act !== "stall";
    }
  }

  async #click(button) {
    if (button === null) return;
    const what = ACTS[button.dataset.act](this.#target?.id);
    this.#onAct();
    const status = find("lab-status");
    status.dataset.state = "asked";
    say(status, "…");
    try {
      say(status, `done: ${await act(this.#token, what)}`);
      status.dataset.state = "done";
    } catch (error) {
      say(status, error instanceof TypeError ? "The server can’t be reached." : error.message);
      status.dataset.state = "failed";
    }
  }
}
