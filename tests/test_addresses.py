"""The door over TCP: every address of the protocol, and everything that is no request."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from doorstep import KEY, connect_over_memory, serving

from trio_chat.config import Config
from trio_chat.server import Server
from trio_chat.transport import StreamTransport
from trio_chat.web import SECURITY_HEADERS


@pytest.mark.parametrize(
    ("path", "status", "where"),
    [
        ("/", 302, "/chat/"),
        ("/chat", 301, "/chat/"),
        ("/chat?x=1", 301, "/chat/?x=1"),
        ("/chat/", 200, None),
        ("/chat/lobby", 301, "/chat/lobby/"),
        ("/chat/caf%C3%A9?a=b", 301, "/chat/caf%C3%A9/?a=b"),
        ("/chat/lobby/", 200, None),
        ("/chat/a%2Fb/", 404, None),
        ("/chat/%FF/", 404, None),
        ("/chat/../", 404, None),
        ("/static/chat.css", 200, None),
        ("/static/nothing", 404, None),
        ("/static/../config.py", 404, None),
        ("/favicon.ico", 200, None),
        ("/ws/chat/lobby/", 426, None),
        ("/ws/chat/lobby", 426, None),
        ("/ws/chat/a%20b/", 404, None),
        ("/livez", 200, None),
        ("/readyz", 200, None),
        ("/metrics", 200, None),
        ("/nothing", 404, None),
    ],
)
async def test_every_address_answers_get_and_head_alike(
    path: str, status: int, where: str | None
) -> None:
    async with serving() as place:
        one = await place.client()
        got = await one.ask(path)
        head = await one.ask(path, method="HEAD")
        assert (got.status, got.headers.get("location")) == (status, where)
        assert head.status == status
        if path != "/metrics":
            assert head.headers["content-length"] == str(len(got.body))
        for name, value in SECURITY_HEADERS.items():
            assert got.headers[name.lower()] == value


async def test_a_room_s_page_is_the_same_for_every_room() -> None:
    async with serving() as place:
        one = await place.client()
        assert (await one.ask("/chat/a/")).body == (await one.ask("/chat/b/")).body
        assert b"<title>Chat Room</title>" in (await one.ask("/chat/a/")).body
        assert b"<title>Chat Rooms</title>" in (await one.ask("/chat/")).body


@pytest.mark.parametrize("path", ["/", "/chat/", "/ws/chat/lobby/", "/livez", "/static/chat.css"])
async def test_another_method_is_told_which_are_answered(path: str) -> None:
    async with serving() as place:
        answer = await (await place.client()).ask(path, method="DELETE")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_another_method_at_no_address_is_not_found() -> None:
    async with serving() as place:
        assert (await (await place.client()).ask("/nothing", method="PUT")).status == 404


async def test_a_page_that_is_known_is_not_sent_again() -> None:
    async with serving() as place:
        one = await place.client()
        first = await one.ask("/static/chat.css")
        again = await one.ask("/static/chat.css", f"If-None-Match: {first.headers['etag']}")
        assert (again.status, again.body) == (304, b"")


async def test_requests_that_come_together_are_answered_one_after_the_other() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(
            "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert [(await one.answer()).status, (await one.answer()).status] == [200, 404]


async def test_http_1_0_is_answered_and_closed() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say("GET /livez HTTP/1.0\r\n\r\n")
        assert (await one.answer()).body == b"ok\n"
        assert await one.ended()


async def test_a_whole_address_as_the_target_is_understood() -> None:
    async with serving() as place:
        assert (await (await place.client()).ask("http://x/livez")).body == b"ok\n"


async def test_a_request_with_a_body_is_answered_and_closed() -> None:
    async with serving() as place:
        one = await place.client()
        answer = await one.ask("/chat/", "Content-Length: 5", method="POST")
        assert (answer.status, answer.headers["connection"]) == (405, "close")
        assert await one.ended()


async def test_an_upgrade_to_something_else_is_a_plain_request() -> None:
    async with serving() as place:
        lines = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
        assert (await (await place.client()).ask("/livez", *lines)).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 0", "Content-Length: 0"),
        ("Content-Length: 0", "Content-Length: 1"),
        ("Content-Length: 0, 0",),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("X-Folded: a", " b"),
        ("X-Folded: a", "\tb"),
        ("Content-Length: -1",),
        ("No colon here",),
        ("Host: y",),
    ],
)
async def test_what_can_be_read_in_two_ways_is_400_and_the_end(lines: tuple[str, ...]) -> None:
    async with serving() as place:
        one = await place.client()
        assert (await one.ask("/chat/", *lines)).status == 400
        assert await one.ended()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x00\xff\xfe garbage\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without Host
        (b"GET /chat/\xff/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000, 431),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(data: bytes, status: int) -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(data)
        assert (await one.answer()).status == status
        assert await one.ended()
        assert (await (await place.client()).ask("/livez")).status == 200


@pytest.mark.parametrize(
    "header",
    ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
     "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Cookie"],
)  # fmt: skip
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\x80", b"", b"a, \xc3\xa9", b"\xf0\x9f\x8c\xb3"])
async def test_no_byte_in_a_handshake_s_header_ends_more_than_itself(
    header: str, value: bytes
) -> None:
    given = {
        "Host": b"x",
        "Upgrade": b"websocket",
        "Connection": b"Upgrade",
        "Sec-WebSocket-Key": KEY.encode(),
        "Sec-WebSocket-Version": b"13",
        header: value,
    }
    head = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in given.items())
    async with serving() as place:
        one = await place.client()
        await one.say(b"GET /ws/chat/lobby/ HTTP/1.1\r\n" + head + b"\r\n")
        assert (await one.answer()).status in {101, 400, 403, 426}
        assert (await (await place.client()).ask("/livez")).status == 200


@pytest.mark.parametrize("path", ["/ws/chat/lobby/", "/ws/chat/lobby", "/ws/chat/caf%C3%A9/"])
async def test_a_handshake_is_accepted(path: str) -> None:
    async with serving() as place:
        answer = await (await place.client()).upgrade(path)
        assert (answer.status, answer.headers["sec-websocket-accept"]) == (
            101,
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        )


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Origin: http://x",), 101),
        (("Origin: http://x:80",), 101),
        (("Origin: http://evil",), 403),
        (("Origin: null",), 403),
        (("Origin: http://x", "Origin: http://evil"), 403),
    ],
)
async def test_strangers_stay_out(lines: tuple[str, ...], status: int) -> None:
    async with serving() as place:
        assert (await (await place.client()).upgrade("/ws/chat/lobby/", *lines)).status == status


async def test_a_trusted_proxy_says_which_scheme_and_whose_connection_it_is() -> None:
    config = Config(port=0, trust_proxy=("127.0.0.1", "10.0.0.0/8"), max_per_address=1)
    lines = ("Origin: https://x", "X-Forwarded-Proto: https, http")
    async with serving(config) as place:
        first = await place.client()
        hops = "X-Forwarded-For: 192.0.2.7, 10.1.2.3"
        assert (await first.upgrade("/ws/chat/a/", *lines, hops)).status == 101
        second = await place.client()
        await second.upgrade("/ws/chat/a/", *lines, hops)
        assert (await second.stream.receive_some())[2:4] == (1013).to_bytes(2, "big")
        third = await place.client()
        assert (await third.upgrade("/ws/chat/a/", "Origin: http://x", lines[1])).status == 403


async def test_what_a_client_says_to_a_proxy_that_is_trusted_does_not_count() -> None:
    config = Config(port=0, trust_proxy=("127.0.0.1",), max_per_address=1)
    async with serving(config) as place:
        first = await place.client()
        await first.upgrade("/ws/chat/a/", "X-Forwarded-For: 198.51.100.1, 192.0.2.7")
        second = await place.client()
        await second.upgrade("/ws/chat/a/", "X-Forwarded-For: 198.51.100.2, 192.0.2.7")
        assert (await second.stream.receive_some())[2:4] == (1013).to_bytes(2, "big")
        third = await place.client()
        await third.upgrade(
            "/ws/chat/a/", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 192.0.2.8"
        )
        assert place.server.house.crowd.size == 2


async def test_what_a_stranger_says_of_proxies_does_not_count() -> None:
    async with serving(Config(port=0, max_per_address=1)) as place:
        first = await place.client()
        await first.upgrade("/ws/chat/a/", "X-Forwarded-For: 192.0.2.7")
        second = await place.client()
        await second.upgrade("/ws/chat/a/", "X-Forwarded-For: 192.0.2.8")
        assert (await second.stream.receive_some())[2:4] == (1013).to_bytes(2, "big")


@pytest.mark.parametrize(
    "query", ["name=", "name=%07", "since=-1", "since=x", "history=1.5", "name=%FF"]
)
async def test_a_query_that_can_not_be_read_is_400_and_named(query: str) -> None:
    async with serving() as place:
        answer = await (await place.client()).upgrade(
            f"/ws/chat/lobby/?{query}", "Sec-WebSocket-Protocol: trio-chat.v1"
        )
        assert answer.status == 400
        name = query.partition("=")[0]
        assert re.match(f"({name}|query):", answer.body.decode())


async def test_the_index_lists_open_rooms_and_how_many_are_in_each() -> None:
    async with serving() as place:
        guests = [await place.client() for _ in range(3)]
        for guest, room in zip(guests, ["green", "green", "r&d".replace("&", "-")], strict=True):
            await guest.upgrade(f"/ws/chat/{room}/")
            await guest.stream.send_all(b"\x81\x82\0\0\0\0{}")
            await guest.stream.receive_some()  # An error: so the member is in.
        page = (await (await place.client()).ask("/chat/")).body.decode()
        assert re.findall(r'href="/chat/([^/]+)/">.*?class="count">(\d+)<', page) == [
            ("green", "2"),
            ("r-d", "1"),
        ]


async def test_metrics_are_prometheus_text() -> None:
    async with serving() as place:
        one = await place.client()
        await one.ask("/nothing")
        answer = await one.ask("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        for line in answer.body.decode().splitlines():
            assert re.fullmatch(
                r'# TYPE trio_chat_\w+ (counter|gauge)|trio_chat_\w+(\{\w+="[^"]*"\})? [\d.e+]+',
                line,
            )
        assert b'trio_chat_http_responses_total{status="404"} 1' in answer.body


# --- Over memory streams, where time is virtual --------------------------------------------------


async def test_a_head_that_trickles_has_one_deadline(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    config = Config(handshake_timeout=10)
    one = connect_over_memory(nursery, config)
    begin = trio.current_time()

    async def trickle() -> None:
        for byte in b"GET /chat/ HTTP/1.1\r\nHost: x\r\n" * 100:
            await trio.sleep(1)
            await one.say(bytes([byte]))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as both:
            both.start_soon(trickle)
            assert await one.ended()
            assert trio.current_time() - begin == config.handshake_timeout
            scope.cancel()


async def test_who_never_speaks_is_gone_in_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clients = [connect_over_memory(nursery, Config(handshake_timeout=10)) for _ in range(600)]
    begin = trio.current_time()
    assert all([await one.ended() for one in clients])
    assert trio.current_time() - begin == 10


async def test_a_connection_that_asks_no_more_ends_after_its_idle_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    one = connect_over_memory(nursery, Config(idle_timeout=15))
    assert (await one.ask("/livez")).status == 200
    begin = trio.current_time()
    assert await one.ended()
    assert trio.current_time() - begin == 15


async def test_a_client_that_takes_no_answer_ends_in_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    config = Config(idle_timeout=15, linger_timeout=2)
    begin = trio.current_time()
    async with trio.open_nursery() as both:
        both.start_soon(Server(config).meet, StreamTransport(theirs, "127.0.0.1:1"))
        await ours.send_all(b"GET /chat/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert trio.current_time() - begin == config.idle_timeout


async def test_who_goes_in_the_middle_leaves_nothing(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config())
    await one.say("GET /chat/ HT")
    await one.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks
