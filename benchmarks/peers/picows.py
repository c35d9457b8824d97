"""picows on uvloop, after its broadcast example: no tasks, a callback for each frame."""

from __future__ import annotations

from collections import defaultdict

import orjson
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from .arguments import port

rooms: defaultdict[bytes, set[WSTransport]] = defaultdict(set)


class Member(WSListener):
    """One member."""

    def __init__(self, room: set[WSTransport]) -> None:
        self.room = room

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.room.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        message = orjson.loads(frame.get_payload_as_memoryview())["message"]
        payload = orjson.dumps({"message": message})
        for member in self.room:
            member.send(WSMsgType.TEXT, payload)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.room.discard(transport)


def admit(request: WSUpgradeRequest) -> Member:
    return Member(rooms[bytes(request.path)])


async def main() -> None:
    server = await ws_create_server(admit, "127.0.0.1", port())
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
