"""A history in memory that can be in trouble: before each step something may wait, or fail.

A lesson derives its own from `TroubledHistory` and says what comes before a step; all else is as
`MemoryHistory` does it. It has no tasks, and lives as long as the server that it is given to.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Config
from ..history import Draft, Receipt
from ..history.memory import MemoryHistory, MemoryLog
from ..protocol import Entry


class TroubledHistory:
    """All rooms' pasts. By itself it is in no trouble."""

    def __init__(self, config: Config) -> None:
        self._inner = MemoryHistory(config.retention, config.keep_total)

    @property
    def available(self) -> bool:
        """See `History.available`: nobody is told of the trouble beforehand."""
        return True

    async def before_opening(self, room: str) -> None:
        """Come before a room's past is loaded. What this raises, `open_room` does."""

    async def before_appending(self, room: str) -> None:
        """Come before something is recorded. What this raises, `append` does."""

    async def before_reading(self, room: str) -> None:
        """Come before something is read. What this raises, `read` does."""

    async def open(self) -> None:
        """See `History.open`."""
        await self._inner.open()

    async def run(self) -> None:
        """See `History.run`."""
        await self._inner.run()

    async def aclose(self) -> None:
        """See `History.aclose`."""
        await self._inner.aclose()

    async def open_room(self, name: str) -> TroubledLog:
        """See `History.open_room`."""
        await self.before_opening(name)
        return TroubledLog(self, name, await self._inner.open_room(name))


class TroubledLog:
    """One room's part of it."""

    def __init__(self, history: TroubledHistory, room: str, inner: MemoryLog) -> None:
        self._history = history
        self._room = room
        self._inner = inner

    @property
    def epoch(self) -> str:
        """See `RoomLog.epoch`."""
        return self._inner.epoch

    @property
    def last(self) -> int:
        """See `RoomLog.last`."""
        return self._inner.last

    @property
    def first(self) -> int:
        """See `RoomLog.first`."""
        return self._inner.first

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Receipt]:
        """See `RoomLog.append`."""
        await self._history.before_appending(self._room)
        return await self._inner.append(drafts)

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        await self._history.before_reading(self._room)
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        """See `RoomLog.aclose`."""
        await self._inner.aclose()
