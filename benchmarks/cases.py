"""What is measured, by name: each case is a measurement with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from . import measure, several, stores, storms, watching
from .load import Target
from .measure import Result
from .servers import SCRATCH, Process, has_redis

Measure = Callable[[Target, Process | None], Result]


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement, ready to run. `seconds` says about how long it takes."""

    name: str
    run: Measure
    seconds: float
    dialect: str = "plain"
    options: tuple[str, ...] = ()  # for our own server
    only_ours: bool = False


def fanouts(seconds: float, sizes: tuple[int, ...] = (100, 1000)) -> list[Case]:
    """One message at a time, then 32 from one sender and from 32; the same in v1."""
    cases = []
    for members in sizes:
        run = partial(measure.fanout, members=members, seconds=seconds)
        cases.append(Case(f"fanout {members} × 1", run, seconds + 2))
    for members in sizes:
        many = partial(measure.fanout, members=members, in_flight=32, seconds=seconds)
        senders = partial(many, senders=32)
        cases += [
            Case(f"fanout {members} × 32", many, seconds + 2),
            Case(f"fanout {members} × 32 of 32", senders, seconds + 2),
        ]
    for flight, senders_ in ((1, 1), (32, 1), (32, 32)):
        run = partial(
            measure.fanout, members=100, in_flight=flight, senders=senders_, seconds=seconds
        )
        name = f"fanout v1 100 × {flight}" + (f" of {senders_}" if senders_ > 1 else "")
        cases.append(Case(name, run, seconds + 2, dialect="trio-chat.v1", only_ours=True))
    return cases


def latencies(seconds: float) -> list[Case]:
    """An open loop at 5,000 deliveries a second."""
    return [Case("latency 5,000/s", partial(measure.latency, seconds=seconds), seconds + 1)]


def small_rooms(seconds: float, rooms: int = 200) -> list[Case]:
    """Many rooms of five."""
    run = partial(measure.rooms, rooms=rooms, seconds=seconds)
    return [Case(f"rooms {rooms} × 5", run, seconds + 2)]


def echoes(seconds: float) -> list[Case]:
    """A member alone."""
    return [Case("echo", partial(measure.echo, seconds=seconds), seconds + 1)]


def crowds(sizes: tuple[int, ...]) -> list[Case]:
    """Idle connections, then talking ones."""
    cases = []
    for members in sizes:
        idle = partial(measure.connections, members=members)
        talking = partial(measure.connections, members=members, talking=True)
        cases += [
            Case(f"connections {members} idle", idle, 2 + members / 1000),
            Case(f"connections {members} talking", talking, 4 + members / 700),
        ]
    return cases


def slow_members(seconds: float) -> list[Case]:
    """A room of 100 at full rate, and ten more that read nothing."""
    return [Case("slow 10 of 110", partial(storms.slow, seconds=seconds), 2 * seconds + 3)]


def churns(seconds: float) -> list[Case]:
    """Visitors who say one message and go."""
    return [Case("churn", partial(measure.churn, seconds=seconds), seconds)]


def neighbours(seconds: float, crowd: int = 5000) -> list[Case]:
    """A room of ten beside a large one at full rate."""
    run = partial(storms.neighbour, crowd=crowd, seconds=seconds)
    return [Case(f"room of 10 beside {crowd}", run, seconds + crowd / 500)]


def resumes(members: int) -> list[Case]:
    """Everybody comes back at once, and resumes."""
    return [
        Case(name, partial(run, members=members), members / 300, "trio-chat.v1", only_ours=True)
        for name, run in (
            (f"resume {members}", storms.resume),
            (f"resume {members} after a restart", storms.resume_after_restart),
        )
    ]


def histories(
    seconds: float,
    members: int = 100,
    rooms: int = 200,
    syncs: tuple[str, ...] = ("full", "normal"),
) -> list[Case]:
    """One room and many, with what is said on disk, beside memory."""
    cases = []
    for sync in syncs:
        options = ("--history", f"sqlite:{SCRATCH}/chat.db", "--history-sync", sync)
        kind = f"sqlite, {sync}"
        runs = {
            f"history {kind}, {members} × 32": partial(stores.one_room, members=members),
            f"history {kind}, {rooms} × 5": partial(stores.many_rooms, count=rooms),
        }
        cases += [
            Case(
                name,
                partial(run, kind=kind, seconds=seconds),
                2 * seconds + 4,
                dialect="trio-chat.v1",
                options=options,
                only_ours=True,
            )
            for name, run in runs.items()
        ]
    return cases


def clusters(
    seconds: float, nodes: tuple[int, ...] = (2,), members: int = 100, deliveries: int = 5000
) -> list[Case]:
    """A room over several nodes and one Redis."""
    cases = []
    for count in nodes:
        full = partial(several.throughput, nodes=count, members=members, seconds=seconds)
        late = partial(
            several.delay, nodes=count, members=members, deliveries=deliveries, seconds=seconds
        )
        name, share = f"cluster of {count}", f"{count} × {members // count}"
        cases += [
            Case(f"{name}, {share}", full, seconds + 5, "trio-chat.v1", only_ours=True),
            Case(f"{name}, {deliveries:,}/s", late, 2 * seconds + 5, only_ours=True),
        ]
    return cases


def watchers(seconds: float, sizes: tuple[int, ...] = (200, 1000, 10_000)) -> list[Case]:
    """A server with the microscope, watched and unwatched, beside one without."""
    return [
        Case(
            f"watching {members}",
            partial(watching.watching, members=members, seconds=seconds),
            3 * 3 * (seconds * 4 / 3 + 1) + members / 800,
            options=("--microscope",),
            only_ours=True,
        )
        for members in sizes
    ]


QUICK: Final = (
    fanouts(1.0)
    + latencies(2.0)
    + small_rooms(1.0)
    + echoes(0.5)
    + crowds((1000,))
    + slow_members(1.0)
    + churns(1.0)
    + histories(1.0)
    + clusters(2.0)
)

FULL: Final = (
    fanouts(3.0, (10, 100, 1000))
    + latencies(6.0)
    + small_rooms(3.0)
    + echoes(2.0)
    + crowds((100, 1000, 5000, 10_000))
    + slow_members(3.0)
    + churns(2.0)
    + neighbours(5.0)
    + resumes(5000)
    + histories(3.0)
    + watchers(3.0)
    + clusters(5.0, (1, 2, 3))
)

SMOKE: Final = [
    *fanouts(0.1, (5,)),
    *(
        Case(name, partial(run, members=5, seconds=0.1), 1)
        for name, run in [
            ("latency", partial(measure.latency, deliveries=100)),
            ("slow", partial(storms.slow, silent=1)),
        ]
    ),
    *small_rooms(0.1, 2),
    *echoes(0.1),
    *crowds((5,)),
    *churns(0.1),
    *neighbours(0.2, 5),
    *resumes(5),
    *histories(0.1, 5, 2, ("normal",)),
    *watchers(0.1, (5,)),
    *(clusters(0.2, (2,), 4, 100) if has_redis() else ()),
]
