"""The twin with care: a bug in a session, in a writer and in a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.careful import Chat
from . import three_bugs

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def raise_three_times(bench: TwinBench) -> Mapping[str, int]:
    """Count the log lines, and who is left."""
    bench.watch()
    return await three_bugs.raise_three_times(bench, Chat(three_bugs.record))
