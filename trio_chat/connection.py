"""One WebSocket over a wire: handshake, receiving, sending, the reason why it ends.

A connection is a nursery: trio-websocket's reader, once there is something for it to judge, and the
wire's writer, while the peer is behind, live in it. `open_connection` is its whole life: when its
block ends, for whatever reason, the tasks are gone, the peer was told why, and the socket is
closed.

This layer knows no room and no JSON: it carries text and bytes. It is public, so that a server of
another kind can stand on it (see examples/echo.py):

    async for message in connection:
        await connection.send(message)
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from .frames import LONG_WAY, LongWay, binary_frame, ping_frame, text_frame
from .lane import Portion
from .protocol import CloseCode, Ended, Ending
from .wire import Wire

# trio-websocket counts a message's characters once they are here. The wire has counted its bytes
# by then, from the headers, so this bound must only never be the smaller one.
NO_LIMIT = 2**63 - 1

ENGINE_TIMEOUT: Final = 5.0  # seconds, for what is a few steps of the scheduler


UNSHAKEN: Final = Ending(CloseCode.ABNORMAL, "the peer went away during the handshake")
GONE: Final = Ending(CloseCode.ABNORMAL, "the peer went away without a goodbye")


class Connection:
    """An open WebSocket. Iterate over it to receive; the iteration ends when the peer has closed.

    `scope` is where the conversation happens: `end` cancels it, and with it whatever waits there.
    """

    __slots__ = (
        "_ready",
        "_websocket",
        "close_by",
        "ending",
        "pinged",
        "received",
        "scope",
        "wire",
    )

    def __init__(self, wire: Wire) -> None:
        self._websocket: WebSocketConnection | None = None
        self._ready: list[str | LongWay] = []  # The next one is the last.
        self.wire = wire
        self.scope = trio.CancelScope()
        self.ending: Ending | None = None
        self.close_by = math.inf  # the time by which closing must be over, whatever the timeout
        self.pinged = 0.0  # when the heartbeat last asked
        self.received = 0  # messages

    @property
    def peer(self) -> str:
        """The other side's address."""
        return self.wire.peer

    def end(self, ending: Ending) -> None:
        """Say why this connection ends, and end its conversation. The first reason counts."""
        if self.ending is None:
            self.ending = ending
            self.scope.cancel(reason=f"{ending.code}: {ending.reason}")

    async def shake_hands(self) -> None:
        """Accept the request that waits in the wire; without the fast lane, by the engine.

        Raises:
            Ended: the peer went away meanwhile.
        """
        try:
            if self.wire.fast_lane:
                await self.wire.answer()
            else:
                await self._call_engine()
        except (trio.BrokenResourceError, ConnectionClosed):
            raise Ended(UNSHAKEN) from None

    async def _call_engine(self) -> None:
        wire = self.wire
        assert wire.nursery is not None, "a connection is open while its nursery is"
        request = await wrap_server_stream(wire.nursery, wire, max_message_size=NO_LIMIT)
        self._websocket = await request.accept(subprotocol=wire.opening.subprotocol)
        wire.accepted()

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            Ended: the peer has closed or broken off, or broke the protocol.

        If cancelled, no message is lost.
        """
        while not self._ready:
            try:
                self._ready = (await self._next_portion())[::-1]
            except trio.EndOfChannel:
                raise Ended(self._how_it_closed()) from None
        message: str | bytes | LongWay = self._ready[-1]
        if message is LONG_WAY:
            message = await self._get_message()
        self._ready.pop()
        self.received += 1
        return message

    async def _next_portion(self) -> Portion:
        if (lane := self.wire.lane) is not None:
            return await lane.take()
        portion = await self.wire.listen()
        if self.wire.for_engine:
            # Nothing in here waits for the peer, and half an engine would lose what was read.
            with trio.fail_after(ENGINE_TIMEOUT, shield=True):
                await self._call_engine()
        return portion

    async def _get_message(self) -> str | bytes:
        assert self._websocket is not None
        try:
            return await self._websocket.get_message()
        except ConnectionClosed:
            raise Ended(self._how_it_closed()) from None

    def _how_it_closed(self) -> Ending:
        closed = self._websocket.closed if self._websocket else None
        if closed is not None and closed.code != CloseCode.ABNORMAL:
            return Ending(closed.code, closed.reason or "the peer closed")
        return self.wire.verdict or GONE

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except Ended as end:
            self.end(end.ending)
            raise StopAsyncIteration from None

    async def send(self, message: str | bytes) -> None:
        """Send a message and wait until it is out; before that, until those before it are.

        If cancelled, the message is not sent at all, or stays in the queue, whole.
        """
        frame = (
            binary_frame(message) if isinstance(message, bytes) else text_frame(message.encode())
        )
        await self.send_frames(frame)

    async def send_frames(self, frames: bytes) -> None:
        """Send ready-made frames, as `send` does."""
        # Who waits is not evicted for what waits: a slow peer makes this sender slow.
        await self.wire.wait_send_all_might_not_block()
        if not self.wire.offer(frames):
            await self.wire.wait_send_all_might_not_block()

    def ping(self) -> None:
        """Ask whether the peer is still there."""
        self.pinged = trio.current_time()
        self.wire.offer(ping_frame(b"still there?"))


@asynccontextmanager
async def open_connection(wire: Wire, *, close_timeout: float) -> AsyncIterator[Connection]:
    """Accept the handshake that waits in the wire, and close the connection behind the block.

    The conversation belongs into `connection.scope`. What ended it is told to the peer: the
    connection's `ending`, or 1011 where the block raised, or 1001 where it was cancelled from
    outside and nobody said why. Closing is shielded, and takes `close_timeout` seconds at most, or
    until the connection's `close_by` if that is sooner.

    Raises:
        ExceptionGroup: of `Ended` where the peer went away during the handshake; of what the block,
            trio-websocket's reader or the writer raised.
    """
    connection = Connection(wire)
    deadline = math.inf
    try:
        async with trio.open_nursery() as nursery:
            wire.attach(nursery, connection.end)
            try:
                await connection.shake_hands()
                try:
                    yield connection
                except Ended as end:
                    connection.end(end.ending)
            except trio.Cancelled:
                connection.end(Ending(CloseCode.GOING_AWAY, "the server is going away"))
                raise
            except Ended as end:
                connection.end(end.ending)
                raise
            except Exception:
                connection.end(Ending(CloseCode.INTERNAL_ERROR, "an error in the server"))
                raise
            finally:
                deadline = min(trio.current_time() + close_timeout, connection.close_by)
                # A Trio stream is torn where its writer is cancelled, so that is let finish first.
                with trio.CancelScope(deadline=deadline, shield=True):
                    await wire.wait_send_all_might_not_block()
                wire.detach()
                nursery.cancel_scope.cancel(reason="the conversation is over")
    finally:
        with trio.CancelScope(deadline=deadline, shield=True):
            await wire.hang_up(connection.ending or Ending(CloseCode.NORMAL, "goodbye"))
