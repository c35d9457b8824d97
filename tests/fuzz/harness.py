"""Plays a session to a running server, in whose room a witness sits, and judges what came of it.

The server is the real one, met over memory streams, in virtual time: a client that falls silent
is waited for to the end.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
import trio.testing

from trio_chat.client import Joined, Left, Message
from trio_chat.config import Config
from trio_chat.testing import Guest, Venue, open_room

from .bending import End, Plan

# By then everybody has gone who says nothing: a ping is asked for and not answered, the close is
# waited for, and the rest is read.
LONGEST: Final = 60.0  # seconds, virtual

LIMITS: Final[dict[str, Any]] = {
    "port": 0,
    "max_message": 200,
    "max_frame": 1500,
    "max_fragments": 8,
    "max_head": 2048,
    "max_errors": 5,
}

FROM_THE_HUB: Final = ("message", "ack", "plain", "error bad-id")
OURS: Final = ("name", "time", "resume", "epoch", "members")  # differ from run to run


@dataclass
class Account:
    """What a session brought about, as far as another run can bring about the same."""

    pages: bytes = b""  # HTTP, up to and with the answer to the handshake
    frames: dict[str, list[Any]] = field(default_factory=dict)  # by kind, in order
    room: list[str] = field(default_factory=list)  # what the witness heard
    crowd: list[str] = field(default_factory=list)  # who came and went, the same


class Player:
    """A client that says the pieces of a plan, and reads whatever comes."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self.heard = b""
        self.over = trio.Event()

    async def listen(self) -> None:
        try:
            while data := await self._stream.receive_some():
                self.heard += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.over.set()

    async def say(self, plan: Plan, *, patient: bool) -> None:
        try:
            for piece in plan.pieces:
                await self._stream.send_all(piece)
                if patient:
                    await trio.testing.wait_all_tasks_blocked()
            if plan.end is End.EOF:
                await self._stream.send_eof()
        except trio.BrokenResourceError:
            pass  # The server has gone first.
        if plan.end is End.CLOSED:
            await self._stream.aclose()


def judge(plan: Plan) -> None:
    """See that a session harms nobody, and means the same with and without the fast lane."""
    fast, slow = (play(plan, patient=True, fast_lane=lane) for lane in (True, False))
    # What the hub still had for it when it went is a matter of who ran first.
    for kind in FROM_THE_HUB:
        ours, theirs = fast.frames.pop(kind, []), slow.frames.pop(kind, [])
        shared = min(len(ours), len(theirs))
        assert ours[:shared] == theirs[:shared], (ours, theirs)
    assert fast == slow, (fast, slow)


def play(plan: Plan, *, patient: bool, fast_lane: bool = True) -> Account:
    """Play a session to a server of its own, and see that it harms nobody.

    `patient`: each piece is sent when the last one is digested.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    with nothing_logged():
        return trio.run(partial(_play, plan, patient, fast_lane), clock=clock)


async def _play(plan: Plan, patient: bool, fast_lane: bool) -> Account:
    async with open_room(Config(**LIMITS, fast_lane=fast_lane)) as venue:
        witness = await venue.join("witness")
        stream = await venue.dial()
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        player = Player(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(player.listen)
            await player.say(plan, patient=patient)
            with trio.fail_after(LONGEST):
                await player.over.wait()
        await stream.aclose()
        await _unharmed(venue, witness)
    account = _take_apart(player.heard)
    for event in witness.heard:
        match event:
            case Message(name=name, text=text) if name != witness.name:
                account.room.append(text)
            case Joined() | Left():
                account.crowd.append(type(event).__name__)
    assert account.crowd.count("Joined") == account.crowd.count("Left")
    return account


async def _unharmed(venue: Venue, witness: Guest) -> None:
    house = venue.server.house
    # Nobody is at the other end any more, so nothing is waited for.
    await trio.testing.wait_all_tasks_blocked()
    assert house.crowd.size == 1
    await witness.say("still here")
    await witness.expect("still here", by=witness.name)
    await trio.testing.wait_all_tasks_blocked()
    assert witness.ended is None
    assert house.tally.faults == 0
    assert house.ledger.balances, str(house.ledger)
    assert (house.ledger.waiting, house.outboxes.size, len(house.heartbeat)) == (0, 0, 1)


def _take_apart(data: bytes) -> Account:
    pages, shaken, rest = data.partition(b"HTTP/1.1 101 ")
    head, _, frames = rest.partition(b"\r\n\r\n")
    account = Account(re.sub(rb"\r\nDate: [^\r]*", b"", pages) + shaken + head)
    while frames:
        first, size, start = frames[0], frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(frames[2:10], "big"), 10
        payload, frames = frames[start : start + size], frames[start + size :]
        assert len(payload) == size, "the server's stream ends inside of a frame"
        kind, what = _frame(first, payload)
        account.frames.setdefault(kind, []).append(what)
        assert kind != "close" or not frames, "something came behind the server's Close"
    return account


def _frame(first: int, payload: bytes) -> tuple[str, Any]:
    match first:
        case 0x81:
            event = json.loads(payload)
            for key in OURS:
                event.pop(key, None)
            code = event.get("code", "")
            kind = event.get("type", "plain" if "message" in event else "error")
            return f"{kind} {code}".rstrip(), event
        case 0x88:  # The sentence is for people: the codec's own counts from its last read.
            return "close", int.from_bytes(payload[:2], "big")
        case 0x89 | 0x8A:
            return ("ping", "pong")[first - 0x89], payload
        case _:
            raise AssertionError(f"the server sends no frame {first:#x}")


class _Loud(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def nothing_logged() -> Iterator[None]:
    """See that nothing is logged as an error."""
    loud, root = _Loud(), logging.getLogger()
    root.addHandler(loud)
    try:
        yield
    finally:
        root.removeHandler(loud)
    assert [record.getMessage() for record in loud.records] == []
