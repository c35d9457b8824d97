"""The stream under one WebSocket, ours, so that a room can write next to trio-websocket.

A wire lives as long as its connection. trio-websocket reads and writes through it like through any
Trio stream; the hub, beside it, offers whole frames. Both go through one queue, so frames never
interleave, and a cancelled send never leaves half a frame before the next.

With the fast lane, trio-websocket is not called before there is something for it to judge: until
then the session itself listens, and there is no engine and no reader's task. After that the engine
reads, and what the lane lifts out before it goes to the session from there.

Offering is synchronous: straight to the kernel while the member keeps up, else into its outbox,
which a writer task drains until it has caught up. Whatever goes wrong on the way ends this member
and nobody else: `offer` never raises.

The ending is ours too. trio-websocket closes its stream when it is done; to the wire that only
means that no more will be read. The goodbye is said by `hang_up`, when nobody else holds the wire:
behind everything that the conversation had to say, and once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Final

import trio

from .config import Config
from .frames import FINAL_PONG, Chunk, FrameFollower, TooMuch, close_frame
from .lane import Lane, Portion
from .ledger import Ledger
from .opening import Opening
from .outbox import Blob, Outbox, Outboxes
from .protocol import VIOLATIONS, CloseCode, Ending
from .rate import TokenBucket
from .transport import Transport

FLOODING: Final = Ending(CloseCode.POLICY, "flooding: too many control frames")


class Wire(trio.abc.Stream):
    """One connection's bytes: the lane for what comes, the queue for what goes."""

    __slots__ = (
        "_accepted",
        "_answered",
        "_asked",
        "_broken",
        "_config",
        "_controls",
        "_early",
        "_finished",
        "_follower",
        "_ledger",
        "_on_end",
        "_open",
        "_outbox",
        "_outboxes",
        "_passed",
        "_send_now",
        "_shut_reason",
        "_transport",
        "_unattended",
        "begun",
        "heard",
        "lane",
        "name",
        "nursery",
        "opening",
        "verdict",
    )

    def __init__(
        self,
        transport: Transport,
        config: Config,
        ledger: Ledger,
        outboxes: Outboxes,
        opening: Opening,
        early: bytes = b"",
    ) -> None:
        """Take over a transport whose request head has been read.

        `early` is what the client sent behind it.
        """
        self._transport = transport
        self._send_now = transport.send_now
        self._config = config
        self._ledger = ledger
        self._outboxes = outboxes
        self.opening = opening
        self._early = early
        self._passed = b""  # What was read and is the engine's, when it has been called.
        self._follower = FrameFollower(
            max_bytes=config.frame_limit,
            max_fragments=config.max_fragments,
            lifts=config.fast_lane,
        )
        self._controls = TokenBucket(config.rate, config.burst)
        self.lane: Lane | None = None  # Here when the engine is.
        self._asked = False  # The engine has been given the request.
        self._accepted: trio.Event | None = None  # Here while the engine has not accepted it.
        self._outbox: Outbox | None = None
        self._open = True
        self._shut_reason = ""
        self._answered = False  # The handshake is: from here on there are frames.
        self._finished = False  # The peer has: nothing more will come.
        self._broken = False
        self._unattended = False  # The writer is gone: what waits is left to `hang_up`.
        self.nursery: trio.Nursery | None = None  # where the writer lives, and the engine
        self._on_end: Callable[[Ending], None] = _nobody
        self.verdict: Ending | None = None  # What the peer did that is no question for the engine.
        # Since when we listen and hear nothing; inf while it is we who do not listen.
        self.heard = math.inf
        self.begun = math.inf  # when the message that is not finished yet began
        self.name = transport.peer

    @property
    def peer(self) -> str:
        """The other side's address."""
        return self._transport.peer

    @property
    def fast_lane(self) -> bool:
        """Whether the engine is called only when there is something for it to judge."""
        return self._config.fast_lane

    def attach(self, nursery: trio.Nursery | None, on_end: Callable[[Ending], None]) -> None:
        """Say where this wire's tasks live, and whom to tell, and why, that it must end."""
        self.nursery = nursery
        self._on_end = on_end

    def detach(self) -> None:
        """Say that the nursery is about to end; what comes waits for `hang_up`."""
        self.nursery = None

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
            if self.nursery is not None:
                self.nursery.start_soon(self._write, outbox, name=f"writer {self.name}")
        self._ledger.waiting += blob.deliveries
        # One piece may be larger than the bound: it could never be sent otherwise.
        bound = self._config.outbox if outbox.size else 0
        try:
            outbox.put_nowait(blob, sent)
        except trio.WouldBlock:
            self._drop("evicted", blob.deliveries)
            self._evict(f"{self._config.outbox_blobs} pieces wait")
        else:
            if bound and outbox.size > bound:
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
        if self._open and (outbox := self._outbox) is not None:
            self.shut("evicted")
            self._drop("evicted", outbox.drop_waiting())
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

    async def _write(self, outbox: Outbox) -> None:
        # This member's writer, while it is behind.
        outbox.writer = trio.lowlevel.current_task()
        try:
            while self._outbox is outbox:
                with trio.move_on_after(self._config.stall_timeout) as patience:
                    await self._send_some(outbox)
                if patience.cancelled_caught:
                    # It goes on writing: the peer may look up in time to be told.
                    self._evict(f"no byte taken in {self._config.stall_timeout:g} s")
        except trio.BrokenResourceError as exc:
            self._break(exc)
        finally:
            # Cancelled from outside, or failed: the connection closes, and who waits for us would
            # wait in vain.
            self._unattended = self._outbox is outbox
            outbox.caught_up.set()

    async def _send_some(self, outbox: Outbox) -> None:
        data = outbox.in_hand()
        if not data:
            self._caught_up(outbox)
            return
        sent = await self._transport.send_some(data)
        handed = outbox.advance(sent)
        self._ledger.waiting -= handed
        self._ledger.handed += handed

    # --- The session's side, until the engine is called ------------------------------------------

    async def answer(self) -> None:
        """Accept the handshake, without an engine, and wait until that is out.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        self._answered = True
        self._send(self.opening.answer(), 0)
        await self._flushed()

    async def listen(self) -> Portion:
        """Return what comes next; what is the engine's is marked, and `for_engine` is true.

        Raises:
            trio.EndOfChannel: nothing more will come.

        If cancelled, nothing is lost.
        """
        with contextlib.suppress(trio.BrokenResourceError):
            while self.verdict is None and (data := await self._receive()):
                chunk = self._follow(data)
                if chunk.messages or chunk.passed:
                    self._passed = chunk.passed
                    return chunk.messages
        self._stop_listening()
        raise trio.EndOfChannel

    def accepted(self) -> None:
        """Let the engine read on: it has accepted the request."""
        assert self._accepted is not None, "it can't have accepted what it has not read"
        self.lane = Lane()
        self._accepted.set()
        self._accepted = None

    @property
    def for_engine(self) -> bool:
        """Whether something was read that only the engine can judge."""
        return bool(self._passed)

    # --- trio-websocket's side: a Trio stream ----------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue trio-websocket's answer to the handshake, or a Pong, and wait until it is out.

        A handshake that `answer` has answered is not answered again. And a Close, an answer to the
        peer's, is left to `hang_up`: sent here, it would overtake what the conversation has yet to
        say.

        Raises:
            trio.BrokenResourceError: the connection is broken.

        If cancelled, the frame stays in the queue, whole.
        """
        await trio.lowlevel.checkpoint()
        if self._answered and data[0] != FINAL_PONG:
            return
        if not self._broken:
            self._answered = True
            self._send(bytes(data), 0)  # Passes a wire that is shut to offers.
        await self._flushed()

    async def _flushed(self) -> None:
        await self._wait_caught_up()
        if self._broken:
            raise trio.BrokenResourceError("the connection broke")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until nothing waits, or nobody is there any more who could send it."""
        await trio.lowlevel.checkpoint()
        await self._wait_caught_up()

    async def _wait_caught_up(self) -> None:
        while self._outbox is not None and not self._unattended:
            await self._outbox.caught_up.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes that are trio-websocket's to judge; none at the end.

        What the fast lane lifted has gone into `lane` by then. `max_bytes` is not looked at: the
        transport's own portion is small.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        if not self._asked:
            self._asked = True
            # It is trio-websocket's reader that asks; its own name would be a private method's.
            trio.lowlevel.current_task().name = "engine"
            self._accepted = trio.Event()
            return self.opening.request()
        if self._accepted is not None:
            await self._accepted.wait()
        if self._passed:
            data, self._passed = self._passed, b""
            return data
        while self.verdict is None and (data := await self._receive()):
            chunk = self._follow(data)
            if chunk.messages:
                assert self.lane is not None
                # A session that is busy makes its sender wait: nothing is read, TCP stands still.
                await self.lane.put(chunk.messages)
            if chunk.passed:
                return chunk.passed
        self._stop_listening()
        return b""

    async def _receive(self) -> bytes:
        self.heard = trio.current_time()
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = await self._transport.receive_some()
        except trio.BrokenResourceError as exc:
            self._break(exc)
            self._stop_listening()
            raise
        except trio.Cancelled:
            self.heard = math.inf  # Who gives up does not listen.
            raise
        if data:
            self.heard = math.inf
        else:
            self._finished = True
        return data

    def _follow(self, data: bytes) -> Chunk:
        # Whatever the peer did, what it said before that counts: the verdict waits its turn.
        try:
            chunk = self._follower.feed(data)
        except TooMuch as exc:
            chunk = exc.before
            self.verdict = Ending(CloseCode.TOO_BIG, str(exc))
        if chunk.controls and self._controls.take(trio.current_time(), chunk.controls):
            self.verdict = FLOODING
        if not self._follower.unfinished:
            self.begun = math.inf
        elif self.begun == math.inf or chunk.messages:
            self.begun = trio.current_time()
        return chunk

    async def aclose(self) -> None:
        """Note that trio-websocket has finished; `hang_up` closes the connection."""
        self._stop_listening()
        await trio.lowlevel.checkpoint()

    def _stop_listening(self) -> None:
        self.heard = trio.current_time()
        if self.lane is not None:
            self.lane.close()

    # --- The end ---------------------------------------------------------------------------------

    async def hang_up(self, ending: Ending) -> None:
        """Send what waits, say goodbye, wait for the peer's, and close.

        Call it after `detach`, when the nursery is over, so that nobody else reads or writes. It
        closes the transport. If cancelled, the goodbye is cut short: the caller sets the deadline.
        """
        self.shut("left")
        try:
            if self._answered and not self._broken:
                await self._say_goodbye(ending)
        except trio.BrokenResourceError:
            self._broken = True
        finally:
            self._forget_outbox("broken" if self._broken else "unsent at the end")
            self._stop_listening()
            # A wire and its connection hold each other. Cut that, or only a collection frees them.
            self._on_end = _nobody
            await self._transport.aclose()

    async def _say_goodbye(self, ending: Ending) -> None:
        if ending.code != CloseCode.ABNORMAL:
            self._send(close_frame(*ending), 0)
        while self._outbox is not None:
            await self._send_some(self._outbox)
        # A peer that broke the protocol is not waited for, but what it still sends must be read: a
        # socket that is closed over unread bytes is reset, and the reset eats our Close.
        if ending.code not in VIOLATIONS:
            while not (self._finished or self._follower.close_seen or self._follower.lost):
                data = await self._receive()
                with contextlib.suppress(TooMuch):
                    self._follower.feed(data)
        await self._transport.send_eof()
        with trio.move_on_after(self._config.linger_timeout):
            while not self._finished:
                await self._receive()


def _nobody(ending: Ending) -> None:
    """Stand in for whoever has to know of an ending, before there is anybody."""
