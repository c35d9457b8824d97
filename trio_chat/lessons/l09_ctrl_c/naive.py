"""The twin as one first writes it: `finally` is where one says goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..asyncio_chat.naive import Chat
from ..asyncio_chat.peers import Peer, settle
from .deaf_peers import GOODBYE, full_house, told

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def serve(everybody: list[Peer]) -> None:
    """Serve until Ctrl-C, and say goodbye to all."""
    chat = Chat()
    for peer in everybody:
        chat.accept(peer)
    try:
        await asyncio.Event().wait()
    finally:
        for room in chat.rooms.values():
            for member in room.members:
                await member.peer.write(GOODBYE)


async def press_ctrl_c(bench: TwinBench) -> Mapping[str, int]:
    """Count who was told, how many signals it took, and which tasks main leaves behind."""
    bench.watch()
    everybody, before, signals = full_house(), len(bench.living()), 0
    main = asyncio.create_task(serve(everybody), name="serve")
    await settle()
    while not main.done():
        signals += 1
        bench.mark("Ctrl-C" if signals == 1 else "and again")
        main.cancel()  # As asyncio.run does at the first one; after a second, it cancels all.
        await settle()
    with suppress(asyncio.CancelledError):
        await main
    return {
        "told": told(everybody),
        "signals": signals,
        "left": len(bench.living()) - before,
        "tasks": bench.created,
    }
