"""A drain that is told when the last member has left.

Says: noticed 0.0 s late
"""

import trio
from trio.testing import MockClock

members = {"ada"}
empty = trio.Event()


async def leave() -> None:
    await trio.sleep(2.3)
    members.remove("ada")
    if not members:
        empty.set()  # Who changes it says so.


async def drain() -> None:
    await empty.wait()
    print(f"noticed {trio.current_time() - 2.3:.1f} s late")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave, name="ada leaves")
        nursery.start_soon(drain, name="drain")


trio.run(main, clock=MockClock(autojump_threshold=0))
