"""What the three twins share: members with an outbox and a writer, over connections in memory."""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

MEMBERS: Final = 50
LINES: Final = 1000
BOUND: Final = 16  # lines, where an outbox has a bound


class Member:
    """Somebody who reads what comes, unless `reads` is cleared. `outbox` is between the two."""

    def __init__(self, name: str, bound: int) -> None:
        self.name = name
        self.outbox: asyncio.Queue[str] = asyncio.Queue(bound)
        self.heard: list[str] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def write(self) -> NoReturn:
        """Bring what is in the outbox to the member, as fast as it reads."""
        while True:
            line = await self.outbox.get()
            await self.reads.wait()
            self.heard.append(line)


def gather_members(bound: int = 0) -> list[Member]:
    """Return 50 members; the first of them, bob, does not read."""
    members = [Member(f"guest-{number}", bound) for number in range(1, MEMBERS)]
    bob = Member("bob", bound)
    bob.reads.clear()
    return [bob, *members]


def lines() -> list[str]:
    """Return what is said."""
    return [f"line {number}" for number in range(LINES)]
