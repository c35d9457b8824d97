"""The log can't be forged: whatever a peer says, each line is a record of the server's own."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
import trio
from doorstep import Client, serving, serving_apart

FORGERY = "\r\n2026-01-31T12:00:00.000Z info trio_chat.server: forged"
DRESSED = f"\x1b[2J\x9b31m{FORGERY}\x85\u2028\u202e\x00"
RECORD = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning|error) trio_chat[.\w]*: "
)


async def try_everything(port: int) -> None:
    """Put the forgery wherever a peer can put something."""
    v1 = "Sec-WebSocket-Protocol: trio-chat.v1"
    evil = quote(DRESSED, safe="")
    raw = "\x1b[2J\x85\x9b"
    for path, *lines in [
        (f"/ws/chat/{evil}/",),
        (f"/chat/{evil}/",),
        (f"/{evil}",),
        (f"/ws/chat/lobby/?name={evil}", v1),
        (f"/ws/chat/lobby/?resume={evil}&epoch={evil}&since=0", v1),
        ("/ws/chat/lobby/", f"Origin: http://{raw}"),
        ("/ws/chat/lobby/", f"X-Forwarded-For: {raw}", f"User-Agent: {raw}"),
        ("/ws/chat/lobby/", f"Sec-WebSocket-Protocol: {raw}"),
        (f"/{raw}",),
    ]:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            request = [f"GET {path} HTTP/1.1", "Host: x", *HANDSHAKE, *lines, "", ""]
            await stream.send_all("\r\n".join(request).encode("latin-1"))
            await Client(stream).answer()


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


async def say_goodbye(port: int) -> None:
    """A close reason is the longest text of a peer's that the log repeats."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        one = Client(stream)
        assert (await one.upgrade("/ws/chat/lobby/")).status == 101
        payload = (1000).to_bytes(2, "big") + DRESSED.encode()
        await one.say(bytes([0x88, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        assert (await stream.receive_some())[0] == 0x88


async def test_every_line_of_the_log_is_a_record_whatever_peers_say() -> None:
    async with serving_apart("--trust-proxy", "127.0.0.1") as apart:
        await try_everything(apart.port)
        await say_goodbye(apart.port)
        apart.end()
        log = await apart.log()
    lines = log.removesuffix("\n").split("\n")
    assert all(map(RECORD.match, lines))
    assert all(map(str.isprintable, lines))
    (told,) = [line for line in lines if "forged" in line]  # In its place, and escaped.
    assert "1000 \\x1b[2J\\x9b31m\\r\\n2026-01-31" in told


async def test_as_json_every_line_is_an_object_whatever_peers_say() -> None:
    async with serving_apart("--log-format", "json") as apart:
        await try_everything(apart.port)
        await say_goodbye(apart.port)
        apart.end()
        log = await apart.log()
    assert log.isascii()
    records = [json.loads(line) for line in log.splitlines()]
    assert {record["level"] for record in records} == {"info"}
    (told,) = [record["message"] for record in records if "forged" in record["message"]]
    assert told.endswith(f"1000 {DRESSED}")


@pytest.mark.parametrize("char", ["\r", "\n", "\x1b", "\x00", "\x85", "\u2028", "\u202e", "\x7f"])
async def test_no_name_and_no_room_holds_what_could_end_a_line(char: str) -> None:
    v1 = "Sec-WebSocket-Protocol: trio-chat.v1"
    async with serving() as place:
        for path, status in [
            (f"/ws/chat/lobby/?name=a{quote(char)}b", 400),
            (f"/ws/chat/a{quote(char)}b/", 404),
        ]:
            assert (await (await place.client()).upgrade(path, v1)).status == status
