"""What the three twins share: two ends of a line, and a peer that takes frames apart.

A frame is four bytes that say how long it is, and the text.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from typing import Final

LONG: Final = b"x" * 4_000_000  # more than a kernel takes: it will be half out
BYE: Final = b"goodbye"


def frame(text: bytes) -> bytes:
    """Return a frame."""
    return struct.pack("!I", len(text)) + text


class Peer:
    """The other end. It stops reading in the middle of the first frame, until it `reads_on`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.in_the_middle = asyncio.Event()
        self.reads_on = asyncio.Event()

    async def take(self) -> Counter[str]:
        """Read up to the end, and count what came: lines, goodbyes, torn frames."""
        loop = asyncio.get_running_loop()
        data = bytearray(await loop.sock_recv(self._end, 100))
        self.in_the_middle.set()
        await self.reads_on.wait()
        while more := await loop.sock_recv(self._end, 1 << 20):
            data += more
        self._end.close()
        return count(bytes(data))


def count(data: bytes) -> Counter[str]:
    """Take frames apart, and count them."""
    found: Counter[str] = Counter()
    while data:
        size = int.from_bytes(data[:4], "big")
        text, data = data[4 : 4 + size], data[4 + size :]
        found["torn" if len(text) < size else "goodbyes" if text == BYE else "lines"] += 1
    return found


def open_line() -> tuple[socket.socket, Peer]:
    """Return our end, and the peer at the other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, Peer(theirs)
