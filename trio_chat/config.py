"""Every limit and timeout of the server, with its default, its unit and what it is for.

A `Config` is made once, before the tree grows, and never changes: whoever holds one may read it at
any time. It checks itself when it is made, so a value that exists is a value that will do.

Adding a setting is adding one field to `Config`: the option, the environment variable, the key of
the file, the check, the help and the line in ``trio-chat config`` all come from it. Where values
come from is the business of ``sources``; nothing here reads anything.
"""

import dataclasses
import ipaddress
import math
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from .settings import COMMON, NO_LIMIT, ConfigError, Group, Setting, Unit, Value, setting

__all__ = ["SETTINGS", "Config", "ConfigError", "HistoryKind", "Retention"]

HistoryKind = Literal["memory", "sqlite", "redis"]

KiB: Final = 1024
MiB: Final = 1024 * KiB

# Of the time for draining, the part after which members are not waited for any longer. The rest is
# for the rooms to end by themselves: a member that reads nothing must not make that a failure.
FOR_MEMBERS: Final = 0.9

# RFC 6455 section 5.2: no frame can announce more, so this is "no limit" as a number.
LARGEST_FRAME: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of its past a room keeps; 0 means no limit, and so does an age of ``inf``."""

    messages: int
    bytes: int
    age: float  # Seconds.


# Memory is what the process pays for, so it is bounded in every way; disks are cheap.
RETENTION: Final[dict[HistoryKind, Retention]] = {
    "memory": Retention(messages=1_000, bytes=1 * MiB, age=24 * 3600.0),
    "redis": Retention(messages=10_000, bytes=0, age=math.inf),
    "sqlite": Retention(messages=1_000_000, bytes=0, age=math.inf),
}

# The words of the table below: units, headings, and what 0 or nothing stands for.
TEXT, LIST, SWITCH, NUMBER, CHARACTERS, BYTES, RATE, SECONDS = Unit
LISTEN, TALK, CROWD, KEEP, QUEUE, WAIT, RUN = Group
FREE: Final = NO_LIMIT
# Browsers leave these out.
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_BY_LENGTH: Final = "by --max-message"
_BY_HISTORY: Final = "by --history"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings. Times are seconds; one for which 0 means "no limit" is ``inf`` here then.

    Raises:
        ConfigError: a value is of the wrong type, out of bounds, or can't be read.
    """

    # Where to listen, and whom to trust.
    host: str = setting("127.0.0.1", TEXT, "address to listen on", LISTEN, COMMON)
    port: int = setting(
        8000, NUMBER, "port to listen on", LISTEN, COMMON, most=65535, zero="a free one"
    )
    allow_origin: tuple[str, ...] = setting(
        (), LIST, "foreign origin that may connect; * for all", LISTEN, COMMON
    )
    trust_proxy: tuple[str, ...] = setting(
        (), LIST, "proxy whose X-Forwarded-* headers count", LISTEN
    )
    backlog: int = setting(
        2048, NUMBER, "connections that the kernel holds for us", LISTEN, least=1, most=65535
    )

    # What one connection may send.
    rate: float = setting(10.0, RATE, "data frames a second", TALK, COMMON, zero="no rate limiting")
    burst: int = setting(20, NUMBER, "data frames that may come at once", TALK, COMMON, least=1)
    byte_rate: int = setting(0, BYTES, "bytes of data frames a second", TALK, zero=FREE)
    max_message: int = setting(4096, CHARACTERS, "length of a message", TALK, COMMON, zero=FREE)
    max_frame: int | None = setting(
        None, BYTES, "size of a frame, or of a message of many", TALK, zero=FREE, auto=_BY_LENGTH
    )
    max_fragments: int = setting(
        1024, NUMBER, "frames that one message may come in", TALK, zero=FREE
    )
    max_errors: int = setting(20, NUMBER, "errors in a row that end a connection", TALK, zero=FREE)
    max_head: int = setting(16 * KiB, BYTES, "size of a request's head", TALK, least=256)

    # How many there may be.
    max_connections: int = setting(0, NUMBER, "connections of this node", CROWD, COMMON, zero=FREE)
    max_per_address: int = setting(
        0, NUMBER, "connections from one address to this node", CROWD, COMMON, zero=FREE
    )
    max_members: int = setting(
        0, NUMBER, "members of one room on this node", CROWD, COMMON, zero=FREE
    )

    # What a room remembers.
    history: str = setting("memory", TEXT, "memory, sqlite:PATH or redis://HOST", KEEP, COMMON)
    history_sync: str = setting(
        "full",
        TEXT,
        "what sqlite waits for: the disk, or the kernel",
        KEEP,
        choices=("full", "normal"),
    )
    max_history: int = setting(
        500, NUMBER, "past messages that a fresh join may ask for", KEEP, zero=FREE
    )
    history_timeout: float = setting(
        5.0, SECONDS, "how long a message waits for a Redis that is silent", KEEP
    )
    keep_messages: int | None = setting(
        None, NUMBER, "messages that a room keeps", KEEP, zero=FREE, auto=_BY_HISTORY
    )
    keep_bytes: int | None = setting(
        None, BYTES, "bytes that a room keeps", KEEP, zero=FREE, auto=_BY_HISTORY
    )
    keep_age: float | None = setting(
        None, SECONDS, "age at which a message is forgotten", KEEP, zero=FREE, auto=_BY_HISTORY
    )
    keep_total: int = setting(
        64 * MiB, BYTES, "bytes that all rooms keep in memory", KEEP, zero=FREE
    )

    # What may wait in memory.
    outbox: int = setting(
        1 * MiB, BYTES, "bytes for one member; then it is evicted", QUEUE, zero=FREE
    )
    outbox_blobs: int = setting(
        4096, NUMBER, "pieces for one member; then it is evicted", QUEUE, least=1
    )
    outboxes: int = setting(
        256 * MiB, BYTES, "bytes for all; then the worst laggard is evicted", QUEUE, zero=FREE
    )
    inbox: int = setting(
        4 * MiB, BYTES, "bytes for a room; then its senders wait", QUEUE, zero=FREE
    )
    inbox_frames: int = setting(
        1024, NUMBER, "frames for a room; then its senders wait", QUEUE, least=1
    )
    arrivals: int = setting(256, NUMBER, "connections that wait to enter a room", QUEUE, least=1)

    # How long to wait for a peer.
    handshake_timeout: float = setting(
        10.0, SECONDS, "for the whole head of a request", WAIT, zero=FREE
    )
    idle_timeout: float = setting(
        15.0, SECONDS, "for the next request on a page's connection", WAIT, zero=FREE
    )
    join_timeout: float = setting(
        60.0, SECONDS, "for a newcomer to take the history", WAIT, zero=FREE
    )
    stall_timeout: float = setting(
        10.0, SECONDS, "for a member to take a byte; then it is evicted", WAIT, zero=FREE
    )
    message_timeout: float = setting(
        30.0, SECONDS, "for the end of a message begun in fragments", WAIT, zero=FREE
    )
    ping_interval: float = setting(
        20.0, SECONDS, "silence after which a member is pinged", WAIT, zero="never"
    )
    ping_timeout: float = setting(20.0, SECONDS, "for the answer to a ping", WAIT, zero=FREE)
    close_timeout: float = setting(5.0, SECONDS, "for the peer's Close frame", WAIT, zero=FREE)
    linger_timeout: float = setting(
        2.0, SECONDS, "for the rest of what a peer sent that broke the rules", WAIT
    )

    # How to run, and how to stop.
    drain_delay: float = setting(0.0, SECONDS, "from readyz saying no to the end of listening", RUN)
    drain_timeout: float = setting(
        8.0, SECONDS, "for all that is due to be sent, on stopping", RUN, COMMON, zero=FREE
    )
    fast_lane: bool = setting(True, SWITCH, "lift plain text frames past the engine", RUN)
    log_level: str = setting(
        "info",
        TEXT,
        "least to log",
        RUN,
        COMMON,
        choices=("debug", "info", "warning", "error"),
    )
    log_format: str = setting("text", TEXT, "how to log", RUN, choices=("text", "json"))

    def __post_init__(self) -> None:
        """Check every value, and turn the times for which 0 means "no limit" into ``inf``."""
        for name, about in SETTINGS.items():
            value: Value = getattr(self, name)
            if not about.allows(value):
                raise ConfigError(name, value, about.wanted)
            # A deadline of 0 is over at once; one of inf never is, without a branch anywhere.
            if value == 0 and about.endless:
                object.__setattr__(self, name, math.inf)
        _check_host(self.host)
        _check_history(self.history)
        # Compared with what browsers send, so they are written as browsers write them.
        origins = tuple(_as_browsers_send_it(origin) for origin in self.allow_origin)
        object.__setattr__(self, "allow_origin", origins)
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
    def farewell_time(self) -> float:
        """How many seconds a drain waits for members."""
        return FOR_MEMBERS * self.drain_timeout

    @property
    def closing_time(self) -> float:
        """How many seconds closing one connection may take.

        One that begins just before a drain must not outlast it.
        """
        return min(self.close_timeout, self.farewell_time)

    @property
    def retention(self) -> Retention:
        """How much a room keeps: as given, else as this kind of history can afford."""
        usual = RETENTION[self.history_kind]
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

    def in_force(self, name: str) -> Value:
        """Give the value that counts for the field `name`, where the field itself may be None."""
        match name:
            case "max_frame":
                return self.frame_limit if self.frame_limit != LARGEST_FRAME else 0
            case "keep_messages":
                return self.retention.messages
            case "keep_bytes":
                return self.retention.bytes
            case "keep_age":
                return self.retention.age
        value: Value = getattr(self, name)
        return value


def _check_host(host: str) -> None:
    try:
        host.encode("idna")  # What the resolver will do; it would raise out of the listener.
    except UnicodeError:
        fits = False
    else:
        fits = host.isprintable() and " " not in host
    if not fits:
        raise ConfigError("host", host, "an address or a host's name")


def _history_kind(history: str) -> HistoryKind | None:
    if history == "memory":
        return "memory"
    if history.startswith("sqlite:") and history != "sqlite:":
        return "sqlite"
    try:
        parts = urlsplit(history)
    except ValueError:  # Such as an open bracket in the place of the host.
        return None
    if parts.scheme == "unix":
        return "redis" if parts.path.strip("/") else None
    return "redis" if parts.scheme in {"redis", "rediss"} and parts.hostname else None


def _check_history(history: str) -> None:
    if _history_kind(history) is None:
        raise ConfigError("history", history, "memory, sqlite:PATH or redis://HOST:PORT/NUMBER")


def _as_browsers_send_it(origin: str) -> str:
    """Return an origin in lower case and without its scheme's own port (RFC 6454, section 6.2)."""
    if origin == "*":
        return origin
    wanted = "* or an origin such as https://chat.example or http://localhost:3000, without a path"
    try:
        parts = urlsplit(origin)
        port = parts.port  # Raises where it is no number.
    except ValueError:
        raise ConfigError("allow_origin", origin, wanted) from None
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.removesuffix(":")
    whole = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not parts.scheme or not parts.hostname or "@" in host or not whole:
        raise ConfigError("allow_origin", origin, wanted)
    if not host.isascii():
        raise ConfigError("allow_origin", origin, "the host as browsers send it: xn--…, in ASCII")
    written = "" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{host.lower()}{written}"


def _check_network(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy, strict=False)
    except ValueError:
        wanted = "an IP address or network such as 127.0.0.1 or 10.0.0.0/8"
        raise ConfigError("trust_proxy", proxy, wanted) from None


SETTINGS: Final[dict[str, Setting]] = {
    field.name: field.metadata["setting"] for field in dataclasses.fields(Config)
}
