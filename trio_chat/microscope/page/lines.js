// One line of a recording: text to an event, or null where it is none.
//
// Everything in a recording is untrusted: a peer chose the names in it, and anybody may have made
// the file. So each event is made anew here, of the keys that are known and of the right kinds.

const number = (value) => typeof value === "number" && Number.isFinite(value);
const whole = (value) => Number.isSafeInteger(value) && value >= 0;
const text = (value) => typeof value === "string";
const truth = (value) => typeof value === "boolean";
const counts = (value) => Array.isArray(value) && value.every(number);
const how = (value) => ["returned", "cancelled", "raised", "ended"].includes(value);
const author = (value) => whole(value) || text(value);

// What an event needs, and what it may have. A key that is null is a key that is left out.
const KINDS = {
  hello: [
    { v: (value) => value === 1 },
    { python: text, trio: text, pid: whole, title: text, lab: truth },
  ],
  open: [{ id: whole, of: whole }, {}],
  close: [{ id: whole }, {}],
  spawn: [{ id: whole, name: text }, { within: whole }],
  move: [{ id: whole, within: whole }, {}],
  name: [{ id: whole, name: text }, {}],
  scope: [
    { id: whole, cancelled: truth, shield: truth },
    { deadline: number, reason: text, source: text },
  ],
  gauge: [{ id: whole, outbox: counts }, {}],
  exit: [
    { id: whole, how },
    { exc: text, reason: text, source: text, by: author, at: text },
  ],
  mark: [{ text }, {}],
};

/** Read one line. An optional key of the wrong kind is dropped, any other fault is the line's. */
export function readLine(line) {
  let found;
  try {
    found = JSON.parse(line);
  } catch {
    return null;
  }
  if (found === null || typeof found !== "object" || !number(found.t)) return null;
  if (!Object.hasOwn(KINDS, found.e)) return null;
  const [needed, possible] = KINDS[found.e];
  const event = { t: found.t, e: found.e };
  for (const [key, fits] of Object.entries(needed)) {
    if (!fits(found[key])) return null;
    event[key] = found[key];
  }
  for (const [key, fits] of Object.entries(possible)) {
    event[key] = fits(found[key]) ? found[key] : null;
  }
  return event;
}
