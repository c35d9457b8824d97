// Where the lines come from: from the page itself, for one that was made of a recording, or from
// the server that serves it. And what the lab may be asked to do.

const KEY = "trio-chat:microscope:token";

/** The lines of the recording that stands in the page; null where there is none. */
export function findLines() {
  const element = document.getElementById("recording");
  return element === null ? null : element.textContent.split("\n");
}

/** The token, from the address that the server printed. It is for this tab, and not for its history. */
export function takeToken() {
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

/** Watch the server, until it can't be watched any more. It comes back by itself where it can. */
export function watch(token, { onLine, onState }) {
  const events = new EventSource(`events?token=${encodeURIComponent(token)}`);
  events.onopen = () => onState("live", "live");
  events.onmessage = ({ data }) => onLine(data);
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      onState("refused", "Not let in: open the address that the server has printed.");
    } else {
      onState("lost", "The server is gone; what it has told stays here. Trying again …");
    }
  };
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
