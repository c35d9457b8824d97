"""The chat as one first writes it: where something has to go on meanwhile, a task is created.

Every task is kept in a variable, as the documentation of `create_task` asks for. A member that
leaves is taken out of its room; a room that nobody is in is taken out of the table.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NoReturn

from .peers import Peer, Record, beat, forget, read, write


@dataclass(eq=False)
class Member:
    """Somebody in a room, with three tasks."""

    peer: Peer
    outbox: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    session: asyncio.Task[None] | None = None
    writer: asyncio.Task[None] | None = None
    heartbeat: asyncio.Task[None] | None = None


class Room:
    """Whoever is in it hears what is said in it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.members: list[Member] = []
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.hub: asyncio.Task[None] | None = None

    async def broadcast(self) -> NoReturn:
        """Take what is said, record it, and give it to everybody."""
        while True:
            text = await self.inbox.get()
            self.record(text)
            for member in self.members:
                member.outbox.put_nowait(text)


class Chat:
    """The server."""

    def __init__(self, record: Record = forget) -> None:
        self.record = record
        self.rooms: dict[str, Room] = {}

    def accept(self, peer: Peer) -> None:
        """Serve somebody, in a task of its own."""
        member = Member(peer)
        member.session = asyncio.create_task(self.serve(member), name=f"member {peer.name}")

    async def serve(self, member: Member) -> None:
        """Be in the room until the peer hangs up."""
        peer, outbox = member.peer, member.outbox
        room = self.find(peer.room)
        room.members.append(member)
        member.writer = asyncio.create_task(write(peer, outbox), name=f"writer {peer.name}")
        member.heartbeat = asyncio.create_task(beat(peer), name=f"heartbeat {peer.name}")
        try:
            await read(peer, room.inbox)
        finally:
            peer.close()
            room.members.remove(member)
            if not room.members:
                self.rooms.pop(peer.room, None)

    def find(self, name: str) -> Room:
        """Return the room of that name; open it if it isn't."""
        if name not in self.rooms:
            room = self.rooms[name] = Room(self.record)
            room.hub = asyncio.create_task(room.broadcast(), name=f"hub {name}")
        return self.rooms[name]

    def close_room(self, name: str) -> None:
        """End a room: its hub, and the session of each member."""
        room = self.rooms.pop(name)
        for task in [room.hub, *(member.session for member in room.members)]:
            if task is not None:
                task.cancel()
