"""Callers who do things by hand: say nothing, say half a thing, or stop reading.

A caller is a line to the server's door. It takes what comes, answers nothing by itself, and notes
when the line is closed. It lives in the nursery that is given.
"""

from __future__ import annotations

import math

import trio
import trio.testing

from ...protocol import Dialect
from ...transport import StreamTransport
from ...venue import Venue

ROOM = "green"
SHAKE_HANDS = (
    "GET /ws/chat/{room}/?name={name} HTTP/1.1\r\nHost: lesson.test\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {dialect}\r\n\r\n"
)
BEGINNING = b"\x01\x82\0\0\0\0Hi"  # A frame of text; a further one is to follow.


class Caller:
    """Somebody on the line. `closed` is the time at which the line was, once it is."""

    def __init__(self, name: str, venue: Venue, nursery: trio.Nursery) -> None:
        self._venue = venue
        self._nursery = nursery
        self._theirs, self._ours = trio.testing.memory_stream_pair()
        self._portions = math.inf  # that go through before the line stands still
        self.name = name
        self.closed = math.inf

    async def call(self, words: bytes = b"") -> None:
        """Connect, and say this much."""
        self._ours.send_stream.send_all_hook = self._let_through
        transport = StreamTransport(self._ours, "memory:0")
        self._nursery.start_soon(self._venue.server.meet, transport, name="door")
        self._nursery.start_soon(self._take, name=f"caller {self.name}")
        await self.say(words)

    async def join(self) -> None:
        """Connect, and ask for a place in the room."""
        words = SHAKE_HANDS.format(room=ROOM, name=self.name, dialect=Dialect.V1.value)
        await self.call(words.encode())

    async def say(self, words: bytes) -> None:
        """Send bytes."""
        await self._theirs.send_all(words)

    def stop_reading(self, *, after: int = 0) -> None:
        """Let so many portions through, and then nothing: who sends has to wait."""
        self._portions = after

    async def _let_through(self) -> None:
        self._portions -= 1
        if self._portions < 0:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    async def _take(self) -> None:
        while await self._theirs.receive_some():
            pass
        self.closed = trio.current_time()
