"""The lines around the places where tasks ended, for a page that shows them beside a task's end.

A recording says `room.py:139 run`, which is enough for whoever has the source, and no more than
may be known to everybody. Whoever makes a page of a recording beside the source that it was made
with adds the lines. Files are read, so this is nothing for a loop that others wait for.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .events import Event, Exited

AROUND: Final = 3  # lines before and after

_PLACE: Final = re.compile(r"(?P<file>[^:/]+\.py):(?P<line>\d+) (?P<function>\S+)")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a file, without their common indent; `first` is the number of the first."""

    first: int
    lines: tuple[str, ...]


def find_excerpts(events: Iterable[Event], folder: Path) -> Mapping[str, Excerpt]:
    """Return the lines around each place at which a task ended, by the place as it was recorded.

    Only files below `folder` are looked at. A place that could be in two of them is left out, and
    so is one that is in none.
    """
    found = {}
    sources: dict[str, list[str]] = {}
    for place in {event.at for event in events if isinstance(event, Exited) and event.at}:
        if match := _PLACE.fullmatch(place):
            file, line, function = match["file"], int(match["line"]), match["function"]
            if file not in sources:
                sources[file] = [path.read_text("utf-8") for path in sorted(folder.rglob(file))]
            fitting = [text for text in sources[file] if _has(text, function, line)]
            if len(fitting) == 1:
                found[place] = _cut(fitting[0], line)
    return found


def _has(text: str, function: str, line: int) -> bool:
    return any(
        node.name == function and node.lineno <= line <= (node.end_lineno or 0)
        for node in _functions(text)
    )


def _functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _cut(text: str, line: int) -> Excerpt:
    first = max(1, line - AROUND)
    lines = text.splitlines()[first - 1 : line + AROUND]
    return Excerpt(first, tuple(textwrap.dedent("\n".join(lines)).split("\n")))
