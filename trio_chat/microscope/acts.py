"""The lab's acts: cancel, raise, stall and deadline, done to the tree that is being watched.

Only where the server was started with `--lab`, and only on a machine that talks to itself. An act
is one synchronous step: it is marked in the recording first, by name, and then done; so what dies
stands behind the mark that killed it. Ids are the recording's.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final, assert_never

import orjson
import trio

from .recorder import Names
from .watch import Microscope

LONGEST_STALL: Final = 2_000  # milliseconds


class LabError(Exception):
    """Somebody wanted to see who notices."""


class NotDone(Exception):
    """An act can't be done: an HTTP status, and a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a nursery, or all nurseries of a task."""

    id: int


@dataclass(frozen=True, slots=True)
class Raise:
    """Start a task that fails in a nursery, or in a task's innermost one."""

    id: int


@dataclass(frozen=True, slots=True)
class Deadline:
    """Give a nursery, or all nurseries of a task, so many seconds from now."""

    id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Hold the whole loop, as a function does that computes for so many milliseconds."""

    ms: int


Act = Cancel | Raise | Deadline | Stall


def parse_act(body: bytes) -> Act:
    """Return the act that a JSON object asks for.

    Raises:
        NotDone: it asks for none, with 400.
    """
    try:
        match orjson.loads(body):
            case dict(found) if any(isinstance(value, bool) for value in found.values()):
                pass  # To Python a truth is a number, and 1 is the root.
            case {"act": "cancel", "id": int(number)}:
                return Cancel(number)
            case {"act": "raise", "id": int(number)}:
                return Raise(number)
            case {"act": "deadline", "id": int(number), "seconds": int(seconds) | float(seconds)}:
                if 0 <= seconds < math.inf:
                    return Deadline(number, seconds)
            case {"act": "stall", "ms": int(ms)} if 0 <= ms <= LONGEST_STALL:
                return Stall(ms)
            case _:
                pass
    except orjson.JSONDecodeError:
        pass
    raise NotDone(400, "no act: cancel, raise or deadline with id (and seconds), stall with ms")


class Lab:
    """Does acts to the tree under a microscope."""

    def __init__(self, microscope: Microscope) -> None:
        self._microscope = microscope

    # No awaits below: between the mark and the act nothing else happens.

    def do(self, act: Act) -> str:
        """Mark the act and do it; return the mark.

        Raises:
            NotDone: its task or nursery is gone (404), or there is nothing to do it to (409).
        """
        match act:
            case Cancel(number):
                nurseries, name = self._find(number)
                self._microscope.mark(said := f"cancel {name}")
                for nursery in nurseries:
                    nursery.cancel_scope.cancel(reason=f"lab: {said}")
            case Raise(number):
                nurseries, name = self._find(number)
                self._microscope.mark(said := f"raise in {name}")
                nurseries[-1].start_soon(_fail, f"lab: {said}", name="lab: raises")
            case Deadline(number, seconds):
                nurseries, name = self._find(number)
                self._microscope.mark(said := f"deadline of {seconds:g} s for {name}")
                for nursery in nurseries:
                    nursery.cancel_scope.deadline = trio.current_time() + seconds
            case Stall(ms):
                self._microscope.mark(said := f"stall for {ms} ms")
                time.sleep(ms / 1000)  # Nobody runs meanwhile: that is the experiment.
            case _:
                assert_never(act)
        self._microscope.look()
        return said

    def _find(self, number: int) -> tuple[list[trio.Nursery], str]:
        """Return the nurseries that a number stands for, the outermost first, and their name."""
        for task in self._microscope.tasks():
            nurseries, name = task.child_nurseries, self._name(task)
            if self._microscope.number(task) == number:
                if not nurseries:
                    raise NotDone(409, f"{name} has no nursery: there is nothing below it")
                return list(nurseries), name
            for place, nursery in enumerate(nurseries, start=1):
                if self._microscope.number(nursery) == number:
                    several = len(nurseries) > 1
                    return [nursery], f"nursery {place} of {name}" if several else name
        raise NotDone(404, f"{number} is gone, or never was")

    def _name(self, task: trio.lowlevel.Task) -> str:
        if self._microscope.names is Names.IDS:
            return f"task {self._microscope.number(task)}"
        return task.name


async def _fail(why: str) -> None:
    await trio.lowlevel.checkpoint()
    raise LabError(why)
