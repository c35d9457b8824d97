"""A place in a room, as people hold it: say, listen, leave.

`connect` opens a nursery with one task in it, the `Member`'s life. Leaving the block ends that
task, and with it the connection.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from .address import parse_address
from .comeback import Comeback
from .events import Event, Receipt, Welcome
from .link import CLOSE_TIMEOUT, Dial, Disconnected, dial_tcp, lend
from .member import Member
from .nursery import open_service_nursery


class Chat:
    """A place in a room. Iterate over it to receive events; every task may `say`.

    Each message comes once and in order, whatever happens to the connection; where some are lost
    for good, a `Reconnected` that is not `recovered` stands in their place. Events are one stream:
    tasks that iterate at the same time get each a part of it. Until somebody iterates, only the
    newest thousand events are kept.
    """

    def __init__(self, member: Member) -> None:
        self._member = member

    @property
    def room(self) -> str:
        """The room's name."""
        return self._welcome.room

    @property
    def name(self) -> str:
        """The name that the server gave this client."""
        return self._welcome.name

    @property
    def epoch(self) -> str:
        """The name of the numbering's life."""
        return self._welcome.epoch

    @property
    def seq(self) -> int:
        """The number of the newest message that was read from the server.

        Events that wait to be taken are older: to go on some other day with `since`, remember the
        number of the last message that was taken.
        """
        return self._member.seq

    @property
    def members(self) -> tuple[str, ...]:
        """Who is in the room, sorted; empty where the room is too large to name them."""
        return tuple(sorted(self._member.names))

    @property
    def _welcome(self) -> Welcome:
        assert self._member.welcome is not None, "nobody gets a Chat before it has joined"
        return self._member.welcome

    async def say(self, text: str, *, id: str | None = None) -> Receipt:
        """Say something, and return the receipt once the server has accepted it.

        It waits while there is no connection, and where the server asks to slow down. A message
        that may have been lost on the way is sent again, and published once. What one task says
        one after the other stays in order. `id` is for a message that was said before, maybe in
        another life of this program: then the receipt may be a `duplicate`.

        Raises:
            Disconnected: this client won't come back; the message may have been accepted or not.
            Refused: the server did not accept it.
            Overrun: nobody takes the events that come in.
            ValueError: the text can't be written as UTF-8, or `id` is under way already.

        If cancelled, the message may have been accepted or not.
        """
        return await self._member.outgoing.say(text, id)

    async def typing(self) -> None:
        """Let the others know that this client is typing, as often as the server passes it on.

        It does not wait: without a connection it is not worth sending later.

        Raises:
            Disconnected: this client won't come back.
        """
        await self._member.outgoing.typing()

    def __aiter__(self) -> Chat:
        self._member.backlog.listen()
        return self

    async def __anext__(self) -> Event:
        """Return the next event. If cancelled, none is lost.

        Raises:
            Disconnected: this client won't come back. Every event before that was taken.
            StopAsyncIteration: this client has left.
        """
        try:
            return await self._member.backlog.take()
        except trio.EndOfChannel:
            ending = self._member.outgoing.ending
            if ending is None:
                raise StopAsyncIteration from None
            raise Disconnected(ending) from None


@asynccontextmanager
async def connect(
    url: str,
    *,
    name: str | None = None,
    history: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Chat]:
    """Join a room, and leave it behind the block.

    `url` may be the socket's address, the room's page or HOST:PORT/ROOM (see `parse_address`). Its
    query may carry what the protocol allows there, such as `since` and `epoch`. `history` is how
    many past messages come first (the server's default: 50). `tls` replaces the usual trust in
    certificates.

    A connection that is lost later is made again, for as long as the block lasts: put the block
    into a cancel scope to set an end to that.

    Raises:
        BadAddress: the address can't be understood.
        Disconnected: the room could not be entered. Lost later, for good, this is raised where the
            block says or takes something.

    If cancelled, the client leaves.
    """
    address = parse_address(url)
    if tls is None and address.secure:
        tls = ssl.create_default_context()
    dial = partial(dial_tcp, address, tls)
    async with connect_over(dial, url, name=name, history=history) as chat:
        yield chat


@asynccontextmanager
async def connect_over(
    dial: Dial, url: str, *, name: str | None = None, history: int | None = None
) -> AsyncIterator[Chat]:
    """Join a room as `connect` does, over streams that `dial` opens: a Unix socket, a tunnel.

    Raises:
        BadAddress, Disconnected: see `connect`. An OSError of `dial` counts as "nobody answers".

    If cancelled, the client leaves.
    """
    async with _enter(dial, Comeback.SOON, Member(parse_address(url), name, history)) as chat:
        yield chat


@asynccontextmanager
async def connect_stream(
    stream: trio.abc.Stream,
    url: str = "ws://localhost/ws/chat/lobby/",
    *,
    name: str | None = None,
    history: int | None = None,
) -> AsyncIterator[Chat]:
    """Join a room over this stream, and close it behind the block; when it ends, so does the chat.

    Raises:
        BadAddress, Disconnected: see `connect`.

    If cancelled, the client leaves.
    """
    member = Member(parse_address(url), name, history)
    async with _enter(lend(stream), Comeback.NEVER, member) as chat:
        yield chat


@asynccontextmanager
async def _enter(dial: Dial, comes_back: Comeback, member: Member) -> AsyncIterator[Chat]:
    async with open_service_nursery() as nursery:
        nursery.start_soon(member.live, dial, comes_back, name="chat client")
        await member.joined.wait()
        try:
            yield Chat(member)
        finally:
            # Both goodbyes have a deadline of their own, the WebSocket's and the stream's.
            with trio.move_on_after(2 * CLOSE_TIMEOUT, shield=True):
                await member.leave()
