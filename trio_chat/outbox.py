"""What waits for one member, from the moment it falls behind until it has caught up.

Most members never have an outbox: the kernel takes what the hub offers. Where it does not, the
rest goes into a memory channel with a byte counter beside it, and the member's writer drains it.
Bounded in blobs and in bytes; running over either is the member's end, not the room's problem.

`Outboxes` is the sum over all members, bounded as well: the worst laggard pays first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

# How much the writer takes in hand at once. Large enough that system calls don't matter.
MAX_BATCH: Final = 64 * 1024


class Blob(NamedTuple):
    """One or more whole frames that travel together."""

    data: bytes
    deliveries: int  # how many messages of the ledger are in it


class Outboxes:
    """The bytes that wait for all members together. 0 as the limit means no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._behind: dict[Outbox, Callable[[], None]] = {}
        self.size = 0  # bytes; each outbox keeps it up to date

    def opened(self, outbox: Outbox, evict: Callable[[], None]) -> None:
        """Begin to watch a member that fell behind; `evict` is called should it be the worst."""
        self._behind[outbox] = evict

    def closed(self, outbox: Outbox) -> None:
        """Stop watching a member that has caught up or gone. Idempotent."""
        self._behind.pop(outbox, None)

    def waiting(self) -> dict[trio.lowlevel.Task, tuple[int, int]]:
        """Return the blobs and the KiB that wait in each, by the task that drains it."""
        return {
            each.writer: (each.blobs, each.size // 1024)
            for each in self._behind
            if each.writer is not None
        }

    def enforce(self) -> None:
        """Evict the worst laggards until the rest fits."""
        while self._limit and self.size > self._limit and self._behind:
            worst = max(self._behind, key=lambda outbox: outbox.size)
            evict = self._behind.pop(worst)
            evict()


class Outbox:
    """The blobs that one member has not taken yet, in order."""

    __slots__ = (
        "_batch",
        "_channel_in",
        "_channel_out",
        "_head_sent",
        "_in_hand",
        "_outboxes",
        "caught_up",
        "size",
        "writer",
    )

    def __init__(self, max_blobs: int, outboxes: Outboxes) -> None:
        self._channel_in, self._channel_out = trio.open_memory_channel[Blob](max_blobs)
        self._outboxes = outboxes
        self._batch: deque[Blob] = deque()  # What the writer has in hand.
        self._in_hand = memoryview(b"")  # The bytes of that which have not gone out.
        self._head_sent = 0  # How many bytes of the batch's first blob have.
        self.size = 0  # bytes that wait
        self.writer: trio.lowlevel.Task | None = None  # who drains it, once that has begun
        self.caught_up = trio.Event()

    @property
    def blobs(self) -> int:
        """How many blobs wait, in part or whole."""
        return len(self._batch) + self._channel_in.statistics().current_buffer_used

    def put_nowait(self, blob: Blob, sent: int = 0) -> None:
        """Queue a blob, of which `sent` bytes are out already if it is the first.

        Raises:
            trio.WouldBlock: as many blobs wait as may.
        """
        if sent:
            self._batch.append(blob)
            self._head_sent = sent
            self._in_hand = memoryview(blob.data)[sent:]
        else:
            self._channel_in.send_nowait(blob)
        self._resize(len(blob.data) - sent)

    def in_hand(self) -> memoryview:
        """Return the bytes to send next; none where the member has caught up."""
        if not self._in_hand:
            self._take_batch()
        return self._in_hand

    def _take_batch(self) -> None:
        size = 0
        while size < MAX_BATCH:
            try:
                blob = self._channel_out.receive_nowait()
            except trio.WouldBlock:
                break
            self._batch.append(blob)
            size += len(blob.data)
        self._in_hand = memoryview(b"".join(blob.data for blob in self._batch))

    def advance(self, sent: int) -> int:
        """Note that `sent` bytes went out; return how many deliveries that completed."""
        self._in_hand = self._in_hand[sent:]
        self._resize(-sent)
        self._head_sent += sent
        handed = 0
        while self._batch and self._head_sent >= len(self._batch[0].data):
            blob = self._batch.popleft()
            self._head_sent -= len(blob.data)
            handed += blob.deliveries
        return handed

    def drop_waiting(self) -> int:
        """Drop what the writer has not in hand; return how many deliveries that were."""
        dropped = 0
        while True:
            try:
                blob = self._channel_out.receive_nowait()
            except trio.WouldBlock:
                return dropped
            self._resize(-len(blob.data))
            dropped += blob.deliveries

    def drop_all(self) -> int:
        """Drop everything, a blob that is half out included; return how many deliveries."""
        dropped = self.drop_waiting() + sum(blob.deliveries for blob in self._batch)
        self._batch.clear()
        self._head_sent = 0
        self._in_hand = memoryview(b"")
        self._resize(-self.size)
        return dropped

    def _resize(self, bytes: int) -> None:
        self.size += bytes
        self._outboxes.size += bytes
