"""The twin with care: an outbox has a bound, and whoever runs over it is thrown out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .members import BOUND, Member, gather_members, lines

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


class Room:
    """Members and their writers."""

    def __init__(self) -> None:
        self.writers: dict[Member, asyncio.Task[None]] = {}
        self.evicted: list[asyncio.Task[None]] = []

    def admit(self, member: Member) -> None:
        """Take a member in."""
        writer = asyncio.create_task(member.write(), name=f"writer {member.name}")
        self.writers[member] = writer

    def broadcast(self, line: str) -> None:
        """Put a line into every outbox. Who has no space for it is out."""
        for member in list(self.writers):
            try:
                member.outbox.put_nowait(line)
            except asyncio.QueueFull:
                self.evict(member)

    def evict(self, member: Member) -> None:
        """Throw a member out."""
        writer = self.writers.pop(member)
        writer.cancel()
        self.evicted.append(writer)

    async def close(self) -> None:
        """End it, and wait for everybody."""
        for writer in self.writers.values():
            writer.cancel()
        await asyncio.gather(*self.writers.values(), *self.evicted, return_exceptions=True)


async def stall_one_reader(bench: TwinBench) -> Mapping[str, int]:
    """Say a thousand lines to 50, one of whom does not read, and count who is still there."""
    bench.watch()
    room = Room()
    bob, *others = members = gather_members(BOUND)
    for member in members:
        room.admit(member)
    await settle()
    bench.mark("bob does not read; a thousand lines are said")
    for line in lines():
        room.broadcast(line)
        await asyncio.sleep(0)
    await settle()
    waiting = bob.outbox.qsize()
    evicted = len(room.evicted)
    complete = sum(member.heard == lines() for member in others)
    await room.close()
    return {"complete": complete, "evicted": evicted, "waiting": waiting}
