"""A generator whose deadline is over before it yields.

Says: heard everything
"""

from collections.abc import AsyncIterator

import trio
from trio.testing import MockClock


async def talk() -> AsyncIterator[str]:
    for word in ("hello", "bye"):
        with trio.move_on_after(1) as patience:
            await trio.sleep(0.5)  # It stands for receiving a word.
        if patience.cancelled_caught:
            return
        yield word


async def main() -> None:
    async for word in talk():
        print(word)
        await trio.sleep(5)
    print("heard everything")


trio.run(main, clock=MockClock(autojump_threshold=0))
