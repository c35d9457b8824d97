"""The twin with care: when the last member has left, an agreed word is put behind what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..asyncio_chat.peers import settle
from .naive import MEMBERS, ROOMS, member

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

END: Final = None  # the word


async def hub(inbox: asyncio.Queue[str | None], heard: list[str]) -> None:
    """Take what is said, until the word comes."""
    while (line := await inbox.get()) is not END:
        heard.append(line)


async def room(name: str, inbox: asyncio.Queue[str | None], heard: list[str]) -> None:
    """Hold the room open until its last member has left; then end the hub, and wait for it."""
    reader = asyncio.create_task(hub(inbox, heard), name=f"hub {name}")
    members = [
        asyncio.create_task(member(inbox), name=f"member {name}-{number}")
        for number in range(MEMBERS)
    ]
    try:
        await asyncio.gather(*members)
    finally:
        inbox.put_nowait(END)
        await reader


async def leave_rooms(bench: TwinBench) -> Mapping[str, int]:
    """Let everybody leave three rooms; then somebody says a word more in one of them."""
    bench.watch()
    heard: list[str] = []
    inboxes: dict[str, asyncio.Queue[str | None]] = {name: asyncio.Queue() for name in ROOMS}
    bench.mark("everybody says three lines and leaves")
    rooms = [
        asyncio.create_task(room(name, inbox, heard), name=f"room {name}")
        for name, inbox in inboxes.items()
    ]
    await asyncio.gather(*rooms)

    bench.mark("one line comes late")
    inboxes["green"].put_nowait("may I still say something?")
    await settle()
    lost = sum(inbox.qsize() for inbox in inboxes.values())
    return {"heard": len(heard), "hubs": len(bench.orphans()), "lost": lost}
