"""The twin with TaskGroup: the members in one group, the hub in another around it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from ..asyncio_chat.peers import settle
from .naive import MEMBERS, ROOMS, member

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def hub(inbox: asyncio.Queue[str], heard: list[str]) -> NoReturn:
    """Take what is said, until cancelled."""
    while True:
        heard.append(await inbox.get())
        inbox.task_done()


async def room(name: str, heard: list[str]) -> None:
    """Hold the room open until its last member has left and the hub has read everything."""
    inbox: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.TaskGroup() as outer:
        reader = outer.create_task(hub(inbox, heard), name=f"hub {name}")
        async with asyncio.TaskGroup() as inner:
            for number in range(MEMBERS):
                inner.create_task(member(inbox), name=f"member {name}-{number}")
        await inbox.join()
        reader.cancel()


async def leave_rooms(bench: TwinBench) -> Mapping[str, int]:
    """Let everybody leave three rooms, and count which tasks had to be cancelled."""
    bench.watch()
    heard: list[str] = []
    bench.mark("everybody says three lines and leaves")
    async with asyncio.TaskGroup() as group:
        for name in ROOMS:
            group.create_task(room(name, heard), name=f"room {name}")
    await settle()
    hubs = len(bench.orphans())
    return {"heard": len(heard), "hubs": hubs, "cancelled": bench.cancelled}
