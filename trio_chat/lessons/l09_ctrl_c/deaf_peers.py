"""Peers for the twins: ten rooms of a hundred, and the last of each hundred takes nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from ..asyncio_chat.peers import Peer, peers

GOODBYE: Final = "goodbye"
ROOMS: Final = [f"room-{number}" for number in range(10)]


class DeafPeer(Peer):
    """Somebody who takes nothing that is sent: whoever writes waits."""

    async def write(self, text: str) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


def full_house() -> list[Peer]:
    """Return 1,000 peers in the order in which they come, of whom 10 are deaf."""
    return [
        peer
        for room in ROOMS
        for peer in (*peers([room], 99), DeafPeer(f"deaf-{room.removeprefix('room-')}", room))
    ]


def told(everybody: list[Peer]) -> int:
    """Return how many have heard a goodbye."""
    return sum(GOODBYE in peer.heard for peer in everybody)
