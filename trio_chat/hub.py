"""A room's one broadcaster: it takes what waits in the inbox, records it, and offers it to all.

One task for each room, in the room's nursery. It ends when the inbox has ended, everything in it
recorded and offered; or with its room. Where several nodes share a room, there are two: one
records what is said here, the other broadcasts what all of them have said, in their one order.

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
from .history import (
    Accepted,
    Conflict,
    Duplicate,
    HistoryUnavailable,
    IsTyping,
    Joined,
    Left,
    Lost,
    Moved,
    Receipt,
    RoomLog,
    Said,
    SharedLog,
)
from .inbox import Inbox, Item, Post
from .ledger import Ledger
from .members import REPLACED, Member, Offer, Roster
from .metrics import Tally
from .protocol import (
    MAX_ANNOUNCED,
    BadInput,
    CloseCode,
    Ending,
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


# Its names were free for others while this node was cut off, and one of them was taken.
LOST: Final = Ending(CloseCode.INTERNAL_ERROR, "this name was given away meanwhile")


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
        self,
        inbox: Inbox,
        roster: Roster,
        room_log: RoomLog | SharedLog,
        ledger: Ledger,
        tally: Tally,
    ) -> None:
        self._inbox = inbox
        self._roster = roster
        self._log = room_log
        self._ledger = ledger
        self._tally = tally
        self._joined = 0  # How many items the last batch joined.
        self._size = 0  # How many bytes this one holds.
        self._busy = False  # Something was taken that is not recorded and offered yet.
        self._shared = room_log if isinstance(room_log, SharedLog) else None
        self._heard = trio.Event()  # Set when the next flush has been broadcast.
        self.last = room_log.last  # The last number that was fanned out, or is being so.
        for name in self._shared.members if self._shared is not None else ():
            roster.announce(name, elsewhere=True)

    @property
    def idle(self) -> bool:
        """Whether everything that was said is recorded and offered."""
        return not self._busy and self._inbox.empty

    async def run_once(self) -> None:
        """Wait for something to be said, and broadcast it with all that is waiting by then.

        Raises:
            trio.EndOfChannel: nothing will be said any more.
            NumberingBeganAnew: nor will anything be accepted.

        If cancelled, what was taken and not recorded is lost: only do that to end the room.
        """
        first = await self._inbox.receive()
        self._busy = True
        batch, self._size = [first], first.size
        await self._gather(batch)
        said, answers = self._judge(batch, await self._record(batch))
        if self._shared is None:
            await self._broadcast(said)
        self._answer(answers)
        self._joined = len(batch)
        self._busy = False

    async def listen(self) -> None:
        """Broadcast what the nodes of a shared room say, in their one order, for ever.

        Raises:
            NumberingBeganAnew: see `SharedLog.listen`.
            FellBehind: see there.
        """
        assert self._shared is not None
        while True:
            await self._broadcast(await self._shared.listen())
            heard, self._heard = self._heard, trio.Event()
            heard.set()

    async def wait_heard(self) -> None:
        """Wait until all that is known to have been recorded is broadcast here as well."""
        while self._shared is not None and self.last < self._shared.last:
            await self._heard.wait()

    @property
    def shared(self) -> bool:
        """Whether other nodes say something here as well: then `listen` has to run."""
        return self._shared is not None

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

    async def _record(self, batch: Sequence[Item]) -> Sequence[Receipt | HistoryUnavailable]:
        posts = [item for item in batch if isinstance(item, Post)]
        try:
            if self._shared is not None:
                said = [item.draft if isinstance(item, Post) else item for item in batch]
                return await self._shared.append(said)
            return await self._log.append([post.draft for post in posts]) if posts else ()
        except HistoryUnavailable as exc:
            self._tally.unstored += len(posts)
            return [exc] * len(posts)

    def _judge(
        self, batch: Sequence[Item], receipts: Sequence[Receipt | HistoryUnavailable]
    ) -> tuple[list[Said], dict[Member, list[bytes]]]:
        # Set apart what everybody gets from what only authors get.
        said: list[Said] = []
        answers: dict[Member, list[bytes]] = defaultdict(list)
        outcomes = iter(receipts)
        for item in batch:
            if not isinstance(item, Post):
                said.append(item)
                continue
            author, draft, _ = item
            receipt = next(outcomes)
            match receipt:
                case Accepted(entry):
                    said.append(entry)
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
        return said, answers

    def _answer(self, answers: dict[Member, list[bytes]]) -> None:
        for author, frames in answers.items():
            author.offer(b"".join(frames), 0)

    # --- Broadcasting ----------------------------------------------------------------------------

    async def _broadcast(self, said: Sequence[Said]) -> None:
        # No await before the targets are taken: a newcomer has read up to `last`, and so is either
        # among them or will read this batch as history.
        entries, blob = self._compose(said)
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

    def _compose(self, said: Sequence[Said]) -> tuple[list[Entry], Blob]:
        # Encode once for the room.
        roster, entries, blob = self._roster, list[Entry](), Blob()
        listened = bool(roster.live_v1)
        for each in said:
            match each:
                case Entry():
                    entries.append(each)
                    self.last = each.seq
                    if listened:
                        blob.add(encode_entry(each))
                case Joined(name):
                    if roster.announce(name, elsewhere=self._shared is not None):
                        self._tell(blob, encode_join(name), roster.named(name))
                case Left(name):
                    if roster.withdraw(name):
                        self._tell(blob, encode_leave(name), roster.named(name))
                case IsTyping(name):
                    self._tell(blob, encode_typing(name), roster.named(name))
                case Moved(name):
                    roster.dismiss(name, REPLACED)
                case Lost(name):
                    roster.dismiss(name, LOST)
                case _:
                    assert_never(each)
        self._tally.messages += len(entries)
        return entries, blob

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
