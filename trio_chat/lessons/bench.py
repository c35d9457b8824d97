"""The bench of an experiment: the real server, its tree, a recording of it, and what was found.

An experiment is an async function that is given a bench. It opens a server, does something to it,
looks at the tree of its tasks, and checks what it expected:

    async def experiment(bench: Bench) -> None:
        async with bench.open_room() as venue:
            await venue.join("ada", room="green")
            bench.show("before")
            bench.mark("cancel room green")
            bench.scope("room green").cancel(reason="lesson 2")
            await trio.testing.wait_all_tasks_blocked()
            bench.check("green is gone", not bench.tasks("room green"))

Only the server's tasks are in the tree and in the recording; the guests' are not.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ..config import Config
from ..history import History
from ..microscope.recorder import Names, Recorder
from ..microscope.recording import Recording
from ..microscope.snapshot import Serials, TaskNode, take_snapshot, walk
from ..microscope.tree import render
from ..venue import Venue, open_room, open_server
from .findings import Finding, Findings, differ
from .lesson import Clock


class Bench:
    """What an experiment works with. `tell` prints a line; `findings` take what was checked."""

    def __init__(
        self, title: str, clock: Clock, findings: Findings, tell: Callable[[str], None]
    ) -> None:
        self._title = title
        self._clock = clock
        self._server: trio.lowlevel.Task | None = None
        self._recorder: Recorder | None = None
        self._serials = Serials()
        self.tell = tell
        self.findings = findings
        self.recording = Recording()
        self.solution: Path | None = None  # One's own, where the lesson is an exercise.

    # --- The server ------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_room(
        self,
        config: Config | None = None,
        history: History | None = None,
        *,
        faults: int = 0,
    ) -> AsyncIterator[Venue]:
        """Run the real server with guests over memory streams, recorded; time may be virtual.

        Raises:
            AssertionError: at the end, where it had other than `faults` errors, or lost something.
        """
        async with open_room(config, history, faults=faults) as venue:
            with self._watch_server():
                yield venue

    @asynccontextmanager
    async def open_server(self, config: Config | None = None) -> AsyncIterator[Venue]:
        """Run the real server with guests over TCP, recorded. For the real clock only.

        Raises:
            AssertionError: see `open_room`.
        """
        async with open_server(config) as venue:
            with self._watch_server():
                yield venue

    def _watch_server(self) -> Recorder:
        self._server = _find("server")
        self._recorder = Recorder(
            self._server,
            self.recording.append,
            clock=trio.current_time if self._clock is Clock.REAL else _sum_of_clocks(),
            names=Names.SHOWN,
            title=self._title,
            serials=self._serials,
        )
        return self._recorder

    # --- Looking ---------------------------------------------------------------------------------

    def tree(self) -> TaskNode:
        """Return the server's tree of tasks as it is now."""
        return take_snapshot(self._root, self._serials)

    def show(self, title: str) -> None:
        """Print the tree as it is now."""
        self.look()
        self.tell(f"\n{title}:")
        for line in render(self.tree(), alike=3).splitlines():
            self.tell(f"  {line}")

    def look(self) -> None:
        """Have the recording notice which scopes were cancelled, moved or named since."""
        if self._recorder is not None:
            self._recorder.look()

    def mark(self, text: str) -> None:
        """Write into the recording what is about to be done."""
        self.look()
        self.tell(f"\n→ {text}")
        if self._recorder is not None:
            self._recorder.mark(text)

    def tasks(self, prefix: str) -> list[trio.lowlevel.Task]:
        """Return the server's tasks whose names begin so, in the order of the tree."""
        return [task for task in _in_tree_order(self._root) if task.name.startswith(prefix)]

    def task(self, name: str) -> trio.lowlevel.Task:
        """Return the server's one task of that name.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = [task for task in _in_tree_order(self._root) if task.name == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} tasks are called {name!r}, not one")
        return found[0]

    def scope(self, name: str) -> trio.CancelScope:
        """Return the cancel scope of the outermost nursery that a task has open.

        Raises:
            LookupError: there is no such task, or it has no nursery.
        """
        nurseries = self.task(name).child_nurseries
        if not nurseries:
            raise LookupError(f"the task {name!r} has no nursery open")
        return nurseries[0].cancel_scope

    @property
    def _root(self) -> trio.lowlevel.Task:
        assert self._server is not None, "open the server first"
        return self._server

    # --- Finding ---------------------------------------------------------------------------------

    def check(self, sentence: str, holds: bool, instead: object = "") -> None:  # noqa: FBT001
        """Note whether something is as expected, and what it is instead."""
        self.findings.add(Finding(sentence, holds, str(instead)))

    def expect(self, sentence: str, found: object, wanted: object) -> None:
        """Note whether something found is the one that was wanted."""
        self.check(sentence, found == wanted, differ(found, wanted))


def _sum_of_clocks() -> Callable[[], float]:
    # Under a virtual clock all of a cancellation happens at one time. The real time that passes
    # meanwhile is added, so that a recording shows in which order.
    real = time.perf_counter()
    return lambda: trio.current_time() + time.perf_counter() - real


def _in_tree_order(root: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    waiting = [root]
    while waiting:
        task = waiting.pop()
        yield task
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        waiting += sorted(children, key=lambda child: child.name, reverse=True)


def _find(name: str) -> trio.lowlevel.Task:
    return next(task for task in walk(trio.lowlevel.current_task()) if task.name == name)
