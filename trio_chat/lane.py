"""How what was read gets from trio-websocket's reader to the session: one portion at a time.

A lane does what a memory channel with room for one item does. There is one for each connection,
nobody ever shares an end of it, and a channel's four tables of waiting tasks would be a tenth of
all that an idle connection costs.
"""

from __future__ import annotations

import trio

from .frames import LongWay

Portion = list[str | LongWay]


class Lane:
    """One reader puts, one session takes, in order."""

    __slots__ = ("_change", "_closed", "_portion")

    def __init__(self) -> None:
        self._portion: Portion | None = None
        self._closed = False
        self._change: trio.Event | None = None  # Here while somebody waits for the other end.

    async def put(self, portion: Portion) -> None:
        """Hand a portion over; wait while the last one has not been taken.

        Does not wait for this one to be taken. If cancelled, it was not handed over.
        """
        while self._portion is not None:
            await self._next_change().wait()
        self._portion = portion
        self._wake()

    async def take(self) -> Portion:
        """Return the next portion.

        Raises:
            trio.EndOfChannel: there will be none.

        If cancelled, nothing was taken.
        """
        while self._portion is None:
            if self._closed:
                raise trio.EndOfChannel
            await self._next_change().wait()
        portion, self._portion = self._portion, None
        self._wake()
        return portion

    def close(self) -> None:
        """Say that nothing more will come. What was handed over can still be taken."""
        self._closed = True
        self._wake()

    def _next_change(self) -> trio.Event:
        if self._change is None:
            self._change = trio.Event()
        return self._change

    def _wake(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.set()
