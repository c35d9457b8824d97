"""Rooms without a server: members come in over memory, or over TCP, and are met by real sessions.

What the door does is done here in three lines: a request head for the wire, and an arrival for the
rooms. The guests are clients of RFC 6455 that know nothing of the product's own frames. At its end
a lobby looks into the books: everybody left, nothing waits, everything owed is accounted for.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

import trio
import trio.testing

from trio_chat.config import Config
from trio_chat.crowd import Crowd
from trio_chat.heartbeat import Heartbeat
from trio_chat.history import Draft, History, Receipt
from trio_chat.history.memory import MemoryHistory, MemoryLog
from trio_chat.house import House
from trio_chat.ledger import Ledger
from trio_chat.metrics import Tally
from trio_chat.opening import Opening
from trio_chat.outbox import Outboxes
from trio_chat.protocol import Dialect, Ended, Ending, Entry, JoinRequest
from trio_chat.room import Arrival, Room
from trio_chat.rooms import Rooms
from trio_chat.session import Visit
from trio_chat.transport import SocketTransport, StreamTransport, Transport
from trio_chat.wire import Wire

JSON = dict[str, object]
Line = Callable[[str], Awaitable[tuple[trio.abc.Stream, Transport]]]
Mood = Callable[[], Awaitable[None]]

PATIENCE: Final = 70  # seconds until a test that waits for something gives up


# --- Lines: a client's stream, and the transport at the server's end ------------------------------


async def memory(peer: str) -> tuple[trio.abc.Stream, Transport]:
    """Everything that is sent arrives; nobody ever waits."""
    await trio.lowlevel.checkpoint()
    theirs, ours = trio.testing.memory_stream_pair()
    return theirs, StreamTransport(ours, peer)


async def lockstep(peer: str) -> tuple[trio.abc.Stream, Transport]:
    """Nothing is sent unless the other side takes it: the shortest line there is."""
    await trio.lowlevel.checkpoint()
    theirs, ours = trio.testing.lockstep_stream_pair()
    return theirs, StreamTransport(ours, peer)


async def tcp(peer: str) -> tuple[trio.abc.Stream, Transport]:
    """A real connection on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = await trio.open_tcp_stream(*listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return theirs, SocketTransport(ours, peer)


# --- Guests ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Guest:
    """A client. It reads as long as nobody pauses it, and keeps what it heard."""

    stream: trio.abc.Stream
    nursery: trio.Nursery
    check: Callable[[], None]  # called with each frame
    answers_close: bool = True
    heard: list[JSON] = field(default_factory=list)
    closed: Ending | None = None
    gone: trio.Event = field(default_factory=trio.Event)
    _news: trio.Event = field(default_factory=trio.Event)
    _data: bytearray = field(default_factory=bytearray)
    _reading: trio.CancelScope | None = None
    _said_goodbye: bool = False
    _fences: Iterator[int] = field(default_factory=itertools.count)
    _mouth: trio.Lock = field(default_factory=trio.Lock)
    _turn: trio.Lock = field(default_factory=trio.Lock)

    # Speaking.

    async def say(self, message: str, id: str | None = None) -> None:
        await self.send({"message": message} | ({} if id is None else {"id": id}))

    async def send(self, value: Mapping[str, object]) -> None:
        await self.send_text(json.dumps(value))

    async def send_text(self, text: str) -> None:
        await self.send_frame(0x1, text.encode())

    async def send_frame(self, opcode: int, payload: bytes) -> None:
        async with self._mouth:
            await self.stream.send_all(masked_frame(opcode, payload))

    async def fence(self) -> None:
        """Say something that is refused, and wait for that: all before it has been taken."""
        id = f"fence-{next(self._fences)}"
        await self.send({"type": "fence", "id": id})
        await self.hear("error", code="bad-type", id=id)

    async def close(self, code: int = 1000) -> Ending | None:
        """Say goodbye, and return the server's."""
        self._said_goodbye = True
        await self.send_frame(0x8, struct.pack("!H", code))
        return await self.wait_closed()

    async def vanish(self) -> None:
        """Break off, without a word."""
        self.pause()
        await trio.aclose_forcefully(self.stream)
        self.gone.set()

    # Listening.

    def pause(self) -> None:
        """Take nothing more from the line."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def resume(self) -> None:
        if self._reading is None:
            self._reading = trio.CancelScope()
            self.nursery.start_soon(self._read, self._reading)

    async def _read(self, scope: trio.CancelScope) -> None:
        with scope:
            async with self._turn:  # Whoever was paused before may not have noticed yet.
                await self._read_on()

    async def _read_on(self) -> None:
        try:
            while not self.gone.is_set() and (data := await self.stream.receive_some(65536)):
                self._data += data
                await self._digest()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.gone.set()
        self._tell()
        await self.stream.aclose()

    async def _digest(self) -> None:
        if self._data.startswith(b"HTTP/"):
            head, found, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._data[:] = rest
        while (frame := take_frame(self._data)) is not None:
            opcode, payload = frame
            match opcode:
                case 0x1:
                    self.heard.append(json.loads(payload))
                case 0x8:
                    self.closed = Ending(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                    if self.answers_close and not self._said_goodbye:
                        await self.send_frame(0x8, payload)
                case 0x9:
                    await self.send_frame(0xA, payload)
                case 0xA:
                    pass
                case _:
                    raise AssertionError(f"a frame of kind {opcode} from the server")
            self._tell()
        self.check()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, met: Callable[[Self], bool]) -> None:
        """Wait until something is true of this guest."""
        with trio.fail_after(PATIENCE):
            while not met(self):
                assert not self.gone.is_set(), f"gone ({self.closed}), having heard {self.heard}"
                await self._news.wait()

    async def until_heard(self, *texts: str) -> None:
        """Wait until these messages have come."""
        await self.until(lambda guest: set(texts) <= set(guest.texts))

    async def hear(self, kind: str, **fields: object) -> JSON:
        """Wait for the first event of a kind, with these fields, and return it."""

        def found() -> list[JSON]:
            return [event for event in self.events(kind) if fields.items() <= event.items()]

        await self.until(lambda guest: bool(found()))
        return found()[0]

    async def wait_closed(self) -> Ending | None:
        """Wait until the connection is over; return the server's goodbye."""
        with trio.fail_after(PATIENCE):
            await self.gone.wait()
        return self.closed

    # What was heard.

    def events(self, *kinds: str) -> list[JSON]:
        return [event for event in self.heard if event.get("type") in kinds]

    @property
    def texts(self) -> list[str]:
        """The messages, in either dialect, in the order of their coming."""
        return [str(event["message"]) for event in self.heard if "message" in event]

    @property
    def numbers(self) -> list[int]:
        return [number(event) for event in self.events("message")]

    @property
    def welcome(self) -> JSON:
        assert self.heard[0]["type"] == "welcome"
        return self.heard[0]

    @property
    def name(self) -> str:
        return str(self.welcome["name"])

    def story(self) -> list[str]:
        """What happened in the room, in words: who came, who said what, who went."""
        words = {"message": "message", "join": "name", "leave": "name", "typing": "name"}
        return [
            f"{event['type']} {event[words[str(event['type'])]]}" for event in self.events(*words)
        ]


def number(event: JSON) -> int:
    seq = event["seq"]
    assert isinstance(seq, int)
    return seq


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """A client's final frame (RFC 6455, section 5.2), with a random mask."""
    size, mask = len(payload), os.urandom(4)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    key = itertools.cycle(mask)
    return head + mask + bytes(byte ^ next(key) for byte in payload)


def take_frame(data: bytearray) -> tuple[int, bytes] | None:
    """Cut the first whole frame from a server's stream; every one is final and not masked."""
    if len(data) < 2:
        return None
    assert data[0] & 0xF0 == 0x80
    size, start = data[1], 2
    if size >= 126:
        start += 2 if size == 126 else 8
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    opcode, payload = data[0] & 0x0F, bytes(data[start : start + size])
    del data[: start + size]
    return opcode, payload


# --- A history that has moods ---------------------------------------------------------------------


async def calm() -> None:
    """The usual mood: nothing is in the way."""
    await trio.lowlevel.checkpoint()


def failing(cause: Exception) -> Mood:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise cause

    return fail


class MoodyHistory:
    """A memory history that can be slow, unreachable or broken: whatever the mood of the day is."""

    def __init__(self, inner: MemoryHistory) -> None:
        self.inner = inner
        self.before_opening: Mood = calm
        self.before_appending: Mood = calm
        self.before_reading: Mood = calm
        self.before_closing: Mood = calm
        self.held: Counter[str] = Counter()  # logs
        self.is_available = True

    @property
    def available(self) -> bool:
        return self.is_available

    async def open(self) -> None:
        await self.inner.open()

    async def run(self) -> None:
        await self.inner.run()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def open_room(self, name: str) -> MoodyLog:
        await self.before_opening()
        self.held[name] += 1
        return MoodyLog(self, name, await self.inner.open_room(name))


class MoodyLog:
    """One room's part of it."""

    def __init__(self, history: MoodyHistory, name: str, inner: MemoryLog) -> None:
        self._history = history
        self._name = name
        self._inner = inner

    @property
    def epoch(self) -> str:
        return self._inner.epoch

    @property
    def last(self) -> int:
        return self._inner.last

    @property
    def first(self) -> int:
        return self._inner.first

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        await self._history.before_appending()
        return await self._inner.append(drafts)

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        await self._history.before_reading()
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        try:
            await self._history.before_closing()
        finally:
            await self._inner.aclose()
            self._history.held[self._name] -= 1


# --- The lobby ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Lobby:
    """Rooms, and a way in."""

    house: House
    history: MoodyHistory
    rooms: Rooms
    nursery: trio.Nursery  # the rooms'
    outside: trio.Nursery  # the guests'
    line: Line
    guests: list[Guest] = field(default_factory=list)
    wrap: Callable[[Arrival], Arrival] = lambda arrival: arrival  # what a test puts around them

    async def arrive(
        self,
        room: str = "lobby",
        name: str | None = None,
        *,
        line: Line | None = None,
        dialect: Dialect = Dialect.V1,
        since: int | None = None,
        epoch: object = None,
        history: int = 50,
        resume: object = None,
        answers_close: bool = True,
    ) -> Guest:
        """Send somebody in; the handshake and all the rest is still to come."""
        peer = f"guest:{len(self.guests) + 1}"
        stream, transport = await (line or self.line)(peer)
        guest = Guest(stream, self.outside, self.check, answers_close)
        self.guests.append(guest)
        guest.resume()
        request = JoinRequest(
            name,
            since,
            None if epoch is None else str(epoch),
            history,
            None if resume is None else str(resume),
        )
        house = self.house
        opening = Opening("dGhlIHNhbXBsZSBub25jZQ==", dialect.value)
        wire = Wire(transport, house.config, house.ledger, house.outboxes, opening)
        visit = Visit(house, wire, dialect, request, peer)
        house.crowd.enter(peer)
        try:
            self.rooms.admit(room, self.wrap(visit))
        except Ended as full:
            house.crowd.leave(peer)
            self.nursery.start_soon(visit.turn_away, full.ending)
        return guest

    async def join(
        self,
        room: str = "lobby",
        name: str | None = None,
        *,
        line: Line | None = None,
        since: int | None = None,
        epoch: object = None,
        history: int = 50,
        resume: object = None,
        answers_close: bool = True,
    ) -> Guest:
        """Send a v1 client in, and wait for its welcome."""
        guest = await self.arrive(
            room,
            name,
            line=line,
            since=since,
            epoch=epoch,
            history=history,
            resume=resume,
            answers_close=answers_close,
        )
        await guest.hear("welcome")
        return guest

    async def join_plain(self, room: str = "lobby", *, line: Line | None = None) -> Guest:
        """Send a client of the tutorial in. It is never told that it is in, so it says so."""
        guest = await self.arrive(room, line=line, dialect=Dialect.PLAIN)
        await guest.say("here")
        await guest.until_heard("here")
        return guest

    def check(self) -> None:
        """See that the books balance: they do whenever anybody but the hub can look."""
        assert self.house.ledger.balances, str(self.house.ledger)

    def room(self, name: str = "lobby") -> Room:
        room = self.rooms.get(name)
        assert room is not None
        return room

    async def quiet(self) -> None:
        """Wait until nobody in this process has anything to do, and look into the books."""
        await trio.testing.wait_all_tasks_blocked()
        self.check()


def build_house(config: Config, history: History) -> House:
    return House(
        config=config,
        history=history,
        ledger=Ledger(),
        tally=Tally(),
        outboxes=Outboxes(config.outboxes),
        heartbeat=Heartbeat(config),
        crowd=Crowd(limit=0, limit_per_address=0),
    )


@asynccontextmanager
async def open_lobby(
    config: Config | None = None, *, line: Line = memory, clock: Callable[[], float] = time.time
) -> AsyncIterator[Lobby]:
    """Open rooms. When the block ends, everybody goes, and the books are looked into."""
    config = config or Config(rate=0)
    history = MoodyHistory(MemoryHistory(config.retention, config.keep_total, clock))
    house = build_house(config, history)
    closing, closed = trio.Event(), trio.Event()

    async def hold_rooms(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        # In a task of their own, so that a test that cancels them does not cancel itself.
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await closing.wait()
        closed.set()

    async with trio.open_nursery() as outside:
        nursery: trio.Nursery = await outside.start(hold_rooms)
        rooms = Rooms(nursery, config, history, house.ledger, house.tally)
        lobby = Lobby(house, history, rooms, nursery, outside, line)
        yield lobby
        for guest in lobby.guests:
            await guest.vanish()
        # Nobody is there any more, so it takes no longer than a closing handshake.
        closing.set()
        with trio.move_on_after(PATIENCE):
            await closed.wait()
        assert closed.is_set(), "a room did not end"
        outside.cancel_scope.cancel()
    assert history.held.total() == 0, history.open
    expect_nobody(house, rooms)


def expect_nobody(house: House, rooms: Rooms) -> None:
    """See that everything is as if nobody had ever been here."""
    assert rooms.counts() == {}
    assert house.crowd.size == 0
    assert len(house.heartbeat) == 0
    assert house.outboxes.size == 0
    assert house.ledger.waiting == 0
    assert house.ledger.balances, str(house.ledger)
    assert house.tally.endings.total() >= house.tally.sessions


def in_one_order(guests: Sequence[Guest]) -> list[JSON]:
    """See that all heard the same messages in the same order, without a gap; return those."""
    first = guests[0].events("message")
    for guest in guests:
        assert guest.events("message") == first
    numbers = [number(event) for event in first]
    assert numbers == [*range(numbers[0], numbers[0] + len(numbers))] if numbers else True
    return first
