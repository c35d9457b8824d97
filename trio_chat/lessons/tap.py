"""A guest whose line has a tap: while it is shut nothing is read, and what the server sends waits.

The line is a lockstep stream. It holds no byte on the way, so the server's writer stands still in
the very step in which the guest stops reading. The guest lives in the nursery that is given.
"""

from __future__ import annotations

import math
from typing import Final

import trio
import trio.testing

from ..transport import StreamTransport
from ..venue import Guest, Venue

PORTION: Final = 16 * 1024  # bytes that are read at once


class Tap(trio.abc.Stream):
    """The guest's end of the line."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._left = math.inf  # bytes that may still be read
        self._turned = trio.Event()
        self._reading = trio.CancelScope()

    def shut(self, *, after: float = 0) -> None:
        """Let so many bytes through, and then nothing."""
        self._turn(after)

    def open(self) -> None:
        """Let everything through, again."""
        self._turn(math.inf)

    def _turn(self, left: float) -> None:
        self._left = left
        self._reading.cancel(reason="the tap was turned")
        self._turned.set()
        self._turned = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Wait until the tap lets something through, and return it.

        If cancelled, no byte is lost.
        """
        while True:
            if not self._left:
                await self._turned.wait()
                continue
            most = int(min(max_bytes or PORTION, self._left))
            with trio.CancelScope() as self._reading:
                data = await self._stream.receive_some(most)
                self._left -= len(data)
                return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send: the tap is for what comes, not for what goes."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the line; whoever reads is told."""
        self.open()
        await self._stream.aclose()


async def join_with_tap(
    venue: Venue, nursery: trio.Nursery, name: str, *, room: str
) -> tuple[Guest, Tap]:
    """Send a client in through a tap, which is open, and return both once the client is inside.

    Raises:
        Disconnected: it could not enter.
    """
    theirs, ours = trio.testing.lockstep_stream_pair()
    tap = Tap(theirs)

    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        transport = StreamTransport(ours, "lockstep:0")
        nursery.start_soon(venue.server.meet, transport, name="door")
        return tap

    guest = await Venue(venue.server, dial, nursery).join_once(name, room=room)
    return guest, tap
