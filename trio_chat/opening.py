"""The opening handshake of RFC 6455, as bytes: what a server answers, what an engine gets to see.

Everything in them was checked before; nothing of a client's goes through here but its key.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final, NamedTuple

# Every server appends it to the key before hashing (RFC 6455, section 1.3).
GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

UPGRADE: Final = ("Upgrade: websocket", "Connection: Upgrade")


class Opening(NamedTuple):
    """A request for a WebSocket that was found to be good.

    `key` is the client's Sec-WebSocket-Key; `subprotocol` is the one to speak, if any.
    """

    key: str
    subprotocol: str | None

    def answer(self) -> bytes:
        """Return the head that accepts the request."""
        digest = hashlib.sha1(f"{self.key}{GUID}".encode("ascii"), usedforsecurity=False).digest()
        accept = f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}"
        return self._head("HTTP/1.1 101 Switching Protocols", *UPGRADE, accept)

    def request(self) -> bytes:
        """Return the same request as trio-websocket gets to see it, the key its only old part.

        A byte ≥ 0x80 in one of a client's headers has been seen to end a server that passed it on.
        """
        return self._head(
            "GET / HTTP/1.1",
            "Host: trio-chat",
            *UPGRADE,
            f"Sec-WebSocket-Key: {self.key}",
            "Sec-WebSocket-Version: 13",
        )

    def _head(self, *lines: str) -> bytes:
        chosen = [] if self.subprotocol is None else [f"Sec-WebSocket-Protocol: {self.subprotocol}"]
        return "\r\n".join([*lines, *chosen, "", ""]).encode("ascii")
