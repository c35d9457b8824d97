"""Guests: clients that say something, keep what they hear, and expect.

Each is a task in the nursery of its venue, from welcome to leave.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar, overload

import trio
import trio.testing

from ..client import Chat, Disconnected, Event, Message, Plain, PlainError, Receipt
from ..client.nursery import open_service_nursery

PATIENCE: Final = 5.0  # seconds that a guest waits for what it expects

HangUp = Callable[[], Awaitable[None]]
T = TypeVar("T")
E = TypeVar("E", bound=Event)


class _Memory(Generic[T]):
    """What one guest has heard, and how far what it expected has come in it."""

    def __init__(self) -> None:
        self.heard: list[T] = []
        self.ended: Disconnected | None = None
        self._read = 0
        self._news = trio.Event()

    def note(self, event: T) -> None:
        self.heard.append(event)
        self._tell()

    def end(self, ended: Disconnected) -> None:
        self.ended = ended
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @property
    def unread(self) -> Sequence[T]:
        return self.heard[self._read :]

    async def find(self, what: str, fits: Callable[[T], bool]) -> T:
        with trio.move_on_after(PATIENCE):
            while True:
                for index, event in enumerate(self.unread, self._read):
                    if fits(event):
                        self._read = index + 1
                        return event
                if self.ended is not None:
                    break
                await self._news.wait()
        raise AssertionError(f"expected {what}{self._instead()}") from self.ended

    def _instead(self) -> str:
        events = [*map(repr, self.unread)] or ["nothing"]
        if self.ended is not None:
            events.append(f"the end: {self.ended}")
        return "".join([", but heard", *(f"\n  {event}" for event in events)])


class Guest:
    """A client that keeps what it hears. Expecting goes forward: what it skips is past.

    `chat` is the client itself, for all else.
    """

    def __init__(self, chat: Chat, hang_up: HangUp) -> None:
        self.chat = chat
        self._hang_up = hang_up
        self._memory = _Memory[Event]()
        self._leaving = trio.Event()
        self._left = trio.Event()

    @property
    def name(self) -> str:
        """The name that the server gave it."""
        return self.chat.name

    @property
    def heard(self) -> Sequence[Event]:
        """All that it has heard so far."""
        return tuple(self._memory.heard)

    @property
    def ended(self) -> Disconnected | None:
        """Why it won't come back, once that is so."""
        return self._memory.ended

    async def say(self, text: str) -> Receipt:
        """Say something, and return the receipt. It raises what `Chat.say` does."""
        return await self.chat.say(text)

    @overload
    async def expect(self, wanted: str, *, by: str | None = None) -> Message: ...

    @overload
    async def expect(self, wanted: type[E], *, by: str | None = None) -> E: ...

    @overload
    async def expect(self, wanted: Event, *, by: str | None = None) -> Event: ...

    async def expect(self, wanted: str | type[E] | Event, *, by: str | None = None) -> Event:
        """Wait for a message with this text, an event of this type, or this very event.

        `by` is the name of whoever it is about. Returns the event; the next expectation looks
        behind it.

        Raises:
            AssertionError: it did not come within `PATIENCE`, or can't come any more. Says what
                came instead.
        """

        def fits(event: Event) -> bool:
            if by is not None and getattr(event, "name", None) != by:
                return False
            if isinstance(wanted, str):
                return isinstance(event, Message) and event.text == wanted
            return isinstance(event, wanted) if isinstance(wanted, type) else event == wanted

        what = wanted.__name__ if isinstance(wanted, type) else repr(wanted)
        return await self._memory.find(what if by is None else f"{what} by {by}", fits)

    async def expect_nothing(self) -> None:
        """Wait until nothing in this process moves, and see that nothing came.

        Only over memory streams: what is under way between sockets can't be seen.

        Raises:
            AssertionError: something did, since the last expectation.
        """
        await trio.testing.wait_all_tasks_blocked()
        if self._memory.unread:
            raise AssertionError(f"expected nothing, but heard {self._memory.unread}")

    async def lose_connection(self) -> None:
        """Break the connection, without a word; the client comes back by itself."""
        await self._hang_up()

    async def leave(self) -> None:
        """Leave the room, and wait until that is done."""
        self._leaving.set()
        await self._left.wait()

    async def run(self) -> None:
        """Listen, until it is time to leave."""
        async with open_service_nursery() as nursery:
            nursery.start_soon(self._listen, name=f"guest {self.name}")
            await self._leaving.wait()

    async def _listen(self) -> None:
        try:
            async for event in self.chat:
                self._memory.note(event)
        except Disconnected as ended:
            self._memory.end(ended)

    def has_left(self) -> None:
        """Note that its client has closed the connection."""
        self._left.set()


class PlainGuest:
    """A client of the tutorial's dialect, that keeps what it hears."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self._memory = _Memory[str | PlainError]()

    async def say(self, text: str) -> None:
        """Say something. There is no receipt: expect it."""
        await self._plain.send(text)

    async def expect(self, text: str) -> None:
        """Wait for a message.

        Raises:
            AssertionError: see `Guest.expect`.
        """
        await self._memory.find(repr(text), lambda heard: heard == text)

    async def expect_error(self, code: str) -> None:
        """Wait until the server refuses something.

        Raises:
            AssertionError: see `Guest.expect`.
        """

        def fits(heard: str | PlainError) -> bool:
            return isinstance(heard, PlainError) and heard.code == code

        await self._memory.find(f"an error {code}", fits)

    async def run(self) -> None:
        """Listen, for as long as there is a connection."""
        while True:
            try:
                self._memory.note(await anext(self._plain))
            except PlainError as error:
                self._memory.note(error)
            except Disconnected as ended:
                self._memory.end(ended)
                return
