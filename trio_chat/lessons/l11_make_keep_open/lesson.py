"""The exercise: what a supervisor promises, tried with many fates; then with two real rooms."""

from __future__ import annotations

import contextlib
import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected, connect_stream
from ...config import Config
from ..l03_raise_in_one_connection.faults import FaultyHistory
from ..lesson import Clock, Lesson, Prediction
from . import solution as given
from .policy import Policy, Solution
from .promises import FATES, PROMISES, try_out

if TYPE_CHECKING:
    from ...venue import Venue
    from ..bench import Bench

CONFIG: Final = Config(port=0)
POLICY: Final = Policy(first=1, most=8, healthy=10, restarts=5)
ROOMS: Final = ("blue", "green")


async def keep_rooms_open(bench: Bench) -> None:
    """Try a solution: promise by promise, and if all are kept with two rooms of a real server."""
    path = bench.solution
    solution = Solution(given.keep, given.supervise) if path is None else load(path)
    bench.tell(f"{len(PROMISES)} promises, each tried with {FATES} fates; a tick is 1/64 s\n")
    broken = False
    for promise in PROMISES:
        instead = await try_out(promise, solution)
        broken |= bool(instead)
        bench.check(promise.sentence, not instead, instead)
    if broken:
        bench.tell("\nThe real rooms come when all of these are kept.")
    else:
        await keep_real_rooms(bench, solution)


def load(path: Path) -> Solution:
    """Return what a file offers as a solution.

    Raises:
        Exception: whatever running it raises.
        AttributeError: it lacks one of the two functions.
    """
    spec = importlib.util.spec_from_file_location("solution", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file: its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Solution(module.keep, module.supervise)


async def keep_real_rooms(bench: Bench, solution: Solution) -> None:
    """Keep two rooms open, of which one fails again and again."""
    history = FaultyHistory(CONFIG)
    async with bench.open_room(CONFIG, history, faults=4) as venue:
        hosts = {room: partial(stay, venue, room) for room in ROOMS}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(solution.supervise, hosts, POLICY, name="supervisor")
            await trio.testing.wait_all_tasks_blocked()
            bench.show("a host in each of two rooms keeps them open")
            await fail_four_times(bench, venue, history)
            bench.mark("the supervisor is cancelled")
            nursery.cancel_scope.cancel(reason="closing time")
        await trio.testing.wait_all_tasks_blocked()
        open_rooms = [task.name for task in bench.tasks("room")]
        bench.expect("nobody keeps a room open any more", open_rooms, [])


async def fail_four_times(bench: Bench, venue: Venue, history: FaultyHistory) -> None:
    """Let green fail three times in a row, and once after a quiet time."""
    blue = bench.task("room blue")
    for pause in (1, 2, 4):
        await fail(bench, venue, history)
        await expect_pause(bench, pause)
    bench.tell("\n(10 quiet seconds)")
    await trio.sleep(POLICY.healthy)
    await fail(bench, venue, history)
    await expect_pause(bench, 1)
    await trio.sleep(1)
    bench.show("when everything has come to rest")
    bench.check("blue is the same room as before", bench.tasks("room blue") == [blue])


async def stay(venue: Venue, room: str) -> None:
    """Be the host of a room: a member that is there, so that the room is.

    Raises:
        Disconnected: the room has ended, and the host with it.
    """
    stream, url = await venue.dial(), venue.url_of(room)
    async with connect_stream(stream, url, name="host") as chat:
        async for _ in chat:
            pass  # Hosts are polite: they listen.


async def fail(bench: Bench, venue: Venue, history: FaultyHistory) -> None:
    """Let the hub of green fail, over a word that can't be written down, a second from now."""
    await trio.sleep(1)
    ada = await venue.join_once("ada", room="green")
    bench.mark("ada says a word in green, and its hub fails")
    history.unwritable = "green"
    with contextlib.suppress(Disconnected):
        await ada.say("is anybody here?")
    await trio.testing.wait_all_tasks_blocked()
    history.unwritable = ""


async def expect_pause(bench: Bench, seconds: float) -> None:
    """Expect that green is opened again when so many seconds have passed, and not before."""
    start = trio.current_time()
    await trio.sleep_until(start + seconds - 0.25)
    early = len(bench.tasks("room green"))
    await trio.sleep_until(start + seconds)
    await trio.testing.wait_all_tasks_blocked()
    late = len(bench.tasks("room green"))
    unit = "second" if seconds == 1 else "seconds"
    bench.expect(f"green is opened again after {seconds} {unit}", (early, late), (0, 1))


LESSON: Final = Lesson(
    key="make",
    question="Make: keep a room open, with back-off",
    story=(
        "A room ends when its hub fails. You write a supervisor that opens it again: after a "
        "pause that grows, and without disturbing anybody else. Without --solution FILE the "
        "solution that is given is tried."
    ),
    prediction=Prediction(
        question=(
            "A supervisor keeps a host in blue and one in green. Green fails four times, and its "
            "host with it. How often does the host of blue have to begin anew?"
        ),
        answers=(
            "four times: they have the same supervisor",
            "once, when the supervisor loses its patience",
            "never: it does not even notice",
        ),
        right=2,
        because=(
            "One for one: each has a task of its own, and that task is the boundary. What would "
            "reach the nursery would end everybody in it, so a failure reaches it only when the "
            "patience of the supervisor is at its end."
        ),
    ),
    experiment=keep_rooms_open,
    clock=Clock.VIRTUAL,
    package=__package__,
    exercise="begin.py",
)
