"""What both listeners have in common: accepting, a bound on who is there, a boundary around each.

Each visitor has a task of its own, in the microscope's nursery, and its stream is closed when the
task ends. What goes wrong with one of them costs that one, and is logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ..listening import BACK_OFF, EXHAUSTED, OVER_BEFORE_IT_BEGAN

log = logging.getLogger(__name__)

MAX_VISITORS: Final = 64  # at one listener, of whom a part may watch
PATIENCE: Final = 10.0  # seconds in which somebody has to say what is wanted
PIECE: Final = 64 * 1024  # bytes
STALLED: Final = 30.0  # seconds in which a visitor has to take a piece
MAX_CHATTER: Final = 4 * 1024  # bytes that are read and not understood

Stream = trio.abc.HalfCloseableStream
Meet = Callable[[Stream], Awaitable[None]]


async def accept_visitors(
    listener: trio.SocketListener, meet: Meet, visitors: trio.Nursery
) -> None:
    """Accept until the listener is closed; `meet` each visitor, in the nursery `visitors`."""
    present: set[object] = set()
    while True:
        try:
            stream = await listener.accept()
        except trio.ClosedResourceError:
            return
        except OSError as exc:
            if exc.errno in OVER_BEFORE_IT_BEGAN:
                continue
            if exc.errno not in EXHAUSTED:
                raise
            await trio.sleep(BACK_OFF)
            continue
        if len(present) >= MAX_VISITORS:
            await trio.aclose_forcefully(stream)
            continue
        present.add(stream)
        visitors.start_soon(_receive, stream, meet, present, name="watcher")


async def _receive(stream: Stream, meet: Meet, present: set[object]) -> None:
    try:
        await meet(stream)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # Gone; there is nobody to tell.
    except* Exception:
        log.exception("the microscope failed for one who watches")
    finally:
        present.discard(stream)
        await trio.aclose_forcefully(stream)


async def send(stream: Stream, data: bytes) -> None:
    """Send all of it to a visitor who takes it, be it slowly.

    Raises:
        trio.BrokenResourceError: the visitor is gone, or takes nothing.
    """
    for start in range(0, len(data), PIECE):
        with trio.move_on_after(STALLED) as patience:
            await stream.send_all(data[start : start + PIECE])
        if patience.cancelled_caught:
            raise trio.BrokenResourceError("it was not taken in time")


async def notice_leaving(stream: Stream, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the visitor has gone, or talks where nobody listens."""
    heard = 0
    try:
        while heard <= MAX_CHATTER and (part := await stream.receive_some()):
            heard += len(part)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel(reason="who watched has gone")
