"""The experiment: 48 people in three rooms; the scope of one room is cancelled, with a reason."""

from __future__ import annotations

from typing import Final

import trio
import trio.testing

from ..bench import Bench
from ..lesson import Clock, Lesson, Prediction

ROOMS: Final = ("blue", "green", "red")
MEMBERS: Final = 16  # in each of them


async def cancel_green(bench: Bench) -> None:
    """Cancel the room green, and look what is left of the tree."""
    async with bench.open_room() as venue:
        for room in ROOMS:
            for number in range(MEMBERS):
                await venue.join_once(f"{room}-{number}", room=room)
        await trio.testing.wait_all_tasks_blocked()
        bench.show("before")
        doomed = {task.name for task in _tasks_of(bench, "room green")}
        before = {task.name for task in bench.tasks("")}

        bench.mark("cancel room green")
        bench.scope("room green").cancel(reason="lesson 2")
        bench.show("at once: cancelled, and not one task has run since")
        at_once = {task.name for task in bench.tasks("")}

        await trio.testing.wait_all_tasks_blocked()
        bench.show("when everything has come to rest")
        after = {task.name for task in bench.tasks("")}

    bench.expect("the room had a hub and its members", len(doomed), 1 + 1 + MEMBERS)
    bench.expect("cancelling is a request: at once nothing has died", at_once, before)
    bench.expect("what has died is the room, and nothing else", before - after, doomed)
    bench.expect("nobody came instead", after - before, set())


def _tasks_of(bench: Bench, name: str) -> list[trio.lowlevel.Task]:
    found, waiting = [], [bench.task(name)]
    while waiting:
        task = waiting.pop()
        found.append(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


LESSON: Final = Lesson(
    key="2",
    question="Cancel one room: what dies, what lives, when?",
    story="48 people sit in three rooms, blue, green and red. Then the room green is cancelled.",
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
)
