"""A history that can be made to wait, as one whose disk is busy. What it keeps is in memory."""

from __future__ import annotations

import trio

from ...config import Config
from ..troubled import TroubledHistory


class SlowHistory(TroubledHistory):
    """All rooms' pasts. While `gate` is there and not set, nothing is recorded."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.gate: trio.Event | None = None

    async def before_appending(self, room: str) -> None:
        """Wait for the gate."""
        if self.gate is not None:
            await self.gate.wait()
