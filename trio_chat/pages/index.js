// The page that asks for a room: checks the name, goes there, keeps the list of open rooms fresh.

import { roomNameProblem, roomPath, suggestRoomName } from "./address.js";

const REFRESH = 10_000; // ms between two looks at the list, while somebody can see it

const form = document.querySelector("#room-form");
const input = document.querySelector("#room-name-input");
const problem = document.querySelector("#room-name-problem");
const rooms = document.querySelector("#rooms");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = input.value.trim().normalize("NFC");
  const wrong = roomNameProblem(name);
  if (wrong === null) location.assign(roomPath(name));
  else complain(wrong, suggestRoomName(name));
});

input.addEventListener("input", () => complain(null, null));

function complain(wrong, suggestion) {
  input.setAttribute("aria-invalid", String(wrong !== null));
  problem.replaceChildren(wrong ?? "");
  if (suggestion === null) return;
  const link = document.createElement("a");
  link.href = roomPath(suggestion);
  link.textContent = suggestion;
  problem.append(" How about ", link, "?");
}

// The server writes the list into this page and into nothing else, so a fresh list is a fresh page.
async function refresh() {
  const answer = await fetch("/chat/", { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("#rooms");
  if (fresh === null || fresh.textContent === rooms.textContent) return;
  const focused = rooms.contains(document.activeElement) ? document.activeElement.href : null;
  rooms.replaceChildren(...document.importNode(fresh, true).childNodes);
  if (focused) [...rooms.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
}

function refreshIfSeen() {
  // A failed look is no news: the list stays as it is, and the next look is ten seconds away.
  if (!document.hidden) refresh().catch(() => {});
}

setInterval(refreshIfSeen, REFRESH);
document.addEventListener("visibilitychange", refreshIfSeen);
addEventListener("pageshow", (event) => {
  if (event.persisted) refreshIfSeen();
});

input.focus();
