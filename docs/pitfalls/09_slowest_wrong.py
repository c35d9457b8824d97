"""A broadcast that waits until each member has taken it. Ada takes a minute.

Exit code: 0
Says: bob heard it after 60 s
Seen by: no tool
"""

import trio
from trio.testing import MockClock


async def read(name: str, seconds: float, line: trio.MemoryReceiveChannel[float]) -> None:
    await trio.sleep(seconds)
    async for said in line:
        print(f"{name} heard it after {trio.current_time() - said:.0f} s")


async def broadcast(lines: dict[str, trio.MemorySendChannel[float]]) -> None:
    now = trio.current_time()
    for line in lines.values():
        await line.send(now)  # The slowest sets the pace, for all behind it.
    for line in lines.values():
        line.close()


async def main() -> None:
    lines = {}
    async with trio.open_nursery() as nursery:
        for name, seconds in {"ada": 60, "bob": 0}.items():
            lines[name], theirs = trio.open_memory_channel[float](0)
            nursery.start_soon(read, name, seconds, theirs, name=name)
        nursery.start_soon(broadcast, lines, name="hub")


trio.run(main, clock=MockClock(autojump_threshold=0))
