"""websockets on asyncio, with the `broadcast` that its essay on broadcasting recommends."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

from websockets.asyncio.server import ServerConnection, broadcast, serve

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
            broadcast(room, json.dumps({"message": message}))
    finally:
        room.remove(websocket)


async def main() -> None:
    async with serve(chat, "127.0.0.1", port()) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
