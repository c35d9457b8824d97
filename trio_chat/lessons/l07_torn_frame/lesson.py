"""The experiment: members stop reading in the middle of a frame; then everything is to end.

One's room is cancelled from outside. Then the server is drained, and one of the other two reads on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected, Refused
from ...client.nursery import open_service_nursery
from ...config import Config
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..tap import Tap, join_with_tap
from . import careful, naive, taskgroup

if TYPE_CHECKING:
    from ...venue import Guest, Venue
    from ..bench import Bench

CONFIG: Final = Config(port=0, rate=0, max_message=100, close_timeout=5.0)
TOO_LONG: Final = "x" * 101  # It is refused: that is the frame in question.
PART: Final = 10  # bytes of the refusal that get through
GREEN: Final = ["ada", "bob", "cem"]


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who has stopped reading in the middle of a frame."""

    guest: Guest
    tap: Tap


async def end_in_the_middle(bench: Bench) -> None:
    """Cancel a room, then drain the server, while frames are half out."""
    async with bench.open_room(CONFIG) as venue, open_service_nursery() as nursery:
        refused: list[str] = []
        ada = await venue.join_once("ada", room="green")
        bob, cem, dan = [
            Listener(*await join_with_tap(venue, nursery, name, room=room))
            for name, room in (("bob", "green"), ("cem", "green"), ("dan", "red"))
        ]
        for listener in (bob, cem, dan):
            listener.tap.shut(after=PART)
            nursery.start_soon(say, listener.guest, refused, name="somebody says too much")
        await trio.testing.wait_all_tasks_blocked()
        bench.show("three have taken 10 bytes of a frame, and read no more")
        bench.expect("a writer waits for each of them", waited_for(bench), ["bob", "cem", "dan"])
        await tear(bench, dan)
        began = await drain(bench, venue, ada)

        await trio.sleep_until(began + 3.0)
        bench.mark("3 seconds later bob reads on")
        bob.tap.open()
        await trio.testing.wait_all_tasks_blocked()
        bench.expect("bob has his frame whole", refused[-1:], ["bob"])
        bench.expect("then came the goodbye: 1001", ended(bob.guest), 1001)
        bench.expect("cem is still given time", members(bench), ["cem"])

        await trio.sleep_until(began + 5.0)
        await trio.testing.wait_all_tasks_blocked()
        bench.show("5 seconds later")
        bench.expect("nobody waits for cem any longer", members(bench), [])
        bench.expect("the room has ended", [task.name for task in bench.tasks("room")], [])


async def tear(bench: Bench, dan: Listener) -> None:
    """Cancel dan's room from outside: his writer is cut off in the middle of a frame."""
    bench.mark("cancel room red")
    bench.scope("room red").cancel(reason="lesson 7")
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("dan's writer was cut off, and he is gone at once", members(bench), GREEN)
    dan.tap.open()
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("behind half a frame there was no goodbye: 1006", ended(dan.guest), 1006)


async def drain(bench: Bench, venue: Venue, ada: Guest) -> float:
    """Drain the server; return when that was."""
    bench.mark("the server is drained")
    began = trio.current_time()
    venue.server.drain()
    await trio.testing.wait_all_tasks_blocked()
    bench.show("0 seconds later")
    bench.expect("ada, who reads, was told goodbye at once: 1001", ended(ada), 1001)
    bench.expect("bob and cem are given time", members(bench), ["bob", "cem"])
    return began


async def say(guest: Guest, refused: list[str]) -> None:
    """Say something that is too long. The refusal may come late, or never."""
    with contextlib.suppress(Disconnected):
        try:
            await guest.say(TOO_LONG)
        except Refused:
            refused.append(guest.name)


def members(bench: Bench) -> list[str]:
    """Return who has a session."""
    return [task.name.removeprefix("member ") for task in bench.tasks("member")]


def waited_for(bench: Bench) -> list[str]:
    """Return for whom a writer waits."""
    return [task.name.removeprefix("writer ").split()[0] for task in bench.tasks("writer")]


def ended(guest: Guest) -> int | None:
    """Return the close code with which a guest's connection ended."""
    return None if guest.ended is None else int(guest.ended.code)


LESSON: Final = Lesson(
    key="7",
    question="Cancelled in the middle of a frame: what may cleanup do?",
    story=(
        "bob, cem and dan have taken 10 bytes of a frame, and stop reading. dan's room is "
        "cancelled. Then the server is drained; 3 seconds later bob reads on, and cem never does."
    ),
    prediction=Prediction(
        question="The server is drained, and cem never reads again. When has his session ended?",
        answers=(
            "at once: ended is ended, and his frame is torn",
            "5 seconds later: the cleanup may try to finish his frame, but not for ever",
            "when he reads on, or his connection breaks",
            "8 seconds later, when the time for draining is over and everything is cancelled",
        ),
        right=1,
        because=(
            "Behind half a frame no goodbye can follow: cem would take it for the other half. So "
            "the cleanup is shielded, to let the frame be finished. And because cem may never read "
            "again, the shield has a deadline: 5 seconds, the time for closing."
        ),
    ),
    experiment=end_in_the_middle,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.tear,
            {"waiting": 1, "torn": 1, "goodbyes": 0},
            "{waiting} session waits on after its cancel, {torn} frame is torn, "
            "and {goodbyes} goodbyes are understood",
        ),
        Kind.CAREFUL: Twin(
            careful.cancel_twice,
            {"orphans": 1, "torn": 0, "goodbyes": 1},
            "{torn} frames are torn and {goodbyes} goodbye is understood, "
            "but {orphans} task was left behind to say it",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.cancel_twice,
            {"orphans": 0, "torn": 1, "goodbyes": 0},
            "{orphans} tasks are left behind, but the second cancel went into the cleanup: "
            "{torn} frame is torn, and {goodbyes} goodbyes are understood",
        ),
    },
)
