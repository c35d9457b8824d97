"""How many there are, in all and from each address: the two limits that no room can hold."""

from __future__ import annotations

from collections import Counter
from typing import Final

from .protocol import CloseCode, Ended, Ending

SERVER_FULL: Final = Ending(CloseCode.TRY_AGAIN_LATER, "the server is full")
SHARE_USED: Final = Ending(
    CloseCode.TRY_AGAIN_LATER, "this address has as many connections as one may have"
)


class Crowd:
    """Counts the WebSockets. 0 means no limit."""

    def __init__(self, *, limit: int, limit_per_address: int) -> None:
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._by_address: Counter[str] = Counter()
        self.size = 0

    def enter(self, address: str) -> None:
        """Count somebody in.

        Raises:
            Ended: with 1013, because a limit is reached; nobody was counted.
        """
        if self._limit and self.size >= self._limit:
            raise Ended(SERVER_FULL)
        if self._limit_per_address and self._by_address[address] >= self._limit_per_address:
            raise Ended(SHARE_USED)
        self._by_address[address] += 1
        self.size += 1

    def leave(self, address: str) -> None:
        """Count somebody out."""
        self.size -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
