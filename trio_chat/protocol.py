"""What the server and its clients say to each other: both dialects, errors, close codes.

Everything here is a pure function or a frozen value. Nothing does I/O, nothing knows Trio, and so
all of it can be tested by calling it. `decode` is total: whatever text comes in, it returns a
command or raises `BadInput`, and nothing else.

The contract that this module writes down is docs/protocol.md.
"""

from __future__ import annotations

import enum
import secrets
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

MAX_ROOM_NAME: Final = 64
MAX_NAME: Final = 32
MAX_ID: Final = 64
MAX_EPOCH: Final = 64

# Above this many members a room announces nobody: n joins cost n × n frames.
MAX_ANNOUNCED: Final = 1000

DEFAULT_HISTORY: Final = 50
TYPING_INTERVAL: Final = 2.0  # seconds between two `typing` of one member that are passed on


class Dialect(enum.Enum):
    """What a connection speaks. The value is its WebSocket subprotocol."""

    PLAIN = None
    V1 = "trio-chat.v1"


def choose_dialect(offered: Collection[str]) -> Dialect:
    """Return the dialect for a handshake that offers these subprotocols."""
    return Dialect.V1 if Dialect.V1.value in offered else Dialect.PLAIN


# --- Why a connection ends -----------------------------------------------------------------------


class CloseCode(enum.IntEnum):
    """Every close code that the server sends (RFC 6455, section 7.4, and ours from 4000 on).

    1006 is never sent: it is what the log says where a connection ended without a goodbye.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013
    EVICTED = 4000
    REMOVED = 4001
    ROOM_CLOSED = 4002
    NO_HEARTBEAT = 4003
    TOKEN_ENDED = 4004
    RENUMBERED = 4005
    REPLACED = 4006


# Codes that exist on paper only (RFC 6455, section 7.4.1): no status, no goodbye.
NEVER_SENT: Final = frozenset({1005, CloseCode.ABNORMAL})

# What a peer that broke the protocol is told. It is not waited for: it may say anything.
VIOLATIONS: Final = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_TEXT, CloseCode.TOO_BIG})


class Ending(NamedTuple):
    """Why a connection or a room ends: a close code, and a sentence for people."""

    code: int
    reason: str


class Ended(Exception):
    """A conversation came to an expected end."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"{ending.code}: {ending.reason}")
        self.ending = ending


# --- What a client says --------------------------------------------------------------------------


class ErrorCode(enum.StrEnum):
    """Every `code` of an `error`."""

    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    BAD_MESSAGE = "bad-message"
    BAD_TYPE = "bad-type"
    BAD_ID = "bad-id"
    TOO_LONG = "too-long"
    RATE_LIMITED = "rate-limited"
    HISTORY_UNAVAILABLE = "history-unavailable"


class BadInput(Exception):
    """The client's frame can't be accepted; it stays connected."""

    def __init__(self, code: ErrorCode, reason: str, id: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id


class Say(NamedTuple):
    """A client wants this message in the room."""

    message: str
    id: str | None


class Typing(NamedTuple):
    """A client is typing."""


Command = Say | Typing


def decode(dialect: Dialect, text: str, max_message: int) -> Command:
    """Return the command in a client's text frame.

    The text is read as a whole before its shape is looked at, so that what is wrong in a key that
    nobody needs is wrong all the same. `max_message` counts characters; 0 means no limit.

    Raises:
        BadInput: the text is not JSON, or not of the dialect's shape.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise BadInput(ErrorCode.NOT_JSON, f"not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise BadInput(ErrorCode.NOT_AN_OBJECT, f"expected a JSON object, got {_kind(value)}")
    if dialect is Dialect.PLAIN:
        return Say(_message(value, None, max_message), None)

    kind = value.get("type", "message")
    if kind == "typing":
        return Typing()
    id = value.get("id")
    known = id if isinstance(id, str) and 1 <= len(id) <= MAX_ID else None
    if kind != "message":
        raise BadInput(ErrorCode.BAD_TYPE, 'expected "type" to be "message" or "typing"', known)
    message = _message(value, known, max_message)
    if known is None and "id" in value:
        raise BadInput(ErrorCode.BAD_ID, f'expected "id" to be 1 to {MAX_ID} characters')
    return Say(message, known)


def _message(value: dict[str, object], id: str | None, max_message: int) -> str:
    message = value.get("message")
    if not isinstance(message, str):
        given = _kind(message) if "message" in value else "nothing"
        raise BadInput(ErrorCode.BAD_MESSAGE, f'expected "message" to be a string, got {given}', id)
    if max_message and len(message) > max_message:
        raise BadInput(
            ErrorCode.TOO_LONG,
            f"the message has {len(message)} characters; at most {max_message} are allowed",
            id,
        )
    return message


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


# --- What the server says ------------------------------------------------------------------------


class Entry(NamedTuple):
    """One message in a room's order, as its history keeps it."""

    seq: int  # 1, 2, 3… within the room's epoch
    time: float  # seconds since the Unix epoch, never falling within a room
    name: str | None  # None: a member of the plain dialect
    message: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """The first frame of a v1 connection."""

    room: str
    name: str
    epoch: str
    seq: int
    recovered: bool
    resume: str
    members: Sequence[str]  # names, sorted


def encode_plain(entry: Entry) -> bytes:
    """Return a message as the tutorial's dialect has it: one key and no other."""
    return b'{"message":%b}' % orjson.dumps(entry.message)


def encode_entry(entry: Entry) -> bytes:
    """Return a message as `trio-chat.v1` has it."""
    event = {
        "type": "message",
        "seq": entry.seq,
        "name": entry.name,
        "message": entry.message,
        "time": entry.time,
    }
    if entry.id is not None:
        event["id"] = entry.id
    return orjson.dumps(event)


def encode_welcome(welcome: Welcome) -> bytes:
    """Return the greeting; above 1,000 members it counts them instead of naming them."""
    event: dict[str, object] = {
        "type": "welcome",
        "room": welcome.room,
        "name": welcome.name,
        "epoch": welcome.epoch,
        "seq": welcome.seq,
        "recovered": welcome.recovered,
        "resume": welcome.resume,
    }
    if len(welcome.members) > MAX_ANNOUNCED:
        event["count"] = len(welcome.members)
    else:
        event["members"] = list(welcome.members)
    return orjson.dumps(event)


def encode_ack(id: str, seq: int, *, duplicate: bool) -> bytes:
    """Return the receipt for an accepted message."""
    return orjson.dumps({"type": "ack", "id": id, "seq": seq, "duplicate": duplicate})


def encode_join(name: str) -> bytes:
    """Return the news that somebody came."""
    return orjson.dumps({"type": "join", "name": name})


def encode_leave(name: str) -> bytes:
    """Return the news that somebody went."""
    return orjson.dumps({"type": "leave", "name": name})


def encode_typing(name: str) -> bytes:
    """Return the news that somebody is typing."""
    return orjson.dumps({"type": "typing", "name": name})


def encode_error(dialect: Dialect, error: BadInput, retry_after: float | None = None) -> bytes:
    """Return an error in the words of a dialect; `retry_after` is in seconds."""
    body: dict[str, object] = {"code": error.code, "reason": error.reason}
    if retry_after is not None:
        body["retry_after"] = round(retry_after, 3)
    if dialect is Dialect.PLAIN:
        return orjson.dumps({"error": body})
    if error.id is not None:
        body["id"] = error.id
    return orjson.dumps({"type": "error"} | body)


ENCODERS: Final[dict[Dialect, Callable[[Entry], bytes]]] = {
    Dialect.PLAIN: encode_plain,
    Dialect.V1: encode_entry,
}


# --- Names ---------------------------------------------------------------------------------------


class BadName(ValueError):
    """A room's name that the protocol does not allow."""


def parse_room_name(segment: str) -> str:
    """Return the room that one percent-encoded segment of a path names.

    Raises:
        BadName: with a sentence that says what is wrong.
    """
    try:
        name = unicodedata.normalize("NFC", unquote_to_bytes(segment).decode())
    except UnicodeError:
        raise BadName("a room's name is UTF-8") from None
    if not 1 <= len(name) <= MAX_ROOM_NAME:
        raise BadName(f"a room's name has 1 to {MAX_ROOM_NAME} characters")
    if name in {".", ".."} or not all(map(_may_name_a_room, name)):
        raise BadName("a room's name is letters, marks, digits, '_', '-' and '.'")
    return name


def _may_name_a_room(char: str) -> bool:
    return char in "_-." or unicodedata.category(char)[0] in "LM" or char.isdecimal()


class BadQuery(ValueError):
    """A parameter of the handshake's query string can't be read."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a v1 client asks for in the query string of its handshake."""

    name: str | None = None
    since: int | None = None
    epoch: str | None = None
    history: int = DEFAULT_HISTORY
    resume: str | None = None


JOIN_PARAMETERS: Final = frozenset(field.name for field in fields(JoinRequest))
MAX_PARAMETERS: Final = 64


def parse_query(query: str) -> JoinRequest:
    """Read the query string of a v1 handshake. Unknown parameters are ignored.

    Raises:
        BadQuery: naming the parameter.
    """
    try:
        # What is not UTF-8 is told by its lone surrogates, if it is in a parameter that counts.
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise BadQuery("query", f"expected at most {MAX_PARAMETERS} parameters") from None
    given = dict(pairs)
    for parameter in JOIN_PARAMETERS & given.keys():
        if any("\ud800" <= char <= "\udfff" for char in given[parameter]):
            raise BadQuery(parameter, "expected percent-encoded UTF-8")
    name, since, history = given.get("name"), given.get("since"), given.get("history")
    return JoinRequest(
        name=None if name is None else _parse_name(name),
        since=None if since is None else _parse_count("since", since),
        epoch=given.get("epoch"),
        history=DEFAULT_HISTORY if history is None else _parse_count("history", history),
        resume=given.get("resume"),
    )


def _parse_name(raw: str) -> str:
    name = raw.strip()
    if not 1 <= len(name) <= MAX_NAME:
        raise BadQuery("name", f"expected 1 to {MAX_NAME} characters, got {len(name)}")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} for char in name):
        raise BadQuery("name", "expected no control, format or line separator characters")
    return name


def _parse_count(parameter: str, raw: str) -> int:
    # Eighteen digits fit in 64 bits. int() alone would take "+1", "1_0" and other scripts' digits.
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 18):
        raise BadQuery(parameter, "expected a whole number, 0 or more")
    return int(raw)


def fold_name(name: str) -> str:
    """Return what two names have in common when people would take them for the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


_GUEST_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def guest_name() -> str:
    """Return a name for somebody who gave none."""
    return "guest-" + "".join(secrets.choice(_GUEST_LETTERS) for _ in range(4))


def unique_name(wanted: str, taken: Collection[str]) -> str:
    """Return `wanted`, or `wanted-2`, `wanted-3`…, so that its folded form is not in `taken`."""
    name, number = wanted, 1
    while fold_name(name) in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: MAX_NAME - len(suffix)].rstrip() + suffix
    return name
