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
import logging
import math
import secrets
from collections.abc import Sequence
from typing import Any, Final, cast

import anyio
import trio
from coredis import Redis
from coredis.commands import Script
from coredis.exceptions import ReadOnlyError, RedisError
from coredis.response.types import StreamEntry
from coredis.retry import NoRetryPolicy

from ..config import Retention
from . import HistoryUnavailable, NumberingBeganAnew
from .redis_pool import Pool
from .redis_room import PORTION, Fields, Opened, RedisLog, RoomKeys
from .redis_scripts import OPEN, SIGN, WITHDRAW, check_answer

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
        self.patience = patience
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
        deadline, pause = trio.current_time() + self.patience, PAUSE
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
                return check_answer(answer)

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


def _first(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def _why(exc: BaseException) -> str:
    said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    # A connection that can't be had says why only in what caused it, such as a bad certificate.
    cause = exc.__cause__
    return f"{said}: {_why(_first(cause))}" if cause is not None else said
