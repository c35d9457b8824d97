"""The server's books: every message owed to a member is delivered, dropped, or still waiting.

The hub enters what is owed when it fans a batch out; the wires enter what became of it. The sides
are counted in different places on purpose, so that `balances` is a check that can fail.

A blob, one or more whole frames that travel together, is the unit: a blob that went out by half
counts as dropped. History that is sent on joining is not in the books.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Ledger:
    """Counts of deliveries, one message to one member, since the server started."""

    owed: int = 0  # entered by the hub: messages × members at fan-out
    handed: int = 0  # given to the kernel, or to the stream, whole
    waiting: int = 0  # in an outbox
    dropped: Counter[str] = field(default_factory=Counter)  # by reason

    @property
    def balances(self) -> bool:
        """Whether what is owed is accounted for."""
        return self.owed == self.handed + self.waiting + self.dropped.total()

    def drop(self, reason: str, deliveries: int) -> None:
        """Enter deliveries that will not happen; entering none leaves no trace."""
        if deliveries:
            self.dropped[reason] += deliveries

    def __str__(self) -> str:
        lost = "".join(f", {count} dropped: {why}" for why, count in sorted(self.dropped.items()))
        verdict = "balances" if self.balances else "DOES NOT BALANCE"
        return (
            f"{self.owed} owed, {self.handed} handed over, {self.waiting} waiting{lost}; {verdict}"
        )
