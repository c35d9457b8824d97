"""An independent client that talks, and writes down all it was told; and the books over many.

It speaks `trio-chat.v1` with the WebSocket protocol of `websockets`, and shares no code with the
server or its client. What it says has an id. What is refused, or is not answered before the
connection ends, it says again with the same id until it is accepted: the contract asks for that.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

JSON = dict[str, Any]

PATIENCE: Final = 30  # seconds: what has not come by then does not come
WINDOW: Final = 32  # messages without an answer, after which it says nothing more
AGAIN: Final = 0.2  # seconds until something is tried again

V1: Final = [Subprotocol("trio-chat.v1")]


# --- A connection --------------------------------------------------------------------------------


class Closed(Exception):
    """The connection has ended, with this code; 1006 is an end without a goodbye."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Line:
    """One WebSocket connection over a Trio stream."""

    def __init__(
        self, stream: trio.abc.Stream, url: str, subprotocols: Sequence[Subprotocol] | None
    ) -> None:
        self._stream = stream
        self._protocol = ClientProtocol(parse_uri(url), subprotocols=subprotocols)
        self._heard: deque[JSON] = deque()
        self._one_at_a_time = trio.StrictFIFOLock()

    async def shake_hands(self) -> None:
        """Ask for the upgrade.

        Raises:
            Closed: the connection ended first.
        """
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        while self._protocol.state is State.CONNECTING:
            await self._receive()
            wrong = self._protocol.handshake_exc
            assert not isinstance(wrong, InvalidStatus), f"refused: {wrong}"
            if wrong is not None:
                raise Closed(1006) from wrong

    async def say(self, event: JSON) -> None:
        """Send one event. Where the connection has ended, whoever hears will see it."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(json.dumps(event).encode())
            await self._flush()

    async def hear(self) -> JSON:
        """Return the next event.

        Raises:
            Closed: there is none.
        """
        while not self._heard:
            if self._protocol.close_code is not None:
                raise Closed(self._protocol.close_code)
            await self._receive()
        return self._heard.popleft()

    async def close(self) -> None:
        """Say goodbye. Whoever hears will see the end."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            await self._flush()

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        wrong = self._protocol.parser_exc
        assert wrong is None or isinstance(wrong, EOFError), f"the server broke RFC 6455: {wrong}"
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._heard.append(json.loads(bytes(event.data)))
        await self._flush()  # The answer to a ping, or to a goodbye.

    async def _flush(self) -> None:
        async with self._one_at_a_time:
            if data := b"".join(self._protocol.data_to_send()):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_all(data)


@asynccontextmanager
async def open_line(
    url: str, subprotocols: Sequence[Subprotocol] | None = V1
) -> AsyncIterator[Line]:
    """Open a WebSocket connection; at the end of the block it is broken off.

    Raises:
        OSError: nobody is there.
    """
    parts = urlsplit(url)
    stream = await trio.open_tcp_stream(str(parts.hostname), int(parts.port or 0))
    try:
        line = Line(stream, url, subprotocols)
        await line.shake_hands()
        yield line
    finally:
        await trio.aclose_forcefully(stream)


# --- A witness -----------------------------------------------------------------------------------


class Heard(NamedTuple):
    """A message, as somebody heard it."""

    seq: int
    time: float
    name: str | None
    text: str
    id: str | None


class Ack(NamedTuple):
    """What somebody was told about a message of theirs."""

    epoch: str
    id: str
    seq: int
    duplicate: bool


@dataclass(slots=True)
class Chapter:
    """One connection, from its welcome on."""

    welcome: JSON
    begin: int  # the number after which it is to hear everything
    messages: list[Heard] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    news: list[JSON] = field(default_factory=list)  # joins, leaves, typing
    events: list[JSON] = field(default_factory=list)  # everything, as it came

    @property
    def epoch(self) -> str:
        return str(self.welcome["epoch"])

    @property
    def at(self) -> int:
        """The number up to which everything was heard."""
        return self.messages[-1].seq if self.messages else self.begin


class Witness:
    """A member of a room. `addresses` are the nodes' rooms, the first tried first.

    With `history=0`, it hears what is said from its coming on.
    """

    def __init__(self, addresses: Sequence[str], **query: str | int) -> None:
        self._addresses = itertools.cycle(addresses)
        self._query: dict[str, str | int] = {"history": 0, **query}
        self._line: Line | None = None
        self._connection = trio.CancelScope()
        self._changed = trio.Event()
        self._comes_back = True
        self.chapters: list[Chapter] = []
        self.endings: list[int] = []  # the close code of each connection that was made
        self.refused: list[JSON] = []  # errors
        self.said: dict[str, str] = {}  # the text by id
        self.muttered: set[str] = set()  # what was said without an id
        self.waiting: dict[str, None] = {}  # the ids of what was said and is not accepted yet
        self.over = False

    # --- What it knows ---

    @property
    def welcome(self) -> JSON:
        """The last one."""
        return self.chapters[-1].welcome

    @property
    def name(self) -> str:
        return str(self.welcome["name"])

    @property
    def at(self) -> int:
        """The number up to which it has heard everything."""
        return self.chapters[-1].at

    @property
    def news(self) -> list[JSON]:
        return [event for chapter in self.chapters for event in chapter.news]

    @property
    def acks(self) -> list[Ack]:
        return [ack for chapter in self.chapters for ack in chapter.acks]

    def acks_of(self, epoch: str) -> list[Ack]:
        """The answers to what it said in an epoch."""
        return [ack for ack in self.acks if ack.epoch == epoch]

    @property
    def members(self) -> list[str]:
        """Who is in the room, by all that it was told since it came here."""
        names = set(self.welcome["members"])
        for event in self.chapters[-1].news:
            match event["type"]:
                case "join":
                    assert event["name"] not in names, f"a join of who is there: {event}"
                    names.add(event["name"])
                case "leave":
                    names.remove(event["name"])
        return sorted(names)

    def heard(self, epoch: str | None = None) -> list[Heard]:
        """Everything heard in an epoch, or in all."""
        chapters = [each for each in self.chapters if epoch in (None, each.epoch)]
        return [message for chapter in chapters for message in chapter.messages]

    def comings(self, kind: str) -> list[str]:
        """The names of which it was told that they `join`ed, or the like."""
        return [str(event["name"]) for event in self.news if event["type"] == kind]

    async def until(self, so: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever something was heard or said."""
        with trio.move_on_after(PATIENCE) as patience:
            while not so():
                await self._changed.wait()
        assert not patience.cancelled_caught, f"in {PATIENCE} s it did not come to that: {self}"

    def __repr__(self) -> str:
        told = self.chapters[-1] if self.chapters else None
        return (
            f"<{told and self.name} at {told and self.at}: {len(self.waiting)} waiting, "
            f"{len(self.acks)} acks, {len(self.refused)} refused, endings {self.endings}, "
            f"news {self.news[-5:]}>"
        )

    # --- What it does ---

    async def live(self) -> None:
        """Be in the room, and come back to it with `since` and `resume`, until it leaves."""
        while self._comes_back:
            with trio.CancelScope() as self._connection:
                try:
                    await self._attend(next(self._addresses))
                except OSError:
                    pass  # That node is not there, perhaps another is.
                except Closed as end:
                    self._end(end)
                if self._comes_back:
                    await trio.sleep(AGAIN)
            self._line = None
        self.over = True
        self._change()

    async def _attend(self, address: str) -> None:
        query = {**self._query}
        if self.chapters:
            told = self.welcome
            query |= {"since": self.at, "epoch": told["epoch"], "resume": told["resume"]}
        url = f"{address}?{urlencode(query, quote_via=quote)}"
        async with open_line(url) as line:
            welcome = await line.hear()
            assert welcome["type"] == "welcome", welcome
            self.chapters.append(Chapter(welcome, _begin(query, welcome)))
            # From here on it says everything itself; what was said before comes first.
            unanswered, self._line = list(self.waiting), line
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_again, line, unanswered)
                self._change()
                try:
                    await self._hear(line, nursery)
                except Closed as end:
                    self._end(end)
                    nursery.cancel_scope.cancel(reason="the connection has ended")

    async def _hear(self, line: Line, nursery: trio.Nursery) -> None:
        while True:
            event = await line.hear()
            if event["type"] == "error" and event.get("id") in self.waiting:
                nursery.start_soon(self._say_later, line, event["id"])
            self._note(event)

    def _end(self, end: Closed) -> None:
        self.endings.append(end.code)
        self._line = None
        self._change()

    async def _say_again(self, line: Line, ids: Iterable[str]) -> None:
        for id in ids:
            if id in self.waiting:
                await line.say({"message": self.said[id], "id": id})

    async def _say_later(self, line: Line, id: str) -> None:
        await trio.sleep(AGAIN)
        await self._say_again(line, [id])

    def _note(self, event: JSON) -> None:
        chapter = self.chapters[-1]
        chapter.events.append(event)
        match event["type"]:
            case "message":
                seq, time, name = event["seq"], event["time"], event["name"]
                chapter.messages.append(Heard(seq, time, name, event["message"], event.get("id")))
            case "ack":
                self.waiting.pop(event["id"], None)
                ack = Ack(chapter.epoch, event["id"], event["seq"], event["duplicate"])
                chapter.acks.append(ack)
            case "error":
                self.refused.append(event)
            case _:
                chapter.news.append(event)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def say(self, text: str, id: str | None = None) -> str:
        """Say something; return its id. It counts as waiting until it is accepted."""
        id = id or uuid.uuid4().hex
        self.said[id] = text
        self.waiting[id] = None
        self._change()
        if self._line is not None:
            await self._line.say({"message": text, "id": id})
        return id

    async def mutter(self, text: str) -> None:
        """Say something without an id: it may be lost, but not be heard twice."""
        self.muttered.add(text)
        if self._line is not None:
            await self._line.say({"message": text})

    async def say_and_hear(self, text: str, id: str | None = None) -> Ack:
        """Say something, and return the answer."""
        before = len(self.acks)
        id = await self.say(text, id)
        await self.until(lambda: any(ack.id == id for ack in self.acks[before:]))
        return next(ack for ack in self.acks[before:] if ack.id == id)

    async def send(self, event: JSON) -> None:
        """Send any event."""
        assert self._line is not None
        await self._line.say(event)

    async def talk(self, rate: float, enough: trio.Event) -> None:
        """Say so many messages a second, as long as they are answered, until it is enough.

        The pace is a limit for the load. Nothing is concluded from it.
        """
        due = trio.current_time()
        while not enough.is_set():
            due = max(due + 1 / rate, trio.current_time())
            await trio.sleep_until(due)
            if len(self.waiting) < WINDOW and not enough.is_set():
                await self.say(f"{len(self.said)} of {self.name}")
                if not enough.is_set():
                    await self.mutter(f"{len(self.muttered)} of {self.name}, muttered")

    async def leave(self) -> None:
        """Say goodbye, and wait for the end."""
        self._comes_back = False
        if self._line is not None:
            await self._line.close()
        await self.until(lambda: self.over)

    def will_not_come_back(self) -> None:
        """Be over with the end of this connection."""
        self._comes_back = False

    def lose_connection(self) -> None:
        """Break off without a goodbye, and come back at once, to the next node."""
        self._connection.cancel(reason="it breaks off")


def _begin(query: Mapping[str, str | int], welcome: JSON) -> int:
    """Return after which number a member hears everything, where nothing was trimmed."""
    if welcome["recovered"]:
        return int(query["since"])
    return max(0, int(welcome["seq"]) - int(query["history"]))


# --- The books -----------------------------------------------------------------------------------


def agree(witnesses: Sequence[Witness], epoch: str) -> list[Heard]:
    """See that all tell the same story of an epoch; return it, in the room's order.

    One order: a number is the same message to everybody. No gaps, no doubles: each heard every
    number once, from its coming on, over all of its connections. Nothing invented: what was heard
    was said, once.
    """
    order: dict[int, Heard] = {}
    for witness in witnesses:
        chapters = [chapter for chapter in witness.chapters if chapter.epoch == epoch]
        heard = witness.heard(epoch)
        for message in heard:
            assert order.setdefault(message.seq, message) == message, "there are two orders"
        if chapters:
            begin = chapters[0].begin
            numbers = [message.seq for message in heard]
            for before, after in pairwise(chapters):
                resumed = after.welcome["recovered"] and after.begin == before.at
                assert resumed, f"from {before.at} on was asked for: {after.welcome}"
            assert numbers == [*range(begin + 1, begin + 1 + len(numbers))], f"gaps: {witness}"
    story = [order[seq] for seq in sorted(order)]
    times = [message.time for message in story]
    assert times == sorted(times), "time fell"
    said = {id: text for witness in witnesses for id, text in witness.said.items()}
    muttered = {text for witness in witnesses for text in witness.muttered}
    for message in story:
        known = message.text in muttered if message.id is None else said[message.id] == message.text
        assert known, f"nobody has said that: {message}"
    once = [message.id or message.text for message in story]
    assert len(once) == len(set(once)), "something was published twice"
    return story


def balance(witnesses: Sequence[Witness], epoch: str) -> list[Heard]:
    """See that they agree, and that nothing is missing; return their story.

    What was acknowledged was heard, under that number. Whoever is still there has heard everything.
    """
    story = agree(witnesses, epoch)
    order = {message.seq: message.id for message in story}
    for witness in witnesses:
        assert witness.over or witness.at == story[-1].seq, f"it does not hear the end: {witness}"
        for chapter in witness.chapters:
            if chapter.epoch == epoch:
                acks = chapter.acks
                assert [ack for ack in acks if order.get(ack.seq) != ack.id] == [], "never heard"
                numbers = [ack.seq for ack in acks if not ack.duplicate]
                assert numbers == sorted(numbers), "acks are out of order"
    return story
