"""From single runs to what the report shows: medians and spreads by measurement and server."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .peers import PEERS
from .servers import OURS

LABELS: Final = {OURS: OURS} | {name: peer.label for name, peer in PEERS.items()}
ORDER: Final = [OURS, *PEERS]

# While a closed loop runs, either the server or the load has something to do. Where the two
# together took less than this of a core, other programs had the cores, and the figure says little.
DISTURBED: Final = 0.9
CLOSED_LOOPS: Final = ("fanout", "rooms", "connections")

# A server's name and its parameters; what has the same is repeats of one measurement.
Key = tuple[str, tuple[tuple[str, int | str], ...]]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True, slots=True)
class Summary:
    """One measurement of one server, over its repeats."""

    bench: str
    params: dict[str, int | str]
    server: str
    repeats: int
    figures: dict[str, Spread]
    percentiles: list[tuple[float, float]] = field(default_factory=list)
    load_cpu: float = 0.0
    server_cpu: float = 0.0
    lower_bound: bool = False
    disturbed: bool = False

    @property
    def label(self) -> str:
        return LABELS.get(self.server, self.server)

    def matches(self, bench: str, **params: int | str) -> bool:
        """Say whether this is that measurement; parameters not named may be anything."""
        return self.bench == bench and params.items() <= self.params.items()


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that came to no result."""

    case: str
    server: str
    why: str


def summarise(results: Mapping[str, object]) -> tuple[list[Summary], list[Failure]]:
    """Return what was measured, in the order of the servers, and what failed."""
    groups: dict[tuple[str, Key], list[dict[str, object]]] = {}
    failures: dict[Failure, None] = {}  # in order, each once
    for run in _list(results["runs"]):
        if "failed" in run:
            failure = Failure(str(run["bench"]), str(run["server"]), str(run["failed"]))
            failures[failure] = None
            continue
        params = tuple(sorted(_params(run).items()))
        groups.setdefault((str(run["bench"]), (str(run["server"]), params)), []).append(run)
    found = [_summary(bench, key, runs) for (bench, key), runs in groups.items()]
    found.sort(key=lambda each: ORDER.index(each.server) if each.server in ORDER else -1)
    return found, list(failures)


def _summary(bench: str, key: Key, runs: list[dict[str, object]]) -> Summary:
    server, params = key
    values: dict[str, list[float]] = {}
    curves: dict[float, list[float]] = {}
    for run in runs:
        figures = run["figures"]
        assert isinstance(figures, dict)
        for name, value in figures.items():
            if name == "percentiles":
                for q, milliseconds in value:
                    curves.setdefault(float(q), []).append(float(milliseconds))
            else:
                values.setdefault(name, []).append(float(value))
    return Summary(
        bench,
        dict(params),
        server,
        len(runs),
        {name: Spread.of(each) for name, each in values.items()},
        [(q, statistics.median(each)) for q, each in sorted(curves.items())],
        statistics.median(float(str(run["load_cpu"])) for run in runs),
        statistics.median(float(str(run["server_cpu"])) for run in runs),
        any(run["bound"] == "lower" for run in runs),
        bench in CLOSED_LOOPS and statistics.median(map(_used, runs)) < DISTURBED,
    )


def _used(run: Mapping[str, object]) -> float:
    """Return how much of a core both sides used; much, where that can't be known."""
    server = float(str(run["server_cpu"]))
    figures = run["figures"]
    assert isinstance(figures, dict)
    short = float(figures.get("last_welcome_s", 1.0)) < 0.2  # The kernel counts in 10 ms.
    return server + float(str(run["load_cpu"])) if server and not short else 1.0


def _list(runs: object) -> list[dict[str, object]]:
    assert isinstance(runs, list)
    return runs


def _params(run: Mapping[str, object]) -> dict[str, int | str]:
    params = run["params"]
    assert isinstance(params, dict)
    return params
