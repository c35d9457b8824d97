"""How a task ended: it returned, it was cancelled and by whom, or it raised and where.

Trio's hook for an ended task says only that it has. From Python 3.12 on the interpreter tells of
every function that an exception leaves (`sys.monitoring`, PY_UNWIND), so `Unwinding` notes what
left a task's outermost function. It asks for a tool id when somebody begins to record and frees it
when they end: nothing is slower when nobody looks.

`Outcomes` is for Python 3.11, and for when others have all tool ids. It is the one thing in this
package that is not public: it looks for the local `outcome` of the function in Trio that called the
hook. Where there is none of the kind that is expected, the task has "ended", and that is all.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from inspect import CO_COROUTINE
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Final, NamedTuple, Protocol

import outcome
import trio

from .events import How
from .snapshot import innermost, is_plumbing

LONGEST: Final = 200  # characters of an exception's text
DEPTH: Final = 12  # frames from here up to Trio's function that called the hook; it is five
TOOL_IDS: Final = (3, 4)  # Those that no kind of tool has claimed for itself.


class End(NamedTuple):
    """How a task ended, as text that keeps nothing alive. `author` is what Trio calls a task."""

    how: How
    exc: str | None = None
    reason: str | None = None
    source: str | None = None
    author: str | None = None
    at: str | None = None


RETURNED: Final = End(How.RETURNED)
ENDED: Final = End(How.ENDED)
# Trio raises in the name of a task that leaves a nursery open, after its last function is over.
ABANDONED: Final = End(How.RAISED, "RuntimeError: a nursery was left open", source="nursery")


class Endings(Protocol):
    """A way to learn how tasks end, between `start` and `stop`."""

    def start(self) -> None:
        """Begin, in the thread that runs the tasks."""

    def stop(self) -> None:
        """End, and leave no trace."""

    def take(self, task: trio.lowlevel.Task) -> End:
        """Return how a task ended: once a task, within Trio's hook for its end."""


def choose_endings() -> Endings:
    """Return the best way that this Python has."""
    if sys.version_info >= (3, 12):
        return Unwinding()
    else:  # noqa: RET505 - mypy reads one branch, on each Python the right one.
        return Outcomes()


def tell(error: BaseException) -> End:
    """Return what an exception says that ended a task.

    A group of nothing but cancellations is one; any other is its first exception that is none.
    """
    leaf = _cause(error)
    at = _place(error, leaf)
    if isinstance(leaf, trio.Cancelled):
        return End(How.CANCELLED, None, leaf.reason, leaf.source, leaf.source_task, at)
    return End(How.RAISED, _describe(leaf), at=at)


def _cause(error: BaseException) -> BaseException:
    cancelled: BaseException | None = None
    for leaf in _leaves(error):
        if not isinstance(leaf, trio.Cancelled):
            return leaf
        cancelled = cancelled or leaf
    assert cancelled is not None
    return cancelled


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting += reversed(one.exceptions)
        else:
            yield one


def _place(error: BaseException, leaf: BaseException) -> str | None:
    """Return the line where it came up, if that was in this task; else the line that waited."""
    own = {frame for frame, _ in walk_tb(error.__traceback__) if not is_plumbing(frame.f_code)}
    here = any(frame in own for frame, _ in walk_tb(leaf.__traceback__))
    return innermost(walk_tb((leaf if here else error).__traceback__))


def _describe(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - Whoever wrote that class; its name says enough.
        text = ""
    return f"{kind}: {text}"[:LONGEST] if text else kind


class Outcomes:
    """Looks for the outcome in the function of Trio that tells us of the end."""

    def start(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def stop(self) -> None:
        """Do nothing: there is nothing to undo."""

    def take(self, task: trio.lowlevel.Task) -> End:
        """Return how a task ended."""
        found = _find_outcome(sys._getframe(), task)
        if isinstance(found, outcome.Error):
            return tell(found.error)
        return RETURNED if isinstance(found, outcome.Value) else ENDED


def _find_outcome(frame: FrameType | None, task: trio.lowlevel.Task) -> object:
    for _ in range(DEPTH):
        if frame is None:
            break
        if frame.f_code.co_name == "task_exited" and is_plumbing(frame.f_code):
            names = frame.f_locals
            runner = names.get("self")
            if names.get("task") is not task:
                break
            if getattr(runner, "main_task", None) is task:
                # The outcome of `trio.run` is put aside, for `trio.run` to return or to raise.
                return getattr(runner, "main_task_outcome", None)
            return names.get("outcome")
        frame = frame.f_back
    return None


if sys.version_info >= (3, 12):
    _PY_UNWIND: Final = sys.monitoring.events.PY_UNWIND

    class Unwinding:
        """Notes which exception was the last to leave a task's outermost function."""

        def __init__(self) -> None:
            self._tool: int | None = None
            self._thread: int | None = None
            self._last: dict[trio.lowlevel.Task, BaseException] = {}
            self._instead = Outcomes()

        def start(self) -> None:
            """Take a tool id, if one is free."""
            self._thread = threading.get_ident()
            self._tool = next((id for id in TOOL_IDS if sys.monitoring.get_tool(id) is None), None)
            if self._tool is not None:
                sys.monitoring.use_tool_id(self._tool, "trio-chat microscope")
                sys.monitoring.register_callback(self._tool, _PY_UNWIND, self._unwound)
                sys.monitoring.set_events(self._tool, _PY_UNWIND)

        def stop(self) -> None:
            """Give the tool id back."""
            if self._tool is not None:
                sys.monitoring.set_events(self._tool, sys.monitoring.events.NO_EVENTS)
                sys.monitoring.register_callback(self._tool, _PY_UNWIND, None)
                sys.monitoring.free_tool_id(self._tool)
            self._tool = None
            self._last.clear()

        def take(self, task: trio.lowlevel.Task) -> End:
            """Return how a task ended."""
            if self._tool is None:
                return self._instead.take(task)
            error = self._last.pop(task, None)
            if task.child_nurseries:
                return ABANDONED
            return RETURNED if error is None else tell(error)

        def _unwound(self, code: CodeType, offset: int, error: BaseException) -> None:
            # This is called for every function that an exception leaves, in every thread; what it
            # raised would go on as that function's exception.
            if not code.co_flags & CO_COROUTINE or threading.get_ident() != self._thread:
                return
            try:
                task = trio.lowlevel.current_task()
            except RuntimeError:  # No task runs.
                return
            # A function may call itself, or run in several tasks: it is the frame that counts.
            frame = task.coro.cr_frame
            traceback = error.__traceback__
            if frame is not None and traceback is not None and traceback.tb_frame is frame:
                self._last[task] = error
