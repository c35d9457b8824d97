"""The experiment: two servers as processes, one of them with 1,000 members, and real signals."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from ...microscope.events import Exited, Marked, Named, Spawned
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import ended
from . import careful, naive, taskgroup
from .crowd import Crowd
from .process import PATIENCE, Serving, serve

if TYPE_CHECKING:
    from ..bench import Bench

ROOMS: Final = 10
MEMBERS: Final = 100  # in each of them; one is deaf
EVERYBODY: Final = ROOMS * MEMBERS
SHORT: Final = ("--drain-timeout", "3", "--close-timeout", "30")
FOR_MEMBERS: Final = 2.7  # seconds: what members have of a drain of three
LONG: Final = ("--drain-timeout", "600", "--close-timeout", "600")


async def press_ctrl_c(bench: Bench) -> None:
    """Fill a server and interrupt it; then interrupt another one twice."""
    async with serve(*SHORT) as server, trio.open_nursery() as nursery:
        crowd = Crowd(server.port, ROOMS, MEMBERS)
        await nursery.start(crowd.run, name="crowd")
        await nursery.start(server.record, bench.recording, EVERYBODY, name="recording")
        bench.tell(f"{EVERYBODY} members are in {ROOMS} rooms; one in each room is deaf")
        over = await interrupt(bench, server, crowd)
    if over:
        judge_order(bench)
    async with serve(*LONG) as server, trio.open_nursery() as nursery:
        crowd = Crowd(server.port, rooms=1, members=2)
        await nursery.start(crowd.run, name="crowd")
        await interrupt_twice(bench, server, crowd)


async def interrupt(bench: Bench, server: Serving, crowd: Crowd) -> bool:
    """Send SIGINT, as Ctrl-C does, and see how long it takes; return if it came to its end."""
    mark(bench, "Ctrl-C")
    began = trio.current_time()
    server.send(signal.SIGINT)
    code = await server.wait()
    took = trio.current_time() - began
    bench.tell(f"\n  it took {took:.1f} s")
    bench.expect("the server has ended by itself, with exit code 0", code, 0)
    bench.expect("all 1000 were told goodbye", crowd.told, EVERYBODY)
    bench.check("it has waited for those who don't answer", took >= FOR_MEMBERS, f"{took:.1f} s")
    bench.check("and not for as long as they like", took < PATIENCE, f"{took:.1f} s")
    return code is not None


async def interrupt_twice(bench: Bench, server: Serving, crowd: Crowd) -> None:
    """Send SIGTERM to a server that waits for a member, and then SIGINT."""
    bench.tell("\n→ to another server, which has ten minutes: first SIGTERM, then Ctrl-C")
    server.send(signal.SIGTERM)
    await crowd.wait_told()
    server.send(signal.SIGINT)
    code = await server.wait()
    bench.expect("the second signal has ended it at once: 128 + 2", code, 130)


# --- In which order ------------------------------------------------------------------------------


def judge_order(bench: Bench) -> None:
    """Read from the recording in which order everybody has died."""
    kinds = [kind_of(life.name) for life in ended(bench.recording)]
    tell_order(bench)
    found = {kind: kinds.count(kind) for kind in ("listener", "answering", "deaf", "room")}
    wanted = {"listener": 1, "answering": EVERYBODY - ROOMS, "deaf": ROOMS, "room": ROOMS}
    bench.expect("all of them have died in the recording", found, wanted)
    others = kinds[: kinds.index("deaf")].count("answering") if "deaf" in kinds else 0
    bench.check("most are gone before the first of the deaf", others > EVERYBODY // 2, others)
    in_order = [
        ("listener", "answering", "the doors are closed before anybody has to go"),
        ("answering", "server", "every member that answers is gone before the server"),
        ("deaf", "server", "and every one that does not"),
        ("room", "server", "every room is gone before the server"),
    ]
    for before, after, sentence in in_order:
        bench.check(sentence, comes_before(kinds, before, after), f"{after} before {before}")
    loose = {life.name: life.survivors for life in ended(bench.recording) if life.survivors}
    bench.expect("nobody has outlived their parent", loose, {})


def kind_of(name: str) -> str:
    """Return what kind of a task has this name: its first word, but that there are two kinds."""
    if name.startswith("member"):
        return "deaf" if name.startswith("member deaf") else "answering"
    return name.partition(" ")[0]


def comes_before(kinds: list[str], one: str, other: str) -> bool:
    """Tell whether all of one kind stand before the first of another."""
    later = kinds[kinds.index(other) :] if other in kinds else kinds
    return one not in later


def tell_order(bench: Bench) -> None:
    """Print who has died and when: how many of each kind, the first of them and the last."""
    names: dict[int, str] = {}
    times: dict[str, list[float]] = {}
    for event in bench.recording:
        match event:
            case Spawned(id=id, name=name) | Named(id=id, name=name):
                names[id] = name
            case Exited(id=id, t=t):
                times.setdefault(kind_of(names[id]), []).append(t)
            case _:
                pass
    began = min(min(at) for at in times.values())
    bench.tell(f"\n  {'who has died':<12} {'how many':>8} {'the first':>10} {'the last':>10}")
    for kind, at in times.items():
        first, last = min(at) - began, max(at) - began
        bench.tell(f"  {kind:<12} {len(at):>8} {first:>8.3f} s {last:>8.3f} s")


def mark(bench: Bench, text: str) -> None:
    """Write into the recording what is about to be done."""
    bench.tell(f"\n→ {text}")
    bench.recording.append(Marked(bench.recording.events[-1].t, text))


LESSON: Final = Lesson(
    key="9",
    question="Ctrl-C with 1,000 members: how long, in which order?",
    story=(
        "A real server, with 1,000 members in 10 rooms. When it says goodbye, 990 of them answer, "
        "and one in each room does not. A goodbye may take 30 seconds, and a drain 3. Then "
        "somebody presses Ctrl-C."
    ),
    prediction=Prediction(
        question=(
            "1,000 members, of whom 10 never answer a goodbye. A goodbye may take 30 seconds, "
            "a drain 3. How long after Ctrl-C does the server end?"
        ),
        answers=(
            "at once: Ctrl-C ends a process",
            "after about 3 seconds: the drain is the shorter limit",
            "after about 30 seconds: the ten are waited for at the same time",
            "after 300 seconds: the ten are waited for, one after the other",
        ),
        right=1,
        because=(
            "Who answers is gone in a moment. The others are waited for at the same time, under "
            "two deadlines: 30 seconds for a goodbye, and 3 for the drain, which are over first. "
            "Of these, members have nine tenths; the rest is for the rooms to end."
        ),
    ),
    experiment=press_ctrl_c,
    clock=Clock.REAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.press_ctrl_c,
            {"told": 99, "signals": 2, "left": 3010, "tasks": 3012},
            "after {signals} signals {told} of 1000 had heard a goodbye, and {left} of {tasks} "
            "tasks ran on without main",
        ),
        Kind.CAREFUL: Twin(
            careful.press_ctrl_c,
            {"told": 990, "signals": 1, "left": 0},
            "after {signals} signal {told} of 1000 had heard a goodbye, and {left} tasks ran on",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.press_ctrl_c,
            {"told": 990, "signals": 1, "left": 0},
            "after {signals} signal {told} of 1000 had heard a goodbye, and {left} tasks ran on",
        ),
    },
)
