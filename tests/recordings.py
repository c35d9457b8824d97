"""Recordings for the tests of the microscope's page: made up, so that what is in them is known.

A `Story` tells events in order. The server of most of them has rooms with a hub and members, of
whom each has a writer and a heartbeat, as the lessons have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from trio_chat.microscope.events import (
    Event,
    Exited,
    Hello,
    How,
    Marked,
    Opened,
    ScopeChanged,
    Spawned,
)
from trio_chat.microscope.recording import Recording

ROOMS = ("blue", "green", "red")
MEMBERS = 16
MS = 0.001


class Story:
    """Events as they would have come. Ids are numbers in the order of what is made."""

    def __init__(self, title: str) -> None:
        self.events: list[Event] = [Hello(0.0, 1, "3.13.0", "0.35.0", 1, title)]
        self.names: dict[str, int] = {}
        self.nurseries: dict[int, int] = {}
        self.t = 0.0
        self._last = 0

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.t = round(self.t + seconds, 6)

    def spawn(self, name: str, parent: str | None = None, *, key: str | None = None) -> None:
        """Let a task begin, in its parent's one nursery; later it is called by `key`."""
        within = None if parent is None else self._nursery(self.names[parent])
        number = self.names[key or name] = self._number()
        self.events.append(Spawned(self.t, number, name, within))

    def exit(
        self,
        key: str,
        how: How = How.CANCELLED,
        *,
        exc: str | None = None,
        reason: str | None = None,
        source: str | None = None,
        by: str | None = None,
        at: str | None = None,
    ) -> None:
        """Let a task end."""
        number = self.names[key]
        self.events.append(Exited(self.t, number, how, exc, reason, source, by, at))

    def cancel(self, key: str, reason: str | None = None) -> None:
        """Cancel a task's nursery."""
        nursery = self._nursery(self.names[key])
        self.events.append(ScopeChanged(self.t, nursery, True, None, False, reason))

    def mark(self, text: str) -> None:
        """Say what happens."""
        self.events.append(Marked(self.t, text))

    def _nursery(self, task: int) -> int:
        if task not in self.nurseries:
            self.nurseries[task] = self._number()
            self.events.append(Opened(self.t, self.nurseries[task], task))
        return self.nurseries[task]

    def _number(self) -> int:
        self._last += 1
        return self._last

    def finish(self) -> Recording:
        """Return all of it."""
        return Recording(self.events)


def _open_rooms(story: Story, rooms: Iterable[str], members: int) -> None:
    story.spawn("server")
    story.spawn("listener 127.0.0.1", "server")
    story.spawn("heartbeat", "server")
    for room in rooms:
        story.spawn(f"room {room}", "server")
        story.spawn(f"hub {room}", f"room {room}")
        for number in range(members):
            name = f"{room[0]}{number}"
            story.wait(0.2 * MS)
            story.spawn(f"member {name}", f"room {room}")
            for part in ("heartbeat", "writer"):
                story.spawn(f"{part} {name}", f"member {name}")


def _end_room(story: Story, room: str, members: int, reason: str) -> None:
    cancel = partial(story.exit, reason=reason, source="explicit", by="lesson")
    story.wait(0.7 * MS)
    cancel(f"hub {room}", at="hub.py:88 _gather")
    for part, line in (("writer", "session.py:130 writer"), ("heartbeat", "heartbeat.py:41 beat")):
        for number in range(members):
            story.wait(0.06 * MS)
            cancel(f"{part} {room[0]}{number}", at=line)
    story.wait(0.4 * MS)
    for number in range(members):
        story.wait(0.1 * MS)
        cancel(f"member {room[0]}{number}", at="session.py:77 converse")
    story.wait(0.2 * MS)
    story.exit(f"room {room}", How.RETURNED)


def cancelled_room(rooms: Iterable[str] = ROOMS, members: int = MEMBERS) -> Recording:
    """Return three rooms with 16 members each, of which "green" is cancelled."""
    story = Story("Lesson 2 · Cancel one room: what dies?")
    rooms = list(rooms)
    _open_rooms(story, rooms, members)
    story.wait(0.01)
    story.mark(f"{members * len(rooms)} members in {len(rooms)} rooms")
    story.wait(0.8)
    story.mark("cancel room green")
    story.cancel("room green", "lesson 2")
    _end_room(story, "green", members, "lesson 2")
    story.wait(0.9)
    story.mark("everything is still")
    return story.finish()


def twin_with_orphans(members: int = 48) -> Recording:
    """Return an unstructured twin: the members leave, and what they started goes on."""
    story = Story("Unstructured twin · every peer leaves")
    story.spawn("main")
    for number in range(members):
        story.wait(0.2 * MS)
        story.spawn(f"member m{number}", "main")
        for part in ("heartbeat", "writer"):
            story.spawn(f"{part} m{number}", f"member m{number}")
    story.wait(0.1)
    story.mark("all peers leave")
    story.wait(0.05)
    for number in range(members):
        story.wait(0.15 * MS)
        story.exit(f"member m{number}", How.RETURNED)
    story.wait(0.7)
    story.mark("700 ms later")
    return story.finish()


def ten_thousand_tasks() -> Recording:
    """Return 100 rooms with 33 members each, 9,999 tasks and more; one room is cancelled."""
    return cancelled_room(["green", *(f"{number:02} room" for number in range(99))], 33)


def deep_chain(levels: int = 500) -> Recording:
    """Return a task in a task in a task."""
    story = Story("Deep")
    story.spawn("level 0")
    for level in range(1, levels):
        story.spawn(f"level {level}", f"level {level - 1}")
    return story.finish()


def one_raises() -> Recording:
    """Return a hub that raises, and its room that goes with it."""
    story = Story("Lesson 3 · Raise in one hub with no boundary: who notices?")
    _open_rooms(story, ROOMS, MEMBERS)
    story.wait(0.3)
    story.mark("hub of room green raises")
    story.wait(0.7 * MS)
    story.exit("hub green", How.RAISED, exc="RuntimeError: boom in the hub", at="hub.py:88 _gather")
    reason = "child task raised exception RuntimeError('boom in the hub')"
    story.cancel("room green", reason)
    cancel = partial(story.exit, reason=reason, source="nursery", by="hub green")
    for number in range(MEMBERS):
        for part in ("writer", "heartbeat"):
            story.wait(0.05 * MS)
            cancel(f"{part} g{number}", at=f"session.py:130 {part}")
        story.wait(0.05 * MS)
        cancel(f"member g{number}", at="session.py:77 converse")
    story.wait(0.5)
    return story.finish()
