"""The twin with TaskGroup, twice: `start_server` in the body of a group, and handlers in a group.

A group can't be cancelled from within up to Python 3.14. As its documentation advises, an exception
of our own ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .callers import HOST, Caller, Guestbook, call_at_once, hang_up, running
from .naive import Chat

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


class Stop(Exception):
    """It is time to end the group."""


async def serve_beside() -> list[Caller]:
    """Start the server in the body of a group, and end the group when all are in."""
    book, callers = Guestbook(), list[Caller]()
    try:
        async with asyncio.TaskGroup():
            server = await asyncio.start_server(Chat(book).handle, HOST)
            callers += await call_at_once(server, book)
            server.close()
            raise Stop
    except* Stop:
        pass
    return callers


async def serve_inside() -> list[Caller]:
    """Have each handler created in the group, by a plain function."""
    book, callers = Guestbook(), list[Caller]()
    chat = Chat(book)
    try:
        async with asyncio.TaskGroup() as group:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.create_task(chat.handle(reader, writer))

            server = await asyncio.start_server(accept, HOST)
            callers += await call_at_once(server, book)
            server.close()
            raise Stop
    except* Stop:
        pass
    return callers


async def knock_and_enter(bench: TwinBench) -> Mapping[str, int]:
    """Count which handlers run when the group has ended."""
    bench.watch()
    bench.mark("a group, with start_server in its body")
    callers = await serve_beside()
    outside = len(running(bench))
    await hang_up(bench, callers)

    bench.mark("a group, in which each handler is created")
    callers = await serve_inside()
    inside = len(running(bench))
    await hang_up(bench, callers)
    return {"outside": outside, "inside": inside}
