"""The microscope beside a server: its two listeners, and everybody who came through them.

    microscope
    ├── looks               at its pace, while somebody watches
    ├── accept unix, accept 127.0.0.1
    └── watcher …           one for each who asks or watches
        └── leaving         notices that the watcher has gone

A sibling of the server, in a nursery around both. Its own end is no end of the server; the server's
end closes it: those who watch get what has happened up to then, and the listeners are gone.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from ..listening import close_listeners, open_listeners
from .acts import Lab
from .discovery import NoPlace, listen_at
from .recorder import Gauges
from .unix import answer_one
from .visitors import Meet, accept_visitors
from .watch import Microscope
from .web import Desk
from .wish import Unservable, WebAddress, Wish, is_loopback

log = logging.getLogger(__name__)

BACKLOG: Final = 64


class Doors:
    """The listeners of one microscope. `open` them, `serve`, and `close` to end that."""

    def __init__(self, wish: Wish, root: trio.lowlevel.Task, gauges: Gauges | None = None) -> None:
        self.microscope = Microscope(root, names=wish.names, lab=wish.lab, gauges=gauges)
        self.path = wish.socket
        self.url: str | None = None  # Of the page, with its token, once it is open.
        self._wish = wish
        self._closing = trio.Event()
        self._unix: socket.socket | None = None
        self._web: list[socket.socket] = []
        self._desk: Desk | None = None

    @property
    def places(self) -> list[str]:
        """Where somebody may ask: the socket's path, and the page's address with its token."""
        return [str(self.path), *([] if self.url is None else [self.url])]

    async def open(self) -> None:
        """Take the places where somebody may ask.

        Raises:
            Unservable: one of them can't be had; nothing is open then.
        """
        try:
            self._unix = listen_at(self._wish.socket)
            if self._wish.web is not None:
                await self._open_web(self._wish.web)
        except (NoPlace, OSError) as exc:
            self.shut()
            raise Unservable(str(exc)) from exc

    async def _open_web(self, web: WebAddress) -> None:
        try:
            self._web = await open_listeners(web.host, web.port, BACKLOG)
        except OSError as exc:
            raise NoPlace(f"{web.host}:{web.port}: {exc.strerror or exc}") from exc
        names = [listener.getsockname() for listener in self._web]
        if not all(is_loopback(name[0]) for name in names):  # Who knows what a resolver says?
            raise NoPlace(f"{web.host} is not this machine alone")
        host = f"[{web.host}]" if ":" in web.host else web.host.lower()
        own = f"{host}:{names[0][1]}"
        lab = Lab(self.microscope) if self._wish.lab else None
        self._desk = Desk(self.microscope, lab, own)
        self.url = f"http://{own}/?token={self._desk.token}"

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let those who come look, until closed. What goes wrong is logged and ends only this."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.microscope.look_while_watched, name="looks")
                self._accept(nursery)
                task_status.started()
                await self._closing.wait()
                self.shut()  # Whoever accepts is told so by that.
                self.microscope.close()
        except Exception:
            log.exception("the microscope failed; the server goes on without it")
        finally:
            self.microscope.close()
            self.shut()

    def close(self) -> None:
        """Begin to end: whoever watches hears the rest, and nobody new comes. Idempotent."""
        self._closing.set()

    def _accept(self, nursery: trio.Nursery) -> None:
        assert self._unix is not None
        _listen(nursery, "unix", self._unix, partial(answer_one, microscope=self.microscope))
        for listener in self._web:
            assert self._desk is not None
            _listen(nursery, listener.getsockname()[0], listener, self._desk.answer_one)

    def shut(self) -> None:
        """Give the places back. Idempotent."""
        close_listeners(self._web)
        if self._unix is not None:
            close_listeners([self._unix])
            with suppress(OSError):
                self._wish.socket.unlink()
            self._unix = None


def _listen(nursery: trio.Nursery, name: str, found: socket.socket, meet: Meet) -> None:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(found))
    nursery.start_soon(accept_visitors, listener, meet, nursery, name=f"accept {name}")
