"""The bench of a twin: every task of an asyncio program is recorded, in the microscope's format.

asyncio does not know which task belongs to which. So the task that created another one is written
down as its parent, which is who the reader of the program believes to be in charge of it. A task
that still runs when its parent has ended is an orphan. Some are created by no task, but by the
loop itself: they have no parent at all.

The bench holds the tasks that run, so that it does not depend on the garbage collector how many
there are. Of those that have ended it keeps a number: who has nobody else is collected as usual.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import trio

from ..microscope.events import VERSION, Exited, Hello, How, Marked, Opened, Spawned
from ..microscope.recording import Recording

T = TypeVar("T")
Awaited = Generator[Any, None, T] | Coroutine[Any, Any, T]  # As asyncio's own annotations have it.


class TwinBench:
    """What a twin works with. `watch` first; `tell` prints a line."""

    def __init__(self, tell: Callable[[str], None], title: str) -> None:
        self._title = title
        self._main: asyncio.Task[Any] | None = None
        self._living: dict[asyncio.Task[Any], int] = {}
        self._parents: dict[int, int] = {}
        self._nurseries: dict[int, int] = {}  # by the parent's number
        self._ended: set[int] = set()
        self._last_id = 0
        self._began = 0.0
        self.tell = tell
        self.recording = Recording()

    def watch(self) -> None:
        """Record the running task and everything that is created from here on in its loop."""
        self._began = time.perf_counter()
        python, pid = platform.python_version(), os.getpid()
        self.recording.append(Hello(0.0, VERSION, python, trio.__version__, pid, self._title))
        loop = asyncio.get_running_loop()
        self._main = main = asyncio.current_task()
        assert main is not None
        main.set_name("main")
        self._note(main)
        loop.set_task_factory(self._create)

    def mark(self, text: str) -> None:
        """Write into the recording what is about to be done."""
        self.tell(f"\n→ {text}")
        self.recording.append(Marked(self._now(), text))

    # --- Counting --------------------------------------------------------------------------------

    @property
    def created(self) -> int:
        """How many tasks there have been, the first one included."""
        return len(self._living) + len(self._ended)

    @property
    def cancelled(self) -> int:
        """How many have ended because somebody cancelled them."""
        ends = (event for event in self.recording if isinstance(event, Exited))
        return sum(event.how is How.CANCELLED for event in ends)

    def living(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended, in the order in which they were created."""
        return [task for task in self._living if not task.done()]

    def orphans(self) -> list[asyncio.Task[Any]]:
        """Return those of them that outlive the task that created them."""
        return [
            task for task in self.living() if self._parents.get(self._living[task]) in self._ended
        ]

    # --- Recording -------------------------------------------------------------------------------

    def _create(
        self, loop: asyncio.AbstractEventLoop, coro: Awaited[T], **options: Any
    ) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.Task(coro, loop=loop, **options)
        creator = asyncio.current_task(loop)
        if creator in self._living:
            parent = self._living[creator]
            self._parents[self._note(task, self._nursery_of(parent))] = parent
        elif creator is None and self._main in self._living:
            # The loop's own, such as a handler of `asyncio.start_server`. What asyncio.run creates
            # at its end is not the program's.
            self._note(task)
        return task

    def _note(self, task: asyncio.Task[Any], within: int | None = None) -> int:
        self._living[task] = number = self._number()
        place, t = len(self.recording), self._now()
        self.recording.append(Spawned(t, number, _name(task), within))
        task.add_done_callback(self._note_end)

        def name_it() -> None:
            # Up to Python 3.13 a loop gives a task its name when the factory has returned.
            self.recording.events[place] = Spawned(t, number, _name(task), within)

        asyncio.get_running_loop().call_soon(name_it)
        return number

    def _nursery_of(self, parent: int) -> int:
        # There is none: it stands for "created by this task", so that the picture has a place.
        if parent not in self._nurseries:
            self._nurseries[parent] = number = self._number()
            self.recording.append(Opened(self._now(), number, parent))
        return self._nurseries[parent]

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        number = self._living.pop(task)
        self._ended.add(number)
        if task.cancelled():
            event = Exited(self._now(), number, How.CANCELLED)
        elif (error := task._exception) is not None:  # `exception()` would count as noticing it.
            event = Exited(self._now(), number, How.RAISED, repr(error))
        else:
            event = Exited(self._now(), number, How.RETURNED)
        self.recording.append(event)

    def _number(self) -> int:
        self._last_id += 1
        return self._last_id

    def _now(self) -> float:
        return round(time.perf_counter() - self._began, 6)


def _name(task: asyncio.Task[Any]) -> str:
    # Who was given no name is called by what it does, which says more than "Task-7".
    name = task.get_name()
    return getattr(task.get_coro(), "__name__", name) if name.startswith("Task-") else name
