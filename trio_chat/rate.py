"""A token bucket: so many at once, so many a second after that."""

from __future__ import annotations


class TokenBucket:
    """Counts what one connection may still send. A rate of 0 means no limit."""

    __slots__ = ("_burst", "_level", "_rate", "_then")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._then = 0.0

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take `cost` tokens and return 0, or take none and return the seconds to wait for them.

        `now` is any clock's time in seconds that never goes back. A cost above the burst is let
        through by a full bucket: it could never be paid otherwise.
        """
        if not self._rate:
            return 0.0
        self._level = min(self._burst, self._level + (now - self._then) * self._rate)
        self._then = now
        missing = min(cost, self._burst) - self._level
        if missing > 0:
            return missing / self._rate
        self._level -= cost
        return 0.0
