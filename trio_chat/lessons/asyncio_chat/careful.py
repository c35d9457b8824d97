"""The chat with care: whoever creates a task cancels it, waits for it, and logs what it raised.

A member's reader is a task as well, so that its session can wait for whichever of the three ends
first. All of it is by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NoReturn

from .peers import Peer, Record, beat, forget, read, write

log = logging.getLogger(__name__)


class Room:
    """Whoever is in it hears what is said in it."""

    def __init__(self, name: str, record: Record) -> None:
        self.name = name
        self.record = record
        self.inside = 0
        self.outboxes: set[asyncio.Queue[str]] = set()
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()  # its hub and its members' sessions

    async def broadcast(self) -> NoReturn:
        """Take what is said, record it, and give it to everybody."""
        while True:
            text = await self.inbox.get()
            self.record(text)
            for outbox in self.outboxes:
                outbox.put_nowait(text)


class Chat:
    """The server."""

    def __init__(self, record: Record = forget) -> None:
        self.record = record
        self.rooms: dict[str, Room] = {}

    def accept(self, peer: Peer) -> None:
        """Serve somebody, in a task of its own; open the room if it isn't."""
        room = self.rooms.get(peer.room)
        if room is None:
            room = self.rooms[peer.room] = Room(peer.room, self.record)
            room.tasks.add(asyncio.create_task(self.run_hub(room), name=f"hub {room.name}"))
        room.inside += 1
        session = asyncio.create_task(self.serve(peer, room), name=f"member {peer.name}")
        room.tasks.add(session)
        session.add_done_callback(room.tasks.discard)

    async def run_hub(self, room: Room) -> None:
        """Broadcast until cancelled. When that fails, nobody can stay."""
        try:
            await room.broadcast()
        except Exception:
            log.exception("the room %s failed", room.name)
            await self._end(room)

    async def serve(self, peer: Peer, room: Room) -> None:
        """Be in the room until the first of three tasks is over; then end the others."""
        outbox = asyncio.Queue[str]()
        room.outboxes.add(outbox)
        tasks = [
            asyncio.create_task(read(peer, room.inbox), name=f"reader {peer.name}"),
            asyncio.create_task(write(peer, outbox), name=f"writer {peer.name}"),
            asyncio.create_task(beat(peer), name=f"heartbeat {peer.name}"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Exception:
            log.exception("the session of %s failed", peer.name)
        finally:
            peer.close()
            room.outboxes.remove(outbox)
            await cancel(tasks)
            room.inside -= 1
            if room.inside == 0:
                await self._end(room)

    async def close_room(self, name: str) -> None:
        """End a room, and wait until it is over."""
        await self._end(self.rooms[name])

    async def _end(self, room: Room) -> None:
        if self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            await cancel(room.tasks - {asyncio.current_task()})


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they are over, whatever they raise."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
