"""One room's history in Redis, as one node holds it open.

It knows the room's keys and what its entries mean, and what this node has promised in the room:
which names its members have claimed, and which flush comes next. What Redis does in one step is in
`redis_scripts`; how it is reached, and whether it lives, is `redis`'.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import orjson
import trio

from ..config import Retention
from ..protocol import Entry, fold_name, unique_name
from . import (
    Accepted,
    Claim,
    Conflict,
    Draft,
    Duplicate,
    FellBehind,
    HistoryUnavailable,
    IsTyping,
    Joined,
    Left,
    Lost,
    Moved,
    News,
    NumberingBeganAnew,
    Receipt,
    Said,
    SharedLog,
)
from .redis_scripts import APPEND, CLAIM, LOOK, RESTORE, WITHDRAW, NameTaken

PORTION: Final = 64  # entries of a room's stream that are read at once
FEED: Final = 4 * PORTION  # entries that may wait for a hub
MOST_SAID: Final = 1024  # of them, what a hub broadcasts at once

CANDIDATES: Final = 8  # names that one claim tries
CLAIM_TIMEOUT: Final = 30.0  # seconds on top of the patience of one call, for trying other names

Fields = Mapping[str, str]  # of one entry


class RoomKeys(NamedTuple):
    """The keys of one room."""

    log: str
    meta: str
    ids: str
    order: str
    members: str

    @classmethod
    def of(cls, name: str) -> RoomKeys:
        """Return the keys of the room of that name."""
        return cls(*(f"trio-chat:{{{name}}}:{part}" for part in cls._fields))

    @property
    def all(self) -> list[str]:
        """Return them in the order that the scripts want."""
        return list(self)

    def batch(self, owner: str) -> str:
        """Return the key of what that owner has appended last."""
        return f"{self.log.removesuffix('log')}batch:{owner}"


class Opened(NamedTuple):
    """What a room was when it was opened."""

    epoch: str
    last: int
    first: int
    tail: str
    time: str
    members: list[str]

    @classmethod
    def parse(cls, answer: Sequence[str]) -> Opened:
        """Take the script's answer apart."""
        epoch, last, first, tail, time, *members = answer
        return cls(epoch, int(last), int(first), tail, time, members)


class Store(Protocol):
    """What a room needs of the history that it is a part of."""

    retention: Retention
    patience: float  # seconds that one call may take

    @property
    def age(self) -> float:
        """How long a message is kept, in seconds; 0: for ever."""

    async def call(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | float], *, anew: bool
    ) -> list[str]:
        """See `RedisHistory.call`."""

    async def read(self, key: str, start: str, end: str, limit: int) -> list[tuple[str, Fields]]:
        """See `RedisHistory.read`."""

    async def wake(self) -> None:
        """See `RedisHistory.wake`."""

    def look_soon(self) -> None:
        """See `RedisHistory.look_soon`."""

    def closed(self, keys: RoomKeys, owner: str) -> None:
        """See `RedisHistory.closed`."""

    async def withdraw(self, keys: RoomKeys, owner: str, *, anew: bool) -> None:
        """See `RedisHistory.withdraw`."""


class RedisLog(SharedLog):
    """One room's part of it, as one node holds it open."""

    def __init__(self, history: Store, name: str, owner: str, opened: Opened) -> None:
        self._history = history
        self.owner = owner
        self._epoch = opened.epoch
        self._last = opened.last
        self._first = opened.first
        self._batches = 0
        self._into_feed, self._feed = trio.open_memory_channel[tuple[Said, ...]](FEED + 1)
        self._over: Exception | None = None
        self._claims: dict[str, Claim] = {}  # what members here have, by the name's folded form
        self._suspects: set[str] = set()  # digests of what Redis has of us, and nobody here claims
        self._claiming = 0
        self.name = name
        self.keys = RoomKeys.of(name)
        self.cursor = opened.tail
        self._heard_at = opened.time  # the time of what is at the cursor
        self._torn = False  # What came next does not follow what was heard before.
        self._left_out = False  # The listener goes on without us until it is woken.
        self.members = opened.members

    @property
    def epoch(self) -> str:
        """See `RoomLog.epoch`."""
        return self._epoch

    @property
    def last(self) -> int:
        """See `RoomLog.last`."""
        return self._last

    @property
    def first(self) -> int:
        """See `RoomLog.first`."""
        return self._first

    # --- Appending -------------------------------------------------------------------------------

    async def append(self, drafts: Sequence[Draft | News]) -> Sequence[Receipt]:
        """See `SharedLog.append`."""
        if not drafts:
            return ()
        self._batches += 1
        keep = self._history.retention
        arguments: list[str | float] = [
            self._epoch,
            self._last,
            self.owner,
            self._batches,
            keep.messages,
            self._history.age,
        ]
        for draft in drafts:
            arguments += _write(draft)
            if isinstance(draft, Left):
                self._let_go(draft.name, _digest(draft.secret))
        keys = [*self.keys.all, self.keys.batch(self.owner)]
        time, first, *numbers = await self._history.call(APPEND, keys, arguments, anew=False)
        self._first = max(self._first, int(first))
        return [
            self._receipt(draft, number, float(time))
            for draft, number in zip(_drafts(drafts), numbers, strict=True)
        ]

    def _receipt(self, draft: Draft, number: str, time: float) -> Receipt:
        match number[0]:
            case "-":
                return Duplicate(draft.id or "", int(number[1:]))
            case "?":
                return Conflict(draft.id or "", int(number[1:]))
            case _:
                self._last = max(self._last, int(number))
                return Accepted(Entry(int(number), time, *draft))

    # --- Listening -------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another portion may be read."""
        return self._over is None and not self._torn and self._waiting <= FEED - PORTION

    def wants_more(self) -> bool:
        """Say whether another portion may be read; where not, `listen` wakes the listener later."""
        self._left_out = not self.has_room
        return self.has_room

    @property
    def _waiting(self) -> int:
        return self._feed.statistics().current_buffer_used

    def hear(self, name: str, fields: Fields) -> None:
        """Take the next entry of the stream."""
        if self._over is not None or self._torn:
            return
        first, time, previous, kept = fields["0"].split(" ")
        before, _, its_time = previous.partition("@")
        if _place(before) > _place(self.cursor):
            self.end(FellBehind(f"after {self.cursor} comes {name}, and it was after {before}"))
            return
        if (before, its_time) != (self.cursor, self._heard_at):
            # Redis came back with less, and somebody who did not know has spoken. A look tells all.
            self._torn = True
            self._history.look_soon()
            return
        self.cursor, self._heard_at = name, time
        self._first = max(self._first, int(kept))
        self._last = max(self._last, int(name.partition("-")[0]))
        said = tuple(self._read(int(first), float(time), fields))
        match said:
            case [Moved(who, digest)] if not self._let_go(who, digest):
                pass  # It is of another node.
            case _:
                self._into_feed.send_nowait(said)

    def _let_go(self, name: str, digest: str) -> bool:
        # Only who has the name by that secret: another may have come back to it.
        claim = self._claims.get(fold_name(name))
        if claim is None or claim.digest != digest:
            return False
        del self._claims[fold_name(name)]
        return True

    def _read(self, seq: int, time: float, fields: Fields) -> Iterator[Said]:
        for index in range(1, len(fields)):
            what = fields[str(index)]
            kind, rest = what[0], what[1:]
            match kind:
                case "m":
                    yield Entry(seq, time, *orjson.loads(rest))
                    seq += 1
                case "j":
                    yield Joined(rest)
                case "l":
                    yield Left(rest)
                case "t":
                    yield IsTyping(rest)
                case "r":
                    owner, digest, name = rest.split(" ", 2)
                    if owner != self.owner:
                        yield Moved(name, digest)

    def end(self, why: Exception) -> None:
        """Let nothing more come: `listen` raises `why` behind what waits."""
        if self._over is None:
            self._over = why
            self._into_feed.close()

    async def listen(self) -> Sequence[Said]:
        """See `SharedLog.listen`."""
        if self._left_out and self.has_room:
            self._left_out = False
            await self._history.wake()
        try:
            said = list(self._still_true(await self._feed.receive()))
        except trio.EndOfChannel:
            assert self._over is not None
            raise self._over from None
        # All that waits is one flush to the hub: a crowd that comes at once is told of at once.
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while len(said) < MOST_SAID:
                said += self._still_true(self._feed.receive_nowait())
        return said

    def _still_true(self, said: tuple[Said, ...]) -> tuple[Said, ...]:
        match said:
            # Who had the name has it again, or a newer connection of the same member.
            case [Moved(name) | Lost(name)] if fold_name(name) in self._claims:
                return ()
            case _:
                return said

    # --- Names -----------------------------------------------------------------------------------

    async def claim(self, wanted: str, secret: str, resume: str | None) -> Claim:
        """See `SharedLog.claim`."""
        # Cut short, it would leave a name in the room that is nobody's.
        self._claiming += 1
        try:
            with trio.fail_after(CLAIM_TIMEOUT + self._history.patience, shield=True):
                claim = await self._claim(
                    wanted, _digest(secret), _digest(resume) if resume else ""
                )
            self._claims[fold_name(claim.name)] = claim
            return claim
        finally:
            self._claiming -= 1

    async def _claim(self, wanted: str, digest: str, resumed: str) -> Claim:
        taken: set[str] = set()
        while True:
            arguments = [self._epoch, self.owner, digest, resumed]
            for name in _candidates(wanted, taken):
                arguments += [name, fold_name(name)]
            try:
                answer = await self._history.call(CLAIM, self.keys.all, arguments, anew=False)
            except NameTaken as exc:
                taken = exc.names
                continue
            name, last = answer
            # What was said by now is what whoever resumes may have heard on another node.
            self._last = max(self._last, int(last))
            return Claim(name, digest)

    async def look(self) -> set[str]:
        """Compare what Redis has of this room with what is here; return the owners of its members.

        What was taken from our members is given back to them, or they hear that it is lost; what is
        in our name and nobody's here, twice in turn, is withdrawn.

        Raises:
            HistoryUnavailable: Redis is gone.
            NumberingBeganAnew: it has lost what it had.
        """
        cursor = self.cursor
        arguments: list[str | float] = [
            self._last,
            self._epoch,
            cursor,
            self._heard_at,
            self._history.age,
        ]
        tail, first, *rows = await self._history.call(LOOK, self.keys.all, arguments, anew=True)
        self._first = max(self._first, int(first))
        if self._torn or _place(tail) < _place(cursor):
            self.end(FellBehind("what was heard last is not there any more"))
        owners, ours = set(), set()
        for owner, digest, _, _ in zip(*[iter(rows)] * 4, strict=True):
            owners.add(owner)
            if owner == self.owner:
                ours.add(digest)
        await self._withdraw_ghosts(ours - {claim.digest for claim in self._claims.values()})
        missing = {name: claim for name, claim in self._claims.items() if claim.digest not in ours}
        # Who has moved to another node is missing as well, until we have heard of it.
        if missing and not self._claiming and _place(self.cursor) >= _place(tail):
            await self._restore(missing)
        return owners

    async def _withdraw_ghosts(self, unclaimed: set[str]) -> None:
        ghosts = self._suspects & unclaimed
        self._suspects = unclaimed - ghosts if not self._claiming else set()
        if ghosts:
            await self._history.call(WITHDRAW, self.keys.all, [self.owner, *ghosts], anew=True)

    async def _restore(self, missing: Mapping[str, Claim]) -> None:
        arguments = [self._epoch, self.owner]
        for folded, claim in missing.items():
            arguments += [claim.digest, folded, claim.name]
        lost = await self._history.call(RESTORE, self.keys.all, arguments, anew=True)
        if self._over is not None:
            self._history.closed(self.keys, self.owner)  # It may have come after the last word.
        for name in lost:
            # Where there is no room for the bad news, the next look brings them.
            if self.has_room and self._let_go(name, missing[fold_name(name)].digest):
                self._into_feed.send_nowait((Lost(name),))

    # --- Reading, and the end --------------------------------------------------------------------

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        entries: list[Entry] = []
        start, page_size, first = f"{after + 1}-0", limit, 0
        # Up to the flush that begins behind `upto`: it may lie in the middle of one.
        while len(entries) < limit and page_size == limit and first <= upto:
            page = await self._history.read(self.keys.log, start, "+", limit)
            for name, fields in page:
                number, time, _, _ = fields["0"].split(" ")
                first = int(number)
                for said in self._read(first, float(time), fields):
                    if isinstance(said, Entry) and max(after, self._first - 1) < said.seq <= upto:
                        entries.append(said)
                start = f"({name}"
            page_size = len(page)  # It may have been news all through.
        return entries[:limit]

    async def aclose(self) -> None:
        """See `SharedLog.aclose`."""
        self._claims.clear()
        self._history.closed(self.keys, self.owner)
        self.end(NumberingBeganAnew())
        # Where Redis is gone, or this is cancelled, it is done later.
        with contextlib.suppress(HistoryUnavailable):
            await self._history.withdraw(self.keys, self.owner, anew=False)


def _write(said: Draft | News) -> tuple[str, str, str]:
    match said:
        case Draft(name, message, id):
            fragment = orjson.dumps([name, message, id]).decode()
            digest = _digest(message) if id is not None else ""
            return f"m{fragment}", id or "", digest
        case Left(name, secret):
            return f"l{name}", fold_name(name), _digest(secret)
        case IsTyping(name):
            return f"t{name}", "", ""
        case Joined(name):
            return f"j{name}", "", ""


def _drafts(said: Sequence[Draft | News]) -> Iterator[Draft]:
    return (each for each in said if isinstance(each, Draft))


def _candidates(wanted: str, taken: set[str]) -> list[str]:
    names: list[str] = []
    for _ in range(CANDIDATES):
        names.append(unique_name(wanted, taken | {fold_name(name) for name in names}))
    return names


def _digest(text: str) -> str:
    # Secrets go nowhere as they are; texts are compared by it.
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _place(name: str) -> tuple[int, int]:
    number, _, news = name.partition("-")
    return int(number), int(news)
