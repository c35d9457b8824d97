"""The twin as one first writes it: a generator, and a task that fetches for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

from ..asyncio_chat.peers import settle

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

READERS: Final = 16
PAGES: Final = 3


async def fetch(pages: asyncio.Queue[int]) -> None:
    """Fetch page after page, each as soon as the one before was taken."""
    for page in range(PAGES):
        await pages.put(page)


async def read_pages() -> AsyncIterator[int]:
    """Yield pages, the next one fetched meanwhile."""
    pages = asyncio.Queue[int](1)
    fetching = asyncio.create_task(fetch(pages), name="read ahead")
    while not fetching.done() or not pages.empty():
        yield await pages.get()


async def find() -> None:
    """Stop at the first page: the word is on it."""
    async for _ in read_pages():
        break


async def stop_early(bench: TwinBench) -> Mapping[str, int]:
    """Count who outlives the task that created them."""
    bench.watch()
    bench.mark("16 readers stop at the first page")
    readers = [asyncio.create_task(find(), name=f"reader {number}") for number in range(READERS)]
    await asyncio.gather(*readers)
    await settle()
    return {"readers": len(readers), "orphans": len(bench.orphans())}
