"""An echo server on the chat's own connections: its listener, its limits, its goodbyes, no chat.

    python examples/echo.py [PORT]

It prints its address when it is ready, and ends with Ctrl-C. The limits that a chat needs and an
echo does not are lifted, so that a conformance suite can send what it likes.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import trio

from trio_chat.config import Config
from trio_chat.connection import Connection
from trio_chat.endpoint import serve_connections

MiB = 1024 * 1024
CONFIG = Config(port=9001, rate=0, max_frame=64 * MiB, max_fragments=0)


async def echo(connection: Connection) -> None:
    """Say everything again, until the peer has closed."""
    async for message in connection:
        await connection.send(message)


async def main(config: Config) -> None:
    """Serve until interrupted."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_connections, echo, config)
        print(f"listening on ws://{config.host}:{port}/", flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else CONFIG.port
    try:
        trio.run(main, replace(CONFIG, port=port))
    except* KeyboardInterrupt:
        pass
