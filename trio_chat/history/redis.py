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
from coredis.exceptions import RedisError
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
        self._logs: dict[str, RedisLog] = {}  # by the name of the stream
        self._wake_cursor = "0-0"

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
        async with self._connect() as client:
            self._client = client
            self._ready.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, client, name="redis: listening")
                nursery.start_soon(self._live, name="redis: lease")
                nursery.start_soon(self._look_around, name="redis: looking around")

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
        if self._gone and not anew:
            raise HistoryUnavailable(self._gone)
        deadline, pause = trio.current_time() + self._patience, PAUSE
        while True:
            try:
                with trio.fail_at(deadline):
                    await self._ready.wait()
                    answer: list[str] = await self._script(script)(keys, arguments)
            except trio.TooSlowError:
                self._note_gone("Redis does not answer")
                raise HistoryUnavailable(self._gone) from None
            except GONE as exc:
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
        self._openings += 1
        keys, owner = RoomKeys.of(name), f"{self.node}.{self._openings}"
        fresh = secrets.token_urlsafe(9)
        answer = await self.call(OPEN, keys.all, [owner, fresh], anew=False)
        room_log = RedisLog(self, name, owner, Opened.parse(answer))
        self._logs[keys.log] = room_log
        await self.wake()
        if room_log.members:
            await self._look_after(room_log)  # The last of its nodes may have died alone.
        return room_log

    def closed(self, room_log: RedisLog) -> None:
        """Listen to this room no more."""
        if self._logs.get(room_log.keys.log) is room_log:
            del self._logs[room_log.keys.log]

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
        pause = PAUSE
        while True:
            streams: dict[str, str] = {self._wake_key: self._wake_cursor}
            streams.update((key, each.cursor) for key, each in self._logs.items() if each.has_room)
            try:
                answer = await client.xread(cast("Any", streams), count=PORTION, block=BLOCK)
            except GONE:
                # Every room goes on where it was, so there is nothing to make good.
                await trio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
                continue
            pause = PAUSE
            for key, entries in (answer or {}).items():
                if key == self._wake_key:
                    self._wake_cursor = str(entries[-1].identifier)
                    await self._forget_wakes(client)
                elif (room_log := self._logs.get(key)) is not None:
                    for entry in entries:
                        room_log.hear(str(entry.identifier), cast("Fields", entry.field_values))

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
        begun = trio.current_time()
        arguments: list[str | float] = [self.node, self._lease]
        living = set(await self.call(SIGN, [NODES, self._wake_key], arguments, anew=True))
        if begun - self._signed > self._lease:
            self._alive_since = begun
        self._signed = begun
        if self._gone or self._living - living:
            self._alarm.set()
        self._living = living
        if self._gone:
            log.warning("the history is back")
            self._gone = ""

    async def _look_around(self) -> None:
        while True:
            with trio.move_on_after(self._look_interval):
                await self._alarm.wait()
            self._alarm = trio.Event()
            for room_log in list(self._logs.values()):
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
        # Who was cut off knows nothing of the others: they may have lived all the time.
        if nodes <= self._living or trio.current_time() - self._alive_since < self._grace:
            return
        await self._give_a_sign()  # And who has come since the last one lives as well.
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


class Opened(NamedTuple):
    """What a room was when it was opened."""

    epoch: str
    last: int
    first: int
    tail: str
    members: list[str]

    @classmethod
    def parse(cls, answer: Sequence[str]) -> Opened:
        """Take the script's answer apart."""
        epoch, last, first, tail, *members = answer
        return cls(epoch, int(last), int(first), tail, members)


class RedisLog(SharedLog):
    """One room's part of it, as one node holds it open."""

    def __init__(self, history: RedisHistory, name: str, owner: str, opened: Opened) -> None:
        self._history = history
        self._owner = owner
        self._epoch = opened.epoch
        self._last = opened.last
        self._first = opened.first
        self._batches = 0
        self._into_feed, self._feed = trio.open_memory_channel[tuple[Said, ...]](FEED)
        self._over: Exception | None = None
        self._claims: dict[str, Claim] = {}  # what members here have, by the name's folded form
        self._suspects: set[str] = set()  # what Redis has of us, and nobody here claims
        self._claiming = 0
        self.name = name
        self.keys = RoomKeys.of(name)
        self.cursor = opened.tail
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
            self._owner,
            self._batches,
            keep.messages,
            0 if keep.age == math.inf else keep.age,
        ]
        for draft in drafts:
            arguments += _write(draft)
            if isinstance(draft, Left):
                self._claims.pop(fold_name(draft.name), None)
        keys = [*self.keys.all, f"trio-chat:{{{self.name}}}:batch:{self._owner}"]
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
        return self._over is None and self._waiting <= FEED - PORTION

    @property
    def _waiting(self) -> int:
        return self._feed.statistics().current_buffer_used

    def hear(self, name: str, fields: Fields) -> None:
        """Take the next entry of the stream."""
        if self._over is not None or _place(name) <= _place(self.cursor):
            return  # What was asked for before the room was opened anew is of no interest.
        first, time, before, kept = fields["0"].split(" ")
        if before != self.cursor:
            self.end(FellBehind(f"after {self.cursor} comes {name}, and it was after {before}"))
            return
        self.cursor = name
        self._first = max(self._first, int(kept))
        said = tuple(self._read(int(first), float(time), fields))
        for each in said:
            if isinstance(each, Moved):
                self._claims.pop(fold_name(each.name), None)
        self._last = max(self._last, int(name.partition("-")[0]))
        self._into_feed.send_nowait(said)

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
                    owner, _, name = rest.partition(" ")
                    if owner != self._owner:
                        yield Moved(name)

    def end(self, why: Exception) -> None:
        """Let nothing more come: `listen` raises `why` behind what waits."""
        if self._over is None:
            self._over = why
            self._into_feed.close()

    async def listen(self) -> Sequence[Said]:
        """See `SharedLog.listen`."""
        was_full = not self.has_room
        try:
            said = await self._feed.receive()
        except trio.EndOfChannel:
            assert self._over is not None
            raise self._over from None
        if was_full and self.has_room:
            await self._history.wake()
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
            arguments = [self._epoch, self._owner, digest, resumed]
            for name in _candidates(wanted, taken):
                arguments += [name, fold_name(name)]
            try:
                answer = await self._history.call(CLAIM, self.keys.all, arguments, anew=False)
            except NameTaken as exc:
                taken = exc.names
                continue
            return Claim(answer[0], digest)

    async def look(self) -> set[str]:
        """Compare what Redis has of this room with what is here; return the owners of its members.

        What was taken from our members is given back to them, or they hear that it is lost; what is
        in our name and nobody's here, twice in turn, is withdrawn.

        Raises:
            HistoryUnavailable: Redis is gone.
            NumberingBeganAnew: it has lost what it had.
        """
        arguments: list[str | float] = [self._last, self._epoch]
        _, first, *rows = await self._history.call(LOOK, self.keys.all, arguments, anew=True)
        self._first = max(self._first, int(first))
        owners, ours = set(), {}
        for owner, digest, folded, _ in zip(*[iter(rows)] * 4, strict=True):
            owners.add(owner)
            if owner == self._owner:
                ours[folded] = digest
        await self._withdraw_ghosts({name for name in ours if name not in self._claims})
        missing = {name: claim for name, claim in self._claims.items() if name not in ours}
        if missing and not self._claiming:
            await self._restore(missing)
        return owners

    async def _withdraw_ghosts(self, unclaimed: set[str]) -> None:
        ghosts = self._suspects & unclaimed
        self._suspects = unclaimed - ghosts if not self._claiming else set()
        if ghosts:
            await self._history.call(WITHDRAW, self.keys.all, [self._owner, *ghosts], anew=True)

    async def _restore(self, missing: Mapping[str, Claim]) -> None:
        arguments = [self._epoch, self._owner]
        for folded, claim in missing.items():
            arguments += [claim.secret, folded, claim.name]
        lost = await self._history.call(RESTORE, self.keys.all, arguments, anew=True)
        for name in lost:
            if self.has_room and self._claims.pop(fold_name(name), None) is not None:
                self._into_feed.send_nowait((Lost(name),))

    # --- Reading, and the end --------------------------------------------------------------------

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        entries: list[Entry] = []
        start, page_size = f"{after + 1}-0", limit
        while len(entries) < limit and page_size == limit:
            page = await self._history.read(self.keys.log, start, f"{upto}-0", limit)
            for name, fields in page:
                first, time, _, _ = fields["0"].split(" ")
                for said in self._read(int(first), float(time), fields):
                    if isinstance(said, Entry) and max(after, self._first - 1) < said.seq <= upto:
                        entries.append(said)
                start = f"({name}"
            page_size = len(page)  # It may have been news all through.
        return entries[:limit]

    async def aclose(self) -> None:
        """See `SharedLog.aclose`."""
        self._history.closed(self)
        self.end(NumberingBeganAnew())
        # Where Redis is gone, the lease runs out, or a later look finds what is left.
        with contextlib.suppress(HistoryUnavailable, NumberingBeganAnew):
            await self._history.call(WITHDRAW, self.keys.all, [self._owner], anew=False)


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
