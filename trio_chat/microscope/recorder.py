"""The recorder: an instrument that turns what happens to a tree of tasks into events.

It lives from `attach` to `detach`; in between Trio calls it when a task is spawned and when one has
ended, and somebody calls `look` now and then, because for all else there is no hook: a cancel, a
deadline, a new name, a nursery with nobody in it, a task that `nursery.start()` handed over.

Nothing that goes wrong in it reaches those whom it watches: it detaches itself, and logs that once.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType

import trio

from .endings import Endings, choose_endings
from .events import VERSION, Event, Hello, Marked
from .known import Known, Names
from .snapshot import Serials

log = logging.getLogger(__name__)

__all__ = ["Gauges", "Names", "Recorder"]

# Says what is measured now, by the tasks that it is measured for.
Gauges = Callable[[], Mapping[trio.lowlevel.Task, tuple[int, ...]]]


class Recorder(trio.abc.Instrument):
    """Hands every event of the tree below `root` to `sink`, which must not wait.

    `clock` gives seconds. Recorders that share `serials` use the same ids. `gauges` is asked at
    each look.
    """

    def __init__(
        self,
        root: trio.lowlevel.Task,
        sink: Callable[[Event], None],
        *,
        clock: Callable[[], float] = trio.current_time,
        names: Names = Names.SHOWN,
        serials: Serials | None = None,
        title: str | None = None,
        endings: Endings | None = None,
        gauges: Gauges | None = None,
    ) -> None:
        self._root = root
        self._sink = sink
        self._clock = clock
        self._names = names
        self._serials = Serials() if serials is None else serials
        self._title = title
        self._gauges = gauges
        self._endings = endings or choose_endings()
        self._known: Known | None = None  # While attached.
        self._began = 0.0
        self._origin = 0.0
        self.spent = 0.0  # seconds in Trio's hooks, in all

    @property
    def attached(self) -> bool:
        """Whether it records."""
        return self._known is not None

    def __enter__(self) -> Recorder:
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def attach(self) -> None:
        """Begin to record, with the tree as it is. Idempotent."""
        if self._known is not None:
            return
        self._began, self._origin = self._clock(), trio.current_time()
        self._known = known = Known(self._serials, self._names, self._origin)
        self._endings.start()
        trio.lowlevel.add_instrument(self)
        self._emit(lambda: [self._hello()])
        self._emit(lambda: known.begin(self._now(), self._root))

    def detach(self) -> None:
        """Record nothing more. Idempotent."""
        if self._known is None:
            return
        self._known = None
        self._endings.stop()
        # It has gone already where Trio has thrown it out, or where the whole run is over.
        with suppress(KeyError, RuntimeError):
            trio.lowlevel.remove_instrument(self)

    def look(self) -> None:
        """Say what has changed that no hook tells of."""
        known = self._known
        if known is not None:
            self._emit(lambda: known.compare(self._now()))
            if (gauges := self._gauges) is not None:
                self._emit(lambda: known.gauge(self._now(), gauges()))

    def mark(self, text: str) -> None:
        """Put a word into the recording."""
        self._emit(lambda: [Marked(self._now(), text)])

    def describe(self) -> Iterator[Event]:
        """Say hello and the whole tree as it is, for somebody who comes later."""
        known = Known(self._serials, self._names, self._origin)
        yield self._hello()
        yield from known.begin(self._now(), self._root)
        if self._known is not None:
            yield from self._known.reasons(self._now())

    # --- Hooks -----------------------------------------------------------------------------------

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Trio's hook: a task begins."""
        known = self._known
        if known is not None:
            began = time.perf_counter()
            self._emit(lambda: known.note_spawn(self._now(), task))
            self.spent += time.perf_counter() - began

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Trio's hook: a task has ended."""
        known = self._known
        if known is not None:
            began = time.perf_counter()
            self._emit(lambda: known.note_exit(self._now(), task, self._endings.take(task)))
            self.spent += time.perf_counter() - began

    # --- The boundary ----------------------------------------------------------------------------

    def _emit(self, events: Callable[[], Iterable[Event]]) -> None:
        if self._known is None:
            return
        try:
            for event in events():
                self._sink(event)
        except Exception:
            log.exception("the recorder failed; it watches no longer")
            self.detach()

    def _hello(self) -> Hello:
        python = platform.python_version()
        return Hello(self._now(), VERSION, python, trio.__version__, os.getpid(), self._title)

    def _now(self) -> float:
        return round(self._clock() - self._began, 6)
