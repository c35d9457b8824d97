"""The tree of tasks as it is at one moment, read through what Trio shows to everybody.

Synchronous from the first task to the last, so nothing changes on the way; iterative, so no tree is
too deep. Nothing is kept alive: a serial number is forgotten with the task or nursery it was for.

Looking is not quite free of consequences: `cancel_scope.cancel_called` delivers a deadline that has
passed already, a moment before the run loop would have done so.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Final, NamedTuple

import outcome
import trio

# What a task waits at is a line outside these packages, or it would always be Trio's own.
_PLUMBING: Final = tuple(str(Path(package.__file__ or "").parent) for package in (trio, outcome))


class _Numbered(weakref.ref[object]):
    """A weak reference that knows under which address the object was listed."""

    __slots__ = ("address",)

    address: int


class Serials:
    """Numbers for tasks and nurseries, 1, 2, 3 …, each for as long as the object lives."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # by the object's address
        self._references: dict[int, _Numbered] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, item: object) -> bool:
        return id(item) in self._numbers

    def number(self, item: trio.lowlevel.Task | trio.Nursery) -> int:
        """Return the object's number, a new one at first sight."""
        address = id(item)
        number = self._numbers.get(address)
        if number is None:
            # The object is alive, so nothing else is listed under its address: what was there
            # before has been forgotten when it was freed.
            self._last = number = self._last + 1
            self._numbers[address] = number
            self._references[address] = reference = _Numbered(item, self._forget)
            reference.address = address
        return number

    def at(self, address: int) -> int | None:
        """Return the number of what lives there now."""
        return self._numbers.get(address)

    def _forget(self, reference: weakref.ref[object]) -> None:
        assert isinstance(reference, _Numbered)
        del self._numbers[reference.address], self._references[reference.address]


class Scope(NamedTuple):
    """The state of a nursery's cancel scope. `deadline` is in Trio's time."""

    cancelled: bool
    deadline: float | None
    shield: bool


QUIET: Final = Scope(cancelled=False, deadline=None, shield=False)


@dataclass(frozen=True, slots=True)
class NurseryNode:
    """A nursery and the tasks in it."""

    id: int
    scope: Scope
    tasks: tuple[TaskNode, ...]


@dataclass(frozen=True, slots=True)
class TaskNode:
    """A task and the nurseries that it has open, the outermost first."""

    id: int
    name: str
    nurseries: tuple[NurseryNode, ...]
    count: int  # of the tasks in this part of the tree, this one included


class Seen(NamedTuple):
    """A task as it was found, before the tree is put together."""

    task: trio.lowlevel.Task
    id: int
    name: str
    nurseries: tuple[SeenNursery, ...]


class SeenNursery(NamedTuple):
    """A nursery as it was found: its tasks by number."""

    id: int
    scope: Scope
    tasks: tuple[int, ...]


def scope_of(nursery: trio.Nursery) -> Scope:
    """Return the state of the nursery's scope."""
    scope = nursery.cancel_scope
    deadline = scope.deadline
    cancelled = scope.cancel_called
    if deadline == math.inf and not cancelled and not scope.shield:
        return QUIET
    return Scope(cancelled, None if deadline == math.inf else deadline, scope.shield)


def survey(root: trio.lowlevel.Task, serials: Serials) -> list[Seen]:
    """Return all tasks of the tree, every parent before its children."""
    found: list[Seen] = []
    waiting = [root]
    number = serials.number
    while waiting:
        task = waiting.pop()
        nurseries = []
        for nursery in task.child_nurseries:
            children = _in_order(nursery.child_tasks, serials)
            waiting += children
            ids = tuple(map(number, children))
            nurseries.append(SeenNursery(number(nursery), scope_of(nursery), ids))
        found.append(Seen(task, number(task), task.name, tuple(nurseries)))
    return found


def _in_order(tasks: frozenset[trio.lowlevel.Task], serials: Serials) -> list[trio.lowlevel.Task]:
    """Number those that are new by their names, as Trio's set has no order; then sort."""
    if len(tasks) < 2:
        return list(tasks)
    new = [task for task in tasks if task not in serials]
    if new:
        new.sort(key=attrgetter("name"))
        for task in new:
            serials.number(task)
    return sorted(tasks, key=serials.number)


def take_snapshot(root: trio.lowlevel.Task, serials: Serials) -> TaskNode:
    """Return the tree below a task as it is now."""
    done: dict[int, TaskNode] = {}
    node = None
    for seen in reversed(survey(root, serials)):
        count = 1
        nurseries = []
        for nursery in seen.nurseries:
            tasks = tuple(map(done.pop, nursery.tasks))
            count += sum(task.count for task in tasks)
            nurseries.append(NurseryNode(nursery.id, nursery.scope, tasks))
        node = done[seen.id] = TaskNode(seen.id, seen.name, tuple(nurseries), count)
    assert node is not None
    return node


def where(task: trio.lowlevel.Task) -> str | None:
    """Return the line that the task waits at, like "session.py:130 writer"; None if it is over."""
    return innermost(task.iter_await_frames())


def is_plumbing(code: CodeType) -> bool:
    """Return whether this is Trio's own code."""
    return code.co_filename.startswith(_PLUMBING)


def innermost(frames: Iterable[tuple[FrameType, int]]) -> str | None:
    """Return the last of the lines that is not Trio's own, the outermost frame coming first."""
    place: tuple[CodeType, int] | None = None
    for frame, line in frames:
        if not is_plumbing(frame.f_code):
            place = frame.f_code, line
    if place is None:
        return None
    code, line = place
    return f"{PurePath(code.co_filename).name}:{line} {code.co_name}"
