"""Valid sessions, as the bytes that a client sends: request heads, pages, frames of both dialects.

    PYTHONPATH=tests .venv/bin/python -m fuzz.corpus

writes them anew. Sessions that the fuzzer found lie beside them, as `found-….bin`, and stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"
FOUND: Final = "found-"

FIN: Final = 0x80
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# One key leaves the payload readable, so that what is moved about in it stays JSON.
CLEAR, MIXED = b"\x00" * 4, b"\x0f\xf0\xaa\x55"


def get(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def upgrade(path: str, *lines: str) -> bytes:
    return get(
        path,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *lines,
    )


PLAIN: Final = upgrade("/ws/chat/lobby/")
V1: Final = upgrade("/ws/chat/lobby/?name=eve", "Sec-WebSocket-Protocol: trio-chat.v1")


def frame(first: int, payload: bytes = b"", key: bytes = CLEAR) -> bytes:
    """A client's frame (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([size | 0x80]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([first]) + length + key + body


def say(text: str, *, key: bytes = CLEAR, **fields: str) -> bytes:
    return frame(FIN | TEXT, json.dumps({"message": text, **fields}).encode(), key)


def in_fragments(text: str, count: int, between: bytes = b"") -> bytes:
    """A message in `count` frames; `between` stands behind each but the last."""
    payload = json.dumps({"message": text}, ensure_ascii=False).encode()
    size = -(-len(payload) // count)
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    firsts = [TEXT, *[MORE] * (len(parts) - 1)]
    firsts[-1] |= FIN
    return between.join(frame(first, part) for first, part in zip(firsts, parts, strict=True))


def close(code: int = 1000, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, code.to_bytes(2, "big") + reason, MIXED)


SESSIONS: Final = {
    "plain-text": PLAIN + say("hello") + say("wörld €", key=MIXED) + close(),
    "plain-no-goodbye": PLAIN + say("hello") + say(""),
    "plain-fragments": PLAIN + in_fragments("in four parts €", 4) + say("whole") + close(),
    "plain-fragments-and-pings": (
        PLAIN + in_fragments("interrupted", 3, frame(FIN | PING, b"?", MIXED)) + close(1001, b"bye")
    ),
    "plain-unfinished": PLAIN + say("one") + frame(TEXT, b'{"message": "be') + frame(MORE, b"gun"),
    "plain-pings": PLAIN + frame(FIN | PING) + frame(FIN | PONG, b"x") + frame(FIN | PING, b"yz"),
    "plain-errors": (
        PLAIN
        + frame(FIN | TEXT, b"{")
        + frame(FIN | TEXT, b"[]")
        + say("x" * 201)
        + frame(FIN | TEXT)
        + say("good")
    ),
    "plain-nothing-but-errors": PLAIN + frame(FIN | TEXT, b"NaN") * 7,
    "plain-binary": PLAIN + say("text") + frame(FIN | BINARY, b"\x00\x01") + say("late"),
    "plain-too-big": PLAIN + say("small") + say("x" * 1600) + say("late"),
    "plain-too-many-fragments": PLAIN + say("whole") + in_fragments("in nine parts", 9) + close(),
    "plain-flood": PLAIN + b"".join(say(str(number)) for number in range(25)) + close(),
    "plain-silent": PLAIN,
    "v1-text": V1 + say("hello", type="message", id="one") + say("again", id="two") + close(),
    "v1-same-id": V1 + say("a", id="x") + say("a", id="x") + say("b", id="x") + close(),
    "v1-typing": V1 + frame(FIN | TEXT, b'{"type": "typing"}') * 2 + say("typed", key=MIXED),
    "v1-bad-type": V1 + frame(FIN | TEXT, b'{"type": "dance"}') + say("well", key=MIXED),
    "v1-fragments": (
        V1 + in_fragments("é" * 100, 7, frame(FIN | PING, b"still?")) + frame(FIN | PING) + close()
    ),
    "v1-long": V1 + say("x" * 200, id="long") + frame(FIN | PING, b"p" * 125) + close(),
    "v1-resuming": (
        upgrade(
            "/ws/chat/lobby?name=%C3%A9ve&since=1&epoch=abc&history=5&resume=nobody",
            "Sec-WebSocket-Protocol: chat, trio-chat.v1",
            "Origin: http://x",
        )
        + say("back")
        + close(4999)
    ),
    "v1-other-room": (
        upgrade("/ws/chat/gr%C3%BCn/", "Sec-WebSocket-Protocol: trio-chat.v1") + say("alone")
    ),
    "pages": (
        get("/chat/", "Connection: keep-alive")
        + get("/chat/lobby/")
        + get("/livez", method="HEAD")
        + get("/ws/chat/lobby/")
    ),
    "pages-then-room": get("/") + get("/readyz") + V1 + say("seen the page") + close(),
    "page-with-a-body": (
        get("/chat/", "Content-Length: 5", method="POST") + b"hello" + get("/livez")
    ),
    "page-in-chunks": (
        get("/nowhere", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc\r\n0\r\n\r\n"
    ),
    "old-page": b"GET /static/chat.css HTTP/1.0\r\n\r\n",
}


def load() -> dict[str, bytes]:
    """Return every session that is kept, by its name."""
    return {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.bin"))}


def keep(session: bytes, name: str) -> Path:
    """Write a session to the corpus."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.bin"
    path.write_bytes(session)
    return path


if __name__ == "__main__":
    for name, session in SESSIONS.items():
        keep(session, name)
