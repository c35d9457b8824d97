// What was typed and is not yet in the room.
//
// An outbox lives as long as its tab: a reload finds it in the session's storage. Each message gets
// a random id when it is typed and keeps it over every attempt, so that the server publishes it
// once however often it is sent. One message is under way at a time: the next goes out when the
// server has acknowledged or refused it. That keeps the order, because nothing can overtake what
// has to be sent again, and it leaves at most one message in doubt when the connection breaks.

// The server allows 10 frames a second and 20 in a burst (its defaults). We stay a little below, so
// that a flush of what was typed offline runs into no refusal, and leave some room for "typing".
const BURST = 16;
const PER_SECOND = 8;

const PATIENCE = 15_000; // ms for an answer, before the connection is taken for dead
const PAUSE = 2_000; // ms before trying again, where the server named no time
const FRAME_LIMIT = 60_000; // bytes: the server ends the connection for a frame above 64 KiB
const REMEMBERED = 500; // ids of one's own messages, by which they are known again in the history

const TRY_AGAIN = new Set(["rate-limited", "history-unavailable"]);

const REASONS = {
  "too-long": "Too long for this room.",
  "bad-message": "The server can’t read this.",
  "bad-type": "The server can’t read this.",
  "bad-id": "This was said before, in other words.",
  "not-json": "The server can’t read this.",
};

/** A random UUID, also where the page came over plain http and `crypto.randomUUID` is not there. */
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** A token bucket: `delay(now)` takes a token and answers 0, or the ms until there is one. */
export class Pace {
  #burst;
  #perSecond;
  #tokens;
  #last = null;

  constructor(burst = BURST, perSecond = PER_SECOND) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  delay(now) {
    const gained = this.#last === null ? 0 : ((now - this.#last) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#last = now;
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000);
    this.#tokens -= 1;
    return 0;
  }
}

/**
 * `entries` is what the page shows: `{ id, text, state, reason }`, in the order of typing. States:
 *   "waiting"   for its turn or for a connection
 *   "under way" sent, and not yet answered
 *   "accepted"  answered: its number is `seq`, and the room's own copy of it follows
 *   "refused"   for good, with a `reason`: somebody has to edit or discard it
 */
export class Outbox {
  entries = [];
  #store;
  #send; // (frame) => was there a connection to send it on
  #changed; // () => void
  #stalled; // () => void: no answer for too long
  #mine; // ids of what this tab has sent
  #pace = null; // null: not connected
  #next = null; // timer of the next attempt to send
  #answer = null; // timer of the answer

  constructor(store, { send, changed, stalled }) {
    this.#store = store;
    this.#send = send;
    this.#changed = changed;
    this.#stalled = stalled;
    this.#mine = store.load("mine") ?? [];
    this.entries = (store.load("outbox") ?? []).map(({ id, text, reason }) =>
      reason ? { id, text, reason, state: "refused" } : { id, text, state: "waiting" },
    );
  }

  add(text) {
    const entry = { id: randomId(), text, state: "waiting" };
    this.entries.push(entry);
    this.#mine = [...this.#mine, entry.id].slice(-REMEMBERED);
    this.#store.save("mine", this.#mine);
    this.#update();
    this.#pump();
  }

  discard(id) {
    this.entries = this.entries.filter((entry) => entry.id !== id);
    this.#update();
  }

  isMine(id) {
    return this.#mine.includes(id);
  }

  isUnderWay() {
    return this.entries.some((entry) => entry.state === "under way");
  }

  /** A connection is there, and with it a fresh allowance. */
  connected() {
    this.#pace = new Pace();
    // What was accepted on the old connection comes back as history, or is gone with it.
    this.entries = this.entries.filter((entry) => entry.state !== "accepted");
    this.#update();
    this.#pump();
  }

  /** What was under way is in doubt: it goes out again, under the same id. */
  disconnected() {
    this.#pace = null;
    this.#settle("waiting");
  }

  /** The connection ended because of the message under way. */
  tooBig() {
    this.#settle("refused", REASONS["too-long"]);
  }

  acknowledged({ id, seq }) {
    const entry = this.#find(id);
    if (entry === undefined) return;
    if (entry.state === "under way") clearTimeout(this.#answer);
    Object.assign(entry, { state: "accepted", seq });
    this.#update();
    this.#pump();
  }

  /** The room has shown everything up to number `seq`, the message `id` last. */
  arrived(seq, id) {
    const entry = this.#find(id);
    if (entry?.state === "under way") clearTimeout(this.#answer);
    const left = this.entries.filter((one) => one !== entry && !(one.seq <= seq));
    if (left.length === this.entries.length) return;
    this.entries = left;
    this.#update();
    this.#pump();
  }

  /** An error came. Without an id it is about the message under way, if it is about one at all. */
  failed({ code, reason, id, retry_after: retryAfter }) {
    const entry = id === undefined ? this.#find(null) : this.#find(id);
    if (entry === undefined || entry.state === "accepted") return;
    if (entry.state === "under way") clearTimeout(this.#answer);
    if (TRY_AGAIN.has(code)) {
      const pause = retryAfter === undefined ? PAUSE : retryAfter * 1000;
      entry.state = "waiting";
      this.#update();
      this.#pumpIn(pause + 50);
      return;
    }
    Object.assign(entry, { state: "refused", reason: REASONS[code] ?? reason });
    this.#update();
    this.#pump();
  }

  /** May a frame that matters less go out now? It counts towards the same allowance. */
  spare() {
    return this.#pace !== null && !this.isUnderWay() && this.#pace.delay(performance.now()) === 0;
  }

  // Send the first message that waits, unless one is under way, or say when to look again.
  #pump() {
    if (this.#pace === null || this.#next !== null || this.isUnderWay()) return;
    const entry = this.entries.find((one) => one.state === "waiting");
    if (entry === undefined) return;
    const frame = { type: "message", message: entry.text, id: entry.id };
    if (new TextEncoder().encode(JSON.stringify(frame)).length > FRAME_LIMIT) {
      this.failed({ code: "too-long", id: entry.id });
      return;
    }
    const pause = this.#pace.delay(performance.now());
    if (pause > 0) {
      this.#pumpIn(pause);
    } else if (this.#send(frame)) {
      entry.state = "under way";
      this.#answer = setTimeout(() => this.#stalled(), PATIENCE);
      this.#update();
    }
  }

  #pumpIn(pause) {
    clearTimeout(this.#next);
    this.#next = setTimeout(() => {
      this.#next = null;
      this.#pump();
    }, pause);
  }

  #settle(state, reason) {
    clearTimeout(this.#answer);
    clearTimeout(this.#next);
    this.#next = null;
    const entry = this.#find(null);
    if (entry !== undefined) Object.assign(entry, { state, reason });
    this.#update();
  }

  // With null, the one under way.
  #find(id) {
    return this.entries.find((entry) =>
      id === null ? entry.state === "under way" : entry.id === id,
    );
  }

  #update() {
    const kept = this.entries.filter((entry) => entry.state !== "accepted");
    this.#store.save("outbox", kept.map(({ id, text, reason }) => ({ id, text, reason })));
    this.#changed();
  }
}
