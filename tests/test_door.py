"""The door: one connection's requests, read under a deadline, answered or brought to a room.

Over TCP, where a room, a reset or a kernel's buffer matters; else over memory, in virtual time.
"""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
import trio
import trio.testing
from doorstep import KEY, Client, Place, connect_over_memory, serving

from trio_chat.config import Config
from trio_chat.server import Server
from trio_chat.transport import SocketTransport, StreamTransport
from trio_chat.web import SECURITY_HEADERS

ROOM = "/ws/chat/lobby/"
GOOD = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
HANDSHAKE = tuple(f"{name}: {value}" for name, value in GOOD.items())


def head(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> str:
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""])


def but(*given: str, without: str = "") -> tuple[str, ...]:
    """Return the lines of a good handshake, with these for the header of that name."""
    name = without or given[0].partition(":")[0]
    return (*(f"{key}: {value}" for key, value in GOOD.items() if key != name), *given)


def masked(payload: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


# --- Heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("portion", [1, 1000, 100_000], ids=["bytes", "pieces", "at once"])
async def test_a_head_has_so_many_bytes_and_not_one_more(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, portion: int
) -> None:
    config = Config(max_head=2048)
    for size, status in [(2048, 200), (2049, 431)]:
        one = connect_over_memory(nursery, config)
        bare = len(head("/livez", "Host: x", "Filling: "))
        data = head("/livez", "Host: x", "Filling: " + "a" * (size - bare)).encode()
        assert len(data) == size
        for start in range(0, size, portion):
            await one.say(data[start : start + portion])
        assert (await one.answer()).status == status


async def test_a_line_without_an_end_is_as_long_as_a_head(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config(max_head=2048))
    await one.say(b"A" * 2049)
    assert (await one.answer()).status == 431
    assert await one.ended()


async def test_lines_may_end_in_a_line_feed_alone(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config())
    await one.say("GET /livez HTTP/1.1\nHost: x\n\nGET /nothing HTTP/1.1\nHost: x\n\n")
    assert [(await one.answer()).status, (await one.answer()).status] == [200, 404]


async def test_what_can_be_read_in_two_ways_is_so_whatever_the_lines_end_in(
    nursery: trio.Nursery,
) -> None:
    one = connect_over_memory(nursery, Config())
    await one.say("GET /livez HTTP/1.1\nHost: x\nContent-Length: 0\nContent-Length: 0\n\n")
    assert (await one.answer()).status == 400
    assert await one.ended()


@pytest.mark.parametrize("target", ["//x/chat/", "//chat/", "//", "///chat/", "//[/chat/"])
async def test_two_slashes_do_not_begin_a_whole_address(target: str) -> None:
    async with serving() as place:
        assert (await (await place.client()).ask(target)).status == 404


async def test_a_whole_address_may_do_without_a_path() -> None:
    async with serving() as place:
        answer = await (await place.client()).ask("http://x")
        assert (answer.status, answer.headers["location"]) == (302, "/chat/")


# --- Answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("/nothing", "Host: x"), 404),
        (head("/chat/", "Host: x", method="PUT"), 405),
        (head("/chat/", "Host: x", "X: a", " b"), 400),
        (head("/chat/"), 400),
        (head("/chat/", "Host: x", "X: " + "a" * 20_000), 431),
        (head("/chat/", version="3.0"), 505),
        (head(ROOM, "Host: x"), 426),
        (head(ROOM, *but("Sec-WebSocket-Version: 8")), 426),
        (head(ROOM, *but("Sec-WebSocket-Key: short")), 400),
        (head(ROOM, *HANDSHAKE, "Origin: http://evil"), 403),
        (head("/ws/chat/a%20b/", *HANDSHAKE), 404),
    ],
)
async def test_every_refusal_carries_the_security_headers_and_its_own_length(
    request_: str, status: int
) -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(request_)
        answer = await one.answer()
        assert answer.status == status
        assert answer.body
        assert {name: answer.headers[name.lower()] for name in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Folded: a", " b"),
        ("Content-Length: 1", "Content-Length: 1"),
        ("Transfer-Encoding: chunked", "", "no number"),
    ],
)
async def test_a_refusal_of_a_head_request_is_a_head(lines: tuple[str, ...]) -> None:
    async with serving() as place:
        one = await place.client()
        answer = await one.ask("/chat/", *lines, method="HEAD")
        assert answer.status == 400
        assert int(answer.headers["content-length"]) > 0
        assert await one.ended()


async def test_a_refusal_behind_a_head_request_has_a_body_again(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config())
    assert (await one.ask("/livez", method="HEAD")).status == 200
    await one.say("no request\r\n\r\n")
    answer = await one.answer()
    assert answer.status == 400
    assert answer.body.startswith(b"bad request: ")


async def test_not_modified_says_nothing_of_a_body_that_it_has_not() -> None:
    async with serving() as place:
        one = await place.client()
        file = await one.ask("/static/chat.css")
        again = await one.ask("/static/chat.css", f"If-None-Match: {file.headers['etag']}")
        assert again.status == 304
        assert again.headers["etag"] == file.headers["etag"]
        assert again.headers["cache-control"] == file.headers["cache-control"]
        assert not {"content-length", "content-type", "transfer-encoding"} & again.headers.keys()
        assert (await one.ask("/livez")).status == 200


async def test_another_version_of_websocket_is_told_which_one_to_ask_for() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(head(ROOM, *but("Sec-WebSocket-Version: 8")))
        answer = await one.answer()
        assert answer.status == 426
        assert answer.headers["sec-websocket-version"] == "13"
        assert answer.headers["upgrade"] == "websocket"


# --- Bodies --------------------------------------------------------------------------------------


async def test_what_stands_in_a_body_is_no_request(nursery: trio.Nursery) -> None:
    smuggled = head("/livez", "Host: x")
    one = connect_over_memory(nursery, Config())
    await one.say(head("/chat/", "Host: x", f"Content-Length: {len(smuggled)}") + smuggled)
    assert (await one.answer()).status == 200
    assert await one.ended()


async def test_behind_a_good_request_a_smuggled_one_is_the_end(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config())
    await one.say(
        head("/livez", "Host: x")
        + head("/livez", "Host: x", "Content-Length: 5, 5")
        + head("/livez", "Host: x")
    )
    assert [(await one.answer()).status, (await one.answer()).status] == [200, 400]
    assert await one.ended()


async def test_who_asks_whether_to_send_a_body_is_answered_at_once(nursery: trio.Nursery) -> None:
    one = connect_over_memory(nursery, Config())
    await one.say(
        head("/chat/", "Host: x", "Expect: 100-continue", "Content-Length: 5", method="POST")
    )
    assert (await one.answer()).status == 405
    assert await one.ended()


@pytest.mark.parametrize("length", ["Content-Length: 6", "Transfer-Encoding: chunked"])
async def test_a_handshake_with_a_body_is_400_for_it_would_be_read_as_frames(length: str) -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(head(ROOM, *HANDSHAKE, length).encode() + masked(b""))
        assert (await one.answer()).status == 400
        assert await one.ended()
        assert place.server.house.tally.sessions == 0


# --- Handshakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (but(without="Host"), 400),
        (but("Host: x", "Host: x"), 400),
        (but("Host:"), 101),
        (but("Host: x", "Origin:"), 403),
        (but("Host:", "Origin: http://x"), 403),
        (but("Host: x", "Origin: http://x", "Origin: http://x"), 403),
        (but(without="Upgrade"), 426),
        (but("Upgrade:"), 426),
        (but("Upgrade: h2c"), 426),
        (but("Upgrade: h2c", "Upgrade: WebSocket"), 101),
        (but(without="Connection"), 426),
        (but("Connection:"), 426),
        (but("Connection: keep-alive"), 426),
        (but("Connection: keep-alive", "Connection: upgrade"), 101),
        (but(without="Sec-WebSocket-Key"), 400),
        (but("Sec-WebSocket-Key:"), 400),
        (but(f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY}"), 400),
        (but(without="Sec-WebSocket-Version"), 426),
        (but("Sec-WebSocket-Version:"), 426),
        (but("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"), 426),
        (but("Sec-WebSocket-Extensions: permessage-deflate; \x00"), 400),
    ],
)
async def test_a_header_that_is_missing_twice_there_or_empty_has_its_answer(
    lines: tuple[str, ...], status: int
) -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(head(ROOM, *lines))
        assert (await one.answer()).status == status


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ((), None),
        (("",), None),
        (("chat",), None),
        (("TRIO-CHAT.V1",), None),
        (("chat, trio-chat.v1",), "trio-chat.v1"),
        (("chat", "trio-chat.v1"), "trio-chat.v1"),
        (("trio-chat.v1", "trio-chat.v1"), "trio-chat.v1"),
    ],
)
async def test_the_answer_names_the_subprotocol_that_was_chosen_if_one_was(
    offers: tuple[str, ...], chosen: str | None
) -> None:
    async with serving() as place:
        one = await place.client()
        offered = (f"Sec-WebSocket-Protocol: {offer}" for offer in offers)
        await one.say(head(ROOM, *HANDSHAKE, *offered))
        answer = await one.answer()
        assert (answer.status, answer.headers.get("sec-websocket-protocol")) == (101, chosen)


async def test_only_get_becomes_a_websocket() -> None:
    async with serving() as place:
        for method, version, status in [
            ("POST", "1.1", 405),
            ("HEAD", "1.1", 426),
            ("GET", "1.0", 400),
        ]:
            one = await place.client()
            await one.say(head(ROOM, *HANDSHAKE, method=method, version=version))
            assert (await one.answer(method)).status == status


async def test_frames_right_behind_the_handshake_are_heard() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(head(ROOM, *HANDSHAKE).encode() + masked(b'{"message":"early"}'))
        assert (await one.answer()).status == 101
        assert await heard(one, 21) == b'\x81\x13{"message":"early"}'


async def test_a_connection_that_got_pages_may_become_a_websocket() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(
            (head("/livez", "Host: x") + head(ROOM, *HANDSHAKE)).encode()
            + masked(b'{"message":"late"}')
        )
        assert [(await one.answer()).status, (await one.answer()).status] == [200, 101]
        assert await heard(one, 20) == b'\x81\x12{"message":"late"}'


async def heard(one: Client, size: int) -> bytes:
    while len(one.rest) < size:
        data = await one.stream.receive_some()
        assert data
        one.rest += data
    return one.rest


@pytest.mark.parametrize("parameter", ["name", "since", "history"])
async def test_a_parameter_that_can_not_be_read_is_named(parameter: str) -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(
            head(f"{ROOM}?{parameter}=%00", *HANDSHAKE, "Sec-WebSocket-Protocol: trio-chat.v1")
        )
        answer = await one.answer()
        assert answer.status == 400
        assert answer.body.startswith(f"{parameter}: ".encode())


# --- Ends ----------------------------------------------------------------------------------------


async def test_who_has_said_everything_is_still_answered() -> None:
    async with serving() as place:
        one = await place.client()
        await one.say(head("/livez", "Host: x"))
        assert isinstance(one.stream, trio.SocketStream)
        await one.stream.send_eof()
        assert (await one.answer()).body == b"ok\n"
        assert await one.ended()


async def test_the_next_head_has_one_deadline_too(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    one = connect_over_memory(nursery, Config(idle_timeout=15))
    await one.ask("/livez")
    begin = trio.current_time()

    async def trickle() -> None:
        for byte in head("/chat/", "Host: x" * 100).encode():
            await trio.sleep(2)
            await one.say(bytes([byte]))

    async with trio.open_nursery() as both:
        both.start_soon(trickle)
        assert await one.ended()
        both.cancel_scope.cancel()
    assert trio.current_time() - begin == 15


async def test_who_was_refused_and_talks_on_is_listened_to_for_so_long(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    config = Config(linger_timeout=2)
    begin = trio.current_time()

    async def talk() -> None:
        await ours.send_all(b"\x16\x03\x01")
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await ours.send_all(b"and another thing")
                await trio.sleep(0.5)

    with trio.fail_after(60):
        async with trio.open_nursery() as both:
            both.start_soon(talk)
            await Server(config).meet(StreamTransport(theirs, "127.0.0.1:1"))
            assert trio.current_time() - begin == 2
            both.cancel_scope.cancel()


@pytest.mark.parametrize("request_", ["\x16", head("/chat/", "Host: x", "Content-Length: 5")])
async def test_who_gets_its_last_answer_is_told_at_once_that_it_is(
    request_: str, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    one = connect_over_memory(nursery, Config(linger_timeout=2))
    begin = trio.current_time()
    await one.say(request_)
    await one.answer()
    assert await one.ended()
    assert trio.current_time() == begin


async def test_who_asks_a_thousand_times_and_takes_nothing_has_one_deadline() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    server = Server(Config(idle_timeout=0.2))
    with ours, trio.fail_after(10):
        ours.sendall(head("/static/room.js", "Host: x").encode() * 1000)
        await server.meet(SocketTransport(theirs, "127.0.0.1:1"))
    # The first that was not taken was the last that was tried.
    assert 0 < server.house.tally.answers[200] < 1000


async def test_a_reset_in_the_middle_of_an_answer_is_nobody_s_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as place:
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", place.server.port))
            sock.sendall(head("/static/room.js", "Host: x").encode() * 50)
            reset(sock)
        await everybody_met(place, 20)
        assert (await (await place.client()).ask("/livez")).status == 200
    assert not caplog.records


def reset(sock: socket.socket) -> None:
    """Close with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def everybody_met(place: Place, count: int) -> None:
    while place.server.house.tally.connections < count:
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()


async def test_a_door_that_is_cancelled_closes_its_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(Config()).meet, StreamTransport(theirs, "127.0.0.1:1"))
        await ours.send_all(b"GET /cha")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await ours.receive_some() == b""


async def test_600_who_never_speak_are_gone_in_time_and_slow_nobody() -> None:
    async with serving(Config(port=0, handshake_timeout=2)) as place:
        silent = [await place.client() for _ in range(600)]
        talkers = [await place.client() for _ in range(2)]
        for talker in talkers:
            await talker.upgrade(ROOM)
        for number in range(20):
            payload = b'{"message":"%02d"}' % number
            await talkers[0].say(masked(payload))
            for talker in talkers:
                assert (
                    await heard(talker, len(payload) + 2) == bytes([0x81, len(payload)]) + payload
                )
                talker.rest = b""
        assert all([await one.ended() for one in silent])
        assert place.server.house.crowd.size == len(talkers)
