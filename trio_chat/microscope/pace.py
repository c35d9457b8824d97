"""What the microscope may take of the loop's time: 5 %, whatever the number of tasks and watchers.

Looking is synchronous and holds the loop. So after a look that took d seconds there is none for
20·d, nor for a tenth of a second; all who look share this pace. Trio's hooks come when it pleases
the server. For them there is an allowance, which grows by a twentieth of the time that passes, up
to what a large tree needs to die at once; where it is used up, they are given up for a while.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

REST: Final = 20  # times what a look took
SHORTEST: Final = 0.1  # seconds


class Pace:
    """When the next look may be."""

    def __init__(self) -> None:
        self._next = -math.inf
        self._line = trio.Lock()  # Fair: who came first looks first.

    async def turn(self, look: Callable[[], T]) -> T:
        """Wait until somebody may look again, look, and return what was seen.

        If cancelled, nobody looked.
        """
        async with self._line:
            await trio.sleep_until(self._next)
            return self.now(look)

    def now(self, look: Callable[[], T]) -> T:
        """Look at once, because the moment matters; others wait for longer instead."""
        begin = time.perf_counter()
        try:
            return look()
        finally:
            pause = max(SHORTEST, REST * (time.perf_counter() - begin))
            self._next = max(self._next, trio.current_time()) + pause


class Allowance:
    """Seconds that may be spent: a twentieth of the time that passes, saved up to `most`."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._saved = most
        self._at = -math.inf

    def spend(self, seconds: float, now: float) -> bool:
        """Spend so many, and return whether there is something left."""
        self._save(now)
        self._saved -= seconds
        return self._saved > 0

    def wait_until(self, now: float) -> float:
        """Return when half of the most will have been saved, if nothing is spent meanwhile."""
        self._save(now)
        return now + REST * max(0.0, self._most / 2 - self._saved)

    def _save(self, now: float) -> None:
        if now > self._at:
            self._saved = min(self._most, self._saved + (now - self._at) / REST)
            self._at = now
