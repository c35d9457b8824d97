// How names, times and numbers are said. Functions of their arguments, and nothing else.

const MINUS = "−";

/** A span of time in the unit that suits it: "0.7 ms", "1.25 s", "3 min 20 s". */
export function span(seconds) {
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? MINUS : "";
  if (size < 0.9995) return `${sign}${(size * 1000).toFixed(size < 0.09995 ? 1 : 0)} ms`;
  if (size < 119.95) return `${sign}${size.toFixed(size < 9.995 ? 2 : 1)} s`;
  return `${sign}${Math.floor(size / 60)} min ${Math.floor(size % 60)} s`;
}

/** A point in time, as seen from another one: "+7.0 ms". */
export function since(seconds) {
  const words = Math.abs(seconds) < 5e-5 ? "0.0 ms" : span(seconds);
  if (words === "0.0 ms") return words;
  return words.startsWith(MINUS) ? words : `+${words}`;
}

/** The label of a tick, as exact as the next one is near: "0", "+50 µs", "+7.0 ms". */
export function tickAt(seconds, step) {
  if (seconds === 0) return "0";
  if (step >= 1e-4) return since(seconds);
  const micro = Math.round(Math.abs(seconds) * 1e7) / 10;
  return `${seconds < 0 ? MINUS : "+"}${micro} µs`;
}

/** "0.9–2.9 ms", or "0.7 ms" where both ends are the same. */
export function range(from, to) {
  const [first, last] = [span(from), span(to)];
  if (first === last) return first;
  const unit = last.slice(last.lastIndexOf(" "));
  return first.endsWith(unit) && !first.includes("min")
    ? `${first.slice(0, -unit.length)}–${last}`
    : `${first} – ${last}`;
}

/** "1 task", "1,848 tasks". */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** "+13 members, 12 alive". */
export function more(number, kind) {
  const noun = kind === "" ? "task" : kind;
  return `+${number.toLocaleString("en")} ${noun}${number === 1 || noun.endsWith("s") ? "" : "s"}`;
}

/** What a task is, without which one: "member" of "member alice". */
export function kindOf(name) {
  const space = name.indexOf(" ");
  return space > 0 ? name.slice(0, space).replace(/:$/, "") : lastPart(name);
}

/** A task's name as it is shown inside its parent, which need not say again what that one said:
    "hub" in "room green" for "hub green". */
export function shortName(name, parent) {
  const space = name.indexOf(" ");
  if (space <= 0) return lastPart(name);
  if (parent === null) return name;
  const which = name.slice(space);
  return parent.endsWith(which) && parent !== name ? name.slice(0, space) : name;
}

// A task that nobody named is called by its function, with the module in front.
function lastPart(name) {
  return /^[\w.<>]+$/.test(name) ? name.slice(name.lastIndexOf(".") + 1) || name : name;
}

/** Which one a task is among others of its kind: "alice" of "member alice". */
export function whichOf(name) {
  const space = name.indexOf(" ");
  return space > 0 ? name.slice(space + 1) : name;
}

const MOST = 100; // characters of a reason that has little room

/** A text that is not too long for a map. */
export function brief(text) {
  return text.length > MOST ? `${text.slice(0, MOST).trimEnd()} …` : text;
}

/** The state of a cancel scope in words; "" where there is nothing to say. */
export function scopeWords(scope, t, over) {
  if (scope === null) return "";
  const words = [];
  if (scope.cancelled)
    words.push(scope.reason ? `cancelled: “${brief(scope.reason)}”` : "cancelled");
  else if (scope.deadline !== null && !over) words.push(`deadline ${since(scope.deadline - t)}`);
  if (scope.shield) words.push("shielded");
  return words.join(" · ");
}
