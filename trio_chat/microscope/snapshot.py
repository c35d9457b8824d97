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
from functools import cache
from operator import attrgetter
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Final, NamedTuple

import outcome
import trio

# What a task waits at is a line outside these packages, or it would always be Trio's own.
_PLUMBING: Final = tuple(
    f"{Path(package.__file__ or '').parent}{os.sep}" for package in (trio, outcome)
)


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

    def number(self, item: trio.lowlevel.Task | trio.Nursery) -> int:
        """Return the object's number, a new one at first sight."""
        return self._numbers.get(id(item)) or self._add(item)

    def _add(self, item: trio.lowlevel.Task | trio.Nursery) -> int:
        # The object is alive, so nothing else is listed under its address: what was there before
        # was forgotten when it was freed.
        reference = _Numbered(item, self._forget)
        reference.address = address = id(item)
        self._references[address] = reference
        self._last = self._numbers[address] = self._last + 1
        return self._last

    def at(self, address: int) -> int | None:
        """Return the number of what lives there now."""
        return self._numbers.get(address)

    def _forget(self, reference: weakref.ref[object]) -> None:
        assert isinstance(reference, _Numbered)
        del self._numbers[reference.address], self._references[reference.address]


class Scope(NamedTuple):
    """The state of a nursery's cancel scope. `deadline` is in seconds from the look."""

    cancelled: bool
    deadline: float | None
    shield: bool


QUIET: Final = Scope(cancelled=False, deadline=None, shield=False)


# Nodes are named tuples, for ten thousand of them have to be made in a few milliseconds.
class NurseryNode(NamedTuple):
    """A nursery and the tasks in it, the oldest first."""

    id: int
    scope: Scope
    tasks: tuple[TaskNode, ...]


class TaskNode(NamedTuple):
    """A task and the nurseries that it has open, the outermost first."""

    id: int
    name: str
    nurseries: tuple[NurseryNode, ...]
    count: int  # type: ignore[assignment]  # of the tasks in this part of the tree, itself included


def walk(root: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return the tasks of the tree below a task, each parent before its children."""
    found = [root]
    for task in found:  # It grows on the way.
        for nursery in task.child_nurseries:
            found += nursery.child_tasks
    return found


def take_snapshot(root: trio.lowlevel.Task, serials: Serials) -> TaskNode:
    """Return the tree below a task as it is now."""
    # Level by level on the way down; so on the way up every child comes before its parent.
    walk = [root]
    opened: list[list[tuple[trio.Nursery, list[trio.lowlevel.Task]]]] = []
    for task in walk:
        inside = []
        for nursery in task.child_nurseries:
            tasks = in_order(children, serials) if (children := nursery.child_tasks) else []
            inside.append((nursery, tasks))
            walk += tasks
        opened.append(inside)
    done: dict[trio.lowlevel.Task, TaskNode] = {}
    while walk:
        task = walk.pop()
        count = 1
        nurseries: tuple[NurseryNode, ...] = ()
        for nursery, tasks in opened.pop():
            nodes: tuple[TaskNode, ...] = ()
            if tasks:
                nodes = tuple(map(done.pop, tasks))
                count += sum([node.count for node in nodes])
            nurseries += (NurseryNode(serials.number(nursery), scope_of(nursery), nodes),)
        done[task] = TaskNode(serials.number(task), task.name, nurseries, count)
    return done[root]


def scope_of(nursery: trio.Nursery) -> Scope:
    """Return the state of the nursery's scope."""
    scope = nursery.cancel_scope
    if scope.deadline == math.inf and not scope.cancel_called and not scope.shield:
        return QUIET
    left = None if scope.deadline == math.inf else round(scope.relative_deadline, 6)
    return Scope(scope.cancel_called, left, scope.shield)


def in_order(tasks: frozenset[trio.lowlevel.Task], serials: Serials) -> list[trio.lowlevel.Task]:
    """Return tasks by their numbers. New ones are numbered by name: Trio's set has no order."""
    if len(tasks) < 2:
        return list(tasks)
    new = [task for task in tasks if serials.at(id(task)) is None]
    for task in sorted(new, key=attrgetter("name")):
        serials.number(task)
    return sorted(tasks, key=serials.number)


def where(task: trio.lowlevel.Task) -> str | None:
    """Return the line that the task waits at, like "session.py:130 writer"; None if it is over."""
    return innermost(task.iter_await_frames())


def is_plumbing(code: CodeType) -> bool:
    """Return whether this is Trio's own code."""
    return _is_below_plumbing(code.co_filename)


@cache
def _is_below_plumbing(file: str) -> bool:
    return file.startswith(_PLUMBING)


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
