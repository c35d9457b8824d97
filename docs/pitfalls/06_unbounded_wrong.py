"""An inbox without a bound. Its hub takes a message a second; somebody says a thousand at once.

Exit code: 0
Says: the last message waited 999 s
Seen by: no tool
"""

import math

import trio
from trio.testing import MockClock


async def say(inbox: trio.MemorySendChannel[float]) -> None:
    with inbox:
        for _ in range(1000):
            await inbox.send(trio.current_time())  # Never waits, so nobody ever slows down.


async def run_hub(inbox: trio.MemoryReceiveChannel[float]) -> None:
    waited = 0.0
    async for said in inbox:
        waited = trio.current_time() - said
        await trio.sleep(1)
    print(f"the last message waited {waited:.0f} s")


async def main() -> None:
    into, out_of = trio.open_memory_channel[float](math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, into, name="member")
        nursery.start_soon(run_hub, out_of, name="hub")


trio.run(main, clock=MockClock(autojump_threshold=0))
