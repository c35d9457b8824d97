"""The twin with care: the generator ends its task, and the reader ends the generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..asyncio_chat.careful import cancel
from ..asyncio_chat.peers import settle
from .naive import READERS, fetch

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def read_pages() -> AsyncGenerator[int, None]:
    """Yield pages, the next one fetched meanwhile."""
    pages = asyncio.Queue[int](1)
    fetching = asyncio.create_task(fetch(pages), name="read ahead")
    try:
        while not fetching.done() or not pages.empty():
            yield await pages.get()
    finally:
        await cancel([fetching])


async def find() -> None:
    """Stop at the first page: the word is on it."""
    async with aclosing(read_pages()) as pages:
        async for _ in pages:
            break


async def stop_early(bench: TwinBench) -> Mapping[str, int]:
    """Count who outlives the task that created them."""
    bench.watch()
    bench.mark("16 readers stop at the first page")
    readers = [asyncio.create_task(find(), name=f"reader {number}") for number in range(READERS)]
    await asyncio.gather(*readers)
    await settle()
    return {"readers": len(readers), "orphans": len(bench.orphans())}
