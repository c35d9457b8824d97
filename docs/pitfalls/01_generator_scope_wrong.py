"""A generator that waits a second for each word, and holds the deadline over its `yield`.

Exit code: 1
Says: trio.Cancelled: cancelled due to deadline
Seen by: flake8-async ASYNC101 ASYNC119
"""

from collections.abc import AsyncIterator

import trio
from trio.testing import MockClock


async def talk() -> AsyncIterator[str]:
    for word in ("hello", "bye"):
        with trio.move_on_after(1):
            await trio.sleep(0.5)  # It stands for receiving a word.
            yield word


async def main() -> None:
    async for word in talk():
        print(word)
        await trio.sleep(5)  # Not the generator's business; and yet its deadline strikes here.
    print("heard everything")


trio.run(main, clock=MockClock(autojump_threshold=0))
