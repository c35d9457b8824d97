"""One channel for the whole room, and a clone of its end for each member.

Exit code: 0
Says: heard in all: 3 of 6
Seen by: no tool
"""

import trio

heard: list[str] = []


async def read(line: trio.MemoryReceiveChannel[str]) -> None:
    with line:
        async for text in line:  # A clone is the same queue: what one takes, nobody else gets.
            heard.append(text)


async def main() -> None:
    room, line = trio.open_memory_channel[str](0)
    async with trio.open_nursery() as nursery:
        for name in ("ada", "bob"):
            nursery.start_soon(read, line.clone(), name=name)
        line.close()
        with room:
            for text in ("hello", "how are you", "bye"):
                await room.send(text)
    print(f"heard in all: {len(heard)} of 6")


trio.run(main)
