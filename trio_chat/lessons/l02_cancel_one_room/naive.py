"""The twin as one first writes it: one of three rooms is closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.naive import Chat
from ..asyncio_chat.peers import peers, settle

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def close_green(bench: TwinBench) -> Mapping[str, int]:
    """Count the room's tasks before, and those that still run."""
    bench.watch()
    chat = Chat()
    for peer in peers(("blue", "green", "red"), 16):
        chat.accept(peer)
    await settle()
    green = [task for task in bench.living() if "green" in task.get_name()]

    bench.mark("close the room green")
    chat.close_room("green")
    await settle()
    return {"tasks": len(green), "running": sum(not task.done() for task in green)}
