"""The twin as one first writes it: `start_server`, a handler, and a table of rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .callers import GUESTS, HOST, WELCOME, Guestbook, call_at_once, hang_up, running

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


class Chat:
    """The server: whoever is in a room, by its name."""

    def __init__(self, book: Guestbook) -> None:
        self.book = book
        self.rooms: dict[str, list[asyncio.StreamWriter]] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be in a room until the peer hangs up."""
        name = (await reader.readline()).decode().strip()
        self.book.note(name)
        room = await self.find(name)
        room.append(writer)
        try:
            writer.write(WELCOME)
            await reader.read()
        finally:
            room.remove(writer)
            writer.close()

    async def find(self, name: str) -> list[asyncio.StreamWriter]:
        """Return the room of that name; open it if it isn't."""
        if name not in self.rooms:
            await self.book.history.open_room()
            self.rooms[name] = []
        return self.rooms[name]


async def knock_and_enter(bench: TwinBench) -> Mapping[str, int]:
    """Let 16 come at once, close the server, and count rooms and handlers."""
    bench.watch()
    book = Guestbook()
    server = await asyncio.start_server(Chat(book).handle, HOST)
    bench.mark("16 ask for the room green at once")
    callers = await call_at_once(server, book)

    bench.mark("the server is closed")
    server.close()
    counts = {"rooms": book.history.opened, "guests": GUESTS, "running": len(running(bench))}
    await hang_up(bench, callers)
    return counts
