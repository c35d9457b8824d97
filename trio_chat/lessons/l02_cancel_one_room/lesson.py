"""The experiment: 48 people in three rooms; the scope of one room is cancelled, with a reason."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...venue import Guest
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import Life, ended
from . import careful, naive, taskgroup

if TYPE_CHECKING:
    from ...venue import Venue
    from ..bench import Bench

ROOMS: Final = ("blue", "green", "red")
MEMBERS: Final = 16  # in each of them
REASON: Final = "lesson 2"
ROOM: Final = {"room green"}
GREEN: Final = {"hub green"} | {f"member green-{number}" for number in range(MEMBERS)}


async def cancel_green(bench: Bench) -> None:
    """Cancel the room green, and look what is left of the tree."""
    async with bench.open_room() as venue:
        guests = await fill(venue)
        await trio.testing.wait_all_tasks_blocked()
        bench.show("before")
        before = names(bench)
        bench.expect("below the room are its hub and its members", below(bench), GREEN)

        start = trio.current_time()
        bench.mark("cancel room green")
        bench.scope("room green").cancel(reason=REASON)
        bench.show("at once: it is cancelled, and not one task has run since")
        bench.expect("a cancel is a request: at once, all live", names(bench), before)

        await trio.testing.wait_all_tasks_blocked()
        bench.show("when everything has come to rest")
        bench.expect("the room has died, and nobody else", names(bench), before - GREEN - ROOM)
        bench.expect("39 tasks have not noticed", len(bench.tasks("")), 39)
        bench.expect("the server's clock has not moved meanwhile", trio.current_time() - start, 0)
        ends = {life.name: end_of(life) for life in ended(bench.recording)}
        bench.expect("each knows why", {ends[name] for name in GREEN}, {f"cancelled, {REASON}"})
        bench.expect("the room's own task returned", ends["room green"], "returned")
        codes = [guest.ended.code for guest in guests["green"] if guest.ended is not None]
        bench.expect("its members were told goodbye, with 1001", codes, [1001] * MEMBERS)

        await guests["blue"][0].say("are you still there?")
        heard = [await guest.expect("are you still there?") for guest in guests["blue"]]
        bench.expect("in the room beside it they talk on", len(heard), MEMBERS)


async def fill(venue: Venue) -> dict[str, list[Guest]]:
    """Let 16 people into each room."""
    return {
        room: [await venue.join_once(f"{room}-{number}", room=room) for number in range(MEMBERS)]
        for room in ROOMS
    }


# --- What one sees -------------------------------------------------------------------------------


def names(bench: Bench) -> Set[str]:
    """Return the names of all the server's tasks."""
    return {task.name for task in bench.tasks("")}


def below(bench: Bench) -> Set[str]:
    """Return the names of the children of the room green."""
    nurseries = bench.task("room green").child_nurseries
    return {child.name for nursery in nurseries for child in nursery.child_tasks}


def end_of(life: Life) -> str:
    """Return how a task has ended, and what it was told."""
    return life.how.value if life.reason is None else f"{life.how.value}, {life.reason}"


LESSON: Final = Lesson(
    key="2",
    question="Cancel one room: what dies, what lives, when?",
    story=(
        "48 people sit in three rooms, blue, green and red. Each person is a task, and so is each "
        "room. One more task in each room, its hub, tells everybody there what is said. Above them "
        "all is the server. Then the room green is cancelled."
    ),
    prediction=Prediction(
        question="What will have died when everything has come to rest?",
        answers=(
            "the task of the room; its hub and its members run on",
            "the room, its hub and its 16 members",
            "all three rooms: they are siblings",
            "everything, the server as well",
        ),
        right=1,
        because=(
            "A cancel goes down the tree, never sideways and never up. Whoever waits inside the "
            "room's nursery is woken with Cancelled; everybody outside never hears of it."
        ),
    ),
    experiment=cancel_green,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.close_green,
            {"tasks": 49, "running": 32},
            "{running} of {tasks} tasks of the room still run",
        ),
        Kind.CAREFUL: Twin(
            careful.close_green,
            {"tasks": 65, "running": 0},
            "{running} of {tasks} tasks of the room still run",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.close_green,
            {"tasks": 50, "running": 0},
            "{running} of {tasks} tasks of the room still run",
        ),
    },
)
