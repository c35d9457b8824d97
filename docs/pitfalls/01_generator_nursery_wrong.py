"""A conversation as a generator, with a nursery around its `yield`.

Exit code: 1
Says: RuntimeError: Nursery stack corrupted
Seen by: flake8-async ASYNC101 ASYNC119
"""

from collections.abc import AsyncIterator

import trio


async def talk() -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="heartbeat")
        for word in ("hello", "how are you", "bye"):
            yield word
        nursery.cancel_scope.cancel(reason="everything was said")


async def main() -> None:
    async for word in talk():
        print(word)
        await trio.lowlevel.checkpoint()  # Meanwhile the heartbeat begins.
        if word == "how are you":
            break  # The generator stands at its `yield`, its nursery open. Who closes it?
    print("heard enough")


trio.run(main)
