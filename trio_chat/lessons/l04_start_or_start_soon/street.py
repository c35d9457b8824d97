"""The street before the server: it brings guests to doors, and sees who closes each connection.

A door lives in the server's nursery for doors, as behind a listener.
"""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

from ...server import Server
from ...transport import StreamTransport
from ...venue import Guest, Venue


class Watched(StreamTransport):
    """A connection that notes the name of the task that closes it."""

    def __init__(self, stream: trio.abc.Stream, name: str, closed_by: dict[str, str]) -> None:
        super().__init__(stream, f"memory:{name}")
        self._name = name
        self._closed_by = closed_by

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed_by.setdefault(self._name, trio.lowlevel.current_task().name)
        await super().aclose()


class Street:
    """Where guests come from. `doors` is where doors live, and `guests` where guests do."""

    def __init__(self, server: Server, doors: trio.Nursery, guests: trio.Nursery) -> None:
        self._server = server
        self._doors = doors
        self._guests = guests
        self.closed_by: dict[str, str] = {}  # the name of a task, by the name of a guest

    def knock(self, name: str) -> trio.abc.Stream:
        """Connect to the server, and say nothing."""
        theirs, ours = trio.testing.memory_stream_pair()
        transport = Watched(ours, name, self.closed_by)
        self._doors.start_soon(self._server.meet, transport, name=f"door {transport.peer}")
        return theirs

    async def enter(self, stream: trio.abc.Stream, name: str, room: str) -> Guest:
        """Send a guest through a connection into a room.

        Raises:
            Disconnected: it could not enter.
        """
        venue = Venue(self._server, partial(_at_once, stream), self._guests)
        return await venue.join_once(name, room=room)


async def _at_once(stream: trio.abc.Stream) -> trio.abc.Stream:
    await trio.lowlevel.checkpoint()
    return stream
