"""trio-websocket as one writes it first: this project's shape without its fast path.

A room is a nursery. In it a hub takes messages from the room's inbox and puts each into every
member's channel, and a writer for each member takes them out and sends them. This is where the
lesson in docs/ begins: correct, easy to read, and a task switch for each delivery.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from .arguments import port

INBOX = 64
OUTBOX = 1024


@dataclass(eq=False)
class Room:
    """A room, from its first member's joining to its last member's leaving."""

    inbox: trio.MemorySendChannel[str]
    news: trio.MemoryReceiveChannel[str]
    nursery: trio.Nursery
    outboxes: set[trio.MemorySendChannel[str]] = field(default_factory=set)

    async def broadcast(self) -> None:
        """Be the hub, until the inbox closes."""
        async for message in self.news:
            text = json.dumps({"message": message})
            for outbox in list(self.outboxes):
                try:
                    outbox.send_nowait(text)
                except trio.WouldBlock:
                    self.outboxes.discard(outbox)  # Too slow. Its writer ends, and closes.
                    outbox.close()


rooms: dict[str, Room] = {}


async def run_room(name: str, task_status: trio.TaskStatus[Room]) -> None:
    """Be a room's scope."""
    async with trio.open_nursery() as nursery:
        room = rooms[name] = Room(*trio.open_memory_channel[str](INBOX), nursery)
        task_status.started(room)
        await room.broadcast()


async def write(websocket: WebSocketConnection, waiting: trio.MemoryReceiveChannel[str]) -> None:
    """Be a member's writer, until its outbox closes."""
    try:
        async for text in waiting:
            await websocket.send_message(text)
        with trio.move_on_after(1):
            await websocket.aclose()
    except ConnectionClosed:
        pass  # The reader notices, too.


async def chat(server: trio.Nursery, opening: trio.Lock, request: WebSocketRequest) -> None:
    """Live as one member."""
    websocket = await request.accept()
    async with opening:
        room: Room = rooms.get(request.path) or await server.start(run_room, request.path)
        outbox, waiting = trio.open_memory_channel[str](OUTBOX)
        room.outboxes.add(outbox)
    room.nursery.start_soon(write, websocket, waiting)
    try:
        while True:
            message = json.loads(await websocket.get_message())["message"]
            await room.inbox.send(message)
    except ConnectionClosed:
        pass
    finally:
        room.outboxes.discard(outbox)
        outbox.close()
        if not room.outboxes and rooms.get(request.path) is room:
            del rooms[request.path]
            room.inbox.close()


async def main() -> None:
    opening = trio.Lock()
    async with trio.open_nursery() as server:

        async def handle(request: WebSocketRequest) -> None:
            await chat(server, opening, request)

        await serve_websocket(handle, "127.0.0.1", port(), ssl_context=None)


if __name__ == "__main__":
    trio.run(main)
