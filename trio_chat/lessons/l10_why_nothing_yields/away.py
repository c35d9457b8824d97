"""A history in memory, that can be away: then it is not read from."""

from __future__ import annotations

from ...config import Config
from ...history import HistoryUnavailable
from ..troubled import TroubledHistory


class AwayHistory(TroubledHistory):
    """All rooms' pasts. While it is `away`, nothing can be read."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.away = False

    async def before_reading(self, room: str) -> None:
        """Fail while it is away."""
        if self.away:
            raise HistoryUnavailable("away for a moment")
