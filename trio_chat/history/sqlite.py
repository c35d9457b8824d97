"""The history that outlives the process: one SQLite file, for one server.

    append, open_room → requests [memory channel] → writer: one transaction for all → their answers

One writer for all rooms: a commit costs the same for one message as for a hundred, so whatever all
rooms have waiting goes into one, in a worker thread. A forgetter deletes what is too old or too
much, in portions, between the writer's turns. Readers have connections and threads of their own,
and wait for neither. What is said once, in `sqlite_store` and `sqlite_file`, is how the file works.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import trio

from ..config import Retention
from ..protocol import Entry
from . import Draft, HistoryUnavailable, Receipt
from .sqlite_file import HistoryFile, Sync
from .sqlite_store import SECOND, Append, RoomRow, Store

log = logging.getLogger(__name__)

T = TypeVar("T")

# Requests that wait; beyond them, those who ask wait to ask.
WAITING: Final = 1_024

# Messages that one transaction takes at most, give or take a batch: so that nobody's first commit
# waits for a second's worth of everybody else's.
MOST_MESSAGES: Final = 4_096

# Threads that read at the same time.
READERS: Final = 4

# Seconds between rounds of forgetting, and from a failure to trying again: what is deleted in a
# second's portions costs less than what is deleted message by message.
PAUSE: Final = 1.0

# Seconds after which somebody looks whether anything is too old by now, though nothing was said.
LOOK: Final = 60.0

ENDED: Final = "the history is closed"


class Answer(Generic[T]):
    """What somebody waits for who has asked for something. It is given once; the first counts."""

    __slots__ = ("_error", "_given", "_value")

    def __init__(self) -> None:
        self._given = trio.Event()
        self._value: T | None = None
        self._error: Exception | None = None

    def give(self, value: T) -> None:
        """Let it go on."""
        if not self._given.is_set():
            self._value = value
            self._given.set()

    def refuse(self, error: Exception) -> None:
        """Let it fail."""
        if not self._given.is_set():
            self._error = error
            self._given.set()

    async def wait(self) -> T:
        """Return what is given.

        Raises:
            HistoryUnavailable: it can't be had.
        """
        await self._given.wait()
        if self._error is not None:
            # One failure is told to many, and each adds its own traceback.
            raise HistoryUnavailable(str(self._error)) from self._error
        assert self._value is not None
        return self._value


class OpenRoom:
    """A room that at least one log is of; `row` is as the last transaction left it."""

    __slots__ = ("holders", "row")

    def __init__(self, row: RoomRow) -> None:
        self.row = row
        self.holders = 0


class AppendRequest:
    """Drafts that wait to be stored."""

    __slots__ = ("answer", "drafts", "room")

    def __init__(self, room: OpenRoom, drafts: Sequence[Draft]) -> None:
        self.room = room
        self.drafts = drafts
        self.answer = Answer[Sequence[Receipt]]()


class OpenRequest:
    """A room that waits to be opened."""

    __slots__ = ("answer", "name")

    drafts: Final = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer = Answer[RoomRow]()


Request = AppendRequest | OpenRequest


class SqliteHistory:
    """All rooms' pasts, in the file at `path`.

    `sync` says whether a commit waits until the disk has it ("full"), or only until the kernel has
    it ("normal"): then what a power cut may take is the newest messages. `clock` tells the seconds
    since the Unix epoch.
    """

    def __init__(
        self,
        path: str,
        retention: Retention,
        sync: Sync = "full",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = Store(HistoryFile(path, sync), retention)
        self._clock = clock
        self._asking, self._requests = trio.open_memory_channel[Request](WAITING)
        self._rooms: dict[str, OpenRoom] = {}
        self._writing = trio.Lock()  # Fair: the forgetter gets its turn, and so does the writer.
        self._threads = trio.CapacityLimiter(1)  # the writer's and the forgetter's
        self._readers = trio.CapacityLimiter(READERS)
        self._to_forget = trio.Event()
        self._look = min(LOOK, retention.age) if 0 < retention.age < math.inf else math.inf
        self._failure = ""

    @property
    def available(self) -> bool:
        """Whether the last transaction came to a good end. While it didn't, one is tried again."""
        return not self._failure

    async def open(self) -> None:
        """See `History.open`."""
        await trio.to_thread.run_sync(self._store.open, limiter=self._threads)

    async def aclose(self) -> None:
        """See `History.aclose`."""
        await trio.to_thread.run_sync(self._store.close, limiter=self._threads)

    async def run(self) -> None:
        """See `History.run`: write, and forget, until cancelled.

        If cancelled, the transaction under way is finished first, and who waits for one that has
        not begun is told that it won't be.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forget_forever, name="history forgetter")
                await self._write_forever()
        finally:
            self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        try:
            while True:
                self._requests.receive_nowait().answer.refuse(HistoryUnavailable(ENDED))
        except trio.WouldBlock:
            self._requests.close()

    # --- Writing ---------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        async for first in self._requests:
            requests = [first]
            try:
                async with self._writing:
                    self._take_what_waits(requests)
                    await self._take_turn(requests)
            finally:
                # If cancelled before the transaction began: nobody waits for what won't come.
                for one in requests:
                    one.answer.refuse(HistoryUnavailable(ENDED))

    def _take_what_waits(self, requests: list[Request]) -> None:
        messages = len(requests[0].drafts)
        try:
            while messages < MOST_MESSAGES:
                requests.append(self._requests.receive_nowait())
                messages += len(requests[-1].drafts)
        except trio.WouldBlock:
            pass  # That was all.

    async def _take_turn(self, requests: Sequence[Request]) -> None:
        appends = [one for one in requests if isinstance(one, AppendRequest)]
        opens = [one for one in requests if isinstance(one, OpenRequest)]
        try:
            turn = await trio.to_thread.run_sync(
                self._store.take_turn,
                [Append(one.room.row, one.drafts) for one in appends],
                [one.name for one in opens],
                self._now(),
                limiter=self._threads,
            )
        except Exception as error:  # noqa: BLE001 - the transaction's boundary
            self._note_failure(error)
            for one in requests:
                one.answer.refuse(error)
            return
        # No awaits below: from the file's state to ours, nothing may come between.
        self._note_success()
        for append, receipts in zip(appends, turn.receipts, strict=True):
            append.room.row = turn.changed[append.room.row.name]
            append.answer.give(receipts)
        self._note_changes(turn.changed)
        for opening, row in zip(opens, turn.opened, strict=True):
            opening.answer.give(row)
        if turn.untrimmed:
            self._to_forget.set()

    def _note_changes(self, changed: dict[str, RoomRow]) -> None:
        for name, row in changed.items():
            if (room := self._rooms.get(name)) is not None:
                room.row = row

    def _now(self) -> int:
        return int(self._clock() * SECOND)

    def _note_failure(self, error: Exception) -> None:
        if isinstance(error, HistoryUnavailable):
            if str(error) != self._failure:
                log.warning("history: nothing can be stored: %s", error)
        else:
            log.error("history: a transaction failed", exc_info=error)
        self._failure = str(error) or repr(error)
        self._to_forget.set()  # Its transaction is the next that is tried.

    def _note_success(self) -> None:
        if self._failure:
            log.warning("history: messages are stored again")
            self._failure = ""

    # --- Forgetting ------------------------------------------------------------------------------

    async def _forget_forever(self) -> None:
        while True:
            await self._forget_a_portion()
            await trio.sleep(PAUSE)
            with trio.move_on_after(self._look):
                await self._to_forget.wait()

    async def _forget_a_portion(self) -> None:
        self._to_forget = trio.Event()
        more = True
        while more:
            async with self._writing:
                try:
                    portion = await trio.to_thread.run_sync(
                        self._store.forget, self._now(), limiter=self._threads
                    )
                except Exception as error:  # noqa: BLE001 - the transaction's boundary
                    self._note_failure(error)
                    return
                self._note_success()
                self._note_changes(portion.changed)
            more = portion.more

    # --- Rooms -----------------------------------------------------------------------------------

    async def open_room(self, name: str) -> SqliteLog:
        """See `History.open_room`.

        It waits its turn behind every append: so a room sees what its predecessor's last append
        has stored, even if nobody waited for that any more.
        """
        request = OpenRequest(name)
        await self._ask(request)
        row = await request.answer.wait()
        # A room that failed may still have it open; then its row is the newer one.
        room = self._rooms.setdefault(name, OpenRoom(row))
        room.holders += 1
        return SqliteLog(self, room)

    async def append(self, room: OpenRoom, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        """See `RoomLog.append`."""
        request = AppendRequest(room, drafts)
        await self._ask(request)
        return await request.answer.wait()

    async def read(self, room: OpenRoom, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        after, upto = max(after, room.row.first - 1), min(upto, room.row.last)
        if after >= upto or limit < 1:
            return ()
        return await trio.to_thread.run_sync(
            self._store.read, room.row.key, after, upto, limit, limiter=self._readers
        )

    def closed(self, room: OpenRoom) -> None:
        """Note that a room has ended."""
        room.holders -= 1
        if not room.holders:
            del self._rooms[room.row.name]

    async def _ask(self, request: Request) -> None:
        try:
            await self._asking.send(request)
        except trio.BrokenResourceError:
            raise HistoryUnavailable(ENDED) from None


class SqliteLog:
    """One room's part of the file."""

    __slots__ = ("_history", "_room")

    def __init__(self, history: SqliteHistory, room: OpenRoom) -> None:
        self._history = history
        self._room = room

    @property
    def epoch(self) -> str:
        """See `RoomLog.epoch`."""
        return self._room.row.epoch

    @property
    def last(self) -> int:
        """See `RoomLog.last`."""
        return self._room.row.last

    @property
    def first(self) -> int:
        """See `RoomLog.first`."""
        return self._room.row.first

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        """See `RoomLog.append`: returns when the drafts are committed.

        If cancelled, they may have been stored or not. Others in the same transaction have their
        receipts.
        """
        return await self._history.append(self._room, drafts) if drafts else ()

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        return await self._history.read(self._room, after, upto, limit)

    async def aclose(self) -> None:
        """See `RoomLog.aclose`."""
        self._history.closed(self._room)
