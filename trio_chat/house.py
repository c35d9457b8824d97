"""What every part of one server shares: its limits, its books, its pulse. Nothing here acts."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Config
from .crowd import Crowd
from .heartbeat import Heartbeat
from .history import History
from .ledger import Ledger
from .metrics import Tally
from .outbox import Outboxes


@dataclass(frozen=True, slots=True)
class House:
    """One server's shared things."""

    config: Config
    history: History
    ledger: Ledger
    tally: Tally
    outboxes: Outboxes
    heartbeat: Heartbeat
    crowd: Crowd
