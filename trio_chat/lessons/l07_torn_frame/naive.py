"""The twin as one first writes it: a goodbye in `finally`, whatever happened before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .line import BYE, LONG, frame, open_line

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def session(end: socket.socket) -> None:
    """Send a long line, and say goodbye."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(end, frame(LONG))
    finally:
        await loop.sock_sendall(end, frame(BYE))
        end.close()


async def tear(bench: TwinBench) -> Mapping[str, int]:
    """Cancel a session in the middle of a frame; then the peer reads on."""
    bench.watch()
    end, peer = open_line()
    member = asyncio.create_task(session(end), name="session")
    reader = asyncio.create_task(peer.take(), name="peer")
    await peer.in_the_middle.wait()

    bench.mark("cancel the session, in the middle of a frame")
    member.cancel()
    await settle()
    waiting = len([task for task in bench.living() if task is member])

    bench.mark("the peer reads on")
    peer.reads_on.set()
    found = await reader
    await asyncio.gather(member, return_exceptions=True)
    return {"waiting": waiting, "torn": found["torn"], "goodbyes": found["goodbyes"]}
