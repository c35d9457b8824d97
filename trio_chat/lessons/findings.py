"""What an experiment found: each expectation in a sentence, and whether it held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final

from .text import wrap

MANY: Final = 3  # Of more that are called alike the kind and the number is told.


@dataclass(frozen=True, slots=True)
class Finding:
    """An expectation. `instead` says what was seen where it did not hold."""

    sentence: str
    holds: bool
    instead: str = ""

    def __str__(self) -> str:
        sign, instead = ("✓", "") if self.holds else ("✗", self.instead)
        text = f"{self.sentence}: {instead}" if instead else self.sentence
        return wrap(text, first=f"  {sign} ", rest=" " * 4)


class Findings:
    """All that was found, in order. `tell` is told each at once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._all: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Note one."""
        self._all.append(finding)
        self._tell(str(finding))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def red(self) -> list[Finding]:
        """What did not hold."""
        return [finding for finding in self._all if not finding.holds]

    @property
    def green(self) -> bool:
        """Whether something was expected, and all of it held."""
        return bool(self._all) and not self.red


def differ(found: object, wanted: object) -> str:
    """Say how what was found differs from what was wanted; of sets only what they don't share."""
    if not (isinstance(found, Set) and isinstance(wanted, Set)):
        return f"found {_shorten(found)}, wanted {_shorten(wanted)}"
    missing, more = wanted - found, found - wanted
    parts = [f"without {_enumerate(missing)}"] * bool(missing)
    parts += [f"also {_enumerate(more)}"] * bool(more)
    return "; ".join(parts)


def _shorten(value: object) -> object:
    if isinstance(value, list) and len(value) > MANY and value.count(value[0]) == len(value):
        return f"{len(value)} times {value[0]}"
    return value


def _enumerate(names: Iterable[object]) -> str:
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(map(str, names)):
        kinds[name.partition(" ")[0]].append(name)
    return ", ".join(
        ", ".join(alike) if len(alike) <= MANY else f"{kind} ×{len(alike)}"
        for kind, alike in kinds.items()
    )
