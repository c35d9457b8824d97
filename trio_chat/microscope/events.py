"""What a recording says: events as frozen values, and each as one line of JSON.

Pure functions of their arguments. An id is a serial number, and tasks and nurseries share one
series, so an id means one thing only. All times are seconds since the recording began. What is
not known is left out of the line; only a deadline is written as null where there is none.
`decode(encode(event))` is the event again, and `decode` of anything else is `BadRecording`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, TypeGuard, TypeVar

import orjson

T = TypeVar("T")

VERSION: Final = 1


class BadRecording(ValueError):
    """This is no line of a recording; `reason` says why, `number` which line, if that is known."""

    def __init__(self, reason: str, line: str, number: int | None = None) -> None:
        where = "" if number is None else f"line {number}: "
        super().__init__(f"{where}{reason}: {line[:100]!r}")
        self.reason = reason
        self.line = line
        self.number = number


class How(StrEnum):
    """How a task ended. `ENDED` is all that is known where nobody could look."""

    RETURNED = "returned"
    CANCELLED = "cancelled"
    RAISED = "raised"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Hello:
    """A recording begins, or begins anew: all that came before is void."""

    t: float
    v: int
    python: str
    trio: str
    pid: int
    title: str | None = None
    lab: bool | None = None  # Somebody may act on this tree, not only look.


@dataclass(frozen=True, slots=True)
class Opened:
    """Task `of` opened nursery `id`."""

    t: float
    id: int
    of: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nursery `id` is over, while the task that opened it lives on."""

    t: float
    id: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """Task `id` began in nursery `within`; the root of the tree is in none."""

    t: float
    id: int
    name: str
    within: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Task `id` is in another nursery now: `nursery.start()` has handed it over."""

    t: float
    id: int
    within: int


@dataclass(frozen=True, slots=True)
class Named:
    """Task `id` has another name."""

    t: float
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ScopeChanged:
    """The cancel scope of nursery `id` is not what it was."""

    t: float
    id: int
    cancelled: bool
    deadline: float | None
    shield: bool
    reason: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Gauged:
    """What waits for the member that is task `id`: frames, KiB, and what else is measured."""

    t: float
    id: int
    outbox: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exited:
    """Task `id` ended. `by` is the task that cancelled it: its id, or else its name."""

    t: float
    id: int
    how: How
    exc: str | None = None
    reason: str | None = None
    source: str | None = None  # Trio's word: deadline, explicit, nursery …
    by: int | str | None = None
    at: str | None = None  # The line it waited at, or failed at: "session.py:130 writer".


@dataclass(frozen=True, slots=True)
class Marked:
    """Somebody did something here, and says what."""

    t: float
    text: str


Event = Hello | Opened | Closed | Spawned | Moved | Named | ScopeChanged | Gauged | Exited | Marked

KINDS: Final[dict[type[Event], str]] = {
    Hello: "hello",
    Opened: "open",
    Closed: "close",
    Spawned: "spawn",
    Moved: "move",
    Named: "name",
    ScopeChanged: "scope",
    Gauged: "gauge",
    Exited: "exit",
    Marked: "mark",
}
_KEYS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in KINDS}


def encode(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    kind = type(event)
    line: dict[str, object] = {}
    for key in _KEYS[kind]:
        value = getattr(event, key)
        if value is not None or key == "deadline":
            line[key] = value
        if key == "t":
            line["e"] = KINDS[kind]
    try:
        return orjson.dumps(line).decode()
    except orjson.JSONEncodeError:  # A name may be no Unicode: half of a surrogate pair.
        return orjson.dumps({key: _printable(value) for key, value in line.items()}).decode()


def _printable(value: object) -> object:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def decode(line: str) -> Event:
    """Return the event that a line stands for.

    Raises:
        BadRecording: it stands for none.
    """
    try:
        found = orjson.loads(line)
    except ValueError:
        raise BadRecording("no JSON", line) from None
    if not isinstance(found, dict):
        raise BadRecording("no JSON object", line)
    kind = found.get("e")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise BadRecording("no event that is known", line)
    return read(_Line(found, line))


class _Line:
    """One line's object, read key by key. What is missing or wrong is `BadRecording`."""

    def __init__(self, found: dict[str, object], line: str) -> None:
        self._found = found
        self._line = line

    def bad_version(self, version: int) -> BadRecording:
        return BadRecording(f"version {version} is not known here", self._line)

    def _take(self, key: str, fits: Callable[[object], TypeGuard[T]]) -> T:
        value = self._found.get(key)
        if not fits(value):
            raise BadRecording(f"{key!r} is missing or wrong", self._line)
        return value

    def number(self, key: str) -> float:
        return self._take(key, _is_number)

    def whole(self, key: str) -> int:
        return self._take(key, _is_whole)

    def wholes(self, key: str) -> tuple[int, ...]:
        return tuple(self._take(key, _are_whole))

    def text(self, key: str) -> str:
        return self._take(key, _is_text)

    def truth(self, key: str) -> bool:
        return self._take(key, _is_truth)

    def how(self, key: str) -> How:
        return How(self._take(key, _is_how))

    def author(self, key: str) -> int | str:
        return self._take(key, _is_author)

    def maybe(self, read: Callable[[str], T], key: str) -> T | None:
        return None if self._found.get(key) is None else read(key)


# To Python a truth is a whole number; to a recording it is none.
def _is_truth(value: object) -> TypeGuard[bool]:
    return isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not _is_truth(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not _is_truth(value) and value >= 0


def _are_whole(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(map(_is_whole, value))


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_how(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value in list(How)


def _is_author(value: object) -> TypeGuard[int | str]:
    return _is_whole(value) or _is_text(value)


def _read_hello(line: _Line) -> Hello:
    version = line.whole("v")
    if version != VERSION:
        raise line.bad_version(version)
    return Hello(
        line.number("t"),
        version,
        line.text("python"),
        line.text("trio"),
        line.whole("pid"),
        line.maybe(line.text, "title"),
        line.maybe(line.truth, "lab"),
    )


def _read_scope(line: _Line) -> ScopeChanged:
    return ScopeChanged(
        line.number("t"),
        line.whole("id"),
        line.truth("cancelled"),
        line.maybe(line.number, "deadline"),
        line.truth("shield"),
        line.maybe(line.text, "reason"),
        line.maybe(line.text, "source"),
    )


def _read_exit(line: _Line) -> Exited:
    return Exited(
        line.number("t"),
        line.whole("id"),
        line.how("how"),
        line.maybe(line.text, "exc"),
        line.maybe(line.text, "reason"),
        line.maybe(line.text, "source"),
        line.maybe(line.author, "by"),
        line.maybe(line.text, "at"),
    )


_READERS: Final[dict[str, Callable[[_Line], Event]]] = {
    "hello": _read_hello,
    "open": lambda line: Opened(line.number("t"), line.whole("id"), line.whole("of")),
    "close": lambda line: Closed(line.number("t"), line.whole("id")),
    "spawn": lambda line: Spawned(
        line.number("t"), line.whole("id"), line.text("name"), line.maybe(line.whole, "within")
    ),
    "move": lambda line: Moved(line.number("t"), line.whole("id"), line.whole("within")),
    "name": lambda line: Named(line.number("t"), line.whole("id"), line.text("name")),
    "scope": _read_scope,
    "gauge": lambda line: Gauged(line.number("t"), line.whole("id"), line.wholes("outbox")),
    "exit": _read_exit,
    "mark": lambda line: Marked(line.number("t"), line.text("text")),
}
