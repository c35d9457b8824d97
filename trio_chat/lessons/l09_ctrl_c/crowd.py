"""A crowd at the other end of TCP: most answer a goodbye, and some never do.

Each member is a task that lives until its line is closed. Who is deaf takes what comes, and answers
nothing.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

import trio

from ...frames import FINAL_CLOSE, MASKED

ENTER: Final = (
    "GET /ws/chat/{room}/?name={name} HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{dialect}\r\n"
)
NAMED: Final = "Sec-WebSocket-Protocol: trio-chat.v1\r\n"
GOODBYE: Final = bytes([FINAL_CLOSE, MASKED | 2, 0, 0, 0, 0]) + (1001).to_bytes(2, "big")
FILES: Final = 256  # that this process needs besides a socket for each member


class Crowd:
    """Members of several rooms, a hundred in each; who comes first is deaf."""

    def __init__(self, port: int, rooms: int, members: int) -> None:
        self._port = port
        self._rooms = rooms
        self._members = members
        self._inside = 0
        self._all_inside = trio.Event()
        self._all_told = trio.Event()
        self.told = 0  # who heard a goodbye, with 1001

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Bring everybody in, and stay until all lines are closed."""
        allow_files(self._rooms * self._members + FILES)
        async with trio.open_nursery() as nursery:
            for number in range(self._rooms):
                nursery.start_soon(self._fill, f"room-{number}", nursery, name=f"to {number}")
            await self._all_inside.wait()
            task_status.started()

    async def wait_told(self) -> None:
        """Wait until everybody has heard a goodbye."""
        await self._all_told.wait()

    async def _fill(self, room: str, nursery: trio.Nursery) -> None:
        line = await self._enter(room, f"deaf-{room.removeprefix('room-')}", NAMED)
        nursery.start_soon(self._stay, line, b"", name=f"deaf member of {room}")
        for _ in range(self._members - 1):
            line = await self._enter(room, "", "")
            nursery.start_soon(self._stay, line, GOODBYE, name=f"member of {room}")

    async def _enter(self, room: str, name: str, dialect: str) -> trio.SocketStream:
        line = await trio.open_tcp_stream("127.0.0.1", self._port)
        await line.send_all(ENTER.format(room=room, name=name, dialect=dialect).encode())
        read = b""
        while b"\r\n\r\n" not in read or (name and b'"welcome"' not in read):
            part = await line.receive_some()
            assert part, f"{room} has no place for a member: {read!r}"
            read += part
        self._inside += 1
        if self._inside == self._rooms * self._members:
            self._all_inside.set()
        return line

    async def _stay(self, line: trio.SocketStream, answer: bytes) -> None:
        # Until the server closes the line, or the process is gone.
        async with line:
            with suppress(trio.BrokenResourceError):
                await self._wait_goodbye(line)
                await line.send_all(answer)
                while await line.receive_some():
                    pass

    async def _wait_goodbye(self, line: trio.SocketStream) -> None:
        # Nobody says anything, so this is the only frame that comes.
        while data := await line.receive_some():
            if bytes([FINAL_CLOSE]) in data and (1001).to_bytes(2, "big") in data:
                self.told += 1
                break
        if self.told == self._rooms * self._members:
            self._all_told.set()


def allow_files(number: int) -> None:
    """Let this process have so many files open, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
