"""One member's conversation: the only module that knows both a room and a connection.

A session is a task in its room's nursery and lives as long as its connection: handshake, joining,
talking, goodbye. `Visit.serve` is the boundary: what goes wrong here costs this one connection, is
logged once with its cause, and is told to the peer as 1011.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final, assert_never

import trio

from .connection import UNSHAKEN, Connection, open_connection
from .frames import text_frame
from .history import Draft, IsTyping, Joined
from .house import House
from .inbox import InboxSender, Post
from .members import Member
from .protocol import (
    TYPING_INTERVAL,
    BadInput,
    CloseCode,
    Command,
    Dialect,
    Ended,
    Ending,
    ErrorCode,
    JoinRequest,
    Say,
    Typing,
    Welcome,
    decode,
    encode_entry,
    encode_error,
    encode_welcome,
)
from .rate import TokenBucket
from .room import DRAINING, FAULT, Room
from .wire import Wire

log = logging.getLogger(__name__)

NURSERY: Final = "nursery"  # Trio's word for the source of a cancel: a task in one has failed.

# History goes out in portions of about this size, each awaited on the newcomer's own socket: so
# recovering a hundred thousand messages does not run over an outbox.
PORTION: Final = 32 * 1024  # bytes

BINARY: Final = Ending(CloseCode.UNSUPPORTED_DATA, "expected text, got a binary frame")
ERRORS: Final = Ending(CloseCode.POLICY, "too many errors without one good frame between")
SLOW_JOIN: Final = Ending(CloseCode.EVICTED, "too slow: the history was not taken in time")
OVERTAKEN: Final = Ending(CloseCode.EVICTED, "too slow: the history was trimmed before it was read")


class Visit:
    """Somebody whom the door has let in, on the way to a room: the room's `Arrival`.

    `address` is the one that the connection counts for.
    """

    __slots__ = ("_house", "address", "dialect", "request", "wire")

    def __init__(
        self, house: House, wire: Wire, dialect: Dialect, request: JoinRequest, address: str
    ) -> None:
        self._house = house
        self.wire = wire
        self.dialect = dialect
        self.request = request
        self.address = address

    @property
    def peer(self) -> str:
        """The other side's address."""
        return self.wire.peer

    async def serve(self, room: Room) -> None:
        """Serve one member from the handshake to the last byte. Closes the connection.

        If cancelled, the peer is still told why, within the time for closing.
        """
        house, ending = self._house, UNSHAKEN
        house.tally.sessions += 1
        log.info("open: %s in room %s, %s", self.peer, room.name, self.dialect.name)
        try:
            async with open_connection(
                self.wire, close_timeout=house.config.closing_time
            ) as connection:
                try:
                    await Session(house, self, room, connection).run()
                except Ended as end:
                    connection.end(end.ending)
                finally:
                    ending = connection.ending or ending
                    connection.close_by = room.closing_deadline
        except* Ended:
            pass  # The peer went away during the handshake.
        except* Exception:
            house.tally.faults += 1
            ending = FAULT
            log.exception("session of %s in room %s failed", self.wire.name, room.name)
        finally:
            self._count_out(ending, room.name)

    async def abandon(self) -> None:
        """Close the connection without an answer: the room ended before the handshake."""
        self._count_out(UNSHAKEN, "that has ended")
        with trio.move_on_after(0):  # It was told nothing, so it is not waited for either.
            await self.wire.hang_up(UNSHAKEN)

    async def turn_away(self, ending: Ending) -> None:
        """Shake hands only to say why not: a browser shows its page no other answer. Closes it.

        For somebody whom `crowd` did not count in.
        """
        house = self._house
        log.info("turned away: %s: %d %s", self.peer, *ending)
        house.tally.endings[ending.code] += 1
        try:
            async with open_connection(
                self.wire, close_timeout=house.config.closing_time
            ) as connection:
                connection.end(ending)
        except* Ended:
            pass  # It did not wait for the answer.
        except* Exception:
            house.tally.faults += 1
            log.exception("turning away %s failed", self.peer)

    def _count_out(self, ending: Ending, room: str) -> None:
        self._house.crowd.leave(self.address)
        self._house.tally.endings[ending.code] += 1
        log.info("end: %s in room %s: %d %s", self.wire.name, room, *ending)


class Session:
    """A conversation: what one member says, and what it gets besides the hub's broadcasts."""

    __slots__ = (
        "_bytes",
        "_connection",
        "_errors",
        "_frames",
        "_house",
        "_member",
        "_room",
        "_unannounced",
        "_visit",
    )

    def __init__(self, house: House, visit: Visit, room: Room, connection: Connection) -> None:
        config = house.config
        self._house = house
        self._visit = visit
        self._room = room
        self._connection = connection
        self._member = Member(
            visit.dialect,
            offer=visit.wire.offer,
            shut=visit.wire.shut,
            end=connection.end,
        )
        self._frames = TokenBucket(config.rate, config.burst)
        self._bytes = TokenBucket(config.byte_rate, max(config.byte_rate, config.frame_limit))
        self._errors = 0  # since the last good frame
        self._unannounced = False

    async def run(self) -> None:
        """Join, talk, leave.

        Raises:
            Ended: for every end that has a reason of its own.
        """
        room, connection = self._room, self._connection
        with room.sender() as inbox:
            await self._take_place()
            self._house.heartbeat.watch(connection)
            try:
                with connection.scope:
                    await self._arrive(inbox)
                    await self._talk(inbox)
                if connection.ending is DRAINING:
                    # What was said before the drain reaches this member before the goodbye.
                    inbox.close()
                    await room.wait_spoken()
            except trio.Cancelled as cancelled:
                # Nobody may have said why: a task beside this one failed, or somebody cancelled.
                connection.end(room.ending or (FAULT if cancelled.source == NURSERY else DRAINING))
                raise
            finally:
                # First out of the room, then off the line.
                room.leave(self._member)
                self._house.heartbeat.forget(connection)

    # --- Arriving --------------------------------------------------------------------------------

    async def _take_place(self) -> None:
        member, request = self._member, self._visit.request
        if member.dialect is Dialect.PLAIN:
            self._room.roster.place(member)
        else:
            self._unannounced = await self._room.place(member, request.name, request.resume)
            self._visit.wire.name = f"{member.name} ({self._visit.wire.peer})"
            trio.lowlevel.current_task().name = f"member {member.name}"

    async def _arrive(self, inbox: InboxSender) -> None:
        member, roster = self._member, self._room.roster
        if member.name is None:
            roster.enter(member)
            return
        if self._unannounced:
            await inbox.send(Joined(member.name))
        with trio.move_on_after(self._house.config.join_timeout) as patience:
            # Who was on another node may have heard what this one has yet to hear.
            await self._room.wait_heard()
            await self._welcome(member.name)
        if patience.cancelled_caught:
            raise Ended(SLOW_JOIN)

    async def _welcome(self, name: str) -> None:
        # From the roster's list and the last number to the frame, nothing may come between.
        room = self._room
        cursor, recovered = self._where_to_begin()
        names = room.roster.begin(self._member)
        welcome = Welcome(
            room.name, name, room.epoch, room.last, recovered, self._member.secret, names
        )
        await self._connection.send_frames(text_frame(encode_welcome(welcome)))
        await self._catch_up(cursor)

    def _where_to_begin(self) -> tuple[int, bool]:
        """Return the number after which this member's history begins, and if that is a recovery."""
        room, request = self._room, self._visit.request
        since = request.since if request.epoch == room.epoch else None
        if since is not None and room.first - 1 <= since <= room.last:
            return since, True
        limit = self._house.config.max_history or room.last
        return max(room.first - 1, room.last - min(request.history, limit)), False

    async def _catch_up(self, cursor: int) -> None:
        # The hub does not know this member yet. It reads up to the hub's last number; when it has
        # everything, it is added in the same step, and so sees no message twice and none never.
        room, member = self._room, self._member
        while cursor < room.last or member.missed:
            upto = member.missed[0][0] if member.missed else room.last
            if cursor < upto:
                cursor = await self._send_history(cursor, upto)
                continue
            frames: list[bytes] = []
            while member.missed and member.missed[0][0] <= cursor:
                frames.append(member.missed.pop(0)[1])
            await self._connection.send_frames(b"".join(frames))
        room.roster.enter(member)

    async def _send_history(self, after: int, upto: int) -> int:
        """Send a page of the history; return the number that it ends with."""
        entries = await self._room.read(after, upto)
        if not entries or entries[0].seq != after + 1:
            raise Ended(OVERTAKEN)
        portion = bytearray()
        for entry in entries:
            portion += text_frame(encode_entry(entry))
            if len(portion) >= PORTION or entry is entries[-1]:
                await self._connection.send_frames(bytes(portion))
                portion.clear()
        return entries[-1].seq

    # --- Talking ---------------------------------------------------------------------------------

    async def _talk(self, inbox: InboxSender) -> None:
        while True:
            frame = await self._connection.receive()
            if isinstance(frame, bytes):
                raise Ended(BINARY)
            try:
                command = self._understand(frame)
            except BadInput as error:
                self._refuse(error)
            else:
                self._errors = 0
                await self._obey(command, inbox)

    def _understand(self, frame: str) -> Command:
        # Every frame counts, whatever it turns out to hold.
        now = trio.current_time()
        wait = self._frames.take(now) or self._bytes.take(now, len(frame))
        command = decode(self._visit.dialect, frame, self._house.config.max_message)
        if wait:
            id = command.id if isinstance(command, Say) else None
            raise RateLimited(wait, id)
        return command

    async def _obey(self, command: Command, inbox: InboxSender) -> None:
        member = self._member
        match command:
            case Say(message, id):
                # A full inbox makes this sender wait, and its TCP stands still.
                draft = Draft(member.name, message, id)
                await inbox.send(Post(member, draft, sys.getsizeof(message)))
            case Typing():
                now = trio.current_time()
                if member.name is not None and now - member.typed >= TYPING_INTERVAL:
                    member.typed = now
                    with contextlib.suppress(trio.WouldBlock):  # Old news is no news.
                        inbox.send_nowait(IsTyping(member.name))
            case _:
                assert_never(command)

    def _refuse(self, error: BadInput) -> None:
        self._errors += 1
        self._house.tally.errors[error.code] += 1
        wait = error.retry_after if isinstance(error, RateLimited) else None
        self._member.offer(text_frame(encode_error(self._visit.dialect, error, wait)), 0)
        limit = self._house.config.max_errors
        if limit and self._errors >= limit:
            raise Ended(ERRORS)


class RateLimited(BadInput):
    """The frame came too early; `retry_after` says how many seconds."""

    def __init__(self, retry_after: float, id: str | None) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, "too many frames; this one is not accepted", id)
        self.retry_after = retry_after
