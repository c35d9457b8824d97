"""A channel for each member, and a copy of each message into every one.

Says: heard in all: 6 of 6
"""

import trio

heard: list[str] = []


async def read(line: trio.MemoryReceiveChannel[str]) -> None:
    with line:
        async for text in line:
            heard.append(text)


async def main() -> None:
    room = []
    async with trio.open_nursery() as nursery:
        for name in ("ada", "bob"):
            member, line = trio.open_memory_channel[str](8)
            room.append(member)
            nursery.start_soon(read, line, name=name)
        for text in ("hello", "how are you", "bye"):
            for member in room:
                member.send_nowait(text)  # Bounded: a full one is a reason to evict its member.
        for member in room:
            member.close()
    print(f"heard in all: {len(heard)} of 6")


trio.run(main)
