// The page of a room: where its parts meet, and the only module that knows them all.
//
//   what is typed → outbox → link → the server → link → log, people, activity
//
// Each part has its story in its own file. Here stands what happens to each frame, what each state
// of the link looks like, and who one is.

import { nameProblem, roomFromPath, socketAddress } from "./address.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { Activity, People } from "./people.js";
import { Store } from "./store.js";

const TYPING = 2_000; // ms between two words to the others that one is typing

const $ = (selector) => document.querySelector(selector);
const room = roomFromPath(location.pathname);
const browser = new Store(() => localStorage, "browser");
const tab = new Store(() => sessionStorage, room);

$("#room-name").textContent = room;
$("#room-name").title = room; // A long one is cut.

// -- Who one is -----------------------------------------------------------------------------------
//
// `wish` is the name somebody chose, kept in the browser; without one the server gives a name.
// `place` is the member that this page is: with its secret the next connection takes over, so that
// the others see nobody leave or join. Only a reload inherits it, through the tab's storage: it is
// put there when the page goes and taken away when one comes, because a duplicated tab must not
// fight for the same place.

let wish = browser.load("name");
if (wish !== null && nameProblem(wish) !== null) wish = null; // Else no handshake would succeed.
let place = tab.take("place") ?? {};

addEventListener("pagehide", () => tab.save("place", place));
addEventListener("pageshow", () => tab.take("place"));

function address() {
  return socketAddress(location, room, {
    name: wish ?? place.name,
    resume: place.resume,
    ...log.position,
  });
}

function rename(name) {
  wish = name;
  browser.save("name", name);
  place = {}; // Whoever changes their name leaves, and somebody else comes.
  // Whom the server has sent away does not come back by another name.
  if (document.body.dataset.link !== "ended") link.reopen();
}

// -- The parts ------------------------------------------------------------------------------------

const log = new Log({ list: $("#chat-log"), scroller: $("#scroller"), newer: $("#newer") });
const people = new People({
  list: $("#people-list"),
  crowd: $("#people-crowd"),
  button: $("#people-button"),
});
const activity = new Activity($("#activity"));
const link = new Link(address, { onFrame, onState });
const outbox = new Outbox(tab, {
  send: (frame) => link.send(frame),
  changed: () => drawOutbox(),
  stalled: () => link.lost(),
});

// -- What comes -----------------------------------------------------------------------------------

function onFrame(frame) {
  switch (frame.type) {
    case "welcome":
      return arrive(frame);
    case "message":
      activity.stopped(frame.name);
      log.add(frame, outbox.isMine(frame.id));
      outbox.arrived(frame.seq, frame.id);
      return mark();
    case "deleted":
      return log.remove(frame);
    case "ack":
      outbox.acknowledged(frame);
      return outbox.arrived(log.position.since ?? 0);
    case "join":
      people.joined(frame.name);
      return activity.joined(frame.name);
    case "leave":
      people.left(frame.name);
      return activity.left(frame.name);
    case "typing":
      return activity.typing(frame.name);
    case "error":
      return outbox.failed(frame);
    default: // A newer server may say more. Older pages let it talk.
  }
}

function arrive(welcome) {
  const wanted = wish ?? place.name;
  const isNews = welcome.name !== place.name;
  place = { name: welcome.name, resume: welcome.resume };
  log.welcome(welcome);
  people.welcome(welcome);
  $("#name").textContent = welcome.name;
  $("#name-button").hidden = !$("#name-form").hidden;
  if (isNews && wanted && wanted !== welcome.name) {
    log.note(`“${wanted}” is taken here, so you are “${welcome.name}”.`);
  }
  outbox.connected();
}

// A message that nobody looks at puts a dot on the page's icon. (The title has to stay as it is.)
function mark() {
  if (document.hidden) $("#icon").href = "/static/icon-unread.svg";
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) $("#icon").href = "/static/icon.svg";
});

// -- The connection, as one can see it -----------------------------------------------------------

let ticking = null;

function onState(state) {
  clearInterval(ticking);
  document.body.dataset.link = state.is;
  if (state.code === 1009) outbox.tooBig();
  if (state.is !== "open") {
    outbox.disconnected();
    activity.clear();
  }
  showNotice(state.text, state.button);
  if (state.is === "open") showConnection("open", "Connected");
  if (state.is === "connecting") showConnection("connecting", "Connecting…");
  if (state.is === "ended") showConnection("ended", "Disconnected");
  if (state.is === "waiting") {
    if (state.fresh) {
      place = { name: place.name };
      log.beginAnew();
    }
    countDown(state.until);
  }
}

function countDown(until) {
  const draw = () => {
    const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
    const what = navigator.onLine ? "Reconnecting" : "Offline, trying again";
    // The seconds are for the eyes. A screen reader would read them all.
    const rest = document.createElement("span");
    rest.ariaHidden = "true";
    rest.textContent = ` in ${seconds} s`;
    showConnection(navigator.onLine ? "waiting" : "offline", what, rest);
  };
  draw();
  ticking = setInterval(draw, 1000);
}

function showConnection(state, ...content) {
  const line = $("#connection");
  if (line.dataset.state === state && line.childNodes.length > 1) {
    line.lastChild.replaceWith(content.at(-1));
    return;
  }
  line.dataset.state = state;
  line.replaceChildren(...content);
}

function showNotice(text, button) {
  $("#notice").hidden = text === undefined;
  $("#notice p").textContent = text ?? "";
  $("#notice button").hidden = button === undefined;
  $("#notice button").textContent = button ?? "";
  log.resized();
}

$("#notice button").addEventListener("click", () => link.open());

// -- Writing --------------------------------------------------------------------------------------

const input = $("#chat-message-input");
let toldTyping = -Infinity;

function send() {
  if (input.value.trim() === "") return;
  outbox.add(input.value);
  input.value = "";
  fit();
  log.follow();
}

$("#composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
  input.focus();
});

// A tap on the button must not take the focus, or a phone's keyboard would go and come.
$("#chat-message-submit").addEventListener("mousedown", (event) => event.preventDefault());

input.addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter belongs to it. Safari tells it by the number.
  if (event.key !== "Enter" || event.shiftKey) return;
  if (event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});

input.addEventListener("input", () => {
  fit();
  const now = performance.now();
  if (input.value === "" || now - toldTyping < TYPING || !outbox.spare()) return;
  toldTyping = now;
  link.send({ type: "typing" });
});

// The field grows with what is written. Newer browsers do that by themselves.
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight + 2}px`;
}

function drawOutbox() {
  const items = outbox.entries.map((entry) => {
    const item = document.createElement("li");
    item.className = `message mine ${entry.state.replace(" ", "-")}`;
    const text = document.createElement("p");
    text.className = "text";
    text.dir = "auto";
    text.textContent = entry.text;
    const remark = document.createElement("p");
    remark.className = "remark";
    item.append(text, remark);
    if (entry.state === "refused") {
      const buttons = document.createElement("span");
      buttons.append(
        remarkButton("Edit", () => edit(entry)),
        remarkButton("Discard", () => outbox.discard(entry.id)),
      );
      remark.append(`Not sent. ${entry.reason} `, buttons);
    } else if (entry.state !== "accepted") {
      const isOpen = document.body.dataset.link === "open";
      remark.textContent = isOpen ? "sending…" : "waiting to be sent";
    }
    return item;
  });
  $("#outbox").replaceChildren(...items);
  log.resized();
}

function remarkButton(label, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => {
    act();
    input.focus();
  });
  return button;
}

function edit(entry) {
  outbox.discard(entry.id);
  input.value = input.value === "" ? entry.text : `${entry.text}\n${input.value}`;
  fit();
}

// -- One's name -----------------------------------------------------------------------------------

const nameInput = $("#name-input");

function editName(isEdited) {
  $("#name-form").hidden = !isEdited;
  $("#name-button").hidden = isEdited;
  $("#activity").hidden = isEdited;
  if (!isEdited) return input.focus();
  nameInput.value = place.name ?? "";
  nameInput.setCustomValidity("");
  nameInput.select();
}

$("#name-button").addEventListener("click", () => editName(true));
$("#name-cancel").addEventListener("click", () => editName(false));
nameInput.addEventListener("input", () => nameInput.setCustomValidity(""));
nameInput.addEventListener("keydown", (event) => {
  if (event.key === "Escape") editName(false);
});

$("#name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = nameInput.value.trim();
  const problem = nameProblem(name);
  nameInput.setCustomValidity(problem ?? "");
  if (problem !== null) {
    nameInput.reportValidity();
    return;
  }
  if (name !== place.name) rename(name);
  editName(false);
});

// -- The window -----------------------------------------------------------------------------------

// iOS lays its keyboard over the page instead of making the page smaller, and tells only this.
window.visualViewport?.addEventListener("resize", () => {
  const { height, scale } = window.visualViewport;
  if (scale > 1.01) return; // Somebody looks closer; that is no keyboard.
  document.documentElement.style.setProperty("--height", `${height}px`);
  scrollTo(0, 0);
});

// Where there is room for it, the list of people stands beside the messages and opens over nothing.
matchMedia("(min-width: 56rem)").addEventListener("change", () => $("#people").hidePopover());

drawOutbox();
link.watch();
link.open();
input.focus();
