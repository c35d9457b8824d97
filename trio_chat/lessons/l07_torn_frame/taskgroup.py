"""The twin with TaskGroup and `asyncio.timeout`: the cleanup has a deadline, and no shield."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .careful import say_goodbye
from .line import LONG, frame, open_line

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

CLOSE_TIMEOUT = 5.0  # seconds


async def session(writer: asyncio.StreamWriter) -> None:
    """Send a long line, and say goodbye, within the time for closing."""
    writer.write(frame(LONG))
    try:
        await writer.drain()
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await say_goodbye(writer)
        finally:
            writer.transport.abort()  # Whatever is still in the buffer is dropped.


async def hold(writer: asyncio.StreamWriter, evict: asyncio.Event) -> None:
    """Hold a session in a group; end it when it is to be evicted."""
    async with asyncio.TaskGroup() as group:
        member = group.create_task(session(writer), name="session")
        await evict.wait()
        member.cancel()


async def cancel_twice(bench: TwinBench) -> Mapping[str, int]:
    """Evict a session in the middle of a frame; while it cleans up, its group is cancelled."""
    bench.watch()
    end, peer = open_line()
    _, writer = await asyncio.open_connection(sock=end)
    evict = asyncio.Event()
    group = asyncio.create_task(hold(writer, evict), name="group")
    reader = asyncio.create_task(peer.take(), name="peer")
    await peer.in_the_middle.wait()

    bench.mark("evict the session, in the middle of a frame")
    evict.set()
    await settle()
    bench.mark("cancel its group as well: the server ends")
    group.cancel()
    await asyncio.gather(group, return_exceptions=True)
    orphans = len(bench.orphans())

    bench.mark("the peer reads on")
    peer.reads_on.set()
    found = await reader
    return {"orphans": orphans, "torn": found["torn"], "goodbyes": found["goodbyes"]}
