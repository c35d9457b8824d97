"""A conversation that tells in a `finally` how many words it heard.

Exit code: 0
Says: it ended by itself after 0 words
Seen by: ruff B012
"""

import trio
from trio.testing import MockClock


async def listen() -> int:
    words = 0
    try:
        await trio.sleep_forever()  # Nobody says anything.
        words += 1
    finally:
        return words  # What was on its way out, an error or a cancellation, is gone.


async def main() -> None:
    with trio.move_on_after(1) as patience:
        print(f"it ended by itself after {await listen()} words")
    if patience.cancelled_caught:
        print("it was cancelled")


trio.run(main, clock=MockClock(autojump_threshold=0))
