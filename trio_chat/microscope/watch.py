"""One recorder for everybody who watches, and what waits for each of them.

A `Microscope` lives beside the server, in its loop. The recorder is attached with the first watcher
and detached with the last: while nobody watches, Trio has no instrument to call. A watcher has a
bounded buffer; nobody waits for the slow. Who has lost something starts anew, with hello and the
whole tree; so does everybody where the recorder had to be given up for a while, because it took too
much of the loop's time. `close` is the end: watchers get what waits for them, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from .events import Event, Hello, encode
from .pace import Allowance, Pace
from .recorder import Gauges, Names, Recorder
from .snapshot import Serials, TaskNode, take_snapshot, walk, where
from .tree import rename

LINES_A_TURN: Final = 500  # that are written before others may run
GATHER: Final = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many may watch, and what may wait for each of them.

    A tree of 10,000 that is cancelled at once is told to whoever keeps up a little.
    """

    watchers: int = 16
    lines: int = 40_000
    size: int = 4 * 1024 * 1024  # bytes
    in_hooks: float = 0.5  # seconds, saved up from 5 % of the time: what 10,000 deaths take


class TooManyWatchers(Exception):
    """Nobody more can watch for now."""


class Watcher:
    """One watcher's buffer: lines of JSON. Full, it is emptied, and its watcher starts anew."""

    def __init__(self, microscope: Microscope, bounds: Bounds) -> None:
        self.behind = True  # It needs the whole tree.
        self._microscope = microscope
        self._bounds = bounds
        self._lines: list[bytes] = []
        self._size = 0
        self._news = trio.Event()

    def put(self, line: bytes) -> None:
        """Take one line, unless the whole tree is due anyway."""
        if self.behind:
            return
        bounds = self._bounds
        if len(self._lines) >= bounds.lines or self._size + len(line) > bounds.size:
            self._lines, self._size = [], 0
            self.behind = True
        else:
            self._lines.append(line)
            self._size += len(line)
        self._news.set()

    def begin_anew(self) -> None:
        """Let it take what waits, and then the whole tree."""
        self.behind = True
        self._news.set()

    def wake(self) -> None:
        """Let it see that the microscope is closed."""
        self._news.set()

    async def take(self) -> bytes:
        """Wait for news and return the lines, each with its newline.

        Raises:
            trio.EndOfChannel: the microscope is closed, and everything was taken.
        """
        while not (self.behind or self._lines):
            if self._microscope.closed:
                raise trio.EndOfChannel
            self._news = trio.Event()
            await self._news.wait()
            # What happens together is told together: a turn of the loop is too short for a write.
            await trio.sleep(GATHER)
        if not self._lines:
            return await self._begin_anew()
        await trio.lowlevel.checkpoint()
        lines = b"".join(self._lines)
        self._lines, self._size = [], 0
        return lines

    async def _begin_anew(self) -> bytes:
        await trio.sleep_until(self._microscope.rested_at)
        # From the look on nothing is dropped, so what comes while it is written is told after it.
        events = await self._microscope.pace.turn(self._look_at_everything)
        parts = []
        for start in range(0, len(events), LINES_A_TURN):
            parts += [to_line(event) for event in events[start : start + LINES_A_TURN]]
            await trio.lowlevel.checkpoint()
        return b"".join(parts)

    def _look_at_everything(self) -> list[Event]:
        events = self._microscope.describe()
        self.behind = False
        return events


def to_line(event: Event) -> bytes:
    """Return an event as a line, with its newline."""
    return encode(event).encode() + b"\n"


class Microscope:
    """Looks at the tree below `root`, for as many as watch."""

    def __init__(
        self,
        root: trio.lowlevel.Task,
        *,
        names: Names = Names.SHOWN,
        lab: bool = False,
        bounds: Bounds | None = None,
        gauges: Gauges | None = None,
    ) -> None:
        self.root = root
        self.serials = Serials()
        self.serials.number(root)  # 1
        self.names = names
        self.pace = Pace()
        self.closed = False
        self._lab = lab
        self._bounds = bounds or Bounds()
        self._watchers: set[Watcher] = set()
        self._recorder = Recorder(
            root, self._publish, names=names, serials=self.serials, gauges=gauges
        )
        self._allowance = Allowance(self._bounds.in_hooks)
        self._counted = 0.0  # seconds of the recorder's that the allowance has paid
        self.rested_at = 0.0  # when the recorder may be attached
        self._watched = trio.Event()  # There is somebody for whom to look again.
        self._first: list[Event] | None = None  # What the recorder says while it is attached.

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch for as long as the block lasts.

        Raises:
            TooManyWatchers: there is no place.
        """
        if len(self._watchers) >= self._bounds.watchers:
            raise TooManyWatchers(f"{self._bounds.watchers} watch already")
        watcher = Watcher(self, self._bounds)
        self._watchers.add(watcher)
        self._watched.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._recorder.detach()

    async def look_while_watched(self) -> None:
        """Look again and again, at its pace, while somebody watches; until closed."""
        while not self.closed:
            await self._watched.wait()
            self._watched = trio.Event()
            while self._watchers and not self.closed:
                await self.pace.turn(self._look_again)

    def _look_again(self) -> None:
        self._recorder.look()
        if not self._recorder.attached and not self._all_behind():
            self.close()  # It has failed, and said so; who watches is not left hanging.
        self._pay_for_hooks(trio.current_time())

    def _pay_for_hooks(self, now: float) -> None:
        spent, self._counted = self._recorder.spent - self._counted, self._recorder.spent
        if not self._allowance.spend(spent, now):
            self._recorder.detach()
            self.rested_at = self._allowance.wait_until(now)
            for watcher in self._watchers:
                watcher.begin_anew()

    def _all_behind(self) -> bool:
        return all(watcher.behind for watcher in self._watchers)

    def describe(self) -> list[Event]:
        """Return hello and the whole tree; whoever else watches hears what has changed."""
        if self._recorder.attached:
            self._recorder.look()
            return [self._introduce(event) for event in self._recorder.describe()]
        self._first = []
        self._recorder.attach()
        events, self._first = self._first, None
        return events

    def snapshot(self) -> TaskNode:
        """Return the tree as it is now, whether somebody watches or not."""
        tree = take_snapshot(self.root, self.serials)
        return rename(tree, lambda node: f"task {node.id}") if self.names is Names.IDS else tree

    def tasks(self) -> list[trio.lowlevel.Task]:
        """Return the tasks of the tree, each parent before its children."""
        return walk(self.root)

    def lines(self, most: int) -> dict[int, str]:
        """Return the lines that tasks wait at, of so many at most, by the tasks' numbers."""
        found = {self.number(task): where(task) for task in self.tasks()[:most]}
        return {number: line for number, line in found.items() if number and line}

    def number(self, item: trio.lowlevel.Task | trio.Nursery) -> int | None:
        """Return the number of what was seen before; looking gives new ones, in their order."""
        return self.serials.at(id(item))

    def mark(self, text: str) -> None:
        """Say what is going to be done, behind everything that was so before."""
        self._recorder.look()
        self._recorder.mark(text)

    def look(self) -> None:
        """Look at once: something was done."""
        self.pace.now(self._recorder.look)

    def close(self) -> None:
        """Tell nothing more than what has happened. Idempotent."""
        if not self.closed:
            self._recorder.look()
            self.closed = True
            self._watched.set()
            for watcher in self._watchers:
                watcher.wake()

    def _publish(self, event: Event) -> None:
        if self._first is not None:
            self._first.append(self._introduce(event))
        if self._all_behind():
            return
        line = to_line(self._introduce(event))
        for watcher in self._watchers:
            watcher.put(line)

    def _introduce(self, event: Event) -> Event:
        return replace(event, lab=True) if self._lab and isinstance(event, Hello) else event
