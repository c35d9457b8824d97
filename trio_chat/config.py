"""Every limit and timeout of the server, with its default, its unit and what it is for.

A `Config` is made once, before the tree grows, and never changes: whoever holds one may read it at
any time. It checks itself when it is made, so a value that exists is a value that will do.

Adding a setting is adding one field to `Config`: the option, the environment variable, the key of
the file, the check, the help and the line in ``trio-chat config`` all come from it. Where values
come from is the business of ``settings``; nothing here reads anything.
"""

import dataclasses
import ipaddress
import math
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, Literal, assert_never, get_type_hints
from urllib.parse import urlsplit

KiB: Final = 1024
MiB: Final = 1024 * KiB

# RFC 6455 section 5.2: no frame can announce more, so this is "no limit" as a number.
LARGEST_FRAME: Final = 2**63 - 1

HistoryKind = Literal["memory", "sqlite", "redis"]
Value = str | int | float | bool | tuple[str, ...] | None


class ConfigError(Exception):
    """A setting that won't do: which one, what was given, and what would do."""

    def __init__(self, option: str, value: Value, wanted: str, *, source: str = "") -> None:
        self.option = option
        self.value = value
        self.wanted = wanted
        self.source = source
        given = ",".join(value) if isinstance(value, tuple) else value
        where = f" (from {source})" if source else ""
        super().__init__(f"{option}: {given!r}{where} won't do; it takes {wanted}")


class Unit(Enum):
    """What a setting is counted in, and so how it is written down."""

    TEXT = "text"
    LIST = "a list"
    SWITCH = "on or off"
    NUMBER = "a whole number"
    CHARACTERS = "a whole number of characters"
    BYTES = "a size such as 65536, 64KiB or 1MiB"
    RATE = "a number per second"
    SECONDS = "a time such as 10, 1.5s, 500ms, 5m or 24h"


class Group(Enum):
    """Under which heading the long help shows a setting."""

    LISTEN = "where to listen and whom to trust"
    TALK = "what one connection may send"
    CROWD = "how many there may be"
    KEEP = "what a room remembers"
    QUEUE = "what may wait in memory"
    TIME = "how long to wait for a peer"
    END = "how to stop"
    LOG = "how to run and what to tell"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting besides its value: enough to read it, check it and explain it."""

    help: str
    group: Group
    unit: Unit
    least: float = 0
    most: float = math.inf
    zero: str = ""  # What 0 means, where that is not simply none.
    auto: str = ""  # What stands in for None, where the default follows from other settings.
    choices: tuple[str, ...] = ()
    common: Literal["common", "rare"] = "rare"  # The short help shows the common ones.

    @property
    def wanted(self) -> str:
        """Say in words what would do."""
        if self.choices:
            return " or ".join(self.choices)
        words = self.unit.value
        if self.most != math.inf:
            words += f" from {self.least:g} to {self.most:g}"
        elif self.least > 0:
            words += f", at least {self.least:g}"
        return f"{words}; 0 means {self.zero}" if self.zero else words

    def allows(self, value: Value) -> bool:
        """Tell whether `value` has the right type and lies within the bounds."""
        if value is None:
            return bool(self.auto)
        match self.unit:
            case Unit.TEXT:
                return isinstance(value, str) and (not self.choices or value in self.choices)
            case Unit.LIST:
                return isinstance(value, tuple)
            case Unit.SWITCH:
                return isinstance(value, bool)
            case Unit.RATE | Unit.SECONDS:
                return isinstance(value, int | float) and self._in_bounds(value)
            case Unit.NUMBER | Unit.CHARACTERS | Unit.BYTES:
                return isinstance(value, int) and self._in_bounds(value)
            case _:
                assert_never(self.unit)

    def _in_bounds(self, number: float) -> bool:
        # To Python True is 1, but `max-message = true` is a slip. NaN is in no bounds.
        return not isinstance(number, bool) and self.least <= number <= self.most


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of its past a room keeps; 0 means no limit, and an age of ``inf`` too."""

    messages: int
    bytes: int
    age: float  # Seconds.


# PROTOCOL: memory is what the process pays for, so it is bounded in every way; disks are cheap.
_RETENTION: Final[dict[HistoryKind, Retention]] = {
    "memory": Retention(1_000, 1 * MiB, 24 * 3600.0),
    "redis": Retention(10_000, 0, math.inf),
    "sqlite": Retention(1_000_000, 0, math.inf),
}

# Short names, so that a setting stays a line or three in the table below.
_TEXT, _LIST, _SWITCH = Unit.TEXT, Unit.LIST, Unit.SWITCH
_NUMBER, _BYTES, _CHARACTERS = Unit.NUMBER, Unit.BYTES, Unit.CHARACTERS
_SECONDS, _RATE = Unit.SECONDS, Unit.RATE
_LISTEN, _TALK, _CROWD, _KEEP = Group.LISTEN, Group.TALK, Group.CROWD, Group.KEEP
_QUEUE, _TIME, _END, _LOG = Group.QUEUE, Group.TIME, Group.END, Group.LOG
_FREE: Final = "no limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings. Times are seconds, sizes bytes or characters; for a time, 0 is kept as ``inf``.

    Raises:
        ConfigError: a value is of the wrong type, out of bounds, or can't be read.
    """

    host: Annotated[str, Setting("address to listen on", _LISTEN, _TEXT, common="common")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int,
        Setting(
            "port to listen on", _LISTEN, _NUMBER, most=65535, zero="a free one", common="common"
        ),
    ] = 8000
    allow_origin: Annotated[
        tuple[str, ...],
        Setting(
            "foreign origin whose pages may connect, * for all; may be given many times",
            _LISTEN,
            _LIST,
            common="common",
        ),
    ] = ()
    trust_proxy: Annotated[
        tuple[str, ...],
        Setting(
            "proxy (address or network) whose X-Forwarded headers count; may be given many times",
            _LISTEN,
            _LIST,
        ),
    ] = ()
    backlog: Annotated[
        int, Setting("connections that the kernel holds for us", _LISTEN, _NUMBER, least=1)
    ] = 2048
    rate: Annotated[
        float,
        Setting("data frames a second", _TALK, _RATE, zero="no rate limiting", common="common"),
    ] = 10.0
    burst: Annotated[
        int,
        Setting(
            "data frames at once, before the rate counts", _TALK, _NUMBER, least=1, common="common"
        ),
    ] = 20
    byte_rate: Annotated[
        int, Setting("bytes of data frames a second", _TALK, _BYTES, zero=_FREE)
    ] = 0
    max_message: Annotated[
        int, Setting("length of a message", _TALK, _CHARACTERS, zero=_FREE, common="common")
    ] = 4096
    max_frame: Annotated[
        int | None,
        Setting(
            "size of a frame, and of a message of many",
            _TALK,
            _BYTES,
            zero=_FREE,
            auto="the larger of 64KiB and 12 times --max-message and 1KiB",
        ),
    ] = None
    max_fragments: Annotated[
        int, Setting("frames that one message may come in", _TALK, _NUMBER, zero=_FREE)
    ] = 1024
    max_errors: Annotated[
        int,
        Setting(
            "errors without one good frame between, then the connection ends",
            _TALK,
            _NUMBER,
            zero=_FREE,
        ),
    ] = 20
    max_head: Annotated[int, Setting("size of a request's head", _TALK, _BYTES, least=256)] = (
        16 * KiB
    )
    max_connections: Annotated[
        int, Setting("connections in all", _CROWD, _NUMBER, zero=_FREE, common="common")
    ] = 0
    max_per_address: Annotated[
        int, Setting("connections from one address", _CROWD, _NUMBER, zero=_FREE, common="common")
    ] = 0
    max_members: Annotated[
        int, Setting("members of one room", _CROWD, _NUMBER, zero=_FREE, common="common")
    ] = 0
    history: Annotated[
        str,
        Setting(
            "where rooms keep their past: memory, sqlite:PATH or redis://HOST:PORT/NUMBER",
            _KEEP,
            _TEXT,
            common="common",
        ),
    ] = "memory"
    max_history: Annotated[
        int, Setting("past messages that a fresh join may ask for", _KEEP, _NUMBER, zero=_FREE)
    ] = 500
    keep_messages: Annotated[
        int | None,
        Setting(
            "messages that a room keeps",
            _KEEP,
            _NUMBER,
            zero=_FREE,
            auto="1000 in memory, 10000 in Redis, 1000000 in SQLite",
        ),
    ] = None
    keep_bytes: Annotated[
        int | None,
        Setting(
            "bytes that a room keeps",
            _KEEP,
            _BYTES,
            zero=_FREE,
            auto="1MiB in memory, else no limit",
        ),
    ] = None
    keep_age: Annotated[
        float | None,
        Setting(
            "age at which a room forgets a message",
            _KEEP,
            _SECONDS,
            zero=_FREE,
            auto="24h in memory, else no limit",
        ),
    ] = None
    keep_total: Annotated[
        int,
        Setting(
            "bytes that all rooms keep in memory; the longest idle is forgotten first",
            _KEEP,
            _BYTES,
            zero=_FREE,
        ),
    ] = 64 * MiB
    outbox: Annotated[
        int,
        Setting(
            "bytes that may wait for one member before it is evicted", _QUEUE, _BYTES, zero=_FREE
        ),
    ] = 1 * MiB
    outbox_blobs: Annotated[
        int,
        Setting(
            "pieces that may wait for one member before it is evicted", _QUEUE, _NUMBER, least=1
        ),
    ] = 4096
    outboxes: Annotated[
        int,
        Setting(
            "bytes that may wait for all members; the worst laggard is evicted first",
            _QUEUE,
            _BYTES,
            zero=_FREE,
        ),
    ] = 256 * MiB
    inbox: Annotated[
        int,
        Setting(
            "bytes that may wait for a room before its senders wait", _QUEUE, _BYTES, zero=_FREE
        ),
    ] = 4 * MiB
    inbox_frames: Annotated[
        int,
        Setting(
            "frames that may wait for a room before its senders wait", _QUEUE, _NUMBER, least=1
        ),
    ] = 1024
    arrivals: Annotated[
        int, Setting("connections that may wait to enter a room", _QUEUE, _NUMBER, least=1)
    ] = 256
    handshake_timeout: Annotated[
        float, Setting("time for the whole head of a request", _TIME, _SECONDS, zero=_FREE)
    ] = 10.0
    idle_timeout: Annotated[
        float,
        Setting("time between two requests of a page's connection", _TIME, _SECONDS, zero=_FREE),
    ] = 15.0
    join_timeout: Annotated[
        float, Setting("time to take the history on joining", _TIME, _SECONDS, zero=_FREE)
    ] = 60.0
    stall_timeout: Annotated[
        float,
        Setting(
            "time without taking a byte that waits, then a member is evicted",
            _TIME,
            _SECONDS,
            zero=_FREE,
        ),
    ] = 10.0
    message_timeout: Annotated[
        float, Setting("time to finish a message begun in fragments", _TIME, _SECONDS, zero=_FREE)
    ] = 30.0
    ping_interval: Annotated[
        float, Setting("silence after which a member is pinged", _TIME, _SECONDS, zero="never")
    ] = 20.0
    ping_timeout: Annotated[
        float, Setting("time to answer a ping", _TIME, _SECONDS, zero=_FREE)
    ] = 20.0
    close_timeout: Annotated[
        float, Setting("time for the peer's Close frame", _TIME, _SECONDS, zero=_FREE)
    ] = 5.0
    linger_timeout: Annotated[
        float,
        Setting(
            "time to read on after a protocol error, so that its Close arrives",
            _TIME,
            _SECONDS,
            zero="not at all",
        ),
    ] = 2.0
    drain_delay: Annotated[
        float, Setting("time between readyz saying no and the listeners closing", _END, _SECONDS)
    ] = 0.0
    drain_timeout: Annotated[
        float,
        Setting(
            "time for everything to be sent before the rest is dropped",
            _END,
            _SECONDS,
            zero=_FREE,
            common="common",
        ),
    ] = 8.0
    fast_lane: Annotated[
        bool,
        Setting("write straight to the sockets; off: each member's writer does", _LOG, _SWITCH),
    ] = True
    log_level: Annotated[
        str,
        Setting(
            "least severe messages to log",
            _LOG,
            _TEXT,
            choices=("debug", "info", "warning", "error"),
            common="common",
        ),
    ] = "info"
    log_format: Annotated[str, Setting("how to log", _LOG, _TEXT, choices=("text", "json"))] = (
        "text"
    )

    def __post_init__(self) -> None:
        """Check every value, and turn the times for which 0 means "no limit" into ``inf``."""
        for name, setting in SETTINGS.items():
            value: Value = getattr(self, name)
            # A deadline of 0 would be over at once; one of inf never is, without a branch.
            if setting.unit is _SECONDS and setting.zero in {_FREE, "never"} and value == 0:
                object.__setattr__(self, name, math.inf)
            elif not setting.allows(value):
                raise ConfigError(option_name(name), value, setting.wanted)
        _check_history(self.history)
        for origin in self.allow_origin:
            _check_origin(origin)
        for proxy in self.trust_proxy:
            _check_network(proxy)

    @property
    def history_kind(self) -> HistoryKind:
        """Which of the histories `history` asks for."""
        return _history_kind(self.history) or "memory"

    @property
    def frame_limit(self) -> int:
        r"""The largest frame, and message of several frames, that is read, in bytes.

        By default every message within `max_message` fits, however it is escaped: an astral
        character takes 12 bytes as two ``\uXXXX``.
        """
        if self.max_frame is None:
            return max(64 * KiB, 12 * self.max_message + 1 * KiB)
        return self.max_frame or LARGEST_FRAME

    @property
    def retention(self) -> Retention:
        """How much a room keeps: as given, else as this kind of history can afford."""
        usual = _RETENTION[self.history_kind]
        return Retention(
            messages=usual.messages if self.keep_messages is None else self.keep_messages,
            bytes=usual.bytes if self.keep_bytes is None else self.keep_bytes,
            age=usual.age if self.keep_age is None else self.keep_age,
        )

    def trusts(self, address: str) -> bool:
        """Tell whether `address` is a proxy whose forwarding headers count."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False  # A stream without an address, such as a memory stream.
        return any(peer in ipaddress.ip_network(proxy, strict=False) for proxy in self.trust_proxy)


def option_name(name: str) -> str:
    """Spell a field as its option: ``max_message`` is ``--max-message``."""
    return "--" + name.replace("_", "-")


def _history_kind(history: str) -> HistoryKind | None:
    if history == "memory":
        return "memory"
    if history.startswith("sqlite:") and history != "sqlite:":
        return "sqlite"
    if urlsplit(history).scheme in {"redis", "rediss"} and urlsplit(history).netloc:
        return "redis"
    return None


def _check_history(history: str) -> None:
    if _history_kind(history) is None:
        raise ConfigError("--history", history, "memory, sqlite:PATH or redis://HOST:PORT/NUMBER")


def _check_origin(origin: str) -> None:
    if origin == "*":
        return
    wanted = "* or an origin such as https://chat.example or http://localhost:3000, without a path"
    try:
        parts = urlsplit(origin)
        port = parts.port  # Raises where it is no number.
    except ValueError:
        raise ConfigError("--allow-origin", origin, wanted) from None
    host = parts.netloc.removesuffix(f":{port}")
    if not parts.scheme or not host or origin != f"{parts.scheme}://{parts.netloc}":
        raise ConfigError("--allow-origin", origin, wanted)


def _check_network(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy, strict=False)
    except ValueError:
        wanted = "an IP address or network such as 127.0.0.1 or 10.0.0.0/8"
        raise ConfigError("--trust-proxy", proxy, wanted) from None


def _settings() -> dict[str, Setting]:
    hints = get_type_hints(Config, include_extras=True)
    return {field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(Config)}


SETTINGS: Final = _settings()
