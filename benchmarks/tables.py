"""The tables of the report: one over everything that matters, and one for each measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from .figures import CONNECT, ECHO, MEMORY, P99, RATE, Bench, Figure
from .plots import count
from .servers import OURS
from .summary import ORDER, Summary

NOTHING: Final = "–"


def case_title(bench: Bench, summary: Summary) -> str:
    """Return how a measurement with these parameters is called."""
    title = bench.case.format_map(summary.params)
    if summary.params.get("senders") == 1:
        title = title.removesuffix(", from 1 senders")
    if summary.params.get("dialect") == "v1":
        title += ", in trio-chat.v1 with ids and acks"
    return title


# --- One measurement ---


def table(bench: Bench, group: Sequence[Summary]) -> str:
    """Return the servers of one measurement, best first."""
    shown = [f for f in bench.figures if any(f.key in each.figures for each in group)]
    rank = shown[0]
    ours = next((each for each in group if each.server == OURS), None)
    heads = ["", *(figure.title for figure in shown), "× ours", "server CPU", "load CPU", "lost"]
    ranked = sorted(
        group, key=lambda each: each.figures[rank.key].median, reverse=rank.more_is_better
    )
    lines = [
        Line(
            each.server,
            [
                Cell(escape(each.label)),
                *(_cell(figure, each) for figure in shown),
                Cell(_ratio(each, ours, rank.key)),
                Cell(f"{each.server_cpu:.0%}" if each.server_cpu else NOTHING),
                Cell(f"{each.load_cpu:.0%}"),
                _lost(each),
            ],
        )
        for each in ranked
    ]
    return _html(heads, lines)


def _cell(figure: Figure, summary: Summary) -> Cell:
    if figure.key not in summary.figures:
        return Cell(NOTHING)
    spread = summary.figures[figure.key]
    text = _marked(figure.write(spread.median), figure, summary)
    if summary.repeats > 1:
        text += f"<small>{figure.write(spread.low)} – {figure.write(spread.high)}</small>"
    return Cell(text)


def _marked(value: str, figure: Figure, summary: Summary) -> str:
    if not figure.depends_on_load:
        return value
    sign = ("≥ " if figure.more_is_better else "≤ ") if summary.lower_bound else ""
    return sign + value + (" †" if summary.disturbed else "")


def _ratio(summary: Summary, ours: Summary | None, key: str) -> str:
    if ours is None or not ours.figures[key].median:
        return NOTHING
    ratio = summary.figures[key].median / ours.figures[key].median
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.1g}"


def _lost(summary: Summary) -> Cell:
    lost = summary.figures.get("lost")
    if lost is None or not lost.high:
        return Cell("0")
    return Cell(f"{lost.high:,.0f}", "lost")


# --- Everything that matters ---


@dataclass(frozen=True, slots=True)
class Column:
    """A measurement's figure, for every server."""

    title: str
    figure: Figure
    bench: str
    params: dict[str, int | str] = field(default_factory=dict)

    def cells(self, found: Sequence[Summary]) -> dict[str, Cell]:
        """Return a cell for each server that was measured, the best one marked."""
        key = self.figure.key
        group = [e for e in found if e.matches(self.bench, **self.params) and key in e.figures]
        # Where it was done in several sizes, the one that most servers did.
        sizes = Counter(tuple(sorted(each.params.items())) for each in group)
        group = [e for e in group if dict(sizes.most_common(1)[0][0]) == e.params]
        values = {each.server: each.figures[key].median for each in group}
        best = (max if self.figure.more_is_better else min)(values.values(), default=0.0)
        return {
            each.server: Cell(
                _marked(self._write(values[each.server]), self.figure, each),
                "best" if values[each.server] == best else "",
            )
            for each in group
        }

    def _write(self, value: float) -> str:
        return count(value) if self.figure.more_is_better else self.figure.write(value)


def at_a_glance(found: Sequence[Summary]) -> str:
    """Return one table over the measurements that matter most, a row a server."""
    columns = [(column.title, column.cells(found)) for column in _columns(found)]
    columns = [(title, cells) for title, cells in columns if cells]
    labels = {each.server: each.label for each in found}
    servers = sorted(labels, key=lambda name: ORDER.index(name) if name in ORDER else -1)
    lines = [
        Line(
            server,
            [
                Cell(escape(labels[server])),
                *(cells.get(server, Cell(NOTHING)) for _, cells in columns),
            ],
        )
        for server in servers
    ]
    return _html(["", *(title for title, _ in columns)], lines)


def _columns(found: Sequence[Summary]) -> Iterator[Column]:
    for members in (100, 1000):
        for flight in (1, 32):
            params: dict[str, int | str] = {"members": members, "in_flight": flight}
            params |= {"senders": 1, "dialect": "plain"}
            yield Column(f"{members:,} × {flight}", RATE, "fanout", params)
    yield Column("small rooms", RATE, "rooms")
    yield Column("latency, p99 ms", P99, "latency")
    yield Column("echo, µs", ECHO, "echo")
    crowds = [int(e.params["members"]) for e in found if e.matches("connections", kind="idle")]
    if crowds:
        idle: dict[str, int | str] = {"members": max(crowds), "kind": "idle"}
        yield Column(f"connecting {max(crowds):,}", CONNECT, "connections", idle)
        yield Column("KiB each", MEMORY, "connections", idle)


# --- HTML ---


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's HTML, and its class."""

    html: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A server's line."""

    server: str
    cells: Sequence[Cell]


def _html(heads: Sequence[str], lines: Sequence[Line]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in heads)
    body = "\n".join(
        f"<tr{_class('ours' if line.server == OURS else '')}>"
        + "".join(f"<td{_class(cell.kind)}>{cell.html}</td>" for cell in line.cells)
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
