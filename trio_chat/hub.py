"""A room's one broadcaster: it takes what waits in the inbox, records it, and offers it to all.

One task for each room, in the room's nursery. It ends when the inbox has ended, everything in it
recorded and offered; or with its room.

Three things make it fast, each measured (docs/performance.md): a frame is encoded once for all
members of a dialect; it is offered straight to their sockets, without waking a task for each; and
while the room is busy, everything that came in the meantime goes out as one blob.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, assert_never

import trio

from .frames import text_frame
from .history import Accepted, Conflict, Duplicate, HistoryUnavailable, Receipt, RoomLog
from .inbox import Inbox, IsTyping, Item, Joined, Left, Post
from .ledger import Ledger
from .members import Member, Offer, Roster
from .metrics import Tally
from .protocol import (
    MAX_ANNOUNCED,
    BadInput,
    Entry,
    ErrorCode,
    encode_ack,
    encode_entry,
    encode_error,
    encode_join,
    encode_leave,
    encode_plain,
    encode_typing,
)

# What one blob may hold. Small caps hurt: 64 frames gave a p50 of 237 ms in saturation, 1,024 gave
# 125 ms.
MAX_BATCH_ITEMS: Final = 1024
MAX_BATCH_BYTES: Final = 128 * 1024

# A batch is complete after this many ticks of the scheduler that brought nothing.
QUIET_TICKS: Final = 2

# After this many members the hub lets others run. A room of 10 beside one of 5,000 at full rate has
# a p99 of 36 ms without that, of 11 ms with 250, of 7 with 100, of 2.4 with 50.
MEMBERS_A_TURN: Final = 64


class Blob:
    """The frames that go to all members of one dialect, and who must not get which of them."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._not_for: dict[Member, set[int]] = {}

    def add(self, payload: bytes, but: Member | None = None) -> bytes:
        """Add a frame, for everybody or for everybody but one; return it."""
        frame = text_frame(payload)
        if but is not None:
            self._not_for.setdefault(but, set()).add(len(self.frames))
        self.frames.append(frame)
        return frame

    def exceptions(self) -> dict[Member, bytes]:
        """Return, for each member who must not get everything, what it gets."""
        return {
            member: b"".join(frame for i, frame in enumerate(self.frames) if i not in skipped)
            for member, skipped in self._not_for.items()
        }


class Hub:
    """Numbers, records and broadcasts what is said in one room."""

    def __init__(
        self, inbox: Inbox, roster: Roster, room_log: RoomLog, ledger: Ledger, tally: Tally
    ) -> None:
        self._inbox = inbox
        self._roster = roster
        self._log = room_log
        self._ledger = ledger
        self._tally = tally
        self._joined = 0  # How many items the last batch joined.
        self._size = 0  # How many bytes this one holds.
        self._busy = False  # Something was taken that is not recorded and offered yet.
        self.last = room_log.last  # The last number that was fanned out, or is being so.

    @property
    def idle(self) -> bool:
        """Whether everything that was said is recorded and offered."""
        return not self._busy and self._inbox.empty

    async def run_once(self) -> None:
        """Wait for something to be said, and broadcast it with all that is waiting by then.

        Raises:
            trio.EndOfChannel: nothing will be said any more.

        If cancelled, what was taken and not recorded is lost: only do that to end the room.
        """
        first = await self._inbox.receive()
        self._busy = True
        batch, self._size = [first], first.size
        await self._gather(batch)
        receipts = await self._record([item for item in batch if isinstance(item, Post)])
        await self._broadcast(batch, receipts)
        self._joined = len(batch)
        self._busy = False

    # --- Gathering -------------------------------------------------------------------------------

    async def _gather(self, batch: list[Item]) -> None:
        # Lingering pays where messages come faster than they can be sent one by one. Where the last
        # batch was a single message it would only delay this one.
        quiet = 0 if self._take(batch) or self._joined > 1 else QUIET_TICKS
        while quiet < QUIET_TICKS and not self._is_full(batch):
            await trio.lowlevel.checkpoint()
            quiet = 0 if self._take(batch) else quiet + 1

    def _is_full(self, batch: list[Item]) -> bool:
        return len(batch) >= MAX_BATCH_ITEMS or self._size >= MAX_BATCH_BYTES

    def _take(self, batch: list[Item]) -> int:
        before = len(batch)
        try:
            while not self._is_full(batch):
                item = self._inbox.receive_nowait()
                batch.append(item)
                self._size += item.size
        except (trio.WouldBlock, trio.EndOfChannel):
            pass  # That was all, for now or for ever.
        return len(batch) - before

    # --- Recording -------------------------------------------------------------------------------

    async def _record(self, posts: Sequence[Post]) -> Sequence[Receipt | HistoryUnavailable]:
        if not posts:
            return ()
        try:
            return await self._log.append([post.draft for post in posts])
        except HistoryUnavailable as exc:
            self._tally.unstored += len(posts)
            return [exc] * len(posts)

    # --- Broadcasting ----------------------------------------------------------------------------

    async def _broadcast(
        self, batch: Sequence[Item], receipts: Sequence[Receipt | HistoryUnavailable]
    ) -> None:
        # No await before the targets are taken: a newcomer has read up to `last`, and so is either
        # among them or will read this batch as history.
        entries, acks, blob = self._compose(batch, receipts)
        v1, plain = self._roster.live_v1, self._roster.live_plain
        work: list[tuple[Offer, bytes]] = []
        if blob.frames and v1:
            joined, exceptions = b"".join(blob.frames), blob.exceptions()
            work += [(offer, exceptions.get(member, joined)) for member, offer in v1.items()]
        if entries and plain:
            joined = b"".join([text_frame(encode_plain(entry)) for entry in entries])
            work += [(offer, joined) for offer in plain.values()]
        self._ledger.owed += len(entries) * (len(v1) + len(plain))
        await self._offer(work, len(entries))
        for author, frames in acks.items():
            author.offer(b"".join(frames), 0)

    async def _offer(self, work: Sequence[tuple[Offer, bytes]], deliveries: int) -> None:
        for start in range(0, len(work), MEMBERS_A_TURN):
            if start:
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled:
                    self._ledger.drop("room ended", (len(work) - start) * deliveries)
                    raise
            handed = 0
            for offer, data in work[start : start + MEMBERS_A_TURN]:
                # A full outbox evicts that listener; nobody else notices.
                handed += offer(data, deliveries)
            self._ledger.handed += handed * deliveries

    def _compose(
        self, batch: Sequence[Item], receipts: Sequence[Receipt | HistoryUnavailable]
    ) -> tuple[list[Entry], dict[Member, list[bytes]], Blob]:
        # Encode once for the room what everybody gets; set aside what only authors get.
        entries: list[Entry] = []
        answers: dict[Member, list[bytes]] = defaultdict(list)
        blob = Blob()
        listened = bool(self._roster.live_v1)
        outcomes = iter(receipts)
        for item in batch:
            match item:
                case Post(author, draft):
                    receipt = next(outcomes)
                    match receipt:
                        case Accepted(entry):
                            entries.append(entry)
                            self.last = entry.seq
                            if listened:
                                blob.add(encode_entry(entry))
                            if draft.id is not None:
                                answers[author].append(_ack(draft.id, entry.seq, duplicate=False))
                        case Duplicate(id, seq):
                            answers[author].append(_ack(id, seq, duplicate=True))
                        case Conflict(id, seq):
                            reason = f"this id belongs to message {seq}, which has another text"
                            error = BadInput(ErrorCode.BAD_ID, reason, id)
                            answers[author].append(self._error(author, error))
                        case HistoryUnavailable():
                            reason = "the message could not be stored; send it again later"
                            error = BadInput(ErrorCode.HISTORY_UNAVAILABLE, reason, draft.id)
                            answers[author].append(self._error(author, error))
                        case _:
                            assert_never(receipt)
                case Joined(name):
                    if self._roster.announce(name):
                        self._tell(blob, encode_join(name), self._roster.named(name))
                case Left(name):
                    if self._roster.withdraw(name):
                        self._tell(blob, encode_leave(name), self._roster.named(name))
                case IsTyping(name):
                    self._tell(blob, encode_typing(name), self._roster.named(name))
                case _:
                    assert_never(item)
        self._tally.messages += len(entries)
        return entries, answers, blob

    def _tell(self, blob: Blob, payload: bytes, but: Member | None) -> None:
        # In a crowd nobody reads who comes and goes, and n joins would cost n × n frames.
        if self._roster.announced <= MAX_ANNOUNCED:
            frame = blob.add(payload, but)
            self._roster.keep_for_newcomers(self.last, frame, but)

    def _error(self, author: Member, error: BadInput) -> bytes:
        self._tally.errors[error.code] += 1
        return text_frame(encode_error(author.dialect, error))


def _ack(id: str, seq: int, *, duplicate: bool) -> bytes:
    return text_frame(encode_ack(id, seq, duplicate=duplicate))
