"""A history in memory, that can be away: then it is not read from."""

from __future__ import annotations

from collections.abc import Sequence

from ...history import Draft, HistoryUnavailable, Receipt, RoomLog
from ...history.memory import MemoryHistory
from ...protocol import Entry


class AwayHistory:
    """All rooms' pasts. While it is `away`, nothing can be read."""

    def __init__(self, inner: MemoryHistory) -> None:
        self._inner = inner
        self.available = True
        self.away = False

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
        return _AwayLog(self, await self._inner.open_room(name))


class _AwayLog:
    def __init__(self, history: AwayHistory, inner: RoomLog) -> None:
        self._history = history
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
        return await self._inner.append(drafts)

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        if self._history.away:
            raise HistoryUnavailable("away for a moment")
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        await self._inner.aclose()
