"""A room: a nursery that holds a hub and its members' sessions.

It opens with its first arrival. It ends when its last member has left and everything that was said
is recorded. Whoever ends it earlier writes down why, cancels its hub, and ends its members'
conversations: each is told, behind what was on its way already. Its history stays.

    session → inbox [memory channel] → hub: number, record, encode once, join → every member's wire

The room knows no sockets and no sessions: an arrival brings the function that it wants to run here.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from .config import Config
from .history import (
    FellBehind,
    History,
    HistoryUnavailable,
    Left,
    NumberingBeganAnew,
    RoomLog,
    SharedLog,
)
from .hub import Hub
from .inbox import Inbox, InboxSender
from .ledger import Ledger
from .members import Member, Roster, new_secret
from .metrics import Tally
from .protocol import CloseCode, Ended, Ending, Entry, guest_name

log = logging.getLogger(__name__)

PAGE: Final = 100  # entries that a newcomer reads at once

EMPTY = Ending(CloseCode.NORMAL, "its last member left")
FULL = Ending(CloseCode.TRY_AGAIN_LATER, "the room is full")
DRAINING = Ending(CloseCode.GOING_AWAY, "the server is shutting down")
FAULT = Ending(CloseCode.INTERNAL_ERROR, "an error in the server")
NO_HISTORY = Ending(CloseCode.TRY_AGAIN_LATER, "the room's history can't be had at the moment")
ANEW = Ending(CloseCode.RENUMBERED, "the numbering began anew")
BEHIND = Ending(CloseCode.EVICTED, "too slow: this node fell behind the others")


class Arrival(Protocol):
    """Somebody on the way in. Whoever takes it from the room's channel does one or the other."""

    @property
    def peer(self) -> str:
        """Whose connection this is."""

    async def serve(self, room: Room) -> None:
        """Be in the room, until the end. Never raises an `Exception`."""

    async def abandon(self) -> None:
        """Close the connection: the room ended first."""


class Room:
    """One room's life. `run` it in a nursery; `over` is called in the step in which it ends."""

    def __init__(
        self,
        name: str,
        config: Config,
        history: History,
        ledger: Ledger,
        tally: Tally,
        over: Callable[[Room], None],
    ) -> None:
        self._config = config
        self._history = history
        self._ledger = ledger
        self._tally = tally
        self._over = over
        self._arrivals_in, self._arrivals = trio.open_memory_channel[Arrival](config.arrivals)
        self._inbox = Inbox(max_items=config.inbox_frames, max_bytes=config.inbox)
        self._hub: Hub | None = None
        self._log: RoomLog | SharedLog | None = None
        self._nursery: trio.Nursery | None = None
        self._hub_scope = trio.CancelScope()
        self._spoken = trio.Event()
        self._inside = 0  # arrivals and sessions
        self.name = name
        self.roster = Roster()
        self.ending: Ending | None = None  # Why it ended; the first reason counts.
        self.closing_deadline = math.inf  # By when its members' connections have to be closed.

    # --- The room's life -------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold the room open: its hub, and a session for each arrival, until it is over.

        Any error in it is logged here and costs this room alone.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._start_hub(nursery)
                async for arrival in self._arrivals:
                    nursery.start_soon(self._hold, arrival, name=f"member {arrival.peer}")
        except* Exception as group:  # noqa: BLE001 - the room's boundary
            self._fail(group)
        finally:
            self._retire(DRAINING)
            with trio.move_on_after(self._config.close_timeout, shield=True):
                await self._close()

    async def _start_hub(self, nursery: trio.Nursery) -> None:
        try:
            self._log = await self._history.open_room(self.name)
        except HistoryUnavailable as exc:
            log.warning("room %s: no history: %s", self.name, exc)
            self.end(NO_HISTORY)
        except Exception as exc:  # noqa: BLE001 - the room's boundary
            self._fail(exc)
        else:
            self._hub = Hub(self._inbox, self.roster, self._log, self._ledger, self._tally)
            nursery.start_soon(self._run_hub, self._hub, name=f"hub {self.name}")

    async def _run_hub(self, hub: Hub) -> None:
        try:
            with self._hub_scope:
                if hub.shared:
                    await self._run_shared(hub)
                else:
                    await self._record(hub)
        except* NumberingBeganAnew:
            self.end(ANEW)
        except* FellBehind:
            self.end(BEHIND)
        except* Exception as group:  # noqa: BLE001 - the room's boundary
            self._fail(group.exceptions[0] if len(group.exceptions) == 1 else group)
        finally:
            self._spoken.set()
        # Where it ended early, nothing is recorded any more; but a leave may wait to be put in.
        await self._inbox.discard()

    async def _record(self, hub: Hub) -> None:
        # Until the room is drained, or empty.
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                await hub.run_once()
                self._settle()

    async def _run_shared(self, hub: Hub) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.listen, name=f"listener {self.name}")
            await self._record(hub)
            await self.wait_heard()
            nursery.cancel_scope.cancel(reason="everything recorded was broadcast")

    async def _hold(self, arrival: Arrival) -> None:
        # The session closes the connection from its first line on.
        try:
            await arrival.serve(self)
        finally:
            self._inside -= 1
            self._settle()

    async def _close(self) -> None:
        # Whoever holds a connection closes it, and those that still wait are held by the room.
        async for arrival in self._arrivals:
            await arrival.abandon()
        if self._log is not None:
            try:
                await self._log.aclose()
            except Exception as exc:  # noqa: BLE001 - the room's boundary
                self._fail(exc)

    # --- Beginnings and ends: no awaits below, so none of it interleaves -------------------------

    def admit(self, arrival: Arrival) -> None:
        """Take somebody in.

        Raises:
            Ended: with 1013, because the room is full.
        """
        limit = self._config.max_members
        try:
            if limit and self._inside >= limit:
                raise trio.WouldBlock
            self._arrivals_in.send_nowait(arrival)
        except trio.WouldBlock:
            raise Ended(FULL) from None
        self._inside += 1

    def end(self, ending: Ending) -> None:
        """End the room now: its hub stops, its members are told. The first reason counts."""
        # Who has no place yet asks for the way in, and is told there.
        self._retire(ending)
        self._hub_scope.cancel(reason=f"room {self.name} ended: {ending.reason}")
        for member in self.roster:
            member.end(ending)

    def drain(self, deadline: float) -> None:
        """End the room when what was said is recorded and offered, its members closed by then."""
        self._retire(DRAINING)
        self.closing_deadline = deadline
        for member in self.roster:
            member.end(DRAINING)

    def _fail(self, cause: Exception) -> None:
        self._tally.faults += 1
        log.error("room %s failed", self.name, exc_info=cause)
        self.end(FAULT)

    def _settle(self) -> None:
        # The room is over when nobody is in it and nothing is left to be said. Until then somebody
        # may come, and finds it as it was.
        if self._inside == 0 and (self._hub is None or self._hub.idle):
            self._retire(EMPTY)

    def _retire(self, ending: Ending) -> None:
        if self.ending is None:
            self.ending = ending
            self._arrivals_in.close()
            self._inbox.close()
            self._over(self)

    # --- What a session needs --------------------------------------------------------------------

    def sender(self) -> InboxSender:
        """Return a way into the inbox.

        Raises:
            Ended: the room is over, for this reason.
        """
        if self.ending is not None:
            raise Ended(self.ending)
        return self._inbox.sender()

    async def place(self, member: Member, wanted: str | None, resume: str | None) -> bool:
        """Give a v1 member its place and a name of its own; return whether it is to be announced.

        Whoever shows the secret of another's place in `resume` takes that place and name over, and
        nobody hears of it. Where several nodes share the room, the name is unique among them, and
        every node can see the member when this returns.

        Raises:
            Ended: no name could be had, or the room is over.
        """
        if not isinstance(self._log, SharedLog):
            return not self.roster.place_named(member, wanted, resume)
        member.secret = new_secret()
        try:
            claim = await self._log.claim(wanted or guest_name(), member.secret, resume)
        except HistoryUnavailable:
            raise Ended(NO_HISTORY) from None
        except NumberingBeganAnew:
            raise Ended(ANEW) from None
        if self.ending is not None:
            raise Ended(self.ending)  # And with the room's log goes the claim.
        self.roster.place_claimed(member, claim.name)
        return False

    def leave(self, member: Member) -> None:
        """Take a member out, and let the others know after its last message."""
        name = self.roster.leave(member)
        if name is None or self.ending is not None:
            return
        sender = self._inbox.sender()
        try:
            sender.send_nowait(Left(name, member.secret))
        except trio.WouldBlock:
            # A full inbox makes the news wait, not the one who goes.
            assert self._nursery is not None, "it is where sessions run"
            left = Left(name, member.secret)
            self._nursery.start_soon(self._leave_later, sender, left, name=f"leave {name}")
        else:
            sender.close()
            self.roster.free(name)

    async def _leave_later(self, sender: InboxSender, left: Left) -> None:
        with sender:
            await sender.send(left)
        self.roster.free(left.name)

    async def wait_spoken(self) -> None:
        """Wait until the hub has broadcast the last of what was said, if it is going to end."""
        await self._spoken.wait()

    async def wait_heard(self) -> None:
        """Wait until what was said by now, on any node, is broadcast here, but not for ever."""
        assert self._hub is not None, "sessions begin after the history was opened"
        with trio.move_on_after(self._config.history_timeout):
            await self._hub.wait_heard()

    @property
    def epoch(self) -> str:
        """The name of this life of the room's numbering."""
        return self._opened_log.epoch

    @property
    def first(self) -> int:
        """The oldest number that the history still has."""
        return self._opened_log.first

    @property
    def last(self) -> int:
        """The last number that the hub has broadcast, or is broadcasting."""
        assert self._hub is not None
        return self._hub.last

    async def read(self, after: int, upto: int) -> Sequence[Entry]:
        """Return a page of the history.

        Raises:
            Ended: with 1013, because it can't be had.
        """
        try:
            return await self._opened_log.read(after, upto, PAGE)
        except HistoryUnavailable:
            raise Ended(NO_HISTORY) from None

    @property
    def _opened_log(self) -> RoomLog | SharedLog:
        assert self._log is not None, "sessions begin after the history was opened"
        return self._log
