"""What the microscope costs: a look at the tree, and a server with 0 and 1 watchers beside none.

`none` is a server without `--microscope`; `unwatched` has it, and nobody watches; `watched` is the
same one with somebody on its Unix socket. All three get the same load, in turn, in every round, so
what the machine does meanwhile it does to all of them. CPU time is the kernel's count for the
thread in which the loop runs.
"""

from __future__ import annotations

import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_chat.microscope.discovery import choose_socket
from trio_chat.microscope.recorder import Recorder
from trio_chat.microscope.snapshot import Serials, take_snapshot

from .load import PATIENCE, LoadError, Members, Target, plain
from .measure import Result, metered
from .servers import OURS, Process, free_port, our_command, running

STATES: Final = ("none", "unwatched", "watched")
ROOM: Final = 50  # members
MESSAGES: Final = 1000  # a second, over all rooms: 50,000 deliveries
LOOKS: Final = 15


@dataclass(frozen=True, slots=True)
class _Usage:
    """What one server used in one turn."""

    core: float  # the share of a core, under the talk of everybody
    visit: float  # CPU seconds of one visit


def watching(
    target: Target, server: Process | None, *, members: int, seconds: float, rounds: int = 3
) -> Result:
    """Share of a core with so many members, CPU time of a visit, and the time that a look takes."""
    if server is None:
        raise LoadError("only a server that was started here can be watched")
    result = Result("watching", {"members": members})
    looks = trio.run(_time_looks, members)
    port = free_port()
    found: dict[str, list[_Usage]] = {state: [] for state in STATES}
    with running(OURS, our_command(port), port) as plainly, metered(result, server):
        for number in range(rounds):
            turns = [(Target("127.0.0.1", port), plainly, STATES[:1]), (target, server, STATES[1:])]
            for where, process, states in turns[:: -1 if number % 2 else 1]:
                crowd = _gather(where, members)
                try:
                    for state in states[:: -1 if number % 2 else 1]:
                        found[state].append(_measure(crowd, process, state, seconds))
                finally:
                    crowd.close()
    result.figures = {**looks, **_compare(found)}
    return result


def _gather(target: Target, members: int) -> Members:
    crowd = Members(target)
    crowd.join([f"crowd-{number // ROOM}" for number in range(members)])
    return crowd


def _measure(crowd: Members, server: Process, state: str, seconds: float) -> _Usage:
    with _watcher(server.pid) if state == "watched" else nullcontext():
        crowd.settle()
        begin, used = time.perf_counter(), _cpu_seconds(server)
        _talk(crowd, seconds)
        core = (_cpu_seconds(server) - used) / (time.perf_counter() - begin)
        crowd.settle()
        begin, used, visits = time.perf_counter(), _cpu_seconds(server), 0
        while time.perf_counter() < begin + seconds / 3:
            _visit(crowd.target)
            visits += 1
        return _Usage(core, (_cpu_seconds(server) - used) / visits)


def _compare(found: dict[str, list[_Usage]]) -> dict[str, float | list[list[float]]]:
    figures: dict[str, float | list[list[float]]] = {}
    for state, usages in found.items():
        figures[f"core_{state}"] = statistics.median(usage.core for usage in usages)
        figures[f"visit_us_{state}"] = statistics.median(usage.visit for usage in usages) * 1e6
        pairs = list(zip(usages, found["none"], strict=True))
        if state != "none":
            figures[f"ratio_{state}"] = statistics.median(a.core / b.core for a, b in pairs)
            figures[f"visit_ratio_{state}"] = statistics.median(a.visit / b.visit for a, b in pairs)
    return figures


# --- The load: talk that is due at fixed times, and visits one after the other --------------------


def _talk(crowd: Members, seconds: float) -> None:
    message, begin = plain(), time.perf_counter()
    rooms = max(1, len(crowd) // ROOM)
    for number in range(int(seconds * MESSAGES)):
        due = begin + number / MESSAGES
        while (left := due - time.perf_counter()) > 0:
            crowd.poll(left)
        crowd.send(number % rooms * ROOM, message)
    crowd.poll(0.01)


def _visit(target: Target) -> None:
    visitor = Members(target)
    try:
        visitor.join(["visits"])
        visitor.send(0, plain())
        deadline = time.perf_counter() + PATIENCE
        while not visitor.total:
            visitor.poll(0.1)
            if time.perf_counter() > deadline:
                raise LoadError("a visitor's message did not come back")
    finally:
        visitor.close()


def _cpu_seconds(server: Process) -> float:
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def _watcher(pid: int) -> Iterator[None]:
    """Watch the server during the block; what comes is read and forgotten."""
    places = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
    path = choose_socket(str(pid), [Path(place) for place in places if place])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(os.fspath(path))
        sock.sendall(b"watch\n")
        if not sock.recv(65536):
            raise LoadError("the microscope says nothing")
        sock.settimeout(None)
        reader = threading.Thread(target=_read, args=[sock], name="watcher")
        reader.start()
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            reader.join()


def _read(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


# --- A look, in this process ----------------------------------------------------------------------


async def _time_looks(members: int) -> dict[str, float]:
    """Return medians in ms, with so many tasks that have a nursery each, as members have."""
    async with trio.open_nursery() as nursery:
        for number in range(members):
            nursery.start_soon(_be_member, name=f"member {number}")
        await wait_all_tasks_blocked()
        root, serials = trio.lowlevel.current_task(), Serials()
        snapshot = _median_ms(lambda: take_snapshot(root, serials))
        with Recorder(root, lambda event: None, serials=serials) as recorder:
            look = _median_ms(recorder.look)
        nursery.cancel_scope.cancel(reason="measured")
    return {"snapshot_ms": snapshot, "look_ms": look}


async def _be_member() -> None:
    async with trio.open_nursery():
        await trio.sleep_forever()


def _median_ms(look: Callable[[], object]) -> float:
    times = []
    for _ in range(LOOKS):
        begin = time.perf_counter()
        look()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:]) * 1000
