"""A history that takes its time to open a room, as one on a busy disk. It is kept in memory."""

from __future__ import annotations

import trio

from ...config import Config
from ..troubled import TroubledHistory


class LateHistory(TroubledHistory):
    """All rooms' pasts. While `gate` is there and not set, no room is opened."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.gate: trio.Event | None = None

    async def before_opening(self, room: str) -> None:
        """Wait for the gate."""
        if self.gate is not None:
            await self.gate.wait()
