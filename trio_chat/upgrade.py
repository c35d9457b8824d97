"""From the head of a request to a WebSocket handshake, or to the answer that refuses it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .config import DEFAULT_PORTS
from .opening import Opening
from .protocol import (
    BadName,
    BadQuery,
    Dialect,
    JoinRequest,
    choose_dialect,
    parse_query,
    parse_room_name,
)
from .web import Refused, Request, say

# What some proxies forward as the scheme of a WebSocket; an origin has its page's.
PAGE_SCHEMES: Final = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Handshake:
    """A request that will become a WebSocket."""

    room: str
    dialect: Dialect
    join: JoinRequest
    opening: Opening


def wants_websocket(request: Request) -> bool:
    """Whether this request asks to be upgraded to a WebSocket."""
    upgrade = [token.lower() for token in request.tokens(b"upgrade")]
    connection = [token.lower() for token in request.tokens(b"connection")]
    return "websocket" in upgrade and "upgrade" in connection and request.method == "GET"


def room_of(request: Request) -> str:
    """Return the room whose WebSocket is at this address.

    Raises:
        Refused: there is none, with 404.
    """
    match request.path.split("/")[1:]:
        case ["ws", "chat", segment] | ["ws", "chat", segment, ""]:
            try:
                return parse_room_name(segment)
            except BadName as exc:
                raise Refused(say(404, str(exc))) from None
        case _:
            raise Refused(say(404, "there is nothing at this address"))


def shake_hands(request: Request, *, allowed: tuple[str, ...], scheme: str | None) -> Handshake:
    """Check a request for a room's WebSocket.

    Raises:
        Refused: with 400, 403, 404 or 426.
    """
    room = room_of(request)
    key = check_upgrade(request, allowed=allowed, scheme=scheme)
    dialect = choose_dialect(request.tokens(b"sec-websocket-protocol"))
    join = _join_request(request, dialect)
    return Handshake(room, dialect, join, Opening(key, dialect.value))


def check_upgrade(request: Request, *, allowed: tuple[str, ...], scheme: str | None) -> str:
    """Check what any WebSocket's request has to have (RFC 6455, section 4.2.1); return its key.

    `allowed` lists the foreign origins that are welcome; `scheme` is the one that the client used,
    where that is known.

    Raises:
        Refused: with 400, 403 or 426.
    """
    if request.version != "1.1":
        raise Refused(say(400, "a WebSocket needs HTTP/1.1"))
    if request.get(b"sec-websocket-version") != "13":
        raise Refused(
            say(
                426,
                "only WebSocket version 13 is spoken",
                Sec_WebSocket_Version="13",
                Upgrade="websocket",
                Connection="Upgrade",
            )
        )
    key = request.get(b"sec-websocket-key") or ""
    if not _is_key(key):
        raise Refused(say(400, "Sec-WebSocket-Key: expected 16 bytes in base64"))
    if not _is_welcome(request, allowed, scheme):
        raise Refused(say(403, "this origin is not welcome here"))
    return key


def _join_request(request: Request, dialect: Dialect) -> JoinRequest:
    if dialect is Dialect.PLAIN:
        return JoinRequest()
    try:
        return parse_query(request.query)
    except BadQuery as exc:
        raise Refused(say(400, str(exc))) from None


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("ascii"), validate=True)) == 16
    except (binascii.Error, UnicodeEncodeError):
        return False


def _is_welcome(request: Request, allowed: tuple[str, ...], scheme: str | None) -> bool:
    # Browsers say where a page came from; nobody else does, and nobody else can be protected.
    given = request.get(b"origin")
    if given is None or "*" in allowed or given.lower() in {item.lower() for item in allowed}:
        return True
    theirs = _parse_origin(given)
    if theirs is None or (scheme is not None and _of_page(scheme) != theirs.scheme):
        return False
    return theirs == _parse_origin(f"{theirs.scheme}://{request.get(b'host') or ''}")


def _of_page(scheme: str) -> str:
    return PAGE_SCHEMES.get(scheme.lower(), scheme.lower())


class Origin(NamedTuple):
    """Where a page came from (RFC 6454)."""

    scheme: str
    host: str
    port: int


def _parse_origin(url: str) -> Origin | None:
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except (ValueError, KeyError):
        return None
    if not parts.hostname or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        return None
    return Origin(parts.scheme, parts.hostname, port)
