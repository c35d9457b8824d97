"""The experiment: 48 people come and go; then one comes back, and the server is drained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...microscope.events import How
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import Life, ended
from . import careful, naive, taskgroup

if TYPE_CHECKING:
    from ...venue import Venue
    from ..bench import Bench

ROOMS: Final = ("blue", "green", "red")
MEMBERS: Final = 16  # in each of them
HOMES: Final = {f"room {room}": "server" for room in ROOMS} | {
    f"member {room}-{number}": f"room {room}" for room in ROOMS for number in range(MEMBERS)
}
RESIDENTS: Final = {"server", "listener", "heartbeat", "room", "hub", "member"}
DONE: Final = {How.RETURNED}


async def come_and_go(bench: Bench) -> None:
    """Let everybody in and out again; then drain the server while somebody is there."""
    async with bench.open_room() as venue:
        guests = [
            await venue.join_once(f"{room}-{number}", room=room)
            for room in ROOMS
            for number in range(MEMBERS)
        ]
        await trio.testing.wait_all_tasks_blocked()
        bench.show("48 people are there")
        bench.expect("57 tasks run", len(bench.tasks("")), 57)
        bench.expect(
            "the parent of a member is its room, of a room the server", homes(bench), HOMES
        )

        bench.mark("everybody leaves")
        for guest in guests:
            await guest.leave()
        await trio.testing.wait_all_tasks_blocked()
        bench.show("they have left")
        left = {task.name.partition(" ")[0] for task in bench.tasks("")}
        bench.expect("three tasks are left", left, {"server", "heartbeat", "listener"})
        lives = residents(bench)
        bench.expect("48 members, 3 hubs and 3 rooms have ended", len(lives), 54)
        bench.expect("each has returned: nobody cancelled it", {life.how for life in lives}, DONE)

        await drain(bench, venue)
    loose = {life.name: life.survivors for life in ended(bench.recording) if life.survivors}
    bench.expect("no child has outlived its parent", loose, {})


async def drain(bench: Bench, venue: Venue) -> None:
    """Drain the server while one member is there, and look in which order all ends."""
    await venue.join_once("ada", room="green")
    bench.mark("the server is drained, and ada is there")
    venue.server.drain()
    await trio.testing.wait_all_tasks_blocked()
    order = [life.name for life in residents(bench)][54:]
    bench.tell(f"\nthey ended in this order:\n  {', '.join(order)}")
    watched = order.index("member ada") < order.index("heartbeat")
    instead = "it ended, and ada was still there"
    bench.check("the heartbeat watches until the last member has left", watched, instead)


def residents(bench: Bench) -> list[Life]:
    """Return who has ended, but for the short-lived: those who help a member that is behind."""
    lives = ended(bench.recording)
    return [life for life in lives if life.name.partition(" ")[0] in RESIDENTS]


def homes(bench: Bench) -> dict[str, str]:
    """Return the name of the parent of each room and of each member."""
    found = {}
    for task in [*bench.tasks("room"), *bench.tasks("member")]:
        assert task.parent_nursery is not None, "only Trio's own first task is in none"
        found[task.name] = task.parent_nursery.parent_task.name
    return found


LESSON: Final = Lesson(
    key="1",
    question="Where does every task live, and who waits for it?",
    story=(
        "48 people join three rooms, blue, green and red. Each person is a task, and so is each "
        "room. One more task in each room, its hub, tells everybody there what is said; a "
        "heartbeat looks after connections that fell silent; a listener lets people in. All 48 "
        "leave. Then ada comes, and while she is there the server is drained: asked to end."
    ),
    prediction=Prediction(
        question="All 48 have left. Which tasks of the server are still there?",
        answers=(
            "all of them, the 48 members as well, until somebody cleans up",
            "three rooms, each with its hub, and what is above them: somebody might come back",
            "the server, its heartbeat and its listener",
            "none: with its last member the server ends",
        ),
        right=2,
        because=(
            "A room's nursery ends when its last child has, and the task of the room with it. "
            "Nobody had to clean up: that is what a nursery is for."
        ),
    ),
    experiment=come_and_go,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.come_and_go,
            {"tasks": 148, "orphans": 99},
            "{orphans} orphans of {tasks} tasks",
        ),
        Kind.CAREFUL: Twin(
            careful.come_and_go,
            {"tasks": 196, "orphans": 0, "cancelled": 99},
            "{orphans} orphans of {tasks} tasks, and {cancelled} had to be cancelled by hand",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.come_and_go,
            {"tasks": 152, "orphans": 0, "cancelled": 99},
            "{orphans} orphans of {tasks} tasks, and {cancelled} had to be cancelled by hand",
        ),
    },
)
