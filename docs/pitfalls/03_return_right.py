"""A conversation that returns what it heard, where it comes to its end.

Says: it was cancelled
"""

import trio
from trio.testing import MockClock


async def listen() -> int:
    words = 0
    try:
        await trio.sleep_forever()  # Nobody says anything.
        words += 1
    finally:
        print(f"heard {words} words")  # A finally cleans up. It decides nothing.
    return words


async def main() -> None:
    with trio.move_on_after(1) as patience:
        print(f"it ended by itself after {await listen()} words")
    if patience.cancelled_caught:
        print("it was cancelled")


trio.run(main, clock=MockClock(autojump_threshold=0))
