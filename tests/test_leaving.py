"""Whatever the way in which somebody leaves, or never enters: nothing of them stays behind."""

from __future__ import annotations

import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from doorstep import KEY, Client, Place, serving
from lobby import MoodyHistory

from trio_chat.config import Config
from trio_chat.history.memory import MemoryHistory
from trio_chat.server import Server

ROOM = "/ws/chat/lobby/"
PATIENCE = 10
Leave = Callable[[Client], Awaitable[None]]


def frame(first: int, payload: bytes = b"") -> bytes:
    """Return a client's frame; its mask is nought."""
    assert len(payload) < 126
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def text(payload: str) -> bytes:
    return frame(0x81, payload.encode())


async def enter(place: Place) -> Client:
    """Join the lobby as a plain member, and be heard there."""
    one = await place.client()
    assert (await one.upgrade(ROOM)).status == 101
    await one.say(text("{}"))
    assert b"bad-message" in await one.stream.receive_some()
    return one


async def code_of(one: Client) -> int:
    """Wait for a Close frame and return its code."""
    while b"\x88" not in one.rest:
        data = await one.stream.receive_some()
        assert data, "ended without a Close frame"
        one.rest += data
    return int.from_bytes(one.rest.partition(b"\x88")[2][1:3], "big")


async def nobody_is_there(place: Place) -> None:
    house = place.server.house
    while house.crowd.size:
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    metrics = (await (await place.client()).ask("/metrics")).body.decode()
    gauges = dict(re.findall(r"^trio_chat_(\w+) ([\d.]+)$", metrics, re.MULTILINE))
    for gauge in ("connections_open", "rooms_open", "members", "outbox_bytes"):
        assert gauges[gauge] == "0", gauge
    assert len(house.heartbeat) == 0
    assert house.ledger.balances


# --- Ways of leaving -----------------------------------------------------------------------------


async def say_goodbye(one: Client) -> None:
    await one.say(frame(0x88, (1000).to_bytes(2, "big")))
    assert await code_of(one) == 1000


async def finish(one: Client) -> None:
    assert isinstance(one.stream, trio.SocketStream)
    await one.stream.send_eof()


async def vanish(one: Client) -> None:
    await trio.aclose_forcefully(one.stream)


async def reset(one: Client) -> None:
    assert isinstance(one.stream, trio.SocketStream)
    one.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(one.stream)


async def speak_unmasked(one: Client) -> None:
    await one.say(b"\x81\x02{}")
    assert await code_of(one) == 1002


async def speak_no_utf_8(one: Client) -> None:
    await one.say(frame(0x81, b"\xff\xfe"))
    assert await code_of(one) == 1007


async def speak_binary(one: Client) -> None:
    await one.say(frame(0x82, b"\0"))
    assert await code_of(one) == 1003


async def speak_at_length(one: Client) -> None:
    await one.say(b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(4))
    assert await code_of(one) == 1009


async def speak_nonsense(one: Client) -> None:
    await one.say(text("nonsense") * 20)
    assert await code_of(one) == 1008


async def talk_and_reset(one: Client) -> None:
    await one.say(text('{"message": "and off"}') * 5)
    await reset(one)


WAYS: list[Leave] = [
    say_goodbye,
    finish,
    vanish,
    reset,
    speak_unmasked,
    speak_no_utf_8,
    speak_binary,
    speak_at_length,
    speak_nonsense,
    talk_and_reset,
]


@pytest.mark.parametrize("leave", WAYS)
async def test_who_leaves_leaves_nothing_whatever_the_way(leave: Leave) -> None:
    async with serving(Config(port=0, max_connections=1)) as place:
        member = await enter(place)
        await leave(member)
        await vanish(member)
        await nobody_is_there(place)
        await enter(place)  # There is room for one again.


async def test_who_goes_in_the_middle_of_the_handshake_leaves_nothing() -> None:
    request = (
        f"GET {ROOM} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    async with serving(Config(port=0, max_connections=1)) as place:
        one = await place.client()
        await one.say(request)
        await reset(one)
        while place.server.house.tally.sessions < 1:
            await trio.testing.wait_all_tasks_blocked()
        await nobody_is_there(place)


async def test_who_was_turned_away_was_never_counted() -> None:
    async with serving(Config(port=0, max_members=1)) as place:
        member = await enter(place)
        for _ in range(3):
            stranger = await place.client()
            assert (await stranger.upgrade(ROOM)).status == 101
            assert await code_of(stranger) == 1013
            await vanish(stranger)
        assert place.server.house.crowd.size == 1
        await vanish(member)
        await nobody_is_there(place)


# --- Whom the server could not serve -------------------------------------------------------------


class Mute:
    """A connection that asks for a room; whatever is sent to it fails in a way of its own."""

    peer = "192.0.2.1:1"

    def __init__(self) -> None:
        self.closed = trio.Event()
        self._asked = False

    def send_now(self, data: bytes | memoryview, /) -> int:
        raise BlockingIOError

    async def send_some(self, data: bytes | memoryview) -> int:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._asked:
            await trio.sleep_forever()
        self._asked = True
        return (
            f"GET {ROOM} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ).encode()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("limit", [0, 1], ids=["on entering", "on being turned away"])
async def test_a_fault_of_one_connection_is_logged_once_and_harms_nobody(
    limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(Config(port=0, max_connections=limit, close_timeout=0.1, linger_timeout=0.1))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            place = Place(server)
            member = await enter(place)
            mute = Mute()
            await server.meet(mute)
            await mute.closed.wait()
            await member.say(text('{"message": "unharmed"}'))
            assert b"unharmed" in await member.stream.receive_some()
            await vanish(member)
            await nobody_is_there(place)
            for one in place.clients:
                await vanish(one)
            server.drain()
    assert server.house.tally.faults == 1
    (fault,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert fault.exc_info
    assert server.exit_code == 0


async def test_who_waits_for_a_room_that_can_not_open_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = Config(port=0)
    history = MoodyHistory(MemoryHistory(config.retention, config.keep_total))
    hold = trio.Event()

    async def fail_late() -> None:
        await hold.wait()
        raise ZeroDivisionError

    history.before_opening = fail_late
    server = Server(config, history)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            place = Place(server)

            async def come() -> None:
                one = await place.client()
                assert (await one.upgrade(ROOM)).status == 101
                assert await code_of(one) == 1011

            async with trio.open_nursery() as waiting:
                for _ in range(5):
                    waiting.start_soon(come)
                while server.house.crowd.size < 5:
                    await trio.testing.wait_all_tasks_blocked()
                hold.set()
            for one in place.clients:
                await vanish(one)
            await nobody_is_there(place)
            history.before_opening = trio.lowlevel.checkpoint
            await enter(place)
            for one in place.clients:
                await vanish(one)
            server.drain()
    assert server.house.tally.faults == 1


async def test_who_waits_for_a_room_when_the_server_is_cancelled_is_let_go() -> None:
    config = Config(port=0)
    history = MoodyHistory(MemoryHistory(config.retention, config.keep_total))
    history.before_opening = trio.sleep_forever
    server = Server(config, history)
    place = Place(server)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
            await nursery.start(server.run)
            for _ in range(3):
                clients.start_soon(expect_nothing, await place.client())
            while server.house.crowd.size < 3:
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert server.house.crowd.size == 0
    assert server.house.ledger.balances


async def expect_nothing(one: Client) -> None:
    async with one.stream:
        with pytest.raises(AssertionError, match="the connection ended"):
            await one.upgrade(ROOM)
