// The link to a room: one WebSocket at a time, and another after it as long as that makes sense.
//
// A link begins with `open()`. It ends when the server closes it with a code that says so (the
// table below) or when the page goes; until then every ending leads to a next attempt, after a
// random pause that grows. The link reads JSON and the first frame's arrival, and no more: what the
// frames mean, and where to resume, is known to the room, which is asked for an address before each
// attempt.

const PROTOCOL = "trio-chat.v1";

// All in milliseconds.
const BACK_OFF = 500; // the first pause is a random one up to this, the next up to twice that, …
const BACK_OFF_CAP = 30_000;
const RESTART = 4_000; // a restarted server meets its members spread over this
const LATER = 10_000; // at least this long where the server asked for distance
const STEADY = 10_000; // a link that lived this long was a good one: the next pause is short again
const PATIENCE = 15_000; // from an attempt's beginning to its first frame
const GOODBYE = 1_000; // how long one's own Close may take before one goes on without its answer
const WATCH = 10_000; // how often we look whether the machine has slept
const SLEPT = 75_000; // so late is a timer only after sleep: hidden pages get theirs once a minute

const SOON = "soon";
const LATER_ON = "later";
const NEVER = "never";

/**
 * What each close code of the protocol says about coming back. `text` is shown; `button`, where
 * there is one, offers to come back anyway; `fresh` forgets where one was; after `spread` ms at the
 * latest all are back. An unknown code means "soon".
 */
export const ENDINGS = {
  1001: { back: SOON, spread: RESTART, text: "The server is restarting." },
  1002: { back: NEVER, text: "The server didn’t understand this page. Reloading it may help." },
  1003: { back: NEVER, text: "The server didn’t understand this page. Reloading it may help." },
  1007: { back: NEVER, text: "The server didn’t understand this page. Reloading it may help." },
  1008: { back: LATER_ON, text: "That was too much at once. The server asks for a pause." },
  1009: { back: NEVER, text: "That message is too big for the server.", button: "Connect again" },
  1011: { back: SOON, text: "The server had a fault." },
  1013: { back: LATER_ON, text: "There is no place free just now. You’ll get in when there is." },
  4000: { back: SOON },
  4001: { back: NEVER, text: "A moderator has removed you from this room." },
  4002: { back: NEVER, text: "This room has been closed.", button: "Open it again" },
  4003: { back: SOON },
  4004: { back: NEVER, text: "Your pass has run out. Sign in again, then reload this page." },
  4005: { back: SOON, fresh: true },
  4006: { back: NEVER, text: "You have this place open in another window.", button: "Use it here" },
};

/** A random pause before attempt `attempt` (0, 1, 2…): "full jitter" under a growing ceiling. */
export function pauseBefore(attempt, random = Math.random) {
  return random() * Math.min(BACK_OFF_CAP, BACK_OFF * 2 ** attempt);
}

export class Link {
  #address; // () => URL of the next attempt
  #onFrame; // (object) => void
  #onState; // (state) => void
  #socket = null; // the one whose events count; whatever an earlier one still says is ignored
  #state = { is: "closed" };
  #attempt = 0;
  #since = 0; // when the first frame came
  #timer = null; // the one thing waited for: a first frame, or the end of a pause

  /**
   * `onState` hears of each new state, which is one of
   *   { is: "connecting" }
   *   { is: "open" }
   *   { is: "waiting", until, text, fresh, mayHurry }  another attempt at `until` (Unix time in ms)
   *   { is: "ended", code, text, button }              nothing more unless `open()` is called
   */
  constructor(address, { onFrame, onState }) {
    this.#address = address;
    this.#onFrame = onFrame;
    this.#onState = onState;
  }

  /** Connect now, whatever was waited for. Does nothing while connected or connecting. */
  open() {
    if (this.#socket !== null) return;
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#address(), PROTOCOL);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.lost(), PATIENCE);
    this.#become({ is: "connecting" });
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.#socket) this.#closed(code);
    });
  }

  /** Send an object as a frame; false where there is no connection to send it on. */
  send(frame) {
    if (this.#state.is !== "open") return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Leave and come back at once, as under another name: the old connection is let end first. */
  reopen() {
    const old = this.#abandon();
    this.#become({ is: "connecting" });
    if (old === null) {
      this.open();
      return;
    }
    this.#timer = setTimeout(() => this.open(), GOODBYE);
    old.addEventListener("close", () => this.open());
  }

  /** Take the connection for dead, though it never said so, and go on as after any other end. */
  lost() {
    if (this.#socket !== null) this.#closed(1006);
  }

  /** Try again now instead of at the end of the pause, unless the server asked for the pause. */
  hurry() {
    if (this.#state.is === "waiting" && this.#state.mayHurry) this.open();
  }

  /** Notice from now on that the network is back, the page is seen, the machine has slept. */
  watch() {
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.hurry();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.lost(); // Back from the browser's cache: so was no connection.
    });
    let last = Date.now();
    setInterval(() => {
      const late = Date.now() - last > SLEPT;
      last = Date.now();
      // The server gave us up meanwhile, but a connection that died in one's sleep looks open.
      if (late) this.lost();
    }, WATCH);
  }

  #receive(data) {
    if (this.#state.is !== "open") {
      clearTimeout(this.#timer);
      this.#since = Date.now();
      this.#become({ is: "open" });
    }
    this.#onFrame(JSON.parse(data));
  }

  #closed(code) {
    const ending = ENDINGS[code] ?? { back: SOON };
    if (this.#state.is === "open" && Date.now() - this.#since > STEADY) this.#attempt = 0;
    this.#abandon();
    if (ending.back === NEVER) {
      this.#become({ is: "ended", code, text: ending.text, button: ending.button });
      return;
    }
    let pause = pauseBefore(this.#attempt++);
    if (ending.spread) pause = Math.max(pause, Math.random() * ending.spread);
    if (ending.back === LATER_ON) pause += LATER;
    this.#timer = setTimeout(() => this.open(), pause);
    this.#become({
      is: "waiting",
      until: Date.now() + pause,
      text: ending.text,
      fresh: ending.fresh ?? false,
      mayHurry: ending.back === SOON,
    });
  }

  // Nothing that the old socket still says will be heard. Its Close goes out behind our back.
  #abandon() {
    clearTimeout(this.#timer);
    const old = this.#socket;
    this.#socket = null;
    old?.close(1000);
    return old;
  }

  #become(state) {
    this.#state = state;
    this.#onState(state);
  }
}
