"""The twin with TaskGroup and back-pressure: a full outbox makes the hub wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .members import BOUND, Member, gather_members, lines

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def hub(members: Sequence[Member]) -> None:
    """Say a thousand lines to everybody, one after the other."""
    for line in lines():
        for member in members:
            await member.outbox.put(line)


async def hold_room(members: Sequence[Member]) -> None:
    """Hold the room open: the hub and everybody's writer in one group."""
    async with asyncio.TaskGroup() as group:
        for member in members:
            group.create_task(member.write(), name=f"writer {member.name}")
        group.create_task(hub(members), name="hub")


async def stall_one_reader(bench: TwinBench) -> Mapping[str, int]:
    """Say a thousand lines to 50, one of whom does not read, and count what the others heard."""
    bench.watch()
    bob, *others = members = gather_members(BOUND)
    bench.mark("bob does not read; a thousand lines are said")
    room = asyncio.create_task(hold_room(members), name="room")
    await settle()
    heard = {len(member.heard) for member in others}
    (least,) = heard
    room.cancel()
    await asyncio.gather(room, return_exceptions=True)
    return {"heard": least, "waiting": bob.outbox.qsize() + 1}
