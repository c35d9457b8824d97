"""The other side of the twins: people who connect over TCP, and a history that is slow to open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

HOST: Final = "127.0.0.1"
GUESTS: Final = 16
WELCOME: Final = b"welcome\n"

Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class History:
    """All rooms' pasts. None can be opened before `gate` is set; `opened` counts the rooms."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.opened = 0

    async def open_room(self) -> None:
        """Open one room's past."""
        self.opened += 1
        await self.gate.wait()


class Guestbook:
    """Who has asked for which room, as a server would log it. It holds their history as well."""

    def __init__(self) -> None:
        self.history = History()
        self.complete = asyncio.Event()  # All have asked.
        self._lines: list[str] = []

    def note(self, line: str) -> None:
        """Write down a room that somebody asks for."""
        self._lines.append(line)
        if len(self._lines) == GUESTS:
            self.complete.set()


async def call_at_once(server: asyncio.Server, book: Guestbook) -> list[Caller]:
    """Let 16 people ask for one room, and wait until each is told welcome."""
    port: int = server.sockets[0].getsockname()[1]
    callers = [await asyncio.open_connection(HOST, port) for _ in range(GUESTS)]
    for _, writer in callers:
        writer.write(b"green\n")
    await book.complete.wait()
    book.history.gate.set()
    for reader, _ in callers:
        assert await reader.readline() == WELCOME
    return callers


async def hang_up(bench: TwinBench, callers: list[Caller]) -> None:
    """Let everybody go, and wait until the last handler has noticed."""
    bench.mark("everybody hangs up")
    for _, writer in callers:
        writer.close()
    await asyncio.gather(*running(bench))


def running(bench: TwinBench) -> list[asyncio.Task[Any]]:
    """Return the handlers that have not ended."""
    return [task for task in bench.living() if getattr(task.get_coro(), "__name__", "") == "handle"]
