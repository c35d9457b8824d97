"""Where a room's WebSocket is, from what people type or copy out of a browser.

Pure functions. Understood are the socket's own address (`ws://HOST/ws/chat/ROOM/`), that of the
room's page (`http://HOST/chat/ROOM/`), both also with TLS and behind a path of a proxy, and the
short form `HOST:PORT/ROOM`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ..protocol import BadName, parse_room_name

SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}
_PATH: Final = re.compile(r"(?P<prefix>.*?)/(?:ws/)?chat/(?P<room>[^/]+)/?")
_SHORT: Final = re.compile(r"/(?P<room>[^/]+)/?")


class BadAddress(ValueError):
    """The text names no room of a chat server, and the sentence says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a room's WebSocket is."""

    host: str
    port: int
    secure: bool
    prefix: str  # of the path; empty where no proxy adds one
    room: str
    query: tuple[tuple[str, str], ...] = ()

    @property
    def authority(self) -> str:
        """What the `Host` header says (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def target(self, query: Mapping[str, str]) -> str:
        """Return the target of the request that asks for the room with these parameters."""
        path = f"{self.prefix}/ws/chat/{quote(self.room)}/"
        return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def parse_address(text: str) -> Address:
    """Return the address that `text` means.

    Raises:
        BadAddress: with a sentence that says what is wrong.
    """
    text = text.strip()
    short = "://" not in text
    try:
        parts = urlsplit(f"ws://{text}" if short else text)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as exc:  # UnicodeError, of a name that DNS can't have, is one too.
        raise BadAddress(f"{text!r} is no address: {exc}") from None
    if parts.scheme not in SECURE:
        raise BadAddress(f"an address begins with ws, wss, http or https, not {parts.scheme!r}")
    if not host or parts.username is not None:
        raise BadAddress(f"expected an address such as ws://HOST:PORT/ws/chat/ROOM/, got {text!r}")
    path = _PATH.fullmatch(parts.path) or (_SHORT.fullmatch(parts.path) if short else None)
    if path is None:
        raise BadAddress(f"{text!r} names no room: expected it to end with /chat/ROOM/")
    secure = SECURE[parts.scheme]
    return Address(
        host=host,
        port=(443 if secure else 80) if port is None else port,
        secure=secure,
        prefix=quote(path.groupdict().get("prefix") or "", safe="/%~!$&'()*+,;=:@"),
        room=_parse_room(path["room"]),
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
    )


def _parse_room(segment: str) -> str:
    try:
        return parse_room_name(segment)
    except BadName as exc:
        raise BadAddress(f"{exc}, so {segment!r} is none") from None
