"""What the server says, as a client reads it: typed, frozen events.

Pure functions and values. The server's side of the same contract is `trio_chat.protocol`. As the
protocol asks, types and fields that are not known here are ignored; a known one of the wrong shape
is `BadFrame`, and whoever says such a thing is no server of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class Welcome:
    """This client has joined."""

    room: str
    name: str  # ours
    epoch: str
    seq: int  # the last number given; 0 in a room without messages
    recovered: bool
    members: tuple[str, ...] | None  # sorted, with ours; None where there are too many to name
    count: int  # of the members
    resume: str = field(repr=False)  # a secret


@dataclass(frozen=True, slots=True)
class Message:
    """Somebody said something."""

    seq: int
    name: str | None  # None: a member of the plain dialect
    text: str
    time: float  # seconds since the Unix epoch
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody else came."""

    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody else went."""

    name: str


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody else is typing."""

    name: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """Message number `seq` was removed, or was before this client came."""

    seq: int


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost, or could not be had again: the client tries in `pause` seconds."""

    code: int  # see `Disconnected`
    reason: str
    attempt: int  # 1, 2, 3… since a connection last held
    pause: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The client is back. Unless `recovered`, messages may be missing before the next one."""

    recovered: bool
    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server has accepted a message."""

    id: str
    seq: int
    duplicate: bool  # It had been accepted before, under the same `id`.


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server did not accept a frame."""

    code: str
    reason: str
    id: str | None
    retry_after: float | None  # seconds


Event = Welcome | Message | Joined | Left | Typing | Deleted | Reconnecting | Reconnected
Frame = Welcome | Message | Joined | Left | Typing | Deleted | Receipt | Refusal


class BadFrame(ValueError):
    """The server said something that the protocol does not know."""


def decode_frame(text: str) -> Frame | None:
    """Return what a text frame of the server means; None where its type is not known here.

    Raises:
        BadFrame: the text is not JSON, or a known type has not its shape.
    """
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise BadFrame(f"the server sent what is not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise BadFrame("the server sent JSON that is not an object")
    return _frame(_Fields(value))


def _frame(fields: _Fields) -> Frame | None:
    match fields.text("type"):
        case "welcome":
            return _welcome(fields)
        case "message":
            return Message(
                seq=fields.whole("seq"),
                name=fields.text_or_none("name"),
                text=fields.text("message"),
                time=fields.number("time"),
                id=fields.text_or_none("id"),
            )
        case "ack":
            return Receipt(fields.text("id"), fields.whole("seq"), fields.truth("duplicate"))
        case "join":
            return Joined(fields.text("name"))
        case "leave":
            return Left(fields.text("name"))
        case "typing":
            return Typing(fields.text("name"))
        case "deleted":
            return Deleted(fields.whole("seq"))
        case "error":
            return Refusal(
                code=fields.text("code"),
                reason=fields.text("reason"),
                id=fields.text_or_none("id"),
                retry_after=fields.number("retry_after") if "retry_after" in fields else None,
            )
        case _:
            return None


def _welcome(fields: _Fields) -> Welcome:
    members = fields.names("members") if "members" in fields else None
    return Welcome(
        room=fields.text("room"),
        name=fields.text("name"),
        epoch=fields.text("epoch"),
        seq=fields.whole("seq"),
        recovered=fields.truth("recovered"),
        members=members,
        count=fields.whole("count") if members is None else len(members),
        resume=fields.text("resume"),
    )


class _Fields:
    """An object's fields, taken out by type."""

    def __init__(self, value: dict[object, object]) -> None:
        self._value = value

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def text(self, key: str) -> str:
        value = self._value.get(key)
        if isinstance(value, str):
            return value
        raise self._misfit(key)

    def text_or_none(self, key: str) -> str | None:
        return None if self._value.get(key) is None else self.text(key)

    def number(self, key: str) -> float:
        value = self._value.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise self._misfit(key)

    def whole(self, key: str) -> int:
        value = self._value.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise self._misfit(key)

    def truth(self, key: str) -> bool:
        value = self._value.get(key)
        if isinstance(value, bool):
            return value
        raise self._misfit(key)

    def names(self, key: str) -> tuple[str, ...]:
        value = self._value.get(key)
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return tuple(value)
        raise self._misfit(key)

    def _misfit(self, key: str) -> BadFrame:
        kind = self._value.get("type")
        return BadFrame(f"the server sent {kind!r} with {key} {self._value.get(key)!r:.80}")
