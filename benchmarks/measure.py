"""The measurements: each takes a target and returns its figures.

Closed loops (`fanout`, `rooms`, `echo`, `slow`) send the next message when the last has arrived;
`latency` is an open loop: messages are due at fixed times, and a server that is late makes the
following ones wait, which is counted. Otherwise the slow moments would be asked about least.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from .load import PATIENCE, LoadError, Members, Target, plain, with_id
from .servers import Process, kernel_socket_kib

Figures = dict[str, float | list[list[float]]]

Gather = Callable[[Target], Members]

WARM_UP: Final = 0.4  # seconds
LOWER_BOUND: Final = 0.9  # of a core: a load that needs more may be the limit itself


@dataclass(slots=True)
class Result:
    """What one measurement found."""

    bench: str
    params: dict[str, int | str]
    figures: Figures = field(default_factory=dict)
    load_cpu: float = 0.0  # of one core
    server_cpu: float = 0.0

    @property
    def bound(self) -> str:
        """Return "lower" where the load itself may have been the limit."""
        return "lower" if self.load_cpu > LOWER_BOUND else ""


@contextmanager
def metered(result: Result, server: Process | None) -> Iterator[None]:
    """Measure both sides' CPU time during the block."""
    wall, load = time.perf_counter(), time.process_time()
    used = server.cpu_seconds() if server else 0.0
    yield
    wall = time.perf_counter() - wall
    result.load_cpu = (time.process_time() - load) / wall
    if server:
        result.server_cpu = (server.cpu_seconds() - used) / wall


def _message(target: Target) -> Callable[[int], bytes]:
    if target.subprotocol:
        return with_id
    message = plain()
    return lambda number: message


def fanout(
    target: Target,
    server: Process | None,
    *,
    members: int,
    in_flight: int = 1,
    senders: int = 1,
    seconds: float = 3.0,
    silent: int = 0,
    gather: Gather = Members,
) -> Result:
    """One room, so many messages under way, from one sender or taking turns: deliveries a second.

    A message counts as delivered when as many deliveries as it owes have arrived in all.
    `silent` more members read nothing.
    """
    dialect = "v1" if target.subprotocol else "plain"
    senders = min(senders, members)
    result = Result(
        "fanout",
        {"members": members, "in_flight": in_flight, "senders": senders, "dialect": dialect},
    )
    room, deaf, message = gather(target), Members(target), _message(target)
    try:
        room.join(["bench"] * members)
        room.learn(list(range(members)), message(0))
        deaf.join(["bench"] * silent)
        turns = cycle(range(senders))
        sent = 0

        def send(count: int) -> None:
            nonlocal sent
            if senders == 1:
                room.send(0, b"".join(message(sent + i + 1) for i in range(count)))
            else:
                for i in range(count):
                    room.send(next(turns), message(sent + i + 1))
            sent += count

        def run(duration: float) -> None:
            end = time.perf_counter() + duration
            while time.perf_counter() < end:
                delivered = room.total // room.size // members
                if (due := delivered + in_flight - sent) > 0:
                    send(due)
                room.poll(0.2)

        run(WARM_UP)
        before = room.total
        with metered(result, server):
            begin = time.perf_counter()
            run(seconds)
            elapsed = time.perf_counter() - begin
        deliveries = (room.total - before) / room.size
        _wait_for(room, sent * members * room.size)
        result.figures = {
            "deliveries_per_s": deliveries / elapsed,
            "messages_per_s": deliveries / elapsed / members,
            "lost": sent * members - room.total / room.size,
        }
    finally:
        deaf.close()
        room.close()
    return result


def _wait_for(members: Members, total: int) -> None:
    quiet = time.perf_counter() + PATIENCE
    while members.total < total and time.perf_counter() < quiet:
        if members.poll(0.1):
            quiet = time.perf_counter() + PATIENCE


def latency(
    target: Target,
    server: Process | None,
    *,
    members: int = 100,
    deliveries: int = 5000,
    seconds: float = 5.0,
    gather: Gather = Members,
) -> Result:
    """Open loop: so many deliveries a second are due; milliseconds from due to received."""
    result = Result("latency", {"members": members, "deliveries_per_s": deliveries})
    room, message = gather(target), _message(target)(0)
    try:
        room.join(["bench"] * members)
        room.learn(list(range(members)), message)
        interval = members / deliveries
        due: list[float] = []
        seen = [0] * members
        waits: list[float] = []
        count = int(seconds / interval)
        with metered(result, server):
            begin = time.perf_counter() + 0.1
            while len(waits) < count * members:
                now = time.perf_counter()
                while len(due) < count and now >= begin + len(due) * interval:
                    due.append(begin + len(due) * interval)
                    room.send(len(due) % members, message)
                if now > begin + seconds + PATIENCE:
                    break
                next_due = begin + len(due) * interval - now if len(due) < count else 0.1
                touched = room.poll(max(0.0, min(next_due, 0.1)))
                now = time.perf_counter()
                for index in touched:
                    upto = room.received[index] // room.size
                    waits += [now - due[number] for number in range(seen[index], upto)]
                    seen[index] = upto
        waits.sort()
        if not waits:
            raise LoadError("nothing arrived")
        points = [*range(99), 99, 99.5, 99.9, 99.99, 100]
        result.figures = {
            **{
                name: _percentile(waits, q) * 1000
                for name, q in [("p50_ms", 50), ("p90_ms", 90), ("p99_ms", 99), ("p999_ms", 99.9)]
            },
            "percentiles": [[q, _percentile(waits, q) * 1000] for q in points],
            "lost": count * members - len(waits),
        }
    finally:
        room.close()
    return result


def _percentile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))]


def rooms(
    target: Target,
    server: Process | None,
    *,
    rooms: int = 200,
    members: int = 5,
    seconds: float = 3.0,
) -> Result:
    """Many small rooms, everybody talks: each says the next when it has heard the whole round."""
    result = Result("rooms", {"rooms": rooms, "members": members})
    everybody, message, numbers = Members(target), _message(target), itertools.count(1)
    try:
        everybody.join([f"bench-{number // members}" for number in range(rooms * members)])
        everybody.learn(list(range(members)), message(0))
        said = [1] * len(everybody)
        round_size = everybody.size * members

        def run(duration: float) -> None:
            end = time.perf_counter() + duration
            while time.perf_counter() < end:
                for index in everybody.poll(0.2):
                    if everybody.received[index] >= said[index] * round_size:
                        said[index] += 1
                        everybody.send(index, message(next(numbers)))

        for index in range(len(everybody)):
            everybody.send(index, message(next(numbers)))
        run(WARM_UP)
        before = everybody.total
        with metered(result, server):
            begin = time.perf_counter()
            run(seconds)
            elapsed = time.perf_counter() - begin
        deliveries = (everybody.total - before) / everybody.size
        _wait_for(everybody, sum(said) * round_size)
        result.figures = {
            "deliveries_per_s": deliveries / elapsed,
            "lost": sum(said) * members - everybody.total / everybody.size,
        }
    finally:
        everybody.close()
    return result


def echo(target: Target, server: Process | None, *, seconds: float = 2.0) -> Result:
    """One member alone in its room: microseconds from sending a message to having it back."""
    result = Result("echo", {"members": 1})
    alone, message = Members(target), _message(target)(0)
    try:
        alone.join(["echo"])
        alone.learn([0], message)
        waits = []
        with metered(result, server):
            end = time.perf_counter() + seconds
            while (begin := time.perf_counter()) < end:
                expected = alone.total + alone.size
                alone.send(0, message)
                while alone.total < expected:
                    alone.poll(1.0)
                waits.append(time.perf_counter() - begin)
        waits.sort()
        result.figures = {
            "round_trip_us": statistics.median(waits) * 1e6,
            "p99_us": _percentile(waits, 99) * 1e6,
        }
    finally:
        alone.close()
    return result


def connections(
    target: Target, server: Process | None, *, members: int, talking: bool = False
) -> Result:
    """Connect so many, to rooms of 50: connections a second, KiB for each, time to the last.

    When they talk, everybody says one message, and the time is until all have arrived.
    """
    kind = "talking" if talking else "idle"
    result = Result("connections", {"members": members, "kind": kind})
    crowd = Members(target)
    try:
        rss, kernel = (server.rss_kib() if server else 0.0), kernel_socket_kib()
        with metered(result, server):
            elapsed = crowd.join([f"crowd-{number // 50}" for number in range(members)])
        crowd.settle()
        result.figures = {
            "connect_per_s": members / elapsed,
            "last_welcome_s": elapsed,
            "rss_kib_per_connection": ((server.rss_kib() if server else 0.0) - rss) / members,
            "kernel_kib_per_connection": (kernel_socket_kib() - kernel) / members,
        }
        if talking:
            result.figures |= _everybody_says_one(crowd, target)
    finally:
        crowd.close()
    return result


def _everybody_says_one(crowd: Members, target: Target) -> Figures:
    message = _message(target)(0)
    crowd.learn(list(range(min(50, len(crowd)))), message)
    owed = sum(min(50, len(crowd) - number // 50 * 50) for number in range(len(crowd)))
    begin = time.perf_counter()
    for index in range(len(crowd)):
        crowd.send(index, message)
    _wait_for(crowd, owed * crowd.size)
    elapsed = time.perf_counter() - begin
    return {
        "deliveries_per_s": crowd.total / crowd.size / elapsed,
        "lost": owed - crowd.total / crowd.size,
    }


def churn(target: Target, server: Process | None, *, seconds: float = 3.0) -> Result:
    """Come, say one message, have it back, go: visits a second."""
    result = Result("churn", {"members": 1})
    message, visits, lost = _message(target)(0), 0, 0
    with metered(result, server):
        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds:
            visitor = Members(target)
            try:
                visitor.join([f"churn-{visits % 16}"])
                visitor.send(0, message)
                seen = visitor.total
                deadline = time.perf_counter() + PATIENCE
                while visitor.total == seen and time.perf_counter() < deadline:
                    visitor.poll(0.5)
                lost += visitor.total == seen
            finally:
                visitor.close()
            visits += 1
        elapsed = time.perf_counter() - begin
    result.figures = {"joins_per_s": visits / elapsed, "lost": lost}
    return result
