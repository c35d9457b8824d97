"""A room's past, page by page, the next one fetched meanwhile: three times, and two are wrong.

A generator stands still at its `yield` until somebody asks it for more. Whatever it has opened by
then stays open, in the task that asked last. Nobody has to ask again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from ...history import RoomLog
from ...protocol import Entry

Page = Sequence[Entry]

ENTRIES: Final = 2  # on a page
PATIENCE: Final = 1.0  # seconds, for a page to be read


async def read_pages(log: RoomLog) -> AsyncIterator[Page]:
    """Yield a room's pages. Wrong: a nursery is open at the `yield`."""
    pages, fetched = trio.open_memory_channel[Page](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch, log, pages, name="read ahead")
        async for page in fetched:
            yield page  # noqa: ASYNC101, ASYNC119 - this is what the lesson is about


async def read_pages_in_time(log: RoomLog) -> AsyncIterator[Page]:
    """Yield a room's pages, each read in time. Wrong: a scope is open at the `yield`."""
    after = 0
    while after < log.last:
        with trio.move_on_after(PATIENCE):
            page = await log.read(after, log.last, ENTRIES)
            after = page[-1].seq
            yield page  # noqa: ASYNC101, ASYNC119 - this is what the lesson is about


@asynccontextmanager
async def open_pages(log: RoomLog) -> AsyncIterator[trio.MemoryReceiveChannel[Page]]:
    """Open a room's pages. Right: whoever enters the block also leaves it."""
    pages, fetched = trio.open_memory_channel[Page](0)
    with fetched:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, log, pages, name="read ahead")
            yield fetched
            nursery.cancel_scope.cancel(reason="enough was read")


async def fetch(log: RoomLog, pages: trio.MemorySendChannel[Page]) -> None:
    """Fetch page after page, each as soon as the one before was taken."""
    after = 0
    with pages:
        while after < log.last:
            page = await log.read(after, log.last, ENTRIES)
            await pages.send(page)
            after = page[-1].seq
