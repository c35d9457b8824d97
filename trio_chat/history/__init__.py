"""What a room has said: one append-only order, behind one interface.

A history belongs to the server and outlives every room; a `RoomLog` is one room's part of it, from
the room's opening to its end. The hub appends, one batch at a time, and fans out what came of it;
newcomers read. Numbers go on from one life of a room to the next, as long as the history is kept;
where it was not, `epoch` is another one.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..protocol import Entry


class Draft(NamedTuple):
    """A message that has no number yet."""

    name: str | None  # None: a member of the plain dialect
    message: str
    id: str | None


class Joined(NamedTuple):
    """A named member has come."""

    name: str
    size: int = 0  # what it takes while it waits: next to nothing


class Left(NamedTuple):
    """A named member has gone; everything it said is before this."""

    name: str
    secret: str = ""
    size: int = 0


class IsTyping(NamedTuple):
    """A named member is typing."""

    name: str
    size: int = 0


class Moved(NamedTuple):
    """A named member is at another node now: its old connection here is over."""

    name: str
    secret: str = ""  # what it had the name by, or a digest of it


class Lost(NamedTuple):
    """A name that a member here has is another's: it was given away while we were cut off."""

    name: str


News = Joined | Left | IsTyping

# What a room says, in its one order.
Said = Entry | News | Moved | Lost


class Accepted(NamedTuple):
    """The draft is the room's next message."""

    entry: Entry


class Duplicate(NamedTuple):
    """The draft's `id` was accepted before, with the same text: nothing is published again."""

    id: str
    seq: int


class Conflict(NamedTuple):
    """The draft's `id` was accepted before, with another text."""

    id: str
    seq: int


Receipt = Accepted | Duplicate | Conflict


class HistoryUnavailable(Exception):
    """The history can't be reached now."""


class NumberingBeganAnew(Exception):
    """The history has lost what it had: this epoch is over."""


class FellBehind(Exception):
    """Something was said and forgotten before this node read it."""


class RoomLog(Protocol):
    """One room's history, while the room is open."""

    @property
    def epoch(self) -> str:
        """The name of this life of the numbering."""

    @property
    def last(self) -> int:
        """The number given last; 0 where there is none yet."""

    @property
    def first(self) -> int:
        """The oldest number that is still kept; `last` + 1 where none is."""

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        """Number and store the drafts, in order; return one receipt for each.

        Raises:
            HistoryUnavailable: none of them was accepted.
        """

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """Return the entries after number `after`, up to `upto`, oldest first, at most `limit`.

        What was trimmed is missing at the front.

        Raises:
            HistoryUnavailable: it can't be read now.
        """

    async def aclose(self) -> None:
        """Let go: the room has ended."""


class Claim(NamedTuple):
    """A name in a room that several nodes share, and the digest of its member's secret."""

    name: str
    digest: str


class SharedLog(abc.ABC):
    """A room's history that other nodes append to as well: a `RoomLog`, and more.

    What is said comes back from `listen`, in the order that is every node's, this node's own
    included; receipts are for the authors only.
    """

    members: Sequence[str]  # the names that were in the room when it was opened

    @property
    @abc.abstractmethod
    def epoch(self) -> str:
        """See `RoomLog.epoch`."""

    @property
    @abc.abstractmethod
    def last(self) -> int:
        """See `RoomLog.last`: as far as this node knows."""

    @property
    @abc.abstractmethod
    def first(self) -> int:
        """See `RoomLog.first`: as far as this node knows."""

    @abc.abstractmethod
    async def append(self, drafts: Sequence[Draft | News]) -> Sequence[Receipt]:
        """Number and store drafts and pass news on, in order; return a receipt for each draft.

        Raises:
            HistoryUnavailable: it can't be reached, and nobody can tell whether it took them.
            NumberingBeganAnew: nothing was accepted.
        """

    @abc.abstractmethod
    async def listen(self) -> Sequence[Said]:
        """Return what was said next, in the room's order.

        If cancelled, nothing is lost.

        Raises:
            NumberingBeganAnew: nothing more will come.
            FellBehind: something that was said can't be had any more.
        """

    @abc.abstractmethod
    async def claim(self, wanted: str, secret: str, resume: str | None) -> Claim:
        """Take a name, made unique among all nodes' members, or the place of whoever has `resume`.

        Every node can see the member before this returns. It is not cut short when cancelled.

        Raises:
            HistoryUnavailable: no name could be had.
            NumberingBeganAnew: the room is over.
        """

    @abc.abstractmethod
    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Let go: the room has ended here, and with it what its members claimed."""


class History(Protocol):
    """All rooms' pasts. `open` it, `run` it beside the rooms, `aclose` it behind them."""

    @property
    def available(self) -> bool:
        """Whether it can be had, as far as is known: where it can't, nobody is let in."""

    async def open(self) -> None:
        """Make it ready for `open_room`.

        Raises:
            HistoryUnavailable: it can't be had; says why, and what would do.
        """

    async def run(self) -> None:
        """Do what has to be done meanwhile, until cancelled, or until nothing has.

        Whatever fails in here is tried again: a history that is gone for a while makes appending
        fail, and ends nothing.
        """

    async def aclose(self) -> None:
        """Let go of it. All rooms are over, and so is `run`."""

    async def open_room(self, name: str) -> RoomLog:
        """Load a room's epoch and last number.

        A room that failed may still hold its log when its successor opens: it appends no more.

        Raises:
            HistoryUnavailable: it can't be read now.
        """
