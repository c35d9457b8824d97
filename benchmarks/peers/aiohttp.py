"""aiohttp, after the chat among its examples."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress

from aiohttp import WSMsgType, web

from .arguments import port

rooms: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)


async def chat(request: web.Request) -> web.WebSocketResponse:
    """Live as one member."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    room = rooms[request.match_info["room"]]
    room.add(websocket)
    try:
        async for frame in websocket:
            if frame.type is WSMsgType.TEXT:
                text = json.dumps({"message": frame.json()["message"]})
                for member in list(room):
                    with suppress(ConnectionError):  # It is going, and its own task will notice.
                        await member.send_str(text)
    finally:
        room.remove(websocket)
    return websocket


def application() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/ws/chat/{room}/", chat)])
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=port(), print=None)
