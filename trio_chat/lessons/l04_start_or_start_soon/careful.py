"""The twin with care: a lock for each room, and a set of the handlers that run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .callers import GUESTS, HOST, WELCOME, Guestbook, call_at_once, hang_up, running

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


class Chat:
    """The server: whoever is in a room, by its name."""

    def __init__(self, book: Guestbook) -> None:
        self.book = book
        self.rooms: dict[str, list[asyncio.StreamWriter]] = {}
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.handlers: set[asyncio.Task[Any]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be in a room until the peer hangs up."""
        task = asyncio.current_task()
        assert task is not None
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        try:
            name = (await reader.readline()).decode().strip()
            self.book.note(name)
            room = await self.find(name)
            room.append(writer)
            try:
                writer.write(WELCOME)
                await reader.read()
            finally:
                room.remove(writer)
        finally:
            writer.close()

    async def find(self, name: str) -> list[asyncio.StreamWriter]:
        """Return the room of that name; open it if it isn't."""
        async with self.locks[name]:
            if name not in self.rooms:
                await self.book.history.open_room()
                self.rooms[name] = []
        return self.rooms[name]

    async def aclose(self) -> None:
        """Cancel every handler, and wait until all of them are over."""
        handlers = list(self.handlers)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def knock_and_enter(bench: TwinBench) -> Mapping[str, int]:
    """Let 16 come at once, close the server, and count rooms and handlers."""
    bench.watch()
    book = Guestbook()
    chat = Chat(book)
    server = await asyncio.start_server(chat.handle, HOST)
    bench.mark("16 ask for the room green at once")
    callers = await call_at_once(server, book)

    bench.mark("the server is closed, and its handlers are cancelled")
    server.close()
    await chat.aclose()
    counts = {"rooms": book.history.opened, "guests": GUESTS, "running": len(running(bench))}
    await hang_up(bench, callers)
    return counts
