"""A conversation as a context manager: whoever enters the block leaves it, and the nursery ends.

Says: heard enough
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


async def speak(words: trio.MemorySendChannel[str]) -> None:
    with words:
        for word in ("hello", "how are you", "bye"):
            await words.send(word)


@asynccontextmanager
async def open_talk() -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
    words, heard = trio.open_memory_channel[str](0)
    with heard:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever, name="heartbeat")
            nursery.start_soon(speak, words, name="speaker")
            yield heard  # Once, in a context manager: here it is allowed.
            nursery.cancel_scope.cancel(reason="heard enough")


async def main() -> None:
    async with open_talk() as heard:
        async for word in heard:
            print(word)
            if word == "how are you":
                break
    print("heard enough")


trio.run(main)
