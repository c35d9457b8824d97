"""An inbox with room for ten. A full one makes the sender wait, so what is said is still fresh.

Says: the last message waited 11 s
"""

import trio
from trio.testing import MockClock


async def say(inbox: trio.MemorySendChannel[float]) -> None:
    with inbox:
        for _ in range(1000):
            await inbox.send(trio.current_time())  # Waits while ten are waiting.


async def run_hub(inbox: trio.MemoryReceiveChannel[float]) -> None:
    waited = 0.0
    async for said in inbox:
        waited = trio.current_time() - said
        await trio.sleep(1)
    print(f"the last message waited {waited:.0f} s")


async def main() -> None:
    into, out_of = trio.open_memory_channel[float](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, into, name="member")
        nursery.start_soon(run_hub, out_of, name="hub")


trio.run(main, clock=MockClock(autojump_threshold=0))
