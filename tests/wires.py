"""One connection without a server: `open_connection` at one end, RFC 6455 by hand at the other.

A line is what the bytes go through: memory, lockstep, or TCP. The peer knows no frame of the
product's own making, and nothing of the product: it writes bytes, and takes apart what it reads.
When a served line ends, everything is looked over: the peer has seen the end, the books balance,
and nothing waits.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import trio
import trio.testing

from trio_chat.config import Config
from trio_chat.connection import Connection, open_connection
from trio_chat.ledger import Ledger
from trio_chat.opening import Opening
from trio_chat.outbox import Outboxes
from trio_chat.protocol import Ended, Ending
from trio_chat.transport import SocketTransport, StreamTransport, Transport
from trio_chat.wire import Wire

PATIENCE: Final = 20.0  # seconds, on a real clock, until a test that waits gives up

OPENING: Final = Opening(key="AAAAAAAAAAAAAAAAAAAAAA==", subprotocol=None)
KEY: Final = b"\x0f\xf0\xaa\x55"

FIN: Final = 0x80
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


# --- A client's frames ---


def masked(first: int, payload: bytes = b"", *, length: bytes | None = None) -> bytes:
    """A client's frame; `length` stands for the length's bytes, where they shall be odd."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 1 << 16:
            length = b"\x7e" + size.to_bytes(2, "big")
        else:
            length = b"\x7f" + size.to_bytes(8, "big")
    body = bytes(byte ^ KEY[index % 4] for index, byte in enumerate(payload))
    return bytes([first, length[0] | 0x80]) + length[1:] + KEY + body


def text(message: str) -> bytes:
    return masked(FIN | TEXT, message.encode())


def ping(payload: bytes = b"") -> bytes:
    return masked(FIN | PING, payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return masked(FIN | CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


class Frame(NamedTuple):
    """A server's frame."""

    first: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """What a Close says."""
        assert self.first == FIN | CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def said(message: str) -> Frame:
    return Frame(FIN | TEXT, message.encode())


# --- The two ends ---


class Peer:
    """A client that does as it likes."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._data = b""

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def shaken(self) -> None:
        """Read the answer to the handshake."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await self._read(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    async def frame(self) -> Frame:
        """Read one frame."""
        first, size = await self._read(2)
        if size == 126:
            size = int.from_bytes(await self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._read(8), "big")
        return Frame(first, await self._read(size))

    async def rest(self) -> list[Frame]:
        """Read frames up to the end of what the server sends; then close, as clients do."""
        frames = []
        while self._data or await self._more():
            frames.append(await self.frame())
        await self.aclose()
        return frames

    async def goodbye(self, code: int | None = 1000) -> list[Frame]:
        """Say Close, and read up to the end: what came before the answer, and the answer."""
        await self.send(close(code))
        return await self.rest()

    async def _read(self, size: int) -> bytes:
        while len(self._data) < size:
            assert await self._more(), f"the end came inside of a frame: {self._data!r}"
        data, self._data = self._data[:size], self._data[size:]
        return data

    async def _more(self) -> bytes:
        data = bytes(await self.stream.receive_some(64 * 1024))
        self._data += data
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def reset(self) -> None:
        """Break the connection off, without a word."""
        match self.stream:
            case trio.SocketStream(socket=sock):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
                await trio.lowlevel.checkpoint()
            case _:
                await trio.aclose_forcefully(self.stream)


Ends = tuple[Peer, Transport]


def memory() -> Ends:
    """Whatever is sent arrives; nobody ever waits."""
    theirs, ours = trio.testing.memory_stream_pair()
    return Peer(theirs), StreamTransport(ours, "memory:1")


def lockstep() -> Ends:
    """Nothing is sent unless the other side takes it."""
    theirs, ours = trio.testing.lockstep_stream_pair()
    return Peer(theirs), StreamTransport(ours, "lockstep:1")


def tcp() -> Ends:
    """The kernel, with the smallest buffers that it has: it soon says EAGAIN."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        client.connect(listener.getsockname())
        accepted, address = listener.accept()
    accepted.setblocking(False)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    peer = Peer(trio.SocketStream(trio.socket.from_stdlib_socket(client)))
    return peer, SocketTransport(accepted, f"127.0.0.1:{address[1]}")


LINES: Final[dict[str, Callable[[], Ends]]] = {"memory": memory, "lockstep": lockstep, "tcp": tcp}


# --- What happens at our end ---

Handler = Callable[[Connection], Awaitable[None]]


async def echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


async def listen(connection: Connection) -> None:
    async for _ in connection:
        pass


@dataclass
class Served:
    """One connection: its books, its peer, what it received, how it ended."""

    wire: Wire
    peer: Peer
    ledger: Ledger
    outboxes: Outboxes
    connection: Connection | None = None
    opened: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    received: list[str | bytes] = field(default_factory=list)

    @property
    def ending(self) -> Ending:
        assert self.connection is not None
        assert self.connection.ending is not None
        return self.connection.ending

    async def run(self, handler: Handler, config: Config) -> None:
        try:
            async with open_connection(self.wire, close_timeout=config.close_timeout) as connection:
                self.connection = connection
                self.opened.set()
                with connection.scope:
                    await handler(connection)
        except* Ended:
            pass  # The peer went away during the handshake.
        finally:
            self.over.set()

    async def collect(self, connection: Connection) -> None:
        """A handler that keeps what it receives."""
        async for message in connection:
            self.received.append(message)

    def offer(self, data: bytes, deliveries: int = 1) -> bool:
        """Offer as a hub does, which enters in the books what is owed and what was handed over."""
        self.ledger.owed += deliveries
        if handed := self.wire.offer(data, deliveries):
            self.ledger.handed += deliveries
        return handed


def make(ends: Ends, config: Config, *, early: bytes = b"", ledger: Ledger | None = None) -> Served:
    """Put a wire on a line."""
    peer, transport = ends
    ledger = ledger if ledger is not None else Ledger()
    outboxes = Outboxes(config.outboxes)
    wire = Wire(transport, config, ledger, outboxes, OPENING, early)
    return Served(wire, peer, ledger, outboxes)


@contextmanager
def in_time(ends: Ends) -> Iterator[None]:
    """Give up after a while; in virtual time, after a long one."""
    real = isinstance(ends[1], SocketTransport)
    with trio.fail_after(PATIENCE if real else 100_000):
        yield


@asynccontextmanager
async def serve(
    line: Callable[[], Ends],
    handler: Handler | None = None,
    *,
    early: bytes = b"",
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve one connection that has shaken hands; behind the block, see how it has ended."""
    config, ends = Config(**settings), line()
    served = make(ends, config, early=early)
    with in_time(ends):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.run, handler or served.collect, config)
            await served.peer.shaken()
            await served.opened.wait()
            yield served
            await served.peer.aclose()
            await served.over.wait()
    assert served.ledger.balances, str(served.ledger)
    assert served.ledger.waiting == 0
    assert served.outboxes.size == 0
