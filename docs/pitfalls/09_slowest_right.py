"""A broadcast that waits for nobody. Each member has a small outbox; Ada takes a minute.

Says: bob heard it after 0 s
"""

import trio
from trio.testing import MockClock


async def read(name: str, seconds: float, line: trio.MemoryReceiveChannel[float]) -> None:
    await trio.sleep(seconds)
    async for said in line:
        print(f"{name} heard it after {trio.current_time() - said:.0f} s")


def broadcast(lines: dict[str, trio.MemorySendChannel[float]]) -> None:
    now = trio.current_time()
    for name, line in lines.items():
        try:
            line.send_nowait(now)
        except trio.WouldBlock:
            print(f"{name} is evicted")  # A full outbox costs its own member, nobody else.
    for line in lines.values():
        line.close()


async def main() -> None:
    lines = {}
    async with trio.open_nursery() as nursery:
        for name, seconds in {"ada": 60, "bob": 0}.items():
            lines[name], theirs = trio.open_memory_channel[float](8)
            nursery.start_soon(read, name, seconds, theirs, name=name)
        broadcast(lines)


trio.run(main, clock=MockClock(autojump_threshold=0))
