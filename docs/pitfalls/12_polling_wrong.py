"""A drain that looks every second if the last member has left.

Exit code: 0
Says: noticed 0.7 s late
Seen by: ruff ASYNC110, flake8-async ASYNC110
"""

import trio
from trio.testing import MockClock

members = {"ada"}


async def leave() -> None:
    await trio.sleep(2.3)
    members.remove("ada")


async def drain() -> None:
    while members:
        await trio.sleep(1)  # Too rare to be prompt, and too often where nothing happens.
    print(f"noticed {trio.current_time() - 2.3:.1f} s late")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave, name="ada leaves")
        nursery.start_soon(drain, name="drain")


trio.run(main, clock=MockClock(autojump_threshold=0))
