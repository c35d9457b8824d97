"""What the members of a room have said and the hub has not taken yet: a bounded memory channel.

Every session sends through a clone of its own. Closing a clone means "from me, nothing more", and
when the last one is closed the hub, having read everything, comes to its natural end: that is how a
room is drained.

Back-pressure, in one sentence: a full inbox makes that sender wait, and its TCP stands still.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import NamedTuple, Self

import trio

from .history import Draft, News
from .members import Member


class Post(NamedTuple):
    """A message, its author, and the bytes that it takes while it waits."""

    author: Member
    draft: Draft
    size: int


Item = Post | News


class Inbox:
    """The hub's end. `max_bytes` of 0 means no limit; a single item always fits."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._into, self._out_of = trio.open_memory_channel[Item](max_items)
        self._max_bytes = max_bytes
        self._bytes = 0
        # Below zero for a moment, where the hub is quicker than a sender that waited.
        self._untaken = 0
        self._relief = trio.lowlevel.ParkingLot()

    def sender(self) -> InboxSender:
        """Return a new way in. While any is open, more may come."""
        return InboxSender(self, self._into.clone())

    def close(self) -> None:
        """Close the inbox's own way in; from now on the senders decide when it ends."""
        self._into.close()

    @property
    def empty(self) -> bool:
        """Whether nothing waits in here, and no item waits to be put in."""
        # A channel hands an item straight to a hub that waits: it is in neither number, and yet the
        # hub has not begun with it. That is what `_untaken` is for.
        inside = self._out_of.statistics()
        return not (inside.current_buffer_used or inside.tasks_waiting_send or self._untaken > 0)

    async def receive(self) -> Item:
        """Return the next item.

        Raises:
            trio.EndOfChannel: every way in is closed.
        """
        return self._took(await self._out_of.receive())

    def receive_nowait(self) -> Item:
        """Return the next item.

        Raises:
            trio.WouldBlock: nothing waits.
            trio.EndOfChannel: nothing will.
        """
        return self._took(self._out_of.receive_nowait())

    async def discard(self) -> None:
        """Take what comes and drop it, until every way in is closed."""
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                await self.receive()

    def _took(self, item: Item) -> Item:
        self._untaken -= 1
        self._bytes -= item.size
        if self._relief:
            self._relief.unpark_all()
        return item

    async def wait_for_space(self) -> None:
        """Wait until the bytes that wait are below the limit."""
        while self._max_bytes and self._bytes >= self._max_bytes:
            await self._relief.park()

    def count_in(self, size: int) -> None:
        """Count an item in."""
        self._untaken += 1
        self._bytes += size


class InboxSender:
    """One session's end. A context manager: leaving it says that nothing more will come."""

    __slots__ = ("_channel", "_inbox")

    def __init__(self, inbox: Inbox, channel: trio.MemorySendChannel[Item]) -> None:
        self._inbox = inbox
        self._channel = channel

    async def send(self, item: Item) -> None:
        """Put an item in, waiting while the inbox is full.

        If cancelled, it was not put in.
        """
        if item.size:  # News is short, and never more than a few for each member.
            await self._inbox.wait_for_space()
        try:
            self._channel.send_nowait(item)
        except trio.WouldBlock:
            await self._channel.send(item)
        self._inbox.count_in(item.size)

    def send_nowait(self, item: Item) -> None:
        """Put an item in.

        Raises:
            trio.WouldBlock: the inbox is full.
        """
        self._channel.send_nowait(item)
        self._inbox.count_in(item.size)

    def close(self) -> None:
        """Say that nothing more will come from here."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
