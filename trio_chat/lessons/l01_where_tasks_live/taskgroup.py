"""The twin with TaskGroup: 48 people come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import peers, settle
from ..asyncio_chat.taskgroup import Chat

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def come_and_go(bench: TwinBench) -> Mapping[str, int]:
    """Count who outlives the task that created them, and who had to be cancelled."""
    bench.watch()
    chat = Chat()
    async with asyncio.TaskGroup() as group:
        server = group.create_task(chat.run(), name="server")
        everybody = peers(("blue", "green", "red"), 16)
        for peer in everybody:
            chat.accept(peer)
        await settle()

        bench.mark("everybody leaves")
        for peer in everybody:
            peer.leave()
        await settle()
        assert not chat.rooms, "by the table, nobody is there"
        counts = {
            "tasks": bench.created,
            "orphans": len(bench.orphans()),
            "cancelled": bench.cancelled,
        }
        server.cancel()
    return counts
