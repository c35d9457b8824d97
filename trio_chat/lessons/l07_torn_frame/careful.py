"""The twin with care: a frame is written whole, and the goodbye is shielded from the cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .line import BYE, LONG, frame, open_line

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def say_goodbye(writer: asyncio.StreamWriter) -> None:
    """Say goodbye behind what waits in the writer's buffer, and close."""
    writer.write(frame(BYE))
    await writer.drain()
    writer.close()


async def session(writer: asyncio.StreamWriter) -> None:
    """Send a long line, and say goodbye."""
    writer.write(frame(LONG))  # All of it is in the buffer now: a cancel can't tear it.
    try:
        await writer.drain()
    finally:
        await asyncio.shield(asyncio.create_task(say_goodbye(writer), name="goodbye"))


async def cancel_twice(bench: TwinBench) -> Mapping[str, int]:
    """Cancel a session in the middle of a frame, and once more, out of impatience."""
    bench.watch()
    end, peer = open_line()
    _, writer = await asyncio.open_connection(sock=end)
    member = asyncio.create_task(session(writer), name="session")
    reader = asyncio.create_task(peer.take(), name="peer")
    await peer.in_the_middle.wait()

    bench.mark("cancel the session, in the middle of a frame")
    member.cancel()
    await settle()
    bench.mark("cancel it once more")
    member.cancel()
    await settle()
    orphans = [task for task in bench.orphans() if task.get_name() == "goodbye"]

    bench.mark("the peer reads on")
    peer.reads_on.set()
    found = await reader
    return {"orphans": len(orphans), "torn": found["torn"], "goodbyes": found["goodbyes"]}
