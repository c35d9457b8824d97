"""Three faults that nobody has foreseen: in reading a history, in writing it, and on a line.

Each is an exception of a kind that no code here expects, as bugs are.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio.testing

from ...history import Draft, Receipt, RoomLog
from ...history.memory import MemoryHistory
from ...protocol import Entry


class Bug(Exception):
    """What no code expects."""


class FaultyHistory:
    """A history in memory; of one room it can't be read, and of one it can't be written."""

    def __init__(self, inner: MemoryHistory) -> None:
        self._inner = inner
        self.unreadable = ""  # Rooms by name; none at first.
        self.unwritable = ""

    @property
    def available(self) -> bool:
        """See `History.available`."""
        return True

    async def open(self) -> None:
        """See `History.open`."""
        await self._inner.open()

    async def run(self) -> None:
        """See `History.run`."""
        await self._inner.run()

    async def aclose(self) -> None:
        """See `History.aclose`."""
        await self._inner.aclose()

    async def open_room(self, name: str) -> RoomLog:
        """See `History.open_room`."""
        return _FaultyLog(self, name, await self._inner.open_room(name))


class _FaultyLog:
    def __init__(self, history: FaultyHistory, name: str, inner: RoomLog) -> None:
        self._history = history
        self._name = name
        self._inner = inner

    @property
    def epoch(self) -> str:
        return self._inner.epoch

    @property
    def last(self) -> int:
        return self._inner.last

    @property
    def first(self) -> int:
        return self._inner.first

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        if self._history.unwritable == self._name:
            raise Bug("in writing the history")
        return await self._inner.append(drafts)

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        if self._history.unreadable == self._name:
            raise Bug("in reading the history")
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def fail_on_the_line(line: trio.testing.MemorySendStream) -> None:
    """Lose what a line has taken to send, and raise: a hook of `MemorySendStream`."""
    await trio.lowlevel.checkpoint()
    line.get_data_nowait()
    raise Bug("in sending")
