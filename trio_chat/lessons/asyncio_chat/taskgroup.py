"""The chat with TaskGroup: a group for the server, one in each room, one in each session.

A group waits for its tasks, and when one raises it cancels the others. Up to Python 3.14 it can't
be cancelled itself: so there is a variable for each task that has to be ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

from .peers import Peer, Record, beat, forget, read, write

log = logging.getLogger(__name__)


class Room:
    """A group that holds a hub and its members' sessions."""

    def __init__(self, name: str, record: Record) -> None:
        self.name = name
        self.record = record
        self.inside = 0
        self.arrivals: asyncio.Queue[Peer | None] = asyncio.Queue()  # None: nobody will come
        self.outboxes: set[asyncio.Queue[str]] = set()
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def run(self, table: dict[str, Room]) -> None:
        """Hold the room open until its last member has left. The room's boundary."""
        try:
            async with asyncio.TaskGroup() as group:
                hub = group.create_task(self.broadcast(), name=f"hub {self.name}")
                while (peer := await self.arrivals.get()) is not None:
                    group.create_task(self.serve(peer, table), name=f"member {peer.name}")
                hub.cancel()
        except* Exception:
            log.exception("the room %s failed", self.name)
        finally:
            self.leave(table)

    async def broadcast(self) -> NoReturn:
        """Take what is said, record it, and give it to everybody."""
        while True:
            text = await self.inbox.get()
            self.record(text)
            for outbox in self.outboxes:
                outbox.put_nowait(text)

    async def serve(self, peer: Peer, table: dict[str, Room]) -> None:
        """Be in the room until the peer hangs up. The session's boundary."""
        outbox = asyncio.Queue[str]()
        self.outboxes.add(outbox)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(write(peer, outbox), name=f"writer {peer.name}")
                heartbeat = group.create_task(beat(peer), name=f"heartbeat {peer.name}")
                await read(peer, self.inbox)
                writer.cancel()
                heartbeat.cancel()
        except* Exception:
            log.exception("the session of %s failed", peer.name)
        finally:
            peer.close()
            self.outboxes.remove(outbox)
            self.inside -= 1
            if self.inside == 0:
                self.leave(table)
                self.arrivals.put_nowait(None)

    def leave(self, table: dict[str, Room]) -> None:
        """Take the room out of the table, so that whoever comes opens a new one."""
        if table.get(self.name) is self:
            del table[self.name]


class Chat:
    """The server. `run` it; cancel its task to end it."""

    def __init__(self, record: Record = forget) -> None:
        self.record = record
        self.rooms: dict[str, Room] = {}
        self.arrivals: asyncio.Queue[Peer] = asyncio.Queue()

    async def run(self) -> None:
        """Bring everybody who comes to a room, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                peer = await self.arrivals.get()
                room = self.rooms.get(peer.room)
                if room is None:
                    room = self.rooms[peer.room] = Room(peer.room, self.record)
                    room.task = group.create_task(room.run(self.rooms), name=f"room {peer.room}")
                room.inside += 1
                room.arrivals.put_nowait(peer)

    def accept(self, peer: Peer) -> None:
        """Let somebody in."""
        self.arrivals.put_nowait(peer)

    def close_room(self, name: str) -> None:
        """End a room: cancelling its task cancels all that is in its group."""
        task = self.rooms.pop(name).task
        assert task is not None
        task.cancel()
