"""The experiment: three bugs, in a session, in a writer, in a hub, and who notices each of them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected
from ...client.nursery import open_service_nursery
from ...config import Config
from ...microscope.events import How
from ...transport import StreamTransport
from ...venue import Guest, Venue
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import ended
from . import careful, naive, taskgroup
from .faults import Bug, FaultyHistory, fail_on_the_line
from .overheard import overheard

if TYPE_CHECKING:
    from ..bench import Bench

ROOMS: Final = ("blue", "green", "red")
MEMBERS: Final = 16  # in each of them
CONFIG: Final = Config(port=0)
WRITER: Final = "writer bob (memory:0)"

Guests = dict[str, list[Guest]]  # by room


async def raise_three_times(bench: Bench) -> None:
    """Raise in a session, in a writer and in a hub, and see who notices."""
    history = FaultyHistory(CONFIG)
    died = ""
    try:
        async with bench.open_room(CONFIG, history, faults=3) as venue:
            guests = {
                room: [await venue.join_once(f"{room}-{i}", room=room) for i in range(MEMBERS)]
                for room in ROOMS
            }
            await guests["blue"][0].say("this will be history")
            await raise_in_session(bench, venue, history)
            await raise_in_writer(bench, venue, guests["green"][0])
            await raise_in_hub(bench, guests["red"], history)
            await talk_on(bench, guests)
    except* Bug as bugs:
        died = f"it died of {innermost(bugs)!r}"
    bench.check("the server outlives all three", not died, died)


async def raise_in_session(bench: Bench, venue: Venue, history: FaultyHistory) -> None:
    """Let somebody in who is sent the history, and can't be: reading it raises."""
    before = await look(bench)
    bench.show("before")
    bench.mark("ada comes to blue, and her session raises")
    history.unreadable = "blue"
    with overheard("trio_chat") as lines:
        ada = await venue.join_once("ada", room="blue")
        bench.expect("ada has died, and nobody else", before ^ await look(bench), set())
    bench.expect("she was told 1011: an error in the server", codes([ada]), [1011])
    bench.expect("one log line", lines, ["session of ada (memory:0) in room blue failed"])


async def raise_in_writer(bench: Bench, venue: Venue, author: Guest) -> None:
    """Let a stream raise in the task that writes to one member."""
    async with open_service_nursery() as nursery:
        theirs, ours = trio.testing.memory_stream_pair()

        async def dial() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            nursery.start_soon(venue.server.meet, StreamTransport(ours, "memory:0"), name="door")
            return theirs

        bob = await Venue(venue.server, dial, nursery).join_once("bob", room="green")
        before = await look(bench)
        bench.mark("bob's writer raises")
        ours.send_stream.send_all_hook = partial(fail_on_the_line, ours.send_stream)
        with overheard("trio_chat") as lines:
            nursery.start_soon(author.say, "can you hear me, bob?", name="green-0 speaks")
            died = before ^ await look(bench)
        bench.expect("bob has died, and nobody else", died, {"member bob"})
        bench.expect("nobody could tell him: 1006", codes([bob]), [1006])
        bench.expect("one log line", lines, ["session of bob (memory:0) in room green failed"])


async def raise_in_hub(bench: Bench, guests: list[Guest], history: FaultyHistory) -> None:
    """Let the hub of a room raise: it can't write the history."""
    before = await look(bench)
    red = {"room red", "hub red"} | {f"member {guest.name}" for guest in guests}
    bench.mark("somebody speaks in red, and the hub of red raises")
    history.unwritable = "red"
    with overheard("trio_chat") as lines, contextlib.suppress(Disconnected):
        await guests[0].say("can you hear me?")
    bench.expect("the room red has died, and nobody else", before ^ await look(bench), red)
    bench.expect("its 16 members were told 1011", codes(guests), [1011] * MEMBERS)
    bench.expect("one log line", lines, ["room red failed"])


async def talk_on(bench: Bench, guests: Guests) -> None:
    """See that the other rooms are as they were."""
    await look(bench)
    bench.show("when everything has come to rest")
    heard = 0
    for room in ("blue", "green"):
        await guests[room][0].say("we talk on")
        heard += len([await guest.expect("we talk on") for guest in guests[room]])
    bench.expect("in the other rooms they talk on", heard, 2 * MEMBERS)
    raised = [life.name for life in ended(bench.recording) if life.how is How.RAISED]
    bench.expect("no member and no hub has raised: only a writer", raised, [WRITER])


def innermost(error: BaseException) -> BaseException:
    """Return the first exception in a group of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def look(bench: Bench) -> set[str]:
    """Return the names of all tasks once nothing moves any more."""
    await trio.testing.wait_all_tasks_blocked()
    return {task.name for task in bench.tasks("")}


def codes(guests: list[Guest]) -> list[int]:
    """Return what was told to those who are out."""
    return [guest.ended.code for guest in guests if guest.ended is not None]


LESSON: Final = Lesson(
    key="3",
    question="Raise in one connection: who notices?",
    story=(
        "Three rooms with 16 members each, and three bugs: in the session of ada, who comes to "
        "blue; in the writer of bob, who sits in green; and in the hub of red."
    ),
    prediction=Prediction(
        question="A bug raises in the session of ada. Who is thrown out?",
        answers=(
            "nobody: an exception in a task is lost with it",
            "ada, and nobody else",
            "everybody in her room: an exception cancels its siblings",
            "everybody: it goes up until somebody catches it, and nobody expects this one",
        ),
        right=1,
        because=(
            "An exception goes up the tree, and on its way each nursery cancels what is in it. It "
            "stops where somebody has drawn a boundary: around a session, so that it costs one "
            "member; around a hub, so that it costs one room."
        ),
    ),
    experiment=raise_three_times,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.raise_three_times,
            {"faults": 3, "lines": 1, "gone": 1, "hanging": 17},
            "{faults} bugs, {lines} log line; {gone} member is gone, and {hanging} hang",
        ),
        Kind.CAREFUL: Twin(
            careful.raise_three_times,
            {"faults": 3, "lines": 3, "gone": 18, "hanging": 0},
            "{faults} bugs, {lines} log lines; {gone} members are gone, and {hanging} hang",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.raise_three_times,
            {"faults": 3, "lines": 3, "gone": 18, "hanging": 0},
            "{faults} bugs, {lines} log lines; {gone} members are gone, and {hanging} hang",
        ),
    },
)
