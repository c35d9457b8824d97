"""A history that can be made to wait, as one whose disk is busy. What it keeps is in memory."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ...config import Config
from ...history import Draft, Receipt
from ...history.memory import MemoryHistory, MemoryLog
from ...protocol import Entry


class SlowHistory:
    """All rooms' pasts. While `gate` is there and not set, nothing is recorded."""

    def __init__(self, config: Config) -> None:
        self._inner = MemoryHistory(config.retention, config.keep_total)
        self.gate: trio.Event | None = None
        self.available = True

    async def open(self) -> None:
        """See `History.open`."""
        await self._inner.open()

    async def run(self) -> None:
        """See `History.run`."""
        await self._inner.run()

    async def aclose(self) -> None:
        """See `History.aclose`."""
        await self._inner.aclose()

    async def open_room(self, name: str) -> SlowLog:
        """See `History.open_room`."""
        return SlowLog(self, await self._inner.open_room(name))


class SlowLog:
    """One room's part of it."""

    def __init__(self, history: SlowHistory, inner: MemoryLog) -> None:
        self._history = history
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
        """See `RoomLog.append`: it waits for the gate."""
        if self._history.gate is not None:
            await self._history.gate.wait()
        return await self._inner.append(drafts)

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        """See `RoomLog.read`."""
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        """See `RoomLog.aclose`."""
        await self._inner.aclose()
