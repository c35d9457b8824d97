"""What is measured, as it is shown: how each figure is titled and written, which end is good."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a measurement: how it is titled and written, and which end is good."""

    key: str
    title: str
    form: str
    more_is_better: bool = True
    depends_on_load: bool = True  # so that a busy load makes it a bound

    def write(self, value: float) -> str:
        return self.form.format(value)


RATE: Final = Figure("deliveries_per_s", "deliveries/s", "{:,.0f}")
CONNECT: Final = Figure("connect_per_s", "connections/s", "{:,.0f}")
MEMORY: Final = Figure(
    "rss_kib_per_connection", "KiB each", "{:.1f}", more_is_better=False, depends_on_load=False
)
KERNEL: Final = replace(MEMORY, key="kernel_kib_per_connection", title="kernel KiB each")
P99: Final = Figure("p99_ms", "p99 ms", "{:.2f}", more_is_better=False)
ECHO: Final = Figure("round_trip_us", "round trip µs", "{:.0f}", more_is_better=False)


@dataclass(frozen=True, slots=True)
class Bench:
    """A kind of measurement: how its cases are called, and its figures, the ranking one first."""

    title: str
    case: str
    figures: tuple[Figure, ...]


def _less(key: str, title: str, form: str = "{:.2f}") -> Figure:
    return Figure(key, title, form, more_is_better=False)


BENCHES: Final[dict[str, Bench]] = {
    "fanout": Bench(
        "Fan-out", "{members:,} members, {in_flight} in flight, from {senders} senders", (RATE,)
    ),
    "latency": Bench(
        "Latency",
        "{members:,} members, {deliveries_per_s:,} deliveries a second due",
        (P99, _less("p50_ms", "p50 ms"), _less("p90_ms", "p90 ms"), _less("p999_ms", "p99.9 ms")),
    ),
    "rooms": Bench("Many small rooms", "{rooms:,} rooms of {members}, everybody talks", (RATE,)),
    "echo": Bench(
        "Echo", "one member, there and back", (ECHO, _less("p99_us", "p99 µs", "{:.0f}"))
    ),
    "connections": Bench(
        "Connections",
        "{members:,} connections, {kind}",
        (
            CONNECT,
            MEMORY,
            KERNEL,
            _less("last_welcome_s", "s to the last"),
            RATE,
        ),
    ),
    "slow": Bench(
        "Slow members",
        "{members} members at full rate, {silent} more that read nothing",
        (
            Figure("messages_per_s", "messages/s", "{:,.0f}"),
            Figure("ratio", "× without them", "{:.2f}"),
            _less("rss_grown_mib", "memory + MiB", "{:.1f}"),
        ),
    ),
    "churn": Bench(
        "Coming and going",
        "come, say one message, have it back, go",
        (Figure("joins_per_s", "visits/s", "{:,.0f}"),),
    ),
    "neighbour": Bench(
        "A loud neighbour",
        "a room of {members} beside one of {crowd:,} at full rate",
        (
            P99,
            _less("p50_ms", "p50 ms"),
            Figure("crowd_deliveries_per_s", "the crowd's deliveries/s", "{:,.0f}"),
        ),
    ),
    "history": Bench(
        "What is said, kept",
        "{rooms:,} rooms of {members}, kept in {kind}",
        (
            Figure("stored_per_s", "messages/s", "{:,.0f}"),
            Figure("memory_per_s", "with memory alone", "{:,.0f}"),
            Figure("of_memory", "× memory", "{:.2f}"),
        ),
    ),
    "cluster": Bench(
        "Several nodes, one Redis",
        "{nodes} nodes, a room of {members}, {what}",
        (
            Figure("stored_per_s", "messages/s", "{:,.0f}"),
            _less("added_ms", "ms more than with memory"),
            _less("p50_ms", "p50 ms"),
            P99,
        ),
    ),
    "watching": Bench(
        "What watching costs",
        "{members:,} members, the microscope on",
        (
            _less("ratio_watched", "× CPU, watched"),
            _less("ratio_unwatched", "× CPU, unwatched"),
            _less("visit_ratio_watched", "× CPU of a visit, watched"),
            _less("visit_ratio_unwatched", "× CPU of a visit, unwatched"),
            _less("snapshot_ms", "ms a snapshot"),
            _less("look_ms", "ms a look"),
        ),
    ),
    "resume": Bench(
        "Everybody comes back at once",
        "{members:,} members, after {after}",
        (_less("seconds", "s to the last"), Figure("recovered", "recovered", "{:,.0f}")),
    ),
}
