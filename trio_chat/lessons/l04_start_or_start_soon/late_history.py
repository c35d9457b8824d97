"""A history that takes its time to open a room, as one on a busy disk. It is kept in memory."""

from __future__ import annotations

import trio

from ...config import Config
from ...history.memory import MemoryHistory, MemoryLog


class LateHistory:
    """All rooms' pasts. While `gate` is there and not set, no room is opened."""

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

    async def open_room(self, name: str) -> MemoryLog:
        """See `History.open_room`: it waits for the gate."""
        if self.gate is not None:
            await self.gate.wait()
        return await self._inner.open_room(name)
