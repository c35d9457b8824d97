"""A handler for each WebSocket at any address: `serve_connections`, and the example that echoes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import websockets
from wires import PATIENCE, Peer, echo, listen, said, text

from trio_chat.config import Config
from trio_chat.connection import Connection
from trio_chat.endpoint import Handler, serve_connections
from trio_chat.protocol import CloseCode, Ended, Ending

ECHO = Path(__file__).parent.parent / "examples" / "echo.py"

REQUEST = (
    "GET /any/where?at=all HTTP/1.1\r\nHost: {host}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nOrigin: {origin}\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Endpoint:
    """An endpoint that serves, and those who come to it."""

    def __init__(self, port: int, nursery: trio.Nursery) -> None:
        self._port = port
        self._nursery = nursery

    async def dial(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self._port)

    async def connect(self, *frames: bytes, origin: str | None = None) -> Peer:
        host = f"127.0.0.1:{self._port}"
        request = REQUEST.format(host=host, origin=origin or f"http://{host}")
        peer = Peer(await self.dial())
        await peer.send(request.encode(), *frames)
        await peer.shaken()
        return peer

    def stop(self) -> None:
        self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def endpoint(handler: Handler, **settings: Any) -> AsyncIterator[Endpoint]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_connections, handler, Config(port=0, **settings))
            yield Endpoint(await nursery.start(serve), nursery)
            nursery.cancel_scope.cancel()


async def test_a_handler_is_run_for_each_websocket_at_any_address() -> None:
    async with endpoint(echo) as served:
        one, two = await served.connect(text("one")), await served.connect()
        await two.send(text("two"))
        assert await one.frame() == said("one")
        assert await two.frame() == said("two")
        for peer in (one, two):
            assert [frame.code for frame in await peer.goodbye()] == [1000]


async def test_who_asks_for_a_page_is_told_that_there_is_none() -> None:
    async with endpoint(echo) as served, await served.dial() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join([part async for part in stream])
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nUpgrade: websocket\r\n" in answer


async def test_a_foreign_origin_is_refused_here_as_well() -> None:
    async with endpoint(echo) as served, await served.dial() as stream:
        request = REQUEST.format(host="here.example", origin="http://there.example")
        await stream.send_all(request.encode())
        answer = b"".join([part async for part in stream])
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_handler_that_returns_closes_with_1000() -> None:
    async def greet(connection: Connection) -> None:
        await connection.send("hello")

    async with endpoint(greet) as served:
        peer = await served.connect()
        assert await peer.frame() == said("hello")
        assert [frame.code for frame in await peer.goodbye()] == [1000]


async def test_a_handler_may_end_its_connection_for_a_reason_of_its_own() -> None:
    async def refuse(connection: Connection) -> None:
        await connection.receive()
        raise Ended(Ending(4321, "not that"))

    async with endpoint(refuse) as served:
        peer = await served.connect(text("that"))
        assert [frame.code for frame in await peer.goodbye()] == [4321]


async def test_a_handler_that_fails_costs_its_connection_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_on_demand(connection: Connection) -> None:
        async for message in connection:
            if message == "fail":
                raise RuntimeError("on demand")
            await connection.send(message)

    async with endpoint(fail_on_demand) as served:
        good, bad = await served.connect(), await served.connect(text("fail"))
        assert [frame.code for frame in await bad.goodbye()] == [CloseCode.INTERNAL_ERROR]
        await good.send(text("still here"))
        assert await good.frame() == said("still here")
        await good.goodbye()
    assert len(caplog.records) == 1
    assert "on demand" in caplog.text


async def test_one_too_many_is_told_to_come_later_and_then_may() -> None:
    async with endpoint(listen, max_connections=1) as served:
        first, second = await served.connect(), await served.connect()
        codes = [frame.code for frame in await second.goodbye()]
        assert codes == [CloseCode.TRY_AGAIN_LATER]
        await first.goodbye()
        third = await served.connect()
        assert [frame.code for frame in await third.goodbye()] == [1000]


async def test_the_limits_are_those_of_the_chat() -> None:
    async with endpoint(listen, max_frame=10) as served:
        peer = await served.connect(text("x" * 11))
        assert [frame.code for frame in await peer.rest()] == [CloseCode.TOO_BIG]


async def test_the_silent_are_found_by_the_heartbeat() -> None:
    times = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1}
    async with endpoint(listen, **times) as served:
        *pings, goodbye = await (await served.connect()).rest()
    assert [frame.payload for frame in pings] == [b"still there?"]
    assert goodbye.code == CloseCode.NO_HEARTBEAT


async def test_a_peer_that_is_gone_before_the_handshake_disturbs_nobody() -> None:
    async with endpoint(echo) as served:
        for _ in range(20):
            peer = Peer(await served.dial())
            await peer.send(REQUEST.format(host="x", origin="http://x").encode())
            await peer.reset()
        peer = await served.connect(text("hello"))
        assert await peer.frame() == said("hello")
        await peer.goodbye()


async def test_cancelled_it_says_goodbye_to_everybody() -> None:
    async with endpoint(listen) as served:
        peers = [await served.connect() for _ in range(3)]
        served.stop()
        with trio.CancelScope(shield=True):
            for peer in peers:
                assert [frame.code for frame in await peer.goodbye()] == [CloseCode.GOING_AWAY]


async def test_the_example_echoes_whatever_another_library_sends_and_ends_when_interrupted() -> (
    None
):
    async def script(url: str) -> None:
        async with websockets.connect(url, max_size=None, compression=None) as client:
            for message in ("hello", "", "ünïcode 🌳", b"", b"\0\xff", "x" * 2**20, bytes(2**24)):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in ", "frag", "ments"])
            assert await client.recv() == "in fragments"
            await (await client.ping())
        assert client.close_code == 1000

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(trio.run_process, [sys.executable, ECHO, "0"], stdout=subprocess.PIPE)
            )
            assert process.stdout is not None
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
            url = line.decode().removeprefix("listening on ").strip()
            await trio.to_thread.run_sync(asyncio.run, script(url))
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
