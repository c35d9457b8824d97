"""Which figures become which picture, for the report and for the README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from . import plots
from .figures import CONNECT, MEMORY, RATE
from .plots import Point, Row, Series, at_axis, curves, linear_axis, log_axis, tail_axis
from .summary import Summary, summarise

# The fan-outs that are drawn as curves over the number of members.
FANOUTS: Final = (
    ("One message in flight", {"in_flight": 1, "senders": 1}),
    ("32 in flight, from one sender", {"in_flight": 32, "senders": 1}),
    ("32 in flight, from 32 senders", {"in_flight": 32, "senders": 32}),
)


def write_pictures(results: Mapping[str, object], folder: Path) -> list[Path]:
    """Write the pictures for the README, those that there are figures for; return their paths."""
    found, _ = summarise(results)
    drawn = {"fanout.svg": fanout_ranks(found), "memory.svg": memory_bars(found)}
    written = []
    for name, svg in drawn.items():
        if svg:
            (folder / name).write_text(plots.standalone(svg))
            written.append(folder / name)
    return written


def _point(summary: Summary, key: str) -> Point:
    figure = summary.figures[key]
    members = float(summary.params["members"])
    return Point(members, figure.median, figure.low, figure.high, summary.lower_bound)


def _over_members(
    summaries: Iterable[Summary], key: str, suffix: str = "", *, dashed: bool | None = None
) -> list[Series]:
    points: dict[str, list[Point]] = {}
    labels = {}
    for each in summaries:
        if key in each.figures:
            points.setdefault(each.server, []).append(_point(each, key))
            labels[each.server] = each.label + suffix
    return [
        Series(
            server,
            labels[server],
            sorted(some, key=lambda point: point.x),
            _is_second(server) if dashed is None else dashed,
        )
        for server, some in points.items()
    ]


def _is_second(server: str) -> bool:
    """Say whether a server shares its colour with one that is drawn with a whole line."""
    return server in ("channels-uvicorn", "websockets-trio", "aiohttp-uvloop")


def _members(series: Sequence[Series]) -> list[float]:
    return [point.x for each in series for point in each.points]


def _values(series: Sequence[Series]) -> list[float]:
    return [value for each in series for p in each.points for value in (p.low, p.high)]


def fanout_curves(found: Sequence[Summary]) -> list[str]:
    drawn = []
    for title, params in FANOUTS:
        plain = [each for each in found if each.matches("fanout", dialect="plain", **params)]
        ours = [each for each in found if each.matches("fanout", dialect="v1", **params)]
        series = _over_members(plain, RATE.key)
        if len(series) == 1:  # There is nobody to compare with, but there is our other dialect.
            series += _over_members(ours, RATE.key, ", v1", dashed=True)
        if len(set(_members(series))) > 1:
            x = at_axis("members in the room", _members(series))
            y = log_axis("deliveries a second, log", _values(series))
            drawn.append(curves(title, series, x, y))
    return drawn


def latency_curves(found: Sequence[Summary]) -> list[str]:
    series = [
        Series(
            each.server,
            each.label,
            [Point(q, ms, ms, ms) for q, ms in each.percentiles if q <= 99.9],
            _is_second(each.server),
        )
        for each in found
        if each.bench == "latency" and each.percentiles
    ]
    if not series:
        return []
    x = tail_axis("share of the deliveries that were no slower")
    y = log_axis("milliseconds from due to received, log", _values(series))
    return [curves("Latency at a fixed rate", series, x, y, 460)]


def connection_curves(found: Sequence[Summary]) -> list[str]:
    drawn = []
    idle = [each for each in found if each.matches("connections", kind="idle")]
    for title, key, unit, axis in (
        ("Memory a connection, idle", MEMORY.key, "KiB of the process", linear_axis),
        ("Connecting", CONNECT.key, "connections a second, log", log_axis),
    ):
        series = _over_members(_measured(idle, key), key)
        if len(set(_members(series))) > 1:
            x = at_axis("connections", _members(series))
            drawn.append(curves(title, series, x, axis(unit, _values(series))))
    return drawn


def _measured(summaries: Iterable[Summary], key: str) -> list[Summary]:
    # Of a server that was named by its URL, the memory is not known, and reported as nothing.
    return [each for each in summaries if key in each.figures and each.figures[key].high != 0]


def fanout_ranks(found: Sequence[Summary], members: int = 100) -> str:
    def runs(in_flight: int) -> dict[str, Summary]:
        params: dict[str, int | str] = {"in_flight": in_flight, "members": members, "senders": 1}
        return {s.server: s for s in found if s.matches("fanout", dialect="plain", **params)}

    one, many = runs(1), runs(32)
    rows = [
        Row(
            server,
            many[server].label,
            [each[server].figures[RATE.key].median for each in (one, many)],
            many[server].lower_bound,
        )
        for server in many
        if server in one
    ]
    if not rows:
        return ""
    axis = log_axis("", [value for row in rows for value in row.values])
    return plots.ranks(
        f"Deliveries a second, one room of {members} members",
        "○ one message in flight, ● 32 in flight, from one sender; logarithmic",
        rows,
        axis,
    )


def memory_bars(found: Sequence[Summary]) -> str:
    idle = [each for each in found if each.matches("connections", kind="idle")]
    idle = _measured(idle, MEMORY.key)
    # The size at which most were measured; of two such sizes, the larger.
    sizes = Counter(int(each.params["members"]) for each in idle)
    size = max(sizes, key=lambda members: (sizes[members], members), default=0)
    rows = [
        Row(each.server, each.label, [each.figures[MEMORY.key].median])
        for each in idle
        if each.params["members"] == size
    ]
    if not rows:
        return ""
    axis = linear_axis("", [row.values[0] for row in rows])
    axis = plots.Axis(axis.title, axis.place, axis.ticks, "{:.1f} KiB".format)
    return plots.bars(
        "Memory a connection", f"{size:,} idle connections, KiB of the process", rows, axis
    )
