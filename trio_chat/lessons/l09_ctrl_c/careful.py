"""The twin with care: all are told at the same time, not for ever; then all is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..asyncio_chat.careful import Chat
from ..asyncio_chat.peers import Peer, settle
from .deaf_peers import GOODBYE, full_house, told

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

DRAIN: Final = 0.05  # seconds


async def serve(everybody: list[Peer]) -> None:
    """Serve until Ctrl-C, and end in order."""
    chat = Chat()
    for peer in everybody:
        chat.accept(peer)
    try:
        await asyncio.Event().wait()
    finally:
        await say_goodbye(everybody)
        for name in list(chat.rooms):
            await chat.close_room(name)


async def say_goodbye(everybody: list[Peer]) -> None:
    """Tell everybody, all at the same time; who has not taken it when the time is over has not."""
    goodbyes = [
        asyncio.create_task(peer.write(GOODBYE), name=f"goodbye {peer.name}") for peer in everybody
    ]
    _, waiting = await asyncio.wait(goodbyes, timeout=DRAIN)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*goodbyes, return_exceptions=True)


async def press_ctrl_c(bench: TwinBench) -> Mapping[str, int]:
    """Count who was told, how many signals it took, and which tasks are left."""
    bench.watch()
    everybody, before = full_house(), len(bench.living())
    main = asyncio.create_task(serve(everybody), name="serve")
    await settle()
    bench.mark("Ctrl-C")
    main.cancel()  # At Ctrl-C asyncio.run does just this.
    with suppress(asyncio.CancelledError):
        await main
    return {"told": told(everybody), "signals": 1, "left": len(bench.living()) - before}
