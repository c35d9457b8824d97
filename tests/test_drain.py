"""A drain as operators see it: a process, SIGTERM, members under way, a code, the last log line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket

import pytest
import trio
import trio.testing
import websockets
from doorstep import Apart, Client, serving, serving_apart
from websockets.asyncio.client import ClientConnection

from trio_chat.config import Config

PATIENCE = 30
ROOM = "/ws/chat/lobby/"
V1 = [websockets.Subprotocol("trio-chat.v1")]


def books(log: str) -> dict[str, int]:
    """Read the line with which the server closes its books."""
    (line,) = re.findall(r"info trio_chat\.server: ledger: (.*)\n", log)
    assert line.endswith("; balances")
    owed, handed, waiting, *dropped = re.findall(r"(\d+) ", line)
    return {
        "owed": int(owed),
        "handed": int(handed),
        "waiting": int(waiting),
        "dropped": sum(map(int, dropped)),
    }


async def test_what_was_acknowledged_reaches_everybody_before_the_goodbye() -> None:
    async def talk(client: ClientConnection, acknowledged: set[str]) -> None:
        for number in range(1_000_000):
            await client.send(json.dumps({"message": f"{number}", "id": f"{number}"}))
            event = json.loads(await client.recv())
            while event["type"] != "ack":
                event = json.loads(await client.recv())
            acknowledged.add(event["id"])
            if number == 100:
                os.kill(pid, signal.SIGTERM)

    async def listen(client: ClientConnection, heard: list[str]) -> None:
        async for frame in client:
            event = json.loads(frame)
            if event["type"] == "message":
                heard.append(event["message"])

    async def script(url: str) -> None:
        async with (
            websockets.connect(url, subprotocols=V1) as ada,
            websockets.connect(url, subprotocols=V1) as bob,
            asyncio.timeout(PATIENCE),
        ):
            heard: list[str] = []
            acknowledged: set[str] = set()
            listening = asyncio.create_task(listen(bob, heard))
            with pytest.raises(websockets.ConnectionClosed):
                await talk(ada, acknowledged)
            await listening
            assert (ada.close_code, bob.close_code) == (1001, 1001)
            assert heard == [str(number) for number in range(len(heard))]
            assert len(acknowledged) > 100
            assert acknowledged <= set(heard)

    async with serving_apart("--rate", "0") as apart:
        pid = apart.process.pid
        await trio.to_thread.run_sync(asyncio.run, script(apart.url))
        log = await apart.log()
    ledger = books(log)
    assert ledger["owed"] > 200
    assert ledger["dropped"] == ledger["waiting"] == 0


async def test_a_member_with_a_backlog_that_takes_nothing_is_dropped_and_that_is_still_0() -> None:
    options = ("--rate", "0", "--outbox", "0", "--drain-timeout", "1", "--linger-timeout", "0.1")
    async with serving_apart(*options) as apart:
        deaf, ada = await enter(apart, receive_buffer=4096), await enter(apart)
        payload = json.dumps({"message": "x" * 4000}).encode()
        frame = b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
        told = len(payload.replace(b": ", b":")) + 4
        async with deaf.stream, ada.stream:
            for _ in range(2000):
                await ada.say(frame)
                while len(ada.rest) < told:
                    ada.rest += await ada.stream.receive_some()
                ada.rest = ada.rest[told:]
            apart.end()
            assert (await ada.stream.receive_some())[:4] == b"\x88\x1d\x03\xe9"
            await ada.stream.aclose()
            log = await apart.log()
    ledger = books(log)
    assert ledger["owed"] == 4000
    assert ledger["dropped"] > 0
    assert ledger["waiting"] == 0


async def enter(apart: Apart, receive_buffer: int | None = None) -> Client:
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await sock.connect(("127.0.0.1", apart.port))
    one = Client(trio.SocketStream(sock))
    assert (await one.upgrade(ROOM)).status == 101
    return one


async def test_while_it_delays_it_says_that_it_is_not_ready_and_serves_on() -> None:
    async with serving_apart("--drain-delay", "0.5") as apart:
        stream = await trio.open_tcp_stream("127.0.0.1", apart.port)
        async with stream, (await enter(apart)).stream:
            one = Client(stream)
            assert (await one.ask("/readyz")).status == 200
            apart.end()
            while (await one.ask("/readyz")).status == 200:
                pass  # The signal is on its way.
            assert (await one.ask("/livez")).status == 200
            assert b"trio_chat_draining 1\n" in (await one.ask("/metrics")).body
            await enter_and_go(apart)
            assert await one.ended()  # With the delay end the doors, in the middle of whatever.
        await apart.log()


async def enter_and_go(apart: Apart) -> None:
    await (await enter(apart)).stream.aclose()


# --- In this process -----------------------------------------------------------------------------


async def test_a_drain_may_be_asked_for_more_than_once() -> None:
    async with serving() as place:
        one = await place.client()
        await one.upgrade(ROOM)
        place.server.drain()
        place.server.drain()
        assert (await one.stream.receive_some())[2:4] == (1001).to_bytes(2, "big")
    assert place.server.exit_code == 0


async def test_after_a_drain_nobody_listens() -> None:
    async with serving() as place:
        port = place.server.port
    with pytest.raises(OSError, match=r"refused|failed"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_from_its_first_goodbye_on_nobody_new_comes_in() -> None:
    async with serving(Config(port=0, drain_timeout=0.5)) as place:
        member = await place.client()
        await member.upgrade(ROOM)
        place.server.drain()
        assert (await member.stream.receive_some())[2:4] == (1001).to_bytes(2, "big")
        with pytest.raises(OSError, match=r"refused|failed"):
            await place.client()


# Longer than a test may take: their Close frames are not waited for so long in a drain.
PATIENT = Config(port=0, max_connections=1, close_timeout=12, drain_timeout=0.5)


async def test_somebody_who_is_being_turned_away_does_not_make_a_drain_fail() -> None:
    async with serving(PATIENT) as place:
        member, stranger = await place.client(), await place.client()
        await member.upgrade(ROOM)
        await stranger.upgrade(ROOM)
        assert (await stranger.stream.receive_some())[2:4] == (1013).to_bytes(2, "big")
        place.server.drain()  # The stranger never answers its Close frame.
        assert (await member.stream.receive_some())[2:4] == (1001).to_bytes(2, "big")
        assert await member.ended()
        assert await stranger.ended()
    assert place.server.exit_code == 0


async def test_somebody_who_is_on_the_way_out_does_not_make_a_drain_fail() -> None:
    async with serving(PATIENT) as place:
        member = await place.client()
        await member.upgrade(ROOM)
        await member.say(b"\x82\x81\0\0\0\0\0")  # A binary frame: 1003.
        assert (await member.stream.receive_some())[2:4] == (1003).to_bytes(2, "big")
        place.server.drain()  # The member never answers its Close frame.
        assert await member.ended()
    assert place.server.exit_code == 0
