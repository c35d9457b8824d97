"""How a task ended: rough."""

from __future__ import annotations

from typing import NamedTuple

import trio

from .events import How


class End(NamedTuple):
    """How a task ended, in words that hold nothing of it. `author` is Trio's word for a task."""

    how: How
    exc: str | None = None
    reason: str | None = None
    source: str | None = None
    author: str | None = None
    at: str | None = None


class Endings:
    """rough."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def take(self, task: trio.lowlevel.Task) -> End:
        """Return how it ended."""
        return End(How.ENDED)
