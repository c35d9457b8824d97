"""The twin with TaskGroup: the group is open at the `yield`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .naive import READERS, fetch

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def read_pages() -> AsyncIterator[int]:
    """Yield pages, the next one fetched meanwhile."""
    pages = asyncio.Queue[int](1)
    async with asyncio.TaskGroup() as group:
        fetching = group.create_task(fetch(pages), name="read ahead")
        while not fetching.done() or not pages.empty():
            yield await pages.get()  # noqa: ASYNC101, ASYNC119 - this is what the lesson is about


async def find() -> None:
    """Stop at the first page: the word is on it."""
    async for _ in read_pages():
        break


async def stop_early(bench: TwinBench) -> Mapping[str, int]:
    """Count the errors that the loop is told of, because nobody else is there."""
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, said: errors.append(said["message"]))
    bench.watch()
    bench.mark("16 readers stop at the first page")
    readers = [asyncio.create_task(find(), name=f"reader {number}") for number in range(READERS)]
    await asyncio.gather(*readers)
    await settle()
    return {"readers": len(readers), "errors": len(errors)}
