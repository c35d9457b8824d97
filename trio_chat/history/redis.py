"""The history in Redis, for several nodes: every node appends, and all hear one order.

What one step in Redis does is in `redis_scripts`. Here is what a node does with it:

    append    one script for each flush of a hub; tried again until `patience` is over, under the
              same number, so that a lost answer appends nothing twice
    listen    one XREAD over the streams of all rooms that are open here, and the node's own wake
              stream, whose entry makes it return when the list changes; a room whose hub is behind
              is not read until it has caught up, so nothing piles up and nothing is lost
    lease     a sign that this node lives; a node without one is dead, and the others withdraw its
              members, unless they have been cut off themselves in the meantime
    look      now and then, room by room: is the numbering still the same, are our members still
              in the room, and nobody else under our name

While Redis is gone, appending fails at once, and whoever is connected stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import anyio
import orjson
import trio
from coredis import Redis
from coredis.commands import Script
from coredis.exceptions import ReadOnlyError, RedisError
from coredis.response.types import StreamEntry
from coredis.retry import NoRetryPolicy

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
from .redis_pool import Pool
from .redis_scripts import APPEND, CLAIM, LOOK, OPEN, RESTORE, SIGN, WITHDRAW

log = logging.getLogger(__name__)

# Whatever a client of Redis may raise where Redis is gone, slow, full, or not the master any more.
GONE: Final = (
    RedisError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)

CALL_TIMEOUT: Final = 2.0  # seconds for one answer
PAUSE: Final = 0.05  # seconds before a call is tried again; twice as long each time
MAX_PAUSE: Final = 1.0
BLOCK: Final = 1000  # milliseconds that XREAD waits

LEASE: Final = 9.0  # seconds that a node is believed to live without a sign

NODES: Final = "trio-chat:nodes"

PORTION: Final = 64  # entries of a room's stream that are read at once
FEED: Final = 4 * PORTION  # entries that may wait for a hub
MOST_SAID: Final = 1024  # of them, what a hub broadcasts at once

CANDIDATES: Final = 8  # names that one claim tries

Fields = Mapping[str, str]  # of one entry


class RedisHistory:
    """All rooms' pasts, in a Redis that several nodes share.

    `url` is redis://, rediss:// or unix://. `patience` is how long, in seconds, a message waits for
    a Redis that does not answer before it is refused; `lease` is how long a node is believed to
    live without a sign.
    """

    def __init__(
        self, url: str, retention: Retention, *, patience: float, lease: float = LEASE
    ) -> None:
        self.node = secrets.token_hex(6)
        self._url = url
        self.retention = retention
        self._patience = patience
        self._lease = lease
        self._turn = lease / 4  # between two signs
        self._grace = lease / 2  # that others have to give one, once Redis can be had again
        self._look_interval = lease / 2  # between two looks at a room in which nothing is wrong
        self._ready = trio.Event()
        self._client: Redis[str] | None = None
        self._scripts: dict[str, Script[str]] = {}
        self._gone = ""  # Why Redis can't be had, while it can't.
        self._alive_since = math.inf  # Since when nobody can have believed us dead.
        self._signed = -math.inf  # When we last gave a sign.
        self._living: set[str] = {self.node}
        self._alarm = trio.Event()  # Set when the rooms have to be looked at now.
        self._openings = 0
        self._owed: dict[str, RoomKeys] = {}  # by owner: what has to be withdrawn yet
        self._logs: dict[str, RedisLog] = {}  # by the name of the stream
        self._wake_cursor = "0-0"

    @property
    def age(self) -> float:
        """How long a message is kept, in seconds; 0: for ever."""
        return 0 if self.retention.age == math.inf else self.retention.age

    @property
    def available(self) -> bool:
        """See `History.available`."""
        return not self._gone

    # --- The history's life ----------------------------------------------------------------------

    async def open(self) -> None:
        """See `History.open`."""
        if self.retention.bytes:
            raise HistoryUnavailable(
                "--keep-bytes: Redis keeps by count and by age only; make it 0"
            )
        version, failure = "", ""
        try:
            async with self._connect() as client:
                version = str((await client.info("server"))["redis_version"])
        except* Exception as group:  # noqa: BLE001 - whatever is wrong with it, it can't be had
            failure = _why(_first(group))
        if failure:
            raise HistoryUnavailable(failure)
        if int(version.partition(".")[0]) < 7:
            raise HistoryUnavailable(f"Redis 7 or newer is needed, or Valkey; this is {version}")

    def _connect(self) -> Redis[str]:
        pool = Pool.from_url(
            self._url,
            decode_components=True,  # A password may hold anything, written as %40.
            decode_responses=True,
            stream_timeout=CALL_TIMEOUT,
            connect_timeout=CALL_TIMEOUT,
        )
        return Redis(connection_pool=pool, decode_responses=True, retry_policy=NoRetryPolicy())

    async def run(self) -> None:
        """See `History.run`: listen to all rooms, give signs of life, look after the rooms."""
        try:
            async with self._connect() as client:
                self._client = client
                self._ready.set()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, client, name="redis: listening")
                    nursery.start_soon(self._live, name="redis: lease")
                    nursery.start_soon(self._look_around, name="redis: looking around")
        finally:
            self._gone = "this node is ending"

    async def aclose(self) -> None:
        """See `History.aclose`. Where Redis is gone, the node's lease runs out by itself."""
        if self._client is None:
            return
        try:
            async with self._connect() as client:
                await client.zrem(NODES, [self.node])
                await client.delete([self._wake_key])
        except* GONE as group:
            log.info("the lease is left to run out: %s", _why(_first(group)))

    # --- Calling ---------------------------------------------------------------------------------

    async def call(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | float], *, anew: bool
    ) -> list[str]:
        """Run a script until Redis has answered; with `anew`, even if it did not long ago.

        Raises:
            HistoryUnavailable: it did not in time, and nobody can tell whether it was run.
            NumberingBeganAnew: it answered that.
        """
        deadline, pause = trio.current_time() + self._patience, PAUSE
        while True:
            if self._gone and not anew:
                raise HistoryUnavailable(self._gone)
            try:
                with trio.fail_at(deadline):
                    await self._ready.wait()
                    answer: list[str] = await self._script(script)(keys, arguments)
            except trio.TooSlowError:
                self._note_gone("Redis does not answer")
                raise HistoryUnavailable(self._gone) from None
            except GONE as exc:
                if isinstance(exc, ReadOnlyError):
                    # The address may lead to the new master by now.
                    assert self._client is not None
                    cast("Pool", self._client.connection_pool).forget()
                if trio.current_time() + pause >= deadline:
                    self._note_gone(_why(exc))
                    raise HistoryUnavailable(self._gone) from exc
                await trio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
            else:
                return _check(answer)

    def _script(self, source: str) -> Script[str]:
        assert self._client is not None, "a history is run before it is asked"
        if source not in self._scripts:
            self._scripts[source] = self._client.register_script(source)
        return self._scripts[source]

    def _note_gone(self, why: str) -> None:
        if not self._gone:
            log.warning("the history can't be reached: %s", why)
        self._gone = why

    # --- Rooms -----------------------------------------------------------------------------------

    async def open_room(self, name: str) -> RedisLog:
        """See `History.open_room`."""
        if self._gone:
            raise HistoryUnavailable(self._gone)
        self._openings += 1
        keys, owner = RoomKeys.of(name), f"{self.node}.{self._openings}"
        arguments: list[str | float] = [owner, secrets.token_urlsafe(9), self.age]
        try:
            answer = await self.call(OPEN, keys.all, arguments, anew=False)
            room_log = self._logs[keys.log] = RedisLog(self, name, owner, Opened.parse(answer))
            await self.wake()
            if room_log.members:
                await self._look_after(room_log)  # The last of its nodes may have died alone.
        except BaseException:
            # Nobody will close it.
            self.closed(keys, owner)
            raise
        return room_log

    def closed(self, keys: RoomKeys, owner: str) -> None:
        """Listen to this room no more. What is left of it in Redis has to be withdrawn."""
        room_log = self._logs.get(keys.log)
        if room_log is not None and room_log.owner == owner:
            del self._logs[keys.log]
        self._owed[owner] = keys

    async def withdraw(self, keys: RoomKeys, owner: str, *, anew: bool) -> None:
        """Withdraw what is left in Redis of a room that was closed here; for `anew` see `call`.

        Raises:
            HistoryUnavailable: Redis is gone. It is tried again when it is back.
        """
        await self.call(WITHDRAW, [*keys.all, keys.batch(owner)], [owner], anew=anew)
        self._owed.pop(owner, None)

    # --- Listening -------------------------------------------------------------------------------

    @property
    def _wake_key(self) -> str:
        return f"trio-chat:wake:{self.node}"

    async def wake(self) -> None:
        """Let the listener look at its list of rooms again."""
        assert self._client is not None
        # Where it fails the listener has nothing to wait for either.
        with contextlib.suppress(*GONE), trio.move_on_after(CALL_TIMEOUT):
            await self._client.xadd(self._wake_key, {"": ""}, trim_strategy=None)

    async def _listen(self, client: Redis[str]) -> None:
        pause, made = PAUSE, math.inf
        while True:
            rooms = {key: each for key, each in self._logs.items() if each.wants_more()}
            streams = {self._wake_key: self._wake_cursor}
            streams.update((key, each.cursor) for key, each in rooms.items())
            try:
                answer = await client.xread(cast("Any", streams), count=PORTION, block=BLOCK)
            except GONE:
                # Every room goes on where it was.
                await trio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
                continue
            pool = cast("Pool", client.connection_pool)
            if pool.made > made:
                # There was an end in between, and maybe Redis has come back with less.
                self.look_soon()
            pause, made = PAUSE, pool.made
            for key, entries in (answer or {}).items():
                if key == self._wake_key:
                    self._wake_cursor = str(entries[-1].identifier)
                    await self._forget_wakes(client)
                else:
                    # A room that has been opened anew meanwhile is asked for with the next call.
                    self._pass_on(rooms[key], entries)

    def _pass_on(self, room_log: RedisLog, entries: Sequence[StreamEntry]) -> None:
        try:
            for entry in entries:
                room_log.hear(str(entry.identifier), cast("Fields", entry.field_values))
        except Exception as exc:  # noqa: BLE001 - what can't be read costs that room alone
            room_log.end(exc)

    async def _forget_wakes(self, client: Redis[str]) -> None:
        with contextlib.suppress(*GONE):
            await client.delete([self._wake_key])
            self._wake_cursor = "0-0"

    async def read(self, key: str, start: str, end: str, limit: int) -> list[tuple[str, Fields]]:
        """Return entries of a stream.

        Raises:
            HistoryUnavailable: it could not be read.
        """
        if self._gone:
            raise HistoryUnavailable(self._gone)
        assert self._client is not None
        try:
            page = await self._client.xrange(key, start, end, limit)
        except GONE as exc:
            raise HistoryUnavailable(_why(exc)) from exc
        return [(str(entry.identifier), cast("Fields", entry.field_values)) for entry in page]

    # --- Living, and seeing who lives ------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            try:
                await self._give_a_sign()
            except HistoryUnavailable as exc:
                self._note_gone(_why(exc))
                await trio.sleep(10 * PAUSE)
            else:
                await trio.sleep(self._turn)

    async def _give_a_sign(self) -> None:
        """Say that this node lives, and note who else does."""
        arguments: list[str | float] = [self.node, self._lease]
        stood, *nodes = await self.call(SIGN, [NODES, self._wake_key], arguments, anew=True)
        living, now = set(nodes), trio.current_time()
        # Where a sign of ours was late, so were those of others, and theirs may have run out.
        if stood == "0" or now - self._signed > 2 * self._turn:
            self._alive_since = now
        self._signed = now
        if self._gone or self._living - living:
            self.look_soon()
        self._living = living
        if self._gone:
            log.warning("the history is back")
            self._gone = ""

    def look_soon(self) -> None:
        """Let all rooms be looked at now."""
        self._alarm.set()

    async def _look_around(self) -> None:
        while True:
            with trio.move_on_after(self._look_interval):
                await self._alarm.wait()
            self._alarm = trio.Event()
            for owner, keys in list(self._owed.items()):
                with contextlib.suppress(HistoryUnavailable):
                    await self.withdraw(keys, owner, anew=True)
            for key, room_log in list(self._logs.items()):
                if self._logs.get(key) is room_log:  # It may be over by now.
                    with contextlib.suppress(HistoryUnavailable):
                        await self._look_after(room_log)

    async def _look_after(self, room_log: RedisLog) -> None:
        """See to it that whoever is in a room's list is there.

        Raises:
            HistoryUnavailable: Redis is gone.
        """
        try:
            nodes = {owner.partition(".")[0] for owner in await room_log.look()}
        except NumberingBeganAnew:
            room_log.end(NumberingBeganAnew())
            return
        if nodes <= self._living:
            return
        await self._give_a_sign()  # Who has come since the last one lives as well.
        # Who was cut off knows nothing of the others: they may have lived all the time.
        if trio.current_time() - self._alive_since < self._grace:
            return
        for node in sorted(nodes - self._living):
            log.warning("node %s is gone; its members leave room %s", node, room_log.name)
            await self.call(WITHDRAW, room_log.keys.all, [f"{node}."], anew=True)


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


class RedisLog(SharedLog):
    """One room's part of it, as one node holds it open."""

    def __init__(self, history: RedisHistory, name: str, owner: str, opened: Opened) -> None:
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
        if claim is None or claim.secret != digest:
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
            with trio.CancelScope(shield=True):
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
        await self._withdraw_ghosts(ours - {claim.secret for claim in self._claims.values()})
        missing = {name: claim for name, claim in self._claims.items() if claim.secret not in ours}
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
            arguments += [claim.secret, folded, claim.name]
        lost = await self._history.call(RESTORE, self.keys.all, arguments, anew=True)
        if self._over is not None:
            self._history.closed(self.keys, self.owner)  # It may have come after the last word.
        for name in lost:
            # Where there is no room for the bad news, the next look brings them.
            if self.has_room and self._let_go(name, missing[fold_name(name)].secret):
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


class NameTaken(Exception):
    """None of the names was free; `names` are all that are not, folded."""

    def __init__(self, names: set[str]) -> None:
        super().__init__("none of these names is free")
        self.names = names


def _check(answer: list[str]) -> list[str]:
    match answer:
        case ["OK", *rest]:
            return rest
        case ["EPOCH"]:
            raise NumberingBeganAnew
        case ["TAKEN", *names]:
            raise NameTaken(set(names))
        case _:  # STALE: a later batch of ours is in.
            raise HistoryUnavailable(f"Redis answered out of turn: {answer[:1]}")


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


def _first(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def _why(exc: BaseException) -> str:
    said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    # A connection that can't be had says why only in what caused it, such as a bad certificate.
    cause = exc.__cause__
    return f"{said}: {_why(_first(cause))}" if cause is not None else said
