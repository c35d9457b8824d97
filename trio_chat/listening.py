"""Listening sockets, and the loop that accepts on one.

trio.serve_tcp closes each connection when its handler returns, and a door hands its connection on;
so the loop is our own, and the sockets are the standard library's, whose `send` never waits.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

log = logging.getLogger(__name__)

# Out of file descriptors or memory: those who are connected go on, the others have to wait.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
BACK_OFF: Final = 0.1  # seconds
COMPLAINT_INTERVAL: Final = 1.0  # seconds

# Connections that are accepted before others may run.
ACCEPTS_A_TURN: Final = 32


async def open_listeners(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return a listening, non-blocking socket for each address of `host`.

    Port 0 takes a free one, the same for all addresses.

    Raises:
        OSError: the name can't be resolved, or an address can't be listened on.
    """
    found = await trio.socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = listeners[0].getsockname()[1] if len(listeners) > 1 else port
            listener.bind((address[0], taken, *address[2:]))
            listener.listen(backlog)
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


def close_listeners(listeners: list[socket.socket]) -> None:
    """Close them all; who waits on one is told by Trio."""
    for listener in listeners:
        if listener.fileno() != -1:
            trio.lowlevel.notify_closing(listener)
            listener.close()


def name_peer(address: tuple[str, int]) -> str:
    """Return an address as people write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def accept_forever(
    listener: socket.socket, welcome: Callable[[socket.socket, str], None]
) -> None:
    """Accept connections for ever; give each, non-blocking, to `welcome`, with the peer's name."""
    complained = -COMPLAINT_INTERVAL
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(ACCEPTS_A_TURN):
                accepted, address = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                welcome(accepted, name_peer(address))
        except BlockingIOError:
            continue
        except OSError as exc:
            if exc.errno not in EXHAUSTED:
                continue  # That one connection was over before it began.
            now = trio.current_time()
            if now - complained >= COMPLAINT_INTERVAL:
                complained = now
                log.warning("can't accept connections: %s", exc.strerror)
            await trio.sleep(BACK_OFF)
