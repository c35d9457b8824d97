"""websockets on Trio, with its `broadcast`, which starts a task a member for each message."""

from __future__ import annotations

import json
from collections import defaultdict

import trio
from websockets.trio.server import ServerConnection, broadcast, serve

from .arguments import port

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def chat(websocket: ServerConnection) -> None:
    """Live as one member."""
    assert websocket.request is not None
    room = rooms[websocket.request.path]
    room.add(websocket)
    try:
        async for frame in websocket:
            message = json.loads(frame)["message"]
            await broadcast(room, json.dumps({"message": message}))
    finally:
        room.remove(websocket)


async def main() -> None:
    await serve(chat, port(), host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main)
