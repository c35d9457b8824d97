"""The twin with TaskGroup: a bug in a session, in a writer and in a hub."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.taskgroup import Chat
from . import three_bugs

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def raise_three_times(bench: TwinBench) -> Mapping[str, int]:
    """Count the log lines, and who is left."""
    bench.watch()
    chat = Chat(three_bugs.record)
    async with asyncio.TaskGroup() as group:
        server = group.create_task(chat.run(), name="server")
        counts = await three_bugs.raise_three_times(bench, chat)
        server.cancel()
    return counts
