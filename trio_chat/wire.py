"""The stream under one WebSocket, ours, so that a room can write next to trio-websocket.

A wire lives as long as its connection. trio-websocket reads and writes through it like through any
Trio stream; the hub, beside it, offers whole frames. Both go through one queue, so frames never
interleave, and a cancelled send never leaves half a frame before the next.

Offering is synchronous: straight to the kernel while the member keeps up, else into its outbox,
which a writer task drains until it has caught up. Whatever goes wrong on the way ends this member
and nobody else: `offer` never raises.

The ending is ours too. trio-websocket closes its stream when it is done; to the wire that only
means that no more will be read. The goodbye is said by `hang_up`, when nobody else holds the wire.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Final

import trio

from .config import Config
from .frames import FINAL_CLOSE, FrameFollower, LongWay, TooMuch, close_frame
from .ledger import Ledger
from .outbox import Blob, Outbox, Outboxes
from .protocol import NEVER_SENT, VIOLATIONS, CloseCode, Ending
from .rate import TokenBucket
from .transport import Transport

# One item is what one read brought. More than one in store would only hide from TCP that we wait.
LANE_CAPACITY: Final = 1


class Wire(trio.abc.Stream):
    """One connection's bytes: the lane for what comes, the queue for what goes."""

    __slots__ = (
        "_accepted",
        "_broken",
        "_close_sent",
        "_config",
        "_controls",
        "_early",
        "_finished",
        "_follower",
        "_head",
        "_lane_in",
        "_ledger",
        "_nursery",
        "_on_end",
        "_open",
        "_outbox",
        "_outboxes",
        "_send_now",
        "_shut_reason",
        "_transport",
        "begun",
        "heard",
        "lane",
        "name",
    )

    def __init__(
        self,
        transport: Transport,
        config: Config,
        ledger: Ledger,
        outboxes: Outboxes,
        *,
        head: bytes,
        early: bytes,
    ) -> None:
        """Take over a transport whose request head has been read.

        `head` is what trio-websocket shall see of it; `early` is what the client sent behind it.
        """
        self._transport = transport
        self._send_now = transport.send_now
        self._config = config
        self._ledger = ledger
        self._outboxes = outboxes
        self._head = head
        self._early = early
        self._accepted: trio.Event | None = trio.Event()
        self._follower = FrameFollower(
            max_bytes=config.frame_limit,
            max_fragments=config.max_fragments,
            lifts=config.fast_lane,
        )
        self._controls = TokenBucket(config.rate, config.burst)
        self._lane_in, self.lane = trio.open_memory_channel[list[str | LongWay]](LANE_CAPACITY)
        self._outbox: Outbox | None = None
        self._open = True
        self._shut_reason = ""
        self._close_sent = False
        self._finished = False  # The peer has: nothing more will come.
        self._broken = False
        self._nursery: trio.Nursery | None = None
        self._on_end: Callable[[Ending], None] = _nobody
        self.heard = trio.current_time()  # when the peer last sent anything
        self.begun = math.inf  # when the message that is not finished yet began
        self.name = transport.peer

    @property
    def peer(self) -> str:
        """The other side's address."""
        return self._transport.peer

    def attach(self, nursery: trio.Nursery) -> None:
        """Say where this wire's writer lives."""
        self._nursery = nursery

    def accepted(self, on_end: Callable[[Ending], None]) -> None:
        """Let through what came behind the request, now that the handshake is done.

        `on_end` is called when the connection must end, with the reason.
        """
        self._on_end = on_end
        if self._accepted is not None:
            self._accepted.set()
            self._accepted = None

    # --- Going out: what must not interleave is synchronous --------------------------------------

    def offer(self, data: bytes, deliveries: int = 0) -> bool:
        """Send whole frames, or queue them; return whether they were handed over whole.

        Never raises: on a wire that is shut it does nothing, and an error ends this member.
        """
        if self._open:
            return self._send(data, deliveries)
        self._ledger.drop(self._shut_reason, deliveries)
        return False

    def _send(self, data: bytes, deliveries: int) -> bool:
        sent = 0
        if self._outbox is None:
            try:
                sent = self._send_now(data)
            except BlockingIOError:
                pass
            except OSError as exc:
                self._break(exc)
                self._ledger.drop("broken", deliveries)
                return False
            if sent == len(data):
                return True
        self._queue(Blob(data, deliveries), sent)
        return False

    def _queue(self, blob: Blob, sent: int) -> None:
        if (outbox := self._outbox) is None:
            outbox = self._outbox = Outbox(self._config.outbox_blobs, self._outboxes)
            self._outboxes.opened(outbox, self._evict_as_worst)
            if self._nursery is not None:
                self._nursery.start_soon(self._write, name=f"writer {self.name}")
        self._ledger.waiting += blob.deliveries
        try:
            outbox.put_nowait(blob, sent)
        except trio.WouldBlock:
            self._drop("evicted", blob.deliveries)
            self._evict(f"{self._config.outbox_blobs} pieces wait")
        else:
            if self._config.outbox and outbox.size > self._config.outbox:
                self._evict(f"{outbox.size} bytes wait")
            self._outboxes.enforce()

    def shut(self, reason: str) -> None:
        """Take no more offers; what comes is dropped for `reason`. The first reason counts."""
        if self._open:
            self._open = False
            self._shut_reason = reason

    def _evict_as_worst(self) -> None:
        self._evict("the furthest behind when all outboxes together were full")

    def _evict(self, why: str) -> None:
        # A full outbox evicts that listener. Its Close must not queue behind the very backlog that
        # it is about, so that goes first, down to what the writer has in hand.
        if self._open:
            self.shut("evicted")
            if self._outbox is not None:
                self._drop("evicted", self._outbox.drop_waiting())
            self._on_end(Ending(CloseCode.EVICTED, f"too slow: {why}"))

    def _break(self, cause: BaseException) -> None:
        self._broken = True
        self.shut("broken")
        self._forget_outbox("broken")
        self._on_end(Ending(CloseCode.ABNORMAL, f"the connection broke: {cause}"))

    def _drop(self, reason: str, deliveries: int) -> None:
        self._ledger.waiting -= deliveries
        self._ledger.drop(reason, deliveries)

    def _forget_outbox(self, reason: str) -> None:
        if (outbox := self._outbox) is not None:
            self._drop(reason, outbox.drop_all())
            self._caught_up(outbox)

    def _caught_up(self, outbox: Outbox) -> None:
        self._outboxes.closed(outbox)
        self._outbox = None
        outbox.caught_up.set()

    async def _write(self) -> None:
        # This member's writer, while it is behind.
        try:
            while self._outbox is not None:
                with trio.move_on_after(self._config.stall_timeout) as patience:
                    await self._send_some(self._outbox)
                if patience.cancelled_caught:
                    self._evict(f"no byte taken in {self._config.stall_timeout:g} s")
                    return
        except trio.BrokenResourceError as exc:
            self._break(exc)

    async def _send_some(self, outbox: Outbox) -> None:
        data = outbox.in_hand()
        if not data:
            self._caught_up(outbox)
            return
        sent = await self._transport.send_some(data)
        handed = outbox.advance(sent)
        self._ledger.waiting -= handed
        self._ledger.handed += handed

    # --- trio-websocket's side: a Trio stream ----------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue a handshake reply, a Pong or a Close, and wait until it is out.

        Raises:
            trio.BrokenResourceError: the connection is broken.

        If cancelled, the frame stays in the queue, whole.
        """
        await trio.lowlevel.checkpoint()
        if not self._broken:
            self._send_control(bytes(data))
        if self._outbox is not None:
            await self._outbox.caught_up.wait()
        if self._broken:
            raise trio.BrokenResourceError("the connection broke")

    def _send_control(self, frame: bytes) -> None:
        # Passes a wire that is shut to offers. Nothing may follow a Close, another Close included.
        if not self._close_sent:
            self._close_sent = frame[0] == FINAL_CLOSE
            if self._close_sent:
                self.shut("closed")
            self._send(frame, 0)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until nothing waits."""
        await trio.lowlevel.checkpoint()
        if self._outbox is not None:
            await self._outbox.caught_up.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes that are trio-websocket's to judge; none at the end.

        What the fast lane lifted has gone into `lane` by then. `max_bytes` is not looked at: the
        transport's own portion is small.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        if self._head:
            head, self._head = self._head, b""
            return head
        if self._accepted is not None:
            await self._accepted.wait()
        while data := await self._receive():
            try:
                passed = await self._follow(data)
            except TooMuch as exc:
                self._on_end(Ending(CloseCode.TOO_BIG, str(exc)))
                break
            if passed:
                return passed
        # Closing a channel means "nothing more will come".
        self._lane_in.close()
        return b""

    async def _receive(self) -> bytes:
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = await self._transport.receive_some()
        except trio.BrokenResourceError as exc:
            self._break(exc)
            self._lane_in.close()
            raise
        self._finished = not data
        return data

    async def _follow(self, data: bytes) -> bytes:
        now = self.heard = trio.current_time()
        chunk = self._follower.feed(data)
        if chunk.controls and self._controls.take(now, chunk.controls):
            self._on_end(Ending(CloseCode.POLICY, "flooding: too many control frames"))
        if not self._follower.unfinished:
            self.begun = math.inf
        elif self.begun == math.inf or chunk.messages:
            self.begun = now
        if chunk.messages:
            # A session that is busy makes its sender wait: nothing is read, and TCP stands still.
            await self._lane_in.send(chunk.messages)
        return chunk.passed

    async def aclose(self) -> None:
        """Note that trio-websocket has finished; `hang_up` closes the connection."""
        self._lane_in.close()
        await trio.lowlevel.checkpoint()

    # --- The end ---------------------------------------------------------------------------------

    async def hang_up(self, ending: Ending) -> None:
        """Send what waits, say goodbye, wait for the peer's, and close.

        Call it when the nursery of `attach` is over, so that nobody else reads or writes. Closes
        the transport. If cancelled, the goodbye is cut short: the caller sets the deadline.
        """
        self.shut("left")
        self._nursery = None
        try:
            if not self._broken:
                if ending.code not in NEVER_SENT:
                    self._send_control(close_frame(*ending))
                await self._say_goodbye(ending)
        except trio.BrokenResourceError:
            self._broken = True
        finally:
            self._forget_outbox("broken" if self._broken else "unsent at the end")
            self._lane_in.close()
            await self._transport.aclose()

    async def _say_goodbye(self, ending: Ending) -> None:
        while self._outbox is not None:
            await self._send_some(self._outbox)
        # A peer that broke the protocol is not waited for, but what it still sends must be read: a
        # socket that is closed over unread bytes is reset, and the reset eats our Close.
        if ending.code not in VIOLATIONS:
            while not (self._finished or self._follower.close_seen or self._follower.lost):
                self._finished = not (data := await self._transport.receive_some())
                with contextlib.suppress(TooMuch):
                    self._follower.feed(data)
        await self._transport.send_eof()
        with trio.move_on_after(self._config.linger_timeout):
            while not self._finished:
                self._finished = not await self._transport.receive_some()


def _nobody(ending: Ending) -> None:
    """Stand in for whoever has to know of an ending, before there is anybody."""
