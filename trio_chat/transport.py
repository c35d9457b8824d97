"""The two things that bytes can go through: a raw socket, and any Trio stream.

A transport knows nothing of frames. Its one speciality is `send_now`, which takes what can go out
at once and never waits: that is what lets a hub write to a thousand members in one synchronous
step. A Trio stream can't promise that, so there it takes nothing, and a writer does the work.

Whoever holds a transport closes it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Final, Protocol

import trio

Bytes = bytes | memoryview

RECEIVE_BYTES: Final = 16 * 1024

# What a socket says when it is broken, and when it is closed under who waits.
BROKEN: Final = (OSError, trio.ClosedResourceError)


class Transport(Protocol):
    """What a wire and a door need of a connection."""

    @property
    def peer(self) -> str:
        """The other side's address, for limits and logs."""

    def send_now(self, data: Bytes, /) -> int:
        """Send what can go out without waiting and return how many bytes that was.

        Raises:
            BlockingIOError: nothing can.
            OSError: the connection is broken.
        """

    async def send_some(self, data: Bytes) -> int:
        """Wait until something can go out, send it and return how many bytes that was.

        Raises:
            trio.BrokenResourceError: the connection is broken.

        If cancelled on a socket, nothing was sent. A Trio stream is torn: only close it.
        """

    async def receive_some(self) -> bytes:
        """Wait for bytes and return them, or nothing where the peer has finished.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """

    async def send_eof(self) -> None:
        """Say that nothing more will come, where the transport has a way to say it."""

    async def aclose(self) -> None:
        """Close, at once and for good, cancelled or not. Idempotent."""


class SocketTransport:
    """A connected, non-blocking stream socket of the standard library."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._socket = sock
        self.peer = peer
        # The hub's hot path: a bound method of the socket itself, nothing of ours around it.
        self.send_now = sock.send

    async def send_some(self, data: Bytes) -> int:
        """See `Transport.send_some`."""
        while True:
            try:
                self._check_open()
                await trio.lowlevel.wait_writable(self._socket)
                return self._socket.send(data)
            except BlockingIOError:
                continue  # Readiness is a hint; another writer may have been quicker.
            except BROKEN as exc:
                raise trio.BrokenResourceError(f"sending failed: {exc}") from exc

    async def receive_some(self) -> bytes:
        """See `Transport.receive_some`."""
        # Waiting first is the checkpoint, and saves the recv() that would fail.
        while True:
            try:
                self._check_open()
                await trio.lowlevel.wait_readable(self._socket)
                return self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except BROKEN as exc:
                raise trio.BrokenResourceError(f"receiving failed: {exc}") from exc

    def _check_open(self) -> None:
        # Trio remembers for ever who waited for descriptor -1, and calls it busy for the next.
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("the socket is closed")

    async def send_eof(self) -> None:
        """See `Transport.send_eof`."""
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """See `Transport.aclose`: nothing is awaited, so that no cancellation can prevent it."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class StreamTransport:
    """Any Trio stream: TLS, or two ends of memory in a test."""

    def __init__(self, stream: trio.abc.Stream, peer: str) -> None:
        self._stream = stream
        self._torn = False
        self.peer = peer

    def send_now(self, data: Bytes, /) -> int:
        """See `Transport.send_now`: a stream never sends without waiting."""
        raise BlockingIOError(errno.EAGAIN, "a stream has to be awaited")

    async def send_some(self, data: Bytes) -> int:
        """See `Transport.send_some`: a stream takes everything, or is torn."""
        if self._torn:
            raise trio.BrokenResourceError("an earlier send was cut off")
        self._torn = True
        try:
            await self._stream.send_all(data)
        except trio.ClosedResourceError as exc:
            raise trio.BrokenResourceError("the stream is closed") from exc
        self._torn = False
        return len(data)

    async def receive_some(self) -> bytes:
        """See `Transport.receive_some`."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except trio.ClosedResourceError as exc:
            raise trio.BrokenResourceError("the stream is closed") from exc

    async def send_eof(self) -> None:
        """See `Transport.send_eof`: TLS has no half-close, and says so by lacking the method."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await trio.aclose_forcefully(self._stream)
