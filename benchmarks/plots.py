"""Plots as SVG, by hand: a picture that is text needs no library, and knows light from dark.

Each function returns one `<svg>`. Its colours are CSS variables of STYLE, by server, which a page
includes once, and `standalone` puts into a picture that shall be a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

# A family of servers has one hue; the second of two is dashed. Ours is the one that is thick.
COLOURS: Final = {
    "trio-chat": ("#0b57d0", "#7fb2ff"),
    "channels": ("#2c7a34", "#7fca86"),
    "fastapi": ("#00807a", "#4fcfc5"),
    "websockets": ("#b96a00", "#f0ac4a"),
    "aiohttp": ("#7b3fa0", "#c795e8"),
    "picows": ("#c42847", "#ff8296"),
    "trio-naive": ("#4f6f94", "#9fb8d6"),
    "node-ws": ("#6f7016", "#c6c65a"),
    "bun": ("#b8468a", "#f59ccb"),
    "bare": ("#6b6b6b", "#ababab"),
    "other": ("#8a5a44", "#d9a98f"),
}


def _colours(which: int) -> str:
    return "".join(f"--{name}:{pair[which]};" for name, pair in COLOURS.items())


STYLE: Final = f"""
:root {{ color-scheme: light dark; --paper:#fff; --ink:#1b1d21; --soft:#5c626b; --line:#dfe2e7;
  --band:#eef4ff; {_colours(0)} }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper:#15171b; --ink:#e9ebee; --soft:#a3a9b3;
  --line:#33373e; --band:#1b2740; {_colours(1)} }} }}
svg.plot {{ font: 13px system-ui, sans-serif; fill: var(--ink); display: block; }}
.plot .grid {{ stroke: var(--line); fill: none; }}
.plot .soft {{ fill: var(--soft); }}
.plot .title {{ font-weight: 600; }}
.plot .lead {{ stroke: var(--line); fill: none; }}
.plot .curve {{ stroke: var(--c); fill: none; stroke-width: 1.6; stroke-linejoin: round; }}
.plot .dashed .curve {{ stroke-dasharray: 5 4; }}
.plot .dot {{ stroke: var(--c); fill: var(--c); stroke-width: 1.6; }}
.plot .dot.bound, .plot .dot.hollow {{ fill: var(--paper); }}
.plot .ours .curve {{ stroke-width: 3.2; }}
.plot .ours text {{ font-weight: 700; }}
.plot .name {{ fill: var(--c); }}
.plot .bar {{ fill: var(--c); }}
.plot .band {{ fill: var(--band); }}
.plot:hover .series {{ opacity: .25; }}
.plot .series:hover {{ opacity: 1; }}
"""

WIDTH: Final = 900
RIGHT: Final = 190  # for the names at the ends of the curves
LINE: Final = 16  # between two names
FEW: Final = 20


@dataclass(frozen=True, slots=True)
class Point:
    """A median with its spread; `bound` says that it is a lower bound."""

    x: float
    y: float
    low: float
    high: float
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """A server's points."""

    server: str
    label: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From a value to a place between 0 and 1, and where the marks are."""

    title: str
    place: Callable[[float], float]
    ticks: Sequence[float]
    name: Callable[[float], str]


def count(value: float) -> str:
    """Write a number as people say it: 950, 12.5k, 1.2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def exactly(value: float) -> str:
    return f"{value:,.0f}"


def log_axis(title: str, values: Iterable[float]) -> Axis:
    """Return an axis over whole decades, marked at each, and between where there are few."""
    known = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 1)
    between = (1, 2, 5) if high - low < 3 else (1,)
    ticks = [m * 10.0**power for power in range(low, high + 1) for m in between]
    return Axis(
        title,
        lambda value: (math.log10(max(value, 10.0**low)) - low) / (high - low),
        [tick for tick in ticks if tick <= 10.0**high],
        count,
    )


def at_axis(title: str, values: Iterable[float]) -> Axis:
    """Return a logarithmic axis that is marked at the values themselves, with room beside them."""
    marks = sorted(set(values)) or [1.0]
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    width = (high - low) or 1.0
    return Axis(
        title,
        lambda value: 0.04 + 0.92 * ((math.log10(value) - low) / width if high > low else 0.5),
        marks,
        exactly,
    )


def linear_axis(title: str, values: Iterable[float]) -> Axis:
    """Return an axis from zero."""
    top = max([*values, 1e-9]) * 1.05
    step = 10.0 ** math.floor(math.log10(top))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if top / (step * part) <= 6)
    ticks = [step * number for number in range(int(top / step) + 1)]
    return Axis(title, lambda value: max(value, 0.0) / top, ticks, lambda value: f"{value:g}")


def tail_axis(title: str) -> Axis:
    """Return an axis of percentiles on which each nine of the tail has the same width."""

    def place(q: float) -> float:
        return min(1.0, -math.log10(max(1 - q / 100, 1e-9)) / 3)

    return Axis(title, place, (0, 50, 90, 99, 99.9), lambda q: f"p{q:g}")


def curves(title: str, series: Sequence[Series], x: Axis, y: Axis, height: int = 420) -> str:
    """Draw a curve a server, its name at its end."""
    left, top, bottom = 64, 34, 44
    width, inner = WIDTH - left - RIGHT, height - top - bottom

    def at(horizontal: float, vertical: float) -> tuple[float, float]:
        return left + x.place(horizontal) * width, top + (1 - y.place(vertical)) * inner

    parts = [_text(left, 16, title, "title")]
    for tick in y.ticks:
        _, level = at(x.ticks[0], tick)
        parts.append(f'<path class="grid" d="M{left} {level:.1f}h{width}"/>')
        parts.append(_text(left - 8, level + 4, y.name(tick), "soft", "end"))
    for tick in x.ticks:
        place, _ = at(tick, 0)
        parts.append(f'<path class="grid" d="M{place:.1f} {top}v{inner}"/>')
        parts.append(_text(place, top + inner + 18, x.name(tick), "soft", "middle"))
    parts.append(_text(left + width / 2, height - 6, x.title, "soft", "middle"))
    parts.append(_text(left + width, 16, y.title, "soft", "end"))

    drawn = [each for each in series if each.points]
    ends = [at(each.points[-1].x, each.points[-1].y) for each in drawn]
    levels = _apart([level for _, level in ends], top, top + inner)
    for each, end, level in sorted(
        zip(drawn, ends, levels, strict=True), key=lambda item: _is_ours(item[0].server)
    ):
        places = [at(point.x, point.y) for point in each.points]
        line = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        # Where a curve has many points, only those on a mark are shown.
        shown = [p for p in each.points if len(each.points) <= FEW or p.x in x.ticks]
        marks = "".join(_dot(at, point, y, each.label, x) for point in shown)
        edge = left + width
        parts.append(
            f"<g {_attributes(each.server, dashed=each.dashed)}>"
            f'<path class="lead" d="M{end[0]:.1f} {end[1]:.1f}L{edge} {end[1]:.1f}'
            f'L{edge + 14} {level:.1f}"/>'
            f'<path class="curve" d="M{line}"/>{marks}'
            f"{_text(edge + 18, level + 4, each.label, 'name')}</g>"
        )
    return _svg(title, parts, WIDTH, height)


def _dot(
    at: Callable[[float, float], tuple[float, float]], point: Point, y: Axis, label: str, x: Axis
) -> str:
    px, py = at(point.x, point.y)
    _, low = at(point.x, point.low)
    _, high = at(point.x, point.high)
    said = f"{label}, {x.name(point.x)}: {'at least ' if point.bound else ''}{y.name(point.y)}"
    return (
        f'<path class="curve" d="M{px:.1f} {low:.1f}V{high:.1f}"/>'
        f'<circle class="{"dot bound" if point.bound else "dot"}" cx="{px:.1f}" cy="{py:.1f}" '
        f'r="3.6"><title>{escape(said)}</title></circle>'
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A server's line in a picture: one value, or two with the way between them."""

    server: str
    label: str
    values: Sequence[float]
    bound: bool = False  # of the last value


def ranks(title: str, subtitle: str, rows: Sequence[Row], axis: Axis) -> str:
    """Draw a line a server, best first: a dot for each value, the last one filled and written."""
    left, top, line, right = 190, 58, 27, 84
    width = WIDTH - left - right
    height = top + line * len(rows) + 30
    parts = [_text(8, 18, title, "title"), _text(8, 38, subtitle, "soft")]
    for tick in axis.ticks:
        place = left + axis.place(tick) * width
        parts.append(f'<path class="grid" d="M{place:.1f} {top}V{height - 24}"/>')
        parts.append(_text(place, height - 8, axis.name(tick), "soft", "middle"))
    for number, row in enumerate(sorted(rows, key=lambda row: -row.values[-1])):
        level = top + line * number + line / 2
        places = [left + axis.place(value) * width for value in row.values]
        hollow = "".join(
            f'<circle class="dot hollow" cx="{place:.1f}" cy="{level}" r="5"/>'
            for place in places[:-1]
        )
        said = f"{'≥ ' if row.bound else ''}{axis.name(row.values[-1])}"
        parts.append(
            f"{_band(row.server, level, line)}<g {_attributes(row.server)}>"
            f"{_text(left - 14, level + 4, row.label, 'name', 'end')}"
            f'<path class="curve" d="M{min(places):.1f} {level}H{max(places):.1f}"/>{hollow}'
            f'<circle class="dot" cx="{places[-1]:.1f}" cy="{level}" r="6"/>'
            f"{_text(max(places) + 12, level + 4, said, '')}</g>"
        )
    return _svg(title, parts, WIDTH, height)


def bars(title: str, subtitle: str, rows: Sequence[Row], axis: Axis) -> str:
    """Draw a bar a server, the smallest first."""
    left, top, line, right = 190, 52, 25, 84
    width = WIDTH - left - right
    height = top + line * len(rows) + 12
    parts = [_text(8, 18, title, "title"), _text(8, 38, subtitle, "soft")]
    for number, row in enumerate(sorted(rows, key=lambda row: row.values[-1])):
        level = top + line * number + line / 2
        length = max(1.0, axis.place(row.values[-1]) * width)
        parts.append(
            f"{_band(row.server, level, line)}<g {_attributes(row.server)}>"
            f"{_text(left - 14, level + 4, row.label, 'name', 'end')}"
            f'<rect class="bar" x="{left}" y="{level - 7}" width="{length:.1f}" height="14"/>'
            f"{_text(left + length + 8, level + 4, axis.name(row.values[-1]), '')}</g>"
        )
    return _svg(title, parts, WIDTH, height)


def standalone(svg: str) -> str:
    """Return the picture as a file of its own, with a background."""
    head, _, rest = svg.partition(">")
    background = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return f"{head}><style>{STYLE}</style>{background}{rest}\n"


def family(server: str) -> str:
    """Return the colour that a server has."""
    for name in (server, server.partition("-")[0]):
        if name in COLOURS:
            return name
    return "other"


def _is_ours(server: str) -> bool:
    return server == "trio-chat"


def _attributes(server: str, *, dashed: bool = False) -> str:
    names = ["series", *(["ours"] if _is_ours(server) else []), *(["dashed"] if dashed else [])]
    return f'class="{" ".join(names)}" style="--c:var(--{family(server)})"'


def _band(server: str, level: float, line: float) -> str:
    if not _is_ours(server):
        return ""
    return (
        f'<rect class="band" x="0" y="{level - line / 2}" width="{WIDTH}" height="{line}" rx="4"/>'
    )


def _apart(levels: Sequence[float], top: float, bottom: float) -> list[float]:
    """Return places for names that are near these levels and don't overlap."""
    order = sorted(range(len(levels)), key=lambda index: levels[index])
    placed = [0.0] * len(levels)
    above = top - LINE
    for index in order:
        above = placed[index] = max(levels[index], above + LINE)
    below = bottom + LINE
    for index in reversed(order):
        below = placed[index] = min(placed[index], below - LINE)
    return placed


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, parts: Iterable[str], width: float, height: float) -> str:
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
