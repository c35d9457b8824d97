"""The experiment: 50 people in a room. One of them stops reading, and the others hear a lot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Left, Message
from ...client.nursery import open_service_nursery
from ...config import Config
from ...protocol import CloseCode
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..tap import join_with_tap
from . import careful, naive, taskgroup

if TYPE_CHECKING:
    from ...venue import Guest, Venue
    from ..bench import Bench

CONFIG: Final = Config(port=0, rate=0, stall_timeout=2.0)
OTHERS: Final = 48  # besides ada, who speaks, and bob, who stops reading
LINES: Final = [f"line {number}" for number in range(100)]


async def stall_one_reader(bench: Bench) -> None:
    """Let one member of 50 stop reading, and see who waits for it."""
    async with bench.open_room(CONFIG) as venue, open_service_nursery() as nursery:
        ada, *others = [await venue.join_once(name, room="green") for name in names()]
        _, tap = await join_with_tap(venue, nursery, "bob", room="green")
        await trio.testing.wait_all_tasks_blocked()
        bench.show("50 people are in the room")

        bench.mark("bob stops reading; then ada says 100 lines")
        began = trio.current_time()
        tap.shut()
        for line in LINES:
            await ada.say(line)
        await trio.testing.wait_all_tasks_blocked()
        bench.show("ada has a receipt for each line")
        complete = sum(lines_of(guest) == LINES for guest in (ada, *others))
        bench.expect("the other 49 have heard all 100 lines, in order", complete, 1 + OTHERS)
        bench.expect("bob has cost them no time", trio.current_time() - began, 0.0)
        bench.expect("one task waits for bob: a writer, below him", writers(bench), ["member bob"])

        bench.mark("bob takes no byte for 2 seconds")
        await ada.expect(Left, by="bob")
        bench.expect("after exactly 2 seconds bob has left", trio.current_time() - began, 2.0)
        await look_at_the_rest(bench, venue)


async def look_at_the_rest(bench: Bench, venue: Venue) -> None:
    """See that the room is as it was, less one member."""
    await trio.testing.wait_all_tasks_blocked()
    bench.show("bob was evicted")
    bench.expect("49 members are there", len(bench.tasks("member")), 1 + OTHERS)
    bench.expect("nobody waits for bob any more", writers(bench), [])
    evicted = venue.server.house.tally.endings[CloseCode.EVICTED]
    bench.expect("one end is written down as 4000: too slow", evicted, 1)
    bench.expect("nothing waits to be sent", venue.server.house.outboxes.size, 0)


def names() -> list[str]:
    """Return who comes besides bob."""
    return ["ada", *(f"guest-{number}" for number in range(OTHERS))]


def writers(bench: Bench) -> list[str]:
    """Return the names of the tasks in whose nurseries there is a writer."""
    return [
        task.parent_nursery.parent_task.name
        for task in bench.tasks("writer")
        if task.parent_nursery is not None
    ]


def lines_of(guest: Guest) -> list[str]:
    """Return what a guest has heard people say."""
    return [event.text for event in guest.heard if isinstance(event, Message)]


LESSON: Final = Lesson(
    key="6",
    question="Stall one reader: who waits?",
    story=(
        "50 people are in the room green. One of them, bob, stops reading. Then ada says 100 "
        "lines.\nWhoever takes no byte for 2 seconds is evicted."
    ),
    prediction=Prediction(
        question="bob reads nothing any more, and ada says 100 lines. Who waits for bob?",
        answers=(
            "everybody: a line goes out when all 50 have taken the one before",
            "ada, who said it; the other 48 don't",
            "one task that writes to bob, and was started for that",
            "nobody: what bob does not take is thrown away at once",
        ),
        right=2,
        because=(
            "The hub never waits for a member. What bob does not take goes into a bounded outbox, "
            "and a writer waits beside it, in the nursery of bob's own session. The 49 have heard "
            "it all, and no time has passed. It is bob who pays, with his place."
        ),
    ),
    experiment=stall_one_reader,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.stall_one_reader,
            {"complete": 49, "waiting": 1000},
            "{complete} members have heard everything, and {waiting} lines wait for bob",
        ),
        Kind.CAREFUL: Twin(
            careful.stall_one_reader,
            {"complete": 49, "evicted": 1, "waiting": 16},
            "{complete} members have heard everything, and {evicted} was evicted, "
            "for whom {waiting} lines waited",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.stall_one_reader,
            {"heard": 17, "waiting": 17},
            "{waiting} lines wait for bob, and {heard} of 1000 are all that anybody has heard",
        ),
    },
)
