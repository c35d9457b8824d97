"""How often somebody may look: after a look that took d seconds, not for 20·d, nor for a tenth.

What looks is synchronous and holds the loop, so this is what bounds the microscope's share of it
to 5 %, whatever the number of tasks and of those who watch. All who look share one pace.
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
