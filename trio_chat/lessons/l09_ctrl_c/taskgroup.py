"""The twin with TaskGroup: the goodbyes are a group under a deadline, within the chat's group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import Peer, settle
from ..asyncio_chat.taskgroup import Chat
from .careful import DRAIN
from .deaf_peers import GOODBYE, full_house, told

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def serve(everybody: list[Peer]) -> None:
    """Serve until Ctrl-C, and end in order."""
    async with asyncio.TaskGroup() as group:
        chat = Chat()
        server = group.create_task(chat.run(), name="server")
        for peer in everybody:
            chat.accept(peer)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await say_goodbye(everybody)
        server.cancel()


async def say_goodbye(everybody: list[Peer]) -> None:
    """Tell everybody, all at the same time; who has not taken it when the time is over has not."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN), asyncio.TaskGroup() as group:
            for peer in everybody:
                group.create_task(peer.write(GOODBYE), name=f"goodbye {peer.name}")


async def press_ctrl_c(bench: TwinBench) -> Mapping[str, int]:
    """Count who was told, how many signals it took, and which tasks are left."""
    bench.watch()
    everybody, before = full_house(), len(bench.living())
    main = asyncio.create_task(serve(everybody), name="serve")
    await settle()
    bench.mark("Ctrl-C")
    main.cancel()  # At Ctrl-C asyncio.run does just this.
    await main
    return {"told": told(everybody), "signals": 1, "left": len(bench.living()) - before}
