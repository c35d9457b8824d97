"""A connection as a function with `@asynccontextmanager`: its nursery is closed in any case.

Says: not connected: the room is full
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


async def shake_hands() -> None:
    await trio.lowlevel.checkpoint()
    raise ConnectionRefusedError("the room is full")


@asynccontextmanager
async def open_connection() -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="heartbeat")
        await shake_hands()
        yield
        nursery.cancel_scope.cancel(reason="goodbye")


async def main() -> None:
    try:
        async with open_connection():
            print("connected")
    except* ConnectionRefusedError as refused:  # A nursery raises groups.
        print(f"not connected: {refused.exceptions[0]}")


trio.run(main)
