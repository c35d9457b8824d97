"""What the server counts, and how Prometheus gets to read it.

Counters are plain numbers that their owners add to; gauges are read from the live objects when
somebody asks. Nothing here samples, sleeps or keeps a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from .ledger import Ledger

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Tally:
    """Counts since the server started."""

    connections: int = 0  # accepted on a listener
    sessions: int = 0  # that became a WebSocket
    messages: int = 0  # accepted into a room
    faults: int = 0  # errors of ours: each is in the log with its cause
    unstored: int = 0  # messages that the history refused
    endings: Counter[int] = field(default_factory=Counter)  # WebSockets, by close code
    errors: Counter[str] = field(default_factory=Counter)  # told to clients, by code
    answers: Counter[int] = field(default_factory=Counter)  # HTTP, by status


def render(tally: Tally, ledger: Ledger, gauges: Mapping[str, float]) -> str:
    """Return everything in Prometheus' text format. `gauges` maps a name to its value now."""
    lines: list[str] = []
    counters = {
        "connections": tally.connections,
        "sessions": tally.sessions,
        "messages": tally.messages,
        "faults": tally.faults,
        "messages_unstored": tally.unstored,
        "deliveries_owed": ledger.owed,
        "deliveries_handed": ledger.handed,
    }
    for name, value in counters.items():
        lines += _family(f"{name}_total", "counter", [("", value)])
    labelled: list[tuple[str, str, Mapping[str, int] | Mapping[int, int]]] = [
        ("sessions_ended_total", "code", tally.endings),
        ("errors_total", "code", tally.errors),
        ("http_responses_total", "status", tally.answers),
        ("deliveries_dropped_total", "reason", ledger.dropped),
    ]
    for name, label, counts in labelled:
        samples = [(f'{{{label}="{key}"}}', count) for key, count in counts.items()]
        lines += _family(name, "counter", samples)
    for name, gauge in {"deliveries_waiting": ledger.waiting, **gauges}.items():
        lines += _family(name, "gauge", [("", gauge)])
    return "\n".join(lines) + "\n"


def _family(
    name: str, kind: Literal["counter", "gauge"], samples: Iterable[tuple[str, float]]
) -> list[str]:
    rows = [f"trio_chat_{name}{labels} {value}" for labels, value in samples]
    return [f"# TYPE trio_chat_{name} {kind}", *rows]
