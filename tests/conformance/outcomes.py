"""What became of each case, read from the suite's own report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

# "Informational" is where the specification leaves it open, "non-strict" where it only advises.
PASSED: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The suite's verdict on one case."""

    talk: str  # on the conversation
    close: str  # on how it ended
    code: int | None  # in our Close frame; None where that had none

    @property
    def passed(self) -> bool:
        """Whether neither verdict is a complaint. One that we never heard of is one."""
        return {self.talk, self.close} <= PASSED

    @property
    def verdict(self) -> str:
        """Both verdicts in short: one word where they agree."""
        return self.talk if self.talk == self.close else f"{self.talk}, closing {self.close}"


Outcomes = dict[str, Outcome]  # by the cases' numbers, in their order


def read_outcomes(report: str) -> Outcomes:
    """Read the suite's index.json, which is about one server.

    Raises:
        ValueError: it is not that.
    """
    match json.loads(report):
        case dict(servers) if len(servers) == 1:
            [cases] = servers.values()
        case _:
            raise ValueError("not a report on one server")
    return {
        number: Outcome(about["behavior"], about["behaviorClose"], about["remoteCloseCode"])
        for number, about in sorted(cases.items(), key=lambda item: _in_order(item[0]))
    }


def _in_order(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


def failed(outcomes: Outcomes) -> list[str]:
    """Return the numbers of the cases that did not pass."""
    return [number for number, outcome in outcomes.items() if not outcome.passed]


def count_verdicts(outcomes: Iterable[Outcome]) -> str:
    """Say how many there are of each verdict, the most frequent first."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def by_section(outcomes: Outcomes) -> dict[str, list[str]]:
    """Return the cases' numbers by section, such as 6."""
    return {
        section: list(numbers)
        for section, numbers in groupby(outcomes, lambda number: number.partition(".")[0])
    }


def by_group(outcomes: Outcomes) -> dict[str, list[str]]:
    """Return the cases' numbers by what the suite groups them by, such as 6.22."""
    return {
        group: list(numbers)
        for group, numbers in groupby(outcomes, lambda number: number.rpartition(".")[0])
    }
