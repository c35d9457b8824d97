"""What may happen to one who is kept alive: made up by chance, and what has to be seen of it.

Times are multiples of 1/64 s, which a float holds exactly: so they are compared with `==`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from ...console import say
from .policy import Policy

GRID: Final = 1 / 64  # seconds
HEALTHY: Final = 8  # times GRID
MANY: Final = 200  # No fate begins anew so often.


class Misfortune(Exception):
    """What a life raises when it fails."""


@dataclass(frozen=True, slots=True)
class Span:
    """One life: how many seconds it takes, and whether it fails then or returns."""

    seconds: float
    fails: bool


@dataclass(frozen=True, slots=True)
class Course:
    """What has to be seen: when a life begins, when all is over, and if by giving up."""

    begins: Sequence[float]
    end: float
    given_up: bool


class Actor:
    """Lives as it was made up, each time that it is begun, and notes when that is."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self.begins: list[float] = []
        self.living = 0
        self.doubles = 0  # how often it was begun while it lived
        self.last_error: Misfortune | None = None

    async def live(self) -> None:
        """Live once."""
        self.begins.append(trio.current_time())
        await self._refuse_eternity()
        self.doubles += self.living > 0
        self.living += 1
        span = self.spans[min(len(self.begins), len(self.spans)) - 1]
        try:
            await trio.sleep(span.seconds)
        finally:
            self.living -= 1
        if span.fails:
            self.last_error = Misfortune(f"failure {len(self.begins)}")
            raise self.last_error

    async def _refuse_eternity(self) -> None:
        if len(self.begins) > 2 * MANY:
            # It was cancelled meanwhile, and goes on: who swallows that can't be told otherwise.
            say(f"a life was begun {2 * MANY} times, though it was cancelled: this has no end")
            os._exit(1)
        if len(self.begins) > MANY:
            await trio.sleep_forever()


# --- Making it up --------------------------------------------------------------------------------


def make_policy(random: Random) -> Policy:
    """Return some policy."""
    first = random.choice((1, 2, 3))
    most = first * random.choice((1, 2, 3, 8))
    return Policy(first * GRID, most * GRID, HEALTHY * GRID, random.randint(0, 6))


def make_failure(random: Random) -> Span:
    """Return a life that fails early."""
    return Span(random.randint(1, HEALTHY - 1) * GRID, fails=True)


def make_late_failure(random: Random) -> Span:
    """Return a life that fails when it was healthy for long enough, or just so."""
    return Span(random.randint(HEALTHY, HEALTHY + 4) * GRID, fails=True)


def make_return(random: Random) -> Span:
    """Return a life that returns."""
    return Span(random.randint(1, 2 * HEALTHY) * GRID, fails=False)


def foresee(spans: Sequence[Span], policy: Policy, start: float) -> Course:
    """Return what has to be seen of lives that go like this, one after the other."""
    now, begins, failures = start, [], 0
    for span in spans:
        begins.append(now)
        now += span.seconds
        if not span.fails:
            return Course(begins, now, given_up=False)
        failures = 1 if span.seconds >= policy.healthy else failures + 1
        if failures > policy.restarts:
            return Course(begins, now, given_up=True)
        now += min(policy.most, policy.first * 2 ** (failures - 1))
    raise ValueError("these lives have no end")
