"""The life of a client in a room, as one task: connect, join, read and write, and come back.

`live` is that task; `Chat`, which people hold, looks at what it leaves here. Each connection is one
`_visit`, with a writer beside it in its nursery. It ends when the server has said that there is no
coming back, or by being cancelled.
"""

from __future__ import annotations

import math
from typing import Final, Never, assert_never

import trio

from ..protocol import DEFAULT_HISTORY, CloseCode, Dialect, Ending
from .address import Address, BadAddress
from .backlog import Backlog
from .comeback import Comeback, Gap, Place, choose_pause, comeback_after
from .events import (
    BadFrame,
    Deleted,
    Event,
    Frame,
    Joined,
    Left,
    Message,
    Receipt,
    Reconnected,
    Reconnecting,
    Refusal,
    Typing,
    Welcome,
    decode_frame,
)
from .link import Dial, Disconnected, Link, open_link
from .nursery import open_service_nursery
from .outgoing import Outgoing

JOIN_TIMEOUT: Final = 30.0  # seconds from dialing to the server's welcome
HOLDS: Final = 30.0  # A connection that lasted these seconds was a good one: count attempts anew.


class Member:
    """One member of a room, over as many connections as it takes."""

    def __init__(self, address: Address, name: str | None, history: int | None) -> None:
        query = dict(address.query)
        self._address = address
        self._place = Place(_number(query, "since") or 0, query.pop("epoch", None))
        self._history = _number(query, "history") if history is None else history
        if name is not None:
            query["name"] = name
        self._query = query
        self.backlog = Backlog()
        self.outgoing = Outgoing(self.backlog)
        self.welcome: Welcome | None = None
        self.joined = trio.Event()  # for the first time
        self._leaving = trio.Event()
        self._gone = trio.Event()
        self._conversation: trio.CancelScope | None = None
        self.names: set[str] = set()

    @property
    def seq(self) -> int:
        """The number of the newest message that was read."""
        return self._place.seq

    async def live(self, dial: Dial, comes_back: Comeback) -> None:
        """Be in the room until that is over for good.

        `comes_back` is NEVER for a client that has one stream and no way to open another.

        Raises:
            Disconnected: it never got in. Later, that is the `ending` of what is outgoing.

        If cancelled, it leaves, and does not wait for the server's goodbye.
        """
        try:
            with self.backlog, self.outgoing:
                await self._visit_again_and_again(dial, comes_back)
        finally:
            self._gone.set()

    async def leave(self) -> None:
        """Say goodbye to the server, if there is one, and wait for its own."""
        self._leaving.set()
        if self._conversation is not None:
            self._conversation.cancel(reason="this client leaves")
            await self._gone.wait()

    async def _visit_again_and_again(self, dial: Dial, comes_back: Comeback) -> None:
        attempt = 0
        while True:
            since = trio.current_time()
            try:
                await self._visit(dial)
                return  # It has left.
            except Disconnected as exc:
                lost = exc.ending
            if self._leaving.is_set():
                return  # The server was quicker with its goodbye.
            if self.welcome is None:
                raise Disconnected(lost)
            comeback = comeback_after(lost.code)
            if Comeback.NEVER in (comeback, comes_back):
                self.outgoing.ending = lost
                return
            attempt = 1 if trio.current_time() >= since + HOLDS else attempt + 1
            if comeback is Comeback.AFRESH:
                self._place.forget()
            pause = choose_pause(comeback, attempt)
            await self._deliver(Reconnecting(lost.code, lost.reason, attempt, pause))
            await trio.sleep(pause)

    async def _visit(self, dial: Dial) -> None:
        """Live through one connection, until this client leaves.

        Raises:
            Disconnected: the connection could not be had, or ended.
        """
        with trio.move_on_after(JOIN_TIMEOUT) as joining:
            async with open_link(dial, self._address, self._parameters(), Dialect.V1) as link:
                arrival = self._arrive(await _next_frame(link))
                joining.deadline = math.inf
                await self._converse(link, arrival)
        if joining.cancelled_caught:
            raise Disconnected(Ending(CloseCode.ABNORMAL, f"no welcome within {JOIN_TIMEOUT:g} s"))

    async def _converse(self, link: Link, arrival: Welcome | Reconnected) -> None:
        async with open_service_nursery() as nursery:
            self._conversation = nursery.cancel_scope
            try:
                nursery.start_soon(self.outgoing.write, link, name="writer")
                await self._deliver(arrival)
                await self._read(link)
            finally:
                self._conversation = None

    def _parameters(self) -> dict[str, str]:
        parameters = dict(self._query)
        if self._history is not None:
            parameters["history"] = str(self._history)
        if self._place.epoch is not None:
            parameters |= {"since": str(self._place.seq), "epoch": self._place.epoch}
        if self.welcome is not None:
            parameters |= {"name": self.welcome.name, "resume": self.welcome.resume}
        return parameters

    def _arrive(self, welcome: Frame | None) -> Welcome | Reconnected:
        if not isinstance(welcome, Welcome):
            raise Disconnected(Ending(CloseCode.PROTOCOL_ERROR, "the server did not say welcome"))
        history = DEFAULT_HISTORY if self._history is None else self._history
        complete = self._place.enter(welcome, history)
        first = self.welcome is None
        self.welcome = welcome
        self.names = set(welcome.members or ())
        self.joined.set()
        return welcome if first else Reconnected(complete, welcome)

    async def _read(self, link: Link) -> Never:
        while True:
            frame = await _next_frame(link)
            match frame:
                case Receipt() | Refusal():
                    self.outgoing.take_answer(frame)
                case Welcome() | None:
                    pass
                case _:
                    if self._take_note(frame):
                        await self._deliver(frame)

    def _take_note(self, event: Message | Joined | Left | Typing | Deleted) -> bool:
        """Keep the names and the place up to date; tell whether this is news."""
        match event:
            case Joined(name):
                self.names.add(name)
            case Left(name):
                self.names.discard(name)
            case Message(seq) | Deleted(seq):
                try:
                    # A deletion stands in its message's place, or comes long after it.
                    return self._place.advance(seq) or isinstance(event, Deleted)
                except Gap as exc:
                    # Coming back, with `since`, brings what is missing.
                    raise Disconnected(Ending(CloseCode.ABNORMAL, str(exc))) from None
            case Typing():
                pass
            case _:
                assert_never(event)
        return True

    async def _deliver(self, event: Event) -> None:
        if not self.backlog.put(event):
            self.outgoing.overrun()
            await self.backlog.wait_to_put(event)
        # Here the socket, and so the server, waits for whoever takes the events.
        while self.backlog.plenty and not self.outgoing.awaits_answers:
            await self.backlog.wait_stirred()


async def _next_frame(link: Link) -> Frame | None:
    text = await link.receive()
    try:
        return decode_frame(text)
    except BadFrame as exc:
        raise Disconnected(Ending(CloseCode.PROTOCOL_ERROR, str(exc))) from None


def _number(query: dict[str, str], parameter: str) -> int | None:
    text = query.pop(parameter, None)
    if text is None:
        return None
    # int() alone would take "+1", "1_0" and other scripts' digits.
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise BadAddress(f"{parameter}: expected a whole number, 0 or more")
