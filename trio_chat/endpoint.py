"""WebSockets for any purpose: the chat's listener, door, limits and goodbyes, and your handler.

    async def echo(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message)

    trio.run(serve_connections, echo, Config(port=9001))

A task for each connection, in one nursery with the listener and the heartbeat; cancelling it is
the end. What goes wrong in a handler costs its one connection.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable

import trio

from .config import Config
from .connection import Connection, open_connection
from .crowd import Crowd
from .door import Door
from .heartbeat import Heartbeat
from .ledger import Ledger
from .listening import accept_forever, close_listeners, open_listeners
from .metrics import Tally
from .opening import Opening
from .outbox import Outboxes
from .protocol import Dialect, Ended, JoinRequest
from .transport import SocketTransport, Transport
from .upgrade import Handshake, check_upgrade
from .web import Answer, Request, say
from .wire import Wire

log = logging.getLogger(__name__)

Handler = Callable[[Connection], Awaitable[None]]


async def serve_connections(
    handler: Handler,
    config: Config,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run `handler` for each WebSocket, at whatever address, until cancelled.

    `task_status` gets the port. When a handler returns, its connection is closed with 1000.

    Raises:
        OSError: the address can't be listened on.

    If cancelled, every peer is told that the server goes away, within the time for closing.
    """
    listeners = await open_listeners(config.host, config.port, config.backlog)
    try:
        async with trio.open_nursery() as nursery:
            endpoint = Endpoint(handler, config, nursery)
            nursery.start_soon(endpoint.heartbeat.run, name="heartbeat")
            for listener in listeners:
                name = f"listener {listener.getsockname()[0]}"
                nursery.start_soon(accept_forever, listener, endpoint.welcome, name=name)
            task_status.started(listeners[0].getsockname()[1])
    finally:
        close_listeners(listeners)


class Endpoint:
    """What the connections of one `serve_connections` share."""

    def __init__(self, handler: Handler, config: Config, nursery: trio.Nursery) -> None:
        self._handler = handler
        self._config = config
        self._nursery = nursery
        self._tally = Tally()
        self._ledger = Ledger()
        self._outboxes = Outboxes(config.outboxes)
        self._crowd = Crowd(limit=config.max_connections, limit_per_address=config.max_per_address)
        self.heartbeat = Heartbeat(config)

    def welcome(self, accepted: socket.socket, peer: str) -> None:
        """Bring a new connection to a door of its own."""
        transport = SocketTransport(accepted, peer)
        door = Door(transport, self._config, self._tally, _answer, self._hand_over, _shake_hands)
        self._nursery.start_soon(door.serve, name=f"door {peer}")

    def _hand_over(
        self, transport: Transport, handshake: Handshake, early: bytes, address: str
    ) -> None:
        opening = handshake.opening
        wire = Wire(transport, self._config, self._ledger, self._outboxes, opening, early)
        self._nursery.start_soon(self._serve, wire, address, name=f"connection {wire.peer}")

    async def _serve(self, wire: Wire, address: str) -> None:
        timeout = self._config.close_timeout
        try:
            async with open_connection(wire, close_timeout=timeout) as connection:
                self._crowd.enter(address)  # Full means 1013, which the peer is told.
                self.heartbeat.watch(connection)
                try:
                    with connection.scope:
                        await self._handler(connection)
                finally:
                    self.heartbeat.forget(connection)
                    self._crowd.leave(address)
        except* Ended:
            pass  # The peer went away during the handshake.
        except* Exception:
            log.exception("the handler of %s failed", wire.peer)


def _shake_hands(request: Request, *, allowed: tuple[str, ...], scheme: str | None) -> Handshake:
    key = check_upgrade(request, allowed=allowed, scheme=scheme)
    return Handshake(request.path, Dialect.PLAIN, JoinRequest(), Opening(key, None))


def _answer(request: Request) -> Answer:
    return say(426, "this address speaks WebSocket", Upgrade="websocket", Connection="Upgrade")
