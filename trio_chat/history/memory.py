"""The history that lives and dies with the process: the default.

Each room keeps its newest messages, bounded by count, bytes and age. Over all rooms there is one
more bound; beyond it, the room that has been closed for longest is forgotten, and its next life
begins with a new epoch. So many rooms may come and go, and the memory stays where it is.

Nothing here awaits, so nothing here interleaves.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from ..config import Retention
from ..protocol import Entry
from . import Accepted, Conflict, Draft, Duplicate, Receipt

# What an entry costs besides its text, in bytes: the tuple, its numbers, its place in two tables.
ENTRY_OVERHEAD: Final = 400

# What a room costs that is closed and kept, besides its entries: or else rooms whose messages were
# too large to be kept would cost nothing, however many they are.
LOG_OVERHEAD: Final = 800


class MemoryHistory:
    """All rooms' pasts, in this process.

    `limit` bounds the bytes of all rooms together; 0 means no limit. `clock` tells the seconds
    since the Unix epoch.
    """

    def __init__(
        self, retention: Retention, limit: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self.retention = retention
        self.clock = clock
        self._limit = limit
        self._open: dict[str, MemoryLog] = {}
        self._closed: dict[str, MemoryLog] = {}  # The longest closed comes first.
        self.size = 0  # bytes that all rooms keep; each log keeps it up to date

    @property
    def available(self) -> bool:
        """See `History.available`: memory always is."""
        return True

    async def open(self) -> None:
        """See `History.open`: memory is always there."""

    async def run(self) -> None:
        """See `History.run`: rooms trim what is theirs when they append."""

    async def aclose(self) -> None:
        """See `History.aclose`: it ends with the last reference to it."""

    async def open_room(self, name: str) -> MemoryLog:
        """See `History.open_room`."""
        self._forget_expired()
        # A room that failed may not have let go of its log when its successor opens: both hold one.
        log = self._open.get(name) or self._closed.pop(name, None) or MemoryLog(self, name)
        log.holders += 1
        self._open[name] = log
        return log

    def closed(self, log: MemoryLog) -> None:
        """Note that a room has ended. A room in which nothing was said leaves nothing behind."""
        log.holders -= 1
        if log.holders:
            return
        del self._open[log.name]
        if log.last:
            self._closed[log.name] = log
        self._forget_expired()

    def _forget_expired(self) -> None:
        # In the order of their closing is, but for clocks that were set, in the order of their age.
        while self._closed and next(iter(self._closed.values())).expired():
            self._forget_longest_closed()

    def _forget_longest_closed(self) -> None:
        log = self._closed.pop(next(iter(self._closed)))
        self.size -= log.size

    def make_space(self, log: MemoryLog) -> None:
        """Forget until all rooms fit: the longest closed first, then the oldest of `log` itself."""
        while self._limit and self.size + LOG_OVERHEAD * len(self._closed) > self._limit:
            if self._closed:
                self._forget_longest_closed()
            else:
                # Everything fitted before this log grew, so it has something to forget.
                log.forget_oldest()


class MemoryLog:
    """One room's newest messages, in a list that is trimmed at its front."""

    def __init__(self, history: MemoryHistory, name: str) -> None:
        self._history = history
        self._entries: list[Entry] = []
        self._start = 0  # Before this index everything is forgotten; it is cut off now and then.
        self._by_id: dict[str, Entry] = {}
        self._time = 0.0
        self.name = name
        self.epoch = secrets.token_urlsafe(9)
        self.last = 0
        self.size = 0  # bytes
        self.holders = 0  # rooms that have it open

    @property
    def first(self) -> int:
        """See `RoomLog.first`."""
        self._trim(self._history.clock())
        return self.last + 1 - (len(self._entries) - self._start)

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        """See `RoomLog.append`."""
        # The clock may be set back; a room's time never falls.
        self._time = now = max(self._time, self._history.clock())
        self._trim(now)  # An id counts as long as its message is kept, and no longer.
        receipts = [self._append(draft, now) for draft in drafts]
        self._trim(now)
        self._history.make_space(self)
        return receipts

    def _append(self, draft: Draft, now: float) -> Receipt:
        name, message, id = draft
        if id is not None and (earlier := self._by_id.get(id)) is not None:
            kind = Duplicate if earlier.message == message else Conflict
            return kind(id, earlier.seq)
        self.last += 1
        entry = Entry(self.last, now, name, message, id)
        self._entries.append(entry)
        if id is not None:
            self._by_id[id] = entry
        self._resize(_size(entry))
        return Accepted(entry)

    def _trim(self, now: float) -> None:
        keep = self._history.retention
        oldest = now - keep.age
        while self._start < len(self._entries) and (
            (keep.messages and len(self._entries) - self._start > keep.messages)
            or (keep.bytes and self.size > keep.bytes)
            or (keep.age and self._entries[self._start].time < oldest)
        ):
            self.forget_oldest()

    def forget_oldest(self) -> None:
        """Forget one message. There must be one."""
        entry = self._entries[self._start]
        self._start += 1
        # Cutting a list's front moves its rest: rarely, so that it costs next to nothing a message.
        if self._start > 64 and self._start * 2 > len(self._entries):
            del self._entries[: self._start]
            self._start = 0
        if entry.id is not None:
            del self._by_id[entry.id]
        self._resize(-_size(entry))

    def _resize(self, bytes: int) -> None:
        self.size += bytes
        self._history.size += bytes

    def expired(self) -> bool:
        """Whether even the newest message is too old to be kept."""
        age = self._history.retention.age
        return bool(age) and self._time < self._history.clock() - age

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        before_first = self.first - 1
        begin = self._start + max(after - before_first, 0)
        end = self._start + max(upto - before_first, 0)
        return self._entries[begin : min(end, begin + limit)]

    async def aclose(self) -> None:
        """See `RoomLog.aclose`."""
        self._history.closed(self)


def _size(entry: Entry) -> int:
    # A character of a Python string takes 1, 2 or 4 bytes, as the widest in it needs.
    return sys.getsizeof(entry.message) + ENTRY_OVERHEAD
