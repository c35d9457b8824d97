"""One WebSocket from a client to a server, over any Trio stream: opened, kept alive, closed.

`open_link` is its whole life: trio-websocket's reader and the heartbeat live in the nursery inside
of it. Everything that can go wrong on the way comes out as `Disconnected`, with a code that
`comeback` knows. Here is all that trio-websocket leaves to us:

* its reader ends in silence when the stream does before the handshake is over, and whoever waits
  for that handshake waits for ever: so the stream is ours, and tells;
* a send that is cancelled leaves half a frame behind: after that, nothing is sent any more;
* it never notices a peer that vanished without a word: so we ping.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from ..protocol import CloseCode, Dialect, Ending
from .address import Address
from .comeback import TLS_FAILED
from .nursery import open_service_nursery

Dial = Callable[[], Awaitable[trio.abc.Stream]]

# Above what any server should send: a room's 1,000 names, each of 32 letters, take 400 KB.
MAX_FRAME: Final = 16 * 2**20  # characters

# As the server does with its clients.
SILENCE: Final = 20.0  # seconds without a byte, then we ask
PING_TIMEOUT: Final = 20.0  # seconds for the answer

CLOSE_TIMEOUT: Final = 1.0  # seconds for the goodbyes; whoever leaves has nothing to wait for


class Disconnected(Exception):
    """The server is not there (any more) for this client.

    `code` is a close code of the protocol or of RFC 6455; below 1000 it is the HTTP status with
    which the handshake was refused. `reason` is for people, and was written by the other side.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"{ending.code}: {ending.reason}")
        self.ending = ending

    @property
    def code(self) -> int:
        """Why, as a number."""
        return self.ending.code

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self.ending.reason


class Link:
    """An open WebSocket that carries text."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket

    async def send(self, text: str) -> None:
        """Send a text frame.

        Raises:
            Disconnected: it can't be sent any more.

        If cancelled, the link is torn: nothing more can be sent, only closing is left.
        """
        try:
            await self._websocket.send_message(text)
        except (ConnectionClosed, LocalProtocolError):
            raise Disconnected(self._ending()) from None

    async def receive(self) -> str:
        """Return the next text frame. If cancelled, none is lost.

        Raises:
            Disconnected: there will be no more.
        """
        try:
            message = await self._websocket.get_message()
        except ConnectionClosed:
            raise Disconnected(self._ending()) from None
        if isinstance(message, bytes):
            raise Disconnected(Ending(CloseCode.UNSUPPORTED_DATA, "the server sent a binary frame"))
        return message

    def _ending(self) -> Ending:
        closed = self._websocket.closed
        if closed is None:
            return Ending(CloseCode.PROTOCOL_ERROR, "the server broke the WebSocket protocol")
        if closed.code == CloseCode.ABNORMAL:
            return Ending(CloseCode.ABNORMAL, "the connection was lost")
        return Ending(closed.code, closed.reason or "the server closed the connection")


@asynccontextmanager
async def open_link(
    dial: Dial, address: Address, query: dict[str, str], dialect: Dialect
) -> AsyncIterator[Link]:
    """Open a WebSocket over the stream that `dial` opens, and close it behind the block.

    Raises:
        Disconnected: it could not be opened, or the block found that it has ended.

    If cancelled, the server is told goodbye where that takes no waiting.
    """
    stream = _Stream(await _reach(dial, address))
    try:
        async with open_service_nursery(LocalProtocolError) as nursery:
            websocket = await _shake_hands(nursery, stream, address, query, dialect)
            nursery.start_soon(_ping_when_silent, websocket, stream, name="heartbeat")
            try:
                yield Link(websocket)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await _say_goodbye(websocket, stream)
    except ConnectionRejected as exc:
        raise Disconnected(_rejection(exc)) from None
    except LocalProtocolError:
        # trio-websocket's reader raises where a ping comes behind our Close: the block is over.
        if not stream.said_goodbye.is_set():
            raise _lost("while it closed") from None
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await stream.aclose()


async def dial_tcp(address: Address, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a TCP connection to an address, with TLS where it asks for that.

    Raises:
        OSError: nobody answers there, or there is no such place.
        trio.BrokenResourceError: TLS could not be agreed on; its cause says why.
    """
    if not address.secure:
        return await trio.open_tcp_stream(address.host, address.port)
    stream = await trio.open_ssl_over_tcp_stream(
        address.host, address.port, https_compatible=True, ssl_context=tls
    )
    try:
        await stream.do_handshake()  # Now: trio-websocket would not tell why it failed.
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def lend(stream: trio.abc.Stream) -> Dial:
    """Return a dial that gives this stream."""

    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return stream

    return dial


async def _reach(dial: Dial, address: Address) -> trio.abc.Stream:
    try:
        return await dial()
    except OSError as exc:
        reason = f"can't connect to {address.host}, port {address.port}: {_cause(exc)}"
        raise Disconnected(Ending(CloseCode.ABNORMAL, reason)) from exc
    except trio.BrokenResourceError as exc:
        raise Disconnected(Ending(TLS_FAILED, f"no TLS: {exc.__cause__ or exc}")) from exc


def _cause(exc: BaseException) -> str:
    # Trio tries every address that a name has, and raises one error over all of theirs.
    match exc:
        case BaseExceptionGroup():
            return _cause(exc.exceptions[0])
        case BaseException(__cause__=BaseException() as cause):
            return _cause(cause)
        case OSError(errno=int() as number) if number > 0:  # Not that of a name without an address.
            return os.strerror(number)
        case OSError(strerror=str() as reason):
            return reason
        case _:
            return str(exc)


async def _shake_hands(
    nursery: trio.Nursery,
    stream: _Stream,
    address: Address,
    query: dict[str, str],
    dialect: Dialect,
) -> WebSocketConnection:
    websocket: WebSocketConnection | None = None
    async with open_service_nursery() as watch:
        watch.start_soon(_cancel_after, stream.ended, watch.cancel_scope, name="end of the stream")
        websocket = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]  # It asks for a socket, and takes any stream.
            address.authority,
            address.target(query),
            subprotocols=None if dialect.value is None else [dialect.value],
            max_message_size=MAX_FRAME,
        )
    if websocket is None:
        raise _lost("during the handshake")
    if websocket.subprotocol != dialect.value:
        reason = f"the server does not speak {dialect.value}"
        raise Disconnected(Ending(CloseCode.PROTOCOL_ERROR, reason))
    return websocket


def _lost(when: str) -> Disconnected:
    return Disconnected(Ending(CloseCode.ABNORMAL, f"the connection was lost {when}"))


def _rejection(rejected: ConnectionRejected) -> Ending:
    status = rejected.status_code
    lines = (rejected.body or b"")[:200].decode(errors="replace").splitlines()
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "refused"
    return Ending(status, lines[0] if lines and lines[0] else phrase)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="the stream has ended")


async def _ping_when_silent(websocket: WebSocketConnection, stream: _Stream) -> None:
    """Close the stream of a server that says nothing, not even when it is asked.

    Only the time counts in which somebody listens: while events wait to be taken, nobody does.
    """
    while True:
        since = stream.listening_since
        now = trio.current_time()
        if since is None or now < since + SILENCE:
            await trio.sleep_until((now if since is None else since) + SILENCE)
            continue
        with trio.move_on_after(PING_TIMEOUT):
            try:
                await websocket.ping()
            except (ConnectionClosed, LocalProtocolError):
                return
        if stream.listening_since == since:
            # Not a byte came meanwhile. The reader finds the stream closed, and tells.
            await stream.aclose()
            return


async def _say_goodbye(websocket: WebSocketConnection, stream: _Stream) -> None:
    """Close the WebSocket, and wait for the server's Close where somebody can still read it."""
    async with open_service_nursery() as nursery:
        nursery.start_soon(_stop_waiting, stream, nursery.cancel_scope, name="end of the stream")
        await websocket.aclose()


async def _stop_waiting(stream: _Stream, scope: trio.CancelScope) -> None:
    await stream.said_goodbye.wait()
    await stream.ended.wait()
    scope.cancel(reason="nobody reads any more")


class _Stream(trio.abc.Stream):
    """A stream that tells when it has ended, and that sends no more after a send was cancelled."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._sending = False
        self.listening_since: float | None = None  # None: nobody waits for bytes
        self.said_goodbye = trio.Event()  # A Close frame went out.
        self.ended = trio.Event()  # Nothing more will be read.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. If cancelled, half a frame may be out: nothing more can be sent."""
        if self._sending:
            raise trio.BrokenResourceError("a send was cancelled half-way")
        self._sending = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        self._sending = False
        # trio-websocket writes one frame at a time. 0x88 is a whole Close (RFC 6455, section 5.2).
        if data[:1] == b"\x88":
            self.said_goodbye.set()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return some bytes, or none at the end. If cancelled, its reader is gone for good."""
        self.listening_since = trio.current_time()
        data: bytes | bytearray = b""
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            self.listening_since = None
            if not data:
                self.ended.set()
        return data

    async def aclose(self) -> None:
        """Close the stream."""
        self.ended.set()
        await self._stream.aclose()
