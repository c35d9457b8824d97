// Where the lines come from: from the page itself, for one that was made of a recording, or from
// the server that serves it. And what the lab may be asked to do.

import { before } from "./clock.js";
import { say } from "./elements.js";

const KEY = "trio-chat:microscope:token";
const NOT_LET_IN =
  "Not let in: open the address that the server has printed. Or too many are watching already.";

/** The lines of the recording that stands in the page; null where there is none. */
export function findLines() {
  const element = document.getElementById("recording");
  return element === null ? null : element.textContent.split("\n");
}

/** The lines of source around the places where tasks ended, by place; a live page has none. */
export function findExcerpts() {
  const element = document.getElementById("excerpts");
  return new Map(Object.entries(element === null ? {} : JSON.parse(element.textContent)));
}

/** Begin with a recording that is complete: right before the first mark of which somebody dies. */
export function openRecording(page, lines) {
  for (const line of lines) page.recording.take(line);
  page.clock.t = before(page.recording.start);
  const mark = page.nextMark();
  if (mark === null) {
    page.seek(page.recording.end);
  } else {
    page.look = "mark";
    page.goToMark(mark);
    page.pace();
  }
}

/** Begin with the server, and follow it; return the token. */
export function connect(page) {
  const token = takeToken();
  page.live = true;
  page.look = "recent";
  page.follow();
  const events = new EventSource(`events?token=${encodeURIComponent(token)}`);
  events.onopen = () => tell("live", "live");
  events.onmessage = ({ data }) => {
    page.recording.take(data);
    page.clock.hear(performance.now());
    if (!page.clock.following) page.change();
  };
  events.onerror = () => {
    page.clock.hear(0); // Nobody knows what is now.
    if (events.readyState === EventSource.CLOSED) tell("refused", NOT_LET_IN);
    else tell("lost", "The server is gone; what it has told stays here. Trying again …");
  };
  return token;
}

// From the address that the server printed. It is for this tab, and not for the browser's history.
function takeToken() {
  const url = new URL(location.href);
  const token = url.searchParams.get("token");
  try {
    if (token !== null) sessionStorage.setItem(KEY, token);
    url.searchParams.delete("token");
    history.replaceState(null, "", url);
    return token ?? sessionStorage.getItem(KEY) ?? "";
  } catch {
    return token ?? ""; // Where nothing may be kept, a reload needs the address again.
  }
}

function tell(state, words) {
  const element = document.getElementById("state");
  element.hidden = false;
  element.dataset.state = state;
  say(element, words);
}

/** Ask the lab for an act; return the sentence that it answers with. */
export async function act(token, what) {
  const answer = await fetch("acts", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Microscope-Token": token },
    body: JSON.stringify(what),
  });
  const sentence = (await answer.text()).trim();
  if (!answer.ok) throw new Error(sentence || `the server answers ${answer.status}`);
  return sentence;
}
