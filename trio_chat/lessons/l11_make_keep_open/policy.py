"""The words of the exercise: what is kept alive, and how patiently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

# What is run again when it fails. It has failed when it raises an `Exception`; when it returns it
# is done.
Life = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a supervisor is. Times are seconds."""

    first: float  # the pause after the first failure; the next one is twice as long, and so on
    most: float  # no pause is longer
    healthy: float  # who has lived so long begins anew: its next failure counts as the first one
    restarts: int  # that many in a row; the failure after that is raised


class Solution(NamedTuple):
    """What a solution consists of."""

    keep: Callable[[Life, Policy], Awaitable[None]]
    supervise: Callable[[Mapping[str, Life], Policy], Awaitable[None]]
