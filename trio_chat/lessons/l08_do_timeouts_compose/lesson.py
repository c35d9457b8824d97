"""The experiment: people who do nothing, each under deadlines of its own, in one room."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected, Left, connect_stream
from ...config import Config
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from . import careful, naive, taskgroup
from .idlers import Exits, Goodbyes, ask, connect, connect_patiently, noted_exits, noted_goodbyes

if TYPE_CHECKING:
    from ...server import Server
    from ...venue import Venue
    from ..bench import Bench

CONFIG: Final = Config(
    port=0,
    rate=0,
    handshake_timeout=10,
    stall_timeout=10,  # for one piece of what is sent
    join_timeout=12,  # for the whole history
    ping_interval=20,
    ping_timeout=20,
    close_timeout=5,  # for all of a goodbye
    linger_timeout=2,  # for the last part of it: until the other side hangs up
    drain_timeout=8,
)
HISTORY: Final = 40  # messages
LONG: Final = "x" * 2_000  # All together they are three pieces.
DRAIN: Final = 50  # seconds after the beginning
CLOSE: Final = b"\x88\x80\0\0\0\0"  # the frame by which a client says goodbye

PIECE: Final = "4000 too slow: no byte taken in 10 s"
WHOLE: Final = "4000 too slow: the history was not taken in time"
SILENT: Final = "4003 no answer to the heartbeat"
AWAY: Final = "1001 the server is shutting down"


async def do_nothing(bench: Bench) -> None:
    """Bring those who do nothing, each in another place, and look when they are out, and why."""
    with noted_exits() as exits, noted_goodbyes() as goodbyes:
        async with bench.open_room(CONFIG) as venue, trio.open_nursery() as nursery:
            left = await nursery.start(listen, venue, name="ada")
            start = trio.current_time()
            doors = bench.task("server").child_nurseries[-1]  # the innermost: it ends first
            eli = await bring_four(bench, venue.server, doors)
            bench.mark("nobody does anything; only eli reads a piece, after 4 seconds and after 8")
            for second in (4, 8):
                await trio.sleep_until(start + second)
                await eli.receive_some()
            await trio.sleep_until(start + DRAIN - 1)
            await say_goodbye(bench, venue.server, doors)
    judge_idle(bench, start, exits, left, goodbyes)
    judge_goodbyes(bench, start + DRAIN, exits, goodbyes)


async def say_goodbye(bench: Bench, server: Server, doors: trio.Nursery) -> None:
    """Drain the server when three more have come: one answers at once, one late, one never."""
    lines = {name: connect_patiently(server, doors, name) for name in ("fay", "gus", "hal")}
    for name, line in lines.items():
        await ask(line, name, room="green", history=0)
    await trio.sleep(1)
    bench.mark("49 seconds later three have come; now the server is drained")
    server.drain()
    await lines["hal"].send_all(CLOSE)
    await trio.testing.wait_all_tasks_blocked()
    bench.show("at once")
    await trio.sleep(4)
    bench.mark("4 seconds later gus answers, and does not hang up")
    await lines["gus"].send_all(CLOSE)
    await trio.sleep(4)


async def listen(venue: Venue, *, task_status: trio.TaskStatus[dict[str, float]]) -> None:
    """Be ada: say what is worth reading later, and note who leaves, and when."""
    url, left = venue.url_of("green"), dict[str, float]()
    async with connect_stream(await venue.dial(), url, name="ada") as ada:
        for _ in range(HISTORY):
            await ada.say(LONG)
        task_status.started(left)
        with contextlib.suppress(Disconnected):
            async for event in ada:
                if isinstance(event, Left):
                    left[event.name] = trio.current_time()


async def bring_four(bench: Bench, server: Server, doors: trio.Nursery) -> trio.abc.Stream:
    """Connect eve, who asks for nothing, then bob, dan and eli; return the line of eli."""
    connect(server, doors, "eve")
    bob = connect_patiently(server, doors, "bob")
    dan, eli = connect(server, doors, "dan"), connect(server, doors, "eli")
    await ask(bob, "bob", room="green", history=0)
    await ask(dan, "dan", room="green", history=HISTORY)
    await ask(eli, "eli", room="green", history=HISTORY)
    await trio.testing.wait_all_tasks_blocked()
    bench.show("eve, bob, dan and eli have come; ada is there to look on")
    return eli


# --- What should have happened -------------------------------------------------------------------


def judge_idle(
    bench: Bench, start: float, exits: Exits, left: Mapping[str, float], goodbyes: Goodbyes
) -> None:
    """Compare who was out after how many seconds, and why."""
    bench.tell("")
    gone = exits.at["door eve"] - start
    bench.expect("eve is out after 10 s: that long she had for a request", gone, 10)
    for name, seconds, why, how in [
        ("dan", 10, PIECE, "that long he had for a piece"),
        ("eli", 12, WHOLE, "that long he had for the whole history"),
        ("bob", 40, SILENT, "20 s until he was asked, and 20 to answer"),
    ]:
        found = (left[name] - start, goodbyes.reasons[name])
        instead = f"found {found[0]:g} s, {found[1]}"
        bench.check(f"{name} is out after {seconds} s: {how}", found == (seconds, why), instead)
    gone = exits.at["member bob"] - start
    bench.expect("bob is gone after 45 s: 5 more he had for the goodbye", gone, 45)


def judge_goodbyes(bench: Bench, start: float, exits: Exits, goodbyes: Goodbyes) -> None:
    """Compare how long a goodbye took."""
    for name, seconds, how in [
        ("hal", 2, "he answers at once; 2 s to hang up, the inner deadline"),
        ("gus", 5, "he answers after 4 s; 5 s for all of it, the outer one"),
        ("fay", 5, "she never answers; the outer one"),
    ]:
        gone, why = exits.at[f"member {name}"] - start, goodbyes.reasons[name]
        instead = f"found {gone:g} s, {why}"
        sentence = f"{name}'s goodbye takes {seconds} s: {how}"
        bench.check(sentence, (gone, why) == (seconds, AWAY), instead)
    gone = exits.at["server"] - start
    bench.expect("then the server ends: the drain's own 8 s never struck", gone, 5)


LESSON: Final = Lesson(
    key="8",
    question="Do timeouts compose?",
    story=(
        "Seven people do nothing, each in another place: at the door, with their history, in the "
        "room, in the goodbye. Around each are several deadlines. The clock jumps, so it takes no "
        "time to wait for them."
    ),
    prediction=Prediction(
        question=(
            "All of a goodbye may take 5 seconds. In that block is another one: once the answer is "
            "there, the other side has 2 seconds to hang up. gus answers after 4 seconds, and "
            "never hangs up. When is he gone?"
        ),
        answers=(
            "after 2 seconds: the inner deadline is the shorter one",
            "after 5 seconds: the outer deadline is the nearer one",
            "after 6 seconds: 4, and the 2 of the inner one",
            "after 7 seconds: they add up",
        ),
        right=1,
        because=(
            "A deadline is a point in time. Of all that are around a task the nearest one "
            "strikes, and the exception flies out to the block whose deadline it was. For hal, "
            "who answers at once, that is the inner one; for gus it is the outer one. "
            "The code in between did not have to know of either."
        ),
    ),
    experiment=do_nothing,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.take_nothing,
            {"struck": 1, "errors": 0, "waiting": 1},
            "{struck} deadline has struck, {errors} errors were raised, {waiting} sender waits on",
        ),
        Kind.CAREFUL: Twin(
            careful.take_nothing,
            {"struck": 1, "errors": 1, "waiting": 0},
            "{struck} deadline has struck, {errors} error was raised, {waiting} senders wait on",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.take_nothing,
            {"struck": 1, "errors": 1, "waiting": 0},
            "{struck} deadline has struck, {errors} error was raised, {waiting} senders wait on",
        ),
    },
)
