"""Listening sockets, and the loop that accepts on one.

trio.serve_tcp closes each connection when its handler returns, and a door hands its connection on;
so the loop is our own, and the sockets are the standard library's, whose `send` never waits.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import trio

log = logging.getLogger(__name__)

# What a resolver knows and this machine has not: IPv6, say, on one that speaks IPv4 alone.
MISSING: Final = frozenset(
    {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}
)

# Out of file descriptors or memory: those who are connected go on, the others have to wait.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
BACK_OFF: Final = 0.1  # seconds
COMPLAINT_INTERVAL: Final = 1.0  # seconds

# What became of one connection while it waited: Linux tells it to whoever accepts (accept(2)), and
# other kernels some of it. Not all of them have all of these.
OVER_BEFORE_IT_BEGAN: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",  # a firewall's
        "EPROTO",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)

# Connections that are accepted before others may run.
ACCEPTS_A_TURN: Final = 32

Address = tuple[Any, ...]  # a host and a port, and for IPv6 two numbers more


async def open_listeners(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return a listening, non-blocking socket for each address of `host` that this machine has.

    Port 0 takes a free one, the same for all addresses. An address that is missing here is left
    out, and said so in the log.

    Raises:
        OSError: the name can't be resolved; an address is taken or not for us; all are missing.
    """
    found = await trio.socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    missing: dict[str, OSError] = {}
    try:
        for family, _, _, _, address in found:
            taken = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(_listen(family, (address[0], taken, *address[2:]), backlog))
            except OSError as exc:
                if exc.errno not in MISSING:
                    raise
                missing[str(address[0])] = exc
        if not listeners:
            raise next(iter(missing.values()))
    except BaseException:
        close_listeners(listeners)
        raise
    if missing:
        reasons = [f"{address} ({exc.strerror})" for address, exc in missing.items()]
        log.warning("not listening on %s", ", ".join(reasons))
    return listeners


def _listen(family: int, address: Address, backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


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
    """Accept connections for ever; give each, non-blocking, to `welcome`, with the peer's name.

    Raises:
        OSError: this is no listener, or no longer.
    """
    complained = -COMPLAINT_INTERVAL
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(ACCEPTS_A_TURN):
                accepted, address = listener.accept()
                accepted.setblocking(False)
                # Where a peer has gone already, some kernels refuse; its door will find out.
                with contextlib.suppress(OSError):
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                welcome(accepted, name_peer(address))
        except BlockingIOError:
            continue
        except OSError as exc:
            if exc.errno in OVER_BEFORE_IT_BEGAN:
                continue
            if exc.errno not in EXHAUSTED:
                raise  # Going on would be a loop without a pause.
            now = trio.current_time()
            if now - complained >= COMPLAINT_INTERVAL:
                complained = now
                log.warning("can't accept connections: %s", exc.strerror)
            await trio.sleep(BACK_OFF)
