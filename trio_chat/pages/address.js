// Names and where they lead: what a room or a person may be called, and the addresses that follow.
//
// The rules are the server's (docs: "Addresses"). They stand here as well so that a slip is told
// beside the field it was typed in, and not by a 404 or a refused handshake.

const ROOM_LENGTH = 64;
const NAME_LENGTH = 32;
const NOT_IN_A_ROOM_NAME = /[^\p{L}\p{M}\p{Nd}_.-]+/gu;
const NOT_IN_A_NAME = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

// The server counts code points, and so does the iterator of a string; `length` counts UTF-16.
const length = (text) => [...text].length;

/** What is wrong with `name` as a room's name, in words, or null. Expects it trimmed and in NFC. */
export function roomNameProblem(name) {
  if (name === "") return "Type a name first. Any word will do.";
  if (name === "." || name === "..") return "Dots alone are no name.";
  if (name.search(NOT_IN_A_ROOM_NAME) >= 0) {
    return "A room’s name is made of letters, digits, “_”, “-” and “.”, without spaces.";
  }
  if (length(name) > ROOM_LENGTH) return `That is too long: ${ROOM_LENGTH} characters at most.`;
  return null;
}

/** The nearest good name to a bad one, or null where nothing of it is left. */
export function suggestRoomName(name) {
  const cut = [...name.replaceAll(NOT_IN_A_ROOM_NAME, "-")].slice(0, ROOM_LENGTH).join("");
  const trimmed = cut.replaceAll(/^-+|-+$/g, "");
  return roomNameProblem(trimmed) === null ? trimmed : null;
}

/** What is wrong with `name` as a person's name, in words, or null. Expects it trimmed. */
export function nameProblem(name) {
  if (name === "") return "Type a name.";
  if (NOT_IN_A_NAME.test(name)) return "A name can’t hold invisible characters.";
  if (length(name) > NAME_LENGTH) return `That is too long: ${NAME_LENGTH} characters at most.`;
  return null;
}

/** The address of a room's page. */
export const roomPath = (room) => `/chat/${encodeURIComponent(room)}/`;

/** The room whose page lies at `pathname`. The page is one file for all rooms, so it asks here. */
export function roomFromPath(pathname) {
  return decodeURIComponent(pathname.split("/")[2]).normalize("NFC");
}

/** The address of a room's WebSocket, for the page at `page` (a `Location` or URL). */
export function socketAddress(page, room, parameters) {
  const url = new URL(`/ws${roomPath(room)}`, page.href);
  url.protocol = page.protocol === "https:" ? "wss:" : "ws:";
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) url.searchParams.set(key, value);
  }
  return url.href;
}
