"""The twin as one first writes it: members put lines into a queue, a hub takes them out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn

from ..asyncio_chat.peers import settle

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

ROOMS: Final = ("blue", "green", "red")
MEMBERS: Final = 4  # in each of them
LINES: Final = 3  # that each of them says


async def member(inbox: asyncio.Queue[str] | asyncio.Queue[str | None]) -> None:
    """Say something, and leave."""
    for number in range(LINES):
        await asyncio.sleep(0)
        inbox.put_nowait(f"line {number}")


async def hub(inbox: asyncio.Queue[str], heard: list[str]) -> NoReturn:
    """Take what is said. Of the members it knows nothing."""
    while True:
        heard.append(await inbox.get())


async def room(name: str, heard: list[str]) -> None:
    """Hold the room open until its last member has left."""
    inbox: asyncio.Queue[str] = asyncio.Queue()
    reader = asyncio.create_task(hub(inbox, heard), name=f"hub {name}")
    members = [
        asyncio.create_task(member(inbox), name=f"member {name}-{number}")
        for number in range(MEMBERS)
    ]
    await asyncio.gather(*members)
    await asyncio.sleep(0)  # The last line is read.
    assert not reader.done()


async def leave_rooms(bench: TwinBench) -> Mapping[str, int]:
    """Let everybody leave three rooms, and count who still waits for them."""
    bench.watch()
    heard: list[str] = []
    bench.mark("everybody says three lines and leaves")
    rooms = [asyncio.create_task(room(name, heard), name=f"room {name}") for name in ROOMS]
    await asyncio.gather(*rooms)
    bench.mark("everybody has left")
    await settle()
    return {"heard": len(heard), "hubs": len(bench.orphans()), "rooms": len(ROOMS)}
