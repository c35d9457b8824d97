"""FastAPI on Uvicorn: the connection manager of FastAPI's page on WebSockets, one for each room."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from .arguments import port

app = FastAPI()


class ConnectionManager:
    """Who is in a room."""

    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> None:
        for connection in list(self.active_connections):
            # One that is going is not sent to, and its own task will notice.
            with suppress(WebSocketDisconnect, RuntimeError):
                await connection.send_text(message)


rooms: defaultdict[str, ConnectionManager] = defaultdict(ConnectionManager)


@app.websocket("/ws/chat/{room}/")
async def chat(websocket: WebSocket, room: str) -> None:
    manager = rooms[room]
    await manager.connect(websocket)
    try:
        while True:
            data = json.loads(await websocket.receive_text())
            await manager.broadcast(json.dumps({"message": data["message"]}))
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(websocket)


if __name__ == "__main__":
    uvicorn.run(app, port=port(), log_level="warning")
