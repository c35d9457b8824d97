"""What a room has said: one append-only order, behind one interface.

A history belongs to the server and outlives every room; a `RoomLog` is one room's part of it, from
the room's opening to its end. The hub appends, one batch at a time, and fans out what came of it;
newcomers read. Numbers go on from one life of a room to the next, as long as the history is kept;
where it was not, `epoch` is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..protocol import Entry


class Draft(NamedTuple):
    """A message that has no number yet."""

    name: str | None  # None: a member of the plain dialect
    message: str
    id: str | None


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


class History(Protocol):
    """All rooms' pasts. `open` it, `run` it beside the rooms, `aclose` it behind them."""

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
