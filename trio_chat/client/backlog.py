"""Events between the socket, which must not outrun whoever takes them, and whoever takes them.

A memory channel with three marks. Below `PLENTY` events flow. From there on the socket is left
alone, so TCP stalls and the server waits (or evicts us, and we come back): that is the
back-pressure. But receipts come through the same socket, and a task that says something inside of
its `async for` takes no event before it has its receipt: so while one is awaited, reading goes on
up to `FULL`. Until somebody listens at all, nobody misses the oldest, and they are forgotten: a
client may just talk.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

import trio

from .events import Event

PLENTY: Final = 1024
FULL: Final = 16 * PLENTY


class Backlog:
    """Events that wait to be taken, in order."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Event](FULL)
        self._listening = False
        self._stirred = trio.Event()

    def __enter__(self) -> Backlog:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say that nothing more will come. What waits can still be taken."""
        self._send.close()

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return self._send.statistics().current_buffer_used

    @property
    def full(self) -> bool:
        """Whether not even a receipt can be read any more."""
        return self.waiting >= FULL

    def put(self, event: Event) -> bool:
        """Add an event; return False, and add nothing, where the backlog is full."""
        if not self._listening and self.waiting >= PLENTY:
            self._receive.receive_nowait()
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            return False
        return True

    async def wait_to_put(self, event: Event) -> None:
        """Add an event as soon as there is room. If cancelled, it was not added."""
        await self._send.send(event)

    @property
    def plenty(self) -> bool:
        """Whether reading should wait until somebody has caught up."""
        return self._listening and self.waiting >= PLENTY

    async def wait_stirred(self) -> None:
        """Wait until an event was taken, or somebody called `stir`."""
        self._stirred = trio.Event()
        await self._stirred.wait()

    def stir(self) -> None:
        """Have whoever waits in `wait_stirred` look again."""
        self._stirred.set()

    def listen(self) -> None:
        """From now on nothing is forgotten."""
        self._listening = True

    async def take(self) -> Event:
        """Return the next event. If cancelled, none is lost.

        Raises:
            trio.EndOfChannel: there will be no more.
        """
        self.listen()
        event = await self._receive.receive()
        self._stirred.set()
        return event
