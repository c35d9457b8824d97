"""The plain dialect: the Channels tutorial's, `{"message": TEXT}` in and out, and nothing else.

No names, no numbers, no receipts, and so no coming back: when the connection ends, so does this.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import orjson
import trio

from ..protocol import CloseCode, Dialect, Ending
from .address import Address, parse_address
from .link import Dial, Disconnected, Link, dial_tcp, lend, open_link
from .member import JOIN_TIMEOUT


class PlainError(Exception):
    """The server did not accept something that was sent; the connection stays."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Plain:
    """A nameless place in a room. Iterate over it to receive what is said, one's own included."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(self, text: str) -> None:
        """Send a message; it comes back like everybody else's.

        Raises:
            Disconnected: it can't be sent any more.

        If cancelled, the connection is torn: nothing more can be sent.
        """
        await self._link.send(orjson.dumps({"message": text}).decode())

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> str:
        """Return the next message. If cancelled, none is lost.

        Raises:
            PlainError: the server did not accept something; iterating can go on.
            Disconnected: there will be no more.
        """
        return _read(await self._link.receive())


def _read(frame: str) -> str:
    try:
        value: object = orjson.loads(frame)
    except orjson.JSONDecodeError:
        value = None
    match value:
        case {"message": str(text)}:
            return text
        case {"error": {"code": str(code), "reason": str(reason)}}:
            raise PlainError(code, reason)
        case _:
            reason = "the server sent what the plain dialect does not know"
            raise Disconnected(Ending(CloseCode.PROTOCOL_ERROR, reason))


@asynccontextmanager
async def connect_plain(url: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Plain]:
    """Join a room in the plain dialect, and leave it behind the block. See `connect`.

    Raises:
        BadAddress: the address can't be understood.
        Disconnected: the room could not be entered.

    If cancelled, the client leaves.
    """
    address = parse_address(url)
    if tls is None and address.secure:
        tls = ssl.create_default_context()
    async with _enter(partial(dial_tcp, address, tls), address) as plain:
        yield plain


@asynccontextmanager
async def connect_plain_stream(
    stream: trio.abc.Stream, url: str = "ws://localhost/ws/chat/lobby/"
) -> AsyncIterator[Plain]:
    """Join a room in the plain dialect over this stream, and close it behind the block.

    Raises:
        BadAddress, Disconnected: see `connect_plain`.

    If cancelled, the client leaves.
    """
    async with _enter(lend(stream), parse_address(url)) as plain:
        yield plain


@asynccontextmanager
async def _enter(dial: Dial, address: Address) -> AsyncIterator[Plain]:
    with trio.move_on_after(JOIN_TIMEOUT) as joining:
        async with open_link(dial, address, dict(address.query), Dialect.PLAIN) as link:
            joining.deadline = math.inf
            yield Plain(link)
        return
    raise Disconnected(Ending(CloseCode.ABNORMAL, f"no answer within {JOIN_TIMEOUT:g} s"))
