"""Running servers, and the ways in: over TCP, and over memory streams.

Each guest is a task in the nursery of its venue. When the venue ends, they leave, the server
drains, and its books are looked into.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

import trio
import trio.testing

from ..client import Chat, Dial, connect_over, connect_plain_stream, connect_stream
from ..client.nursery import open_service_nursery
from ..config import Config
from ..history import History
from ..server import Server
from ..transport import StreamTransport
from .guests import Guest, HangUp, PlainGuest

LOBBY: Final = "lobby"


class _Line:
    """The way to the server, which can be cut."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._stream: trio.abc.Stream | None = None

    async def dial(self) -> trio.abc.Stream:
        self._stream = await self._dial()
        return self._stream

    async def cut(self) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)


class Venue:
    """A running server, and a way in for guests."""

    def __init__(self, server: Server, dial: Dial, nursery: trio.Nursery) -> None:
        self.server = server
        self.dial = dial  # for a client of one's own, with `connect_over(venue.dial, venue.url)`
        self._nursery = nursery

    @property
    def url(self) -> str:
        """Where the lobby is, over TCP."""
        return self.url_of(LOBBY)

    def url_of(self, room: str) -> str:
        """Where a room is, over TCP."""
        return f"{self.server.url}{room}/"

    async def join(
        self, name: str | None = None, *, room: str = LOBBY, history: int | None = None
    ) -> Guest:
        """Send a client in, and return it once the server has said welcome.

        Raises:
            Disconnected: it could not enter.
        """
        line = _Line(self.dial)
        chat = connect_over(line.dial, self.url_of(room), name=name, history=history)
        return await self._send_in(chat, line.cut, name)

    async def join_once(
        self, name: str | None = None, *, room: str = LOBBY, history: int | None = None
    ) -> Guest:
        """Send a client in as `join` does, but one that does not come back when it is thrown out.

        Raises:
            Disconnected: it could not enter.
        """
        stream = await self.dial()
        chat = connect_stream(stream, self.url_of(room), name=name, history=history)
        return await self._send_in(chat, partial(trio.aclose_forcefully, stream), name)

    async def _send_in(
        self, entering: AbstractAsyncContextManager[Chat], hang_up: HangUp, name: str | None
    ) -> Guest:
        attend = partial(_attend, entering, hang_up)
        guest: Guest = await self._nursery.start(attend, name=f"guest {name}")
        return guest

    async def join_plain(self, *, room: str = LOBBY) -> PlainGuest:
        """Send a client of the tutorial in.

        Raises:
            Disconnected: it could not enter.
        """
        attend = partial(self._attend_plainly, room)
        guest: PlainGuest = await self._nursery.start(attend, name="guest, plain")
        return guest

    async def _attend_plainly(self, room: str, *, task_status: trio.TaskStatus[PlainGuest]) -> None:
        async with connect_plain_stream(await self.dial(), self.url_of(room)) as plain:
            guest = PlainGuest(plain)
            task_status.started(guest)
            await guest.run()


async def _attend(
    entering: AbstractAsyncContextManager[Chat],
    hang_up: HangUp,
    *,
    task_status: trio.TaskStatus[Guest],
) -> None:
    async with entering as chat:
        guest = Guest(chat, hang_up)
        task_status.started(guest)
        await guest.run()
    guest.has_left()


@asynccontextmanager
async def open_server(config: Config | None = None) -> AsyncIterator[Venue]:
    """Run a server, by default on a free port; guests come over TCP. Use no virtual time.

    Raises:
        AssertionError: at the end, where the server had an error or lost something.
    """
    async with _running(config) as running, open_service_nursery() as guests:
        server = running.server
        yield Venue(server, partial(trio.open_tcp_stream, server.config.host, server.port), guests)


@asynccontextmanager
async def open_room(
    config: Config | None = None, history: History | None = None, *, faults: int = 0
) -> AsyncIterator[Venue]:
    """Run a server whose guests come over memory streams: time may be virtual.

    `faults` is how many errors are expected of it, where somebody provokes them.

    Raises:
        AssertionError: at the end, where the server had other errors or lost something.
    """
    async with _running(config, history, faults) as running, open_service_nursery() as guests:
        yield Venue(running.server, running.dial, guests)


class _Running:
    """A server that runs, and the nursery of those of its doors that have no socket."""

    def __init__(self, server: Server, doors: trio.Nursery) -> None:
        self.server = server
        self.over = trio.Event()
        self._doors = doors

    async def run(self, *, task_status: trio.TaskStatus[Server]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(await nursery.start(self.server.run, name="server"))
        finally:
            self.over.set()

    async def dial(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.over.is_set():
            raise ConnectionRefusedError("the server has ended")
        theirs, ours = trio.testing.memory_stream_pair()
        self._doors.start_soon(self.server.meet, StreamTransport(ours, "memory:0"), name="door")
        return theirs


@asynccontextmanager
async def _running(
    config: Config | None, history: History | None = None, expected: int = 0
) -> AsyncIterator[_Running]:
    server = Server(config or Config(port=0), history)
    async with open_service_nursery() as nursery:
        running = _Running(server, nursery)
        await nursery.start(running.run, name="venue")
        yield running
        server.drain()
        await running.over.wait()
    faults = server.house.tally.faults
    if faults != expected or server.exit_code:
        raise AssertionError(f"{faults} faults, exit code {server.exit_code}: see the server's log")
