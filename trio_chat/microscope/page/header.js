// The header: what this is a recording of, how many live, and whether anything is wrong with it.

import { fill, make, say } from "./elements.js";
import { count } from "./words.js";

const find = (id) => document.getElementById(id);

/** Draw what a view says: recording, t, live. */
export function drawHeader({ recording, t, live }) {
  say(find("title"), recording.about?.title || (live ? "Microscope" : document.title));
  say(find("alive"), `${count(recording.aliveAt(t), "task")} alive`);
  drawOrphans(recording.orphansAt(t));
  find("unread").hidden = recording.unread === 0;
  say(find("unread"), `${count(recording.unread, "line")} could not be read`);
  const isEmpty = recording.tasks.size === 0;
  const nothing = live
    ? "Nothing has come from the server yet."
    : "There is no task in this recording.";
  find("empty").hidden = !isEmpty;
  say(find("empty"), nothing);
  document.documentElement.toggleAttribute("data-empty", isEmpty);
  const leaks = recording.leakStarts.length > 0;
  const moral = leaks
    ? "A bar is red from where it outlives the task that started it."
    : "A parent’s bar always reaches past its children’s.";
  say(find("moral"), moral);
}

function drawOrphans(orphans) {
  const element = find("orphans");
  element.hidden = orphans === 0;
  if (orphans === 0) return;
  const words =
    orphans === 1
      ? "it is still running, though the code that started it is gone"
      : "still running, though the code that started them is gone";
  const text = `${count(orphans, "orphan")}: ${words}`;
  if (element.textContent === text) return; // It is read aloud when it changes.
  fill(element, [make("b", {}, count(orphans, "orphan")), `: ${words}`]);
}
