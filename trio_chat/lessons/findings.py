"""What an experiment found: each expectation in a sentence, and whether it held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """An expectation. `instead` says what was seen where it did not hold."""

    sentence: str
    holds: bool
    instead: str = ""

    def __str__(self) -> str:
        if self.holds:
            return f"  ✓ {self.sentence}"
        return f"  ✗ {self.sentence}" + (f": {self.instead}" if self.instead else "")


class Findings:
    """All that was found, in order. `tell` is told each at once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._all: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Note one."""
        self._all.append(finding)
        self._tell(str(finding))

    @property
    def green(self) -> bool:
        """Whether something was expected, and all of it held."""
        return bool(self._all) and all(finding.holds for finding in self._all)
