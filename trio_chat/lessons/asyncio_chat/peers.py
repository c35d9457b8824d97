"""The other side of a connection, in memory, and what each of the three chats does alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

TURNS: Final = 100  # of the event loop; whatever is under way here takes about ten
HEARTBEAT: Final = 20.0  # seconds between two signs of life

Record = Callable[[str], None]  # what a hub does with what was said, before it passes it on


class Peer:
    """Somebody who is connected. A guest says and hears; the server reads, writes and closes."""

    def __init__(self, name: str, room: str) -> None:
        self.name = name
        self.room = room
        self.heard: list[str] = []
        self.closed = False
        self._frames: asyncio.Queue[str | None] = asyncio.Queue()

    def say(self, text: str) -> None:
        """Say something to the room."""
        self.send(json.dumps({"message": text}))

    def send(self, frame: str) -> None:
        """Send a frame, whatever is in it."""
        self._frames.put_nowait(frame)

    def leave(self) -> None:
        """Hang up."""
        self._frames.put_nowait(None)

    async def read(self) -> str | None:
        """Return the next frame; None when the peer has hung up."""
        return await self._frames.get()

    async def write(self, text: str) -> None:
        """Send something to the peer.

        Raises:
            ConnectionResetError: the connection is closed.
        """
        if self.closed:
            raise ConnectionResetError(f"{self.name} is gone")
        self.heard.append(text)

    def close(self) -> None:
        """Close the connection."""
        self.closed = True


# --- What a member's three tasks do --------------------------------------------------------------


async def read(peer: Peer, inbox: asyncio.Queue[str]) -> None:
    """Bring what the peer says to the room, until it hangs up."""
    while (frame := await peer.read()) is not None:
        inbox.put_nowait(json.loads(frame)["message"])


async def write(peer: Peer, outbox: asyncio.Queue[str]) -> NoReturn:
    """Bring what is in the outbox to the peer."""
    while True:
        await peer.write(await outbox.get())


async def beat(peer: Peer) -> NoReturn:
    """Give a sign of life now and then."""
    while True:
        await asyncio.sleep(HEARTBEAT)
        await peer.write("still there?")


# --- What the twins need -------------------------------------------------------------------------


def peers(rooms: Sequence[str], members: int) -> list[Peer]:
    """Return so many peers for each room, called green-0, green-1 and so on."""
    return [Peer(f"{room}-{number}", room) for room in rooms for number in range(members)]


async def settle() -> None:
    """Let everybody run who can. Here nobody waits for anything but somebody else."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def forget(text: str) -> None:
    """Record nothing."""
