"""The experiment: everybody leaves a full room; then one is drained. Nobody stops the hub."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected, Message
from ...client.nursery import open_service_nursery
from ...config import Config
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import ended
from . import careful, naive, taskgroup
from .slow_history import SlowHistory

if TYPE_CHECKING:
    from ...venue import Guest, Venue
    from ..bench import Bench

CONFIG: Final = Config(port=0, rate=0, inbox_frames=2)
NAMES: Final = ("ada", "bob", "cem", "dan")
LINES: Final = ["one", "two", "three"]


async def leave_a_full_room(bench: Bench) -> None:
    """Let everybody leave while something waits to be read; then drain a room."""
    history = SlowHistory(CONFIG)
    async with bench.open_room(CONFIG, history) as venue, open_service_nursery() as nursery:
        guests = [await venue.join_once(name, room="green") for name in NAMES]
        bench.show("four people are there")

        bench.mark("the history stops; ada says three lines; then everybody leaves")
        history.gate = trio.Event()
        for line in LINES:
            nursery.start_soon(say, guests[0], line, name=f"ada says {line}")
            await trio.testing.wait_all_tasks_blocked()
        for guest in guests:
            await guest.leave()
        await trio.testing.wait_all_tasks_blocked()
        bench.show("nobody is there, but the inbox is full")
        bench.expect("no member is left", names(bench, "member"), [])
        leaves = names(bench, "leave")
        bench.expect("four ways in are open", leaves, [f"leave {name}" for name in NAMES])
        bench.expect("the hub has something to read, and lives", names(bench, "hub"), ["hub green"])

        bench.mark("the history goes on")
        began = trio.current_time()
        history.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        bench.show("everything that waited was read")
        bench.expect("the last way in was closed, and the hub has ended", names(bench, "hub"), [])
        bench.expect("nothing of the room is left", names(bench, "room"), [])
        bench.expect("no time has passed meanwhile", trio.current_time() - began, 0.0)
        await drain(bench, venue)


async def say(guest: Guest, line: str) -> None:
    """Say something, and hang up before the receipt comes."""
    with contextlib.suppress(Disconnected):
        await guest.say(line)


async def drain(bench: Bench, venue: Venue) -> None:
    """See that nothing was lost; then drain a room in which two people are."""
    eve = await venue.join_once("eve", room="green")
    fay = await venue.join_once("fay", room="green")
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("who comes later finds all three lines", lines_of(eve), LINES)

    bench.mark("fay says a last word, and at once the server is drained")
    began = trio.current_time()
    await fay.say("bye")
    venue.server.drain()
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("eve has heard the last word", lines_of(eve), [*LINES, "bye"])
    assert eve.ended is not None, "it is drained"
    bench.expect("and was told goodbye behind it: 1001", int(eve.ended.code), 1001)
    bench.expect("for all that, no time has passed", trio.current_time() - began, 0.0)
    hubs = [life.how.value for life in ended(bench.recording) if life.name == "hub green"]
    bench.expect("each room's hub ended by itself", hubs, ["returned", "returned"])


def names(bench: Bench, prefix: str) -> list[str]:
    """Return the names of the tasks that there are."""
    return [task.name for task in bench.tasks(prefix)]


def lines_of(guest: Guest) -> list[str]:
    """Return what a guest has heard people say."""
    return [event.text for event in guest.heard if isinstance(event, Message)]


LESSON: Final = Lesson(
    key="5",
    question="Who closes the channel?",
    story=(
        "Four people are in the room green when its history stops answering. What ada says fills "
        "the inbox, and everybody leaves. Then the history goes on."
    ),
    prediction=Prediction(
        question="Everybody has left, and the inbox is full. When does the hub, its reader, end?",
        answers=(
            "when it has read everything and the last way in is closed: it simply returns",
            "with the last member: its scope is cancelled, and what waits is lost",
            "when the server tells it to, by a flag that it looks at between two messages",
            "never: it waits for a message that nobody will send",
        ),
        right=0,
        because=(
            "Everybody who may send has an end of the channel, and closes it when nothing more "
            "comes from there. When the last one is closed and all is read, the reader's loop "
            "ends. No flag, no cancel, and nothing is lost."
        ),
    ),
    experiment=leave_a_full_room,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.leave_rooms,
            {"heard": 36, "hubs": 3, "rooms": 3},
            "{heard} lines were heard, and {hubs} of {rooms} hubs wait for more",
        ),
        Kind.CAREFUL: Twin(
            careful.leave_rooms,
            {"heard": 36, "hubs": 0, "lost": 1},
            "{heard} lines were heard, {hubs} hubs are left, and {lost} line is lost in silence",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.leave_rooms,
            {"heard": 36, "hubs": 0, "cancelled": 3},
            "{heard} lines were heard, {hubs} hubs are left, and {cancelled} had to be cancelled",
        ),
    },
)
