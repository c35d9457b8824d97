"""The client against the real server, over TCP: what one side says, the other understands."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_chat.client import (
    Chat,
    Disconnected,
    Event,
    Joined,
    Left,
    Message,
    PlainError,
    Reconnected,
    Reconnecting,
    Refused,
    Typing,
    Welcome,
    connect,
    connect_plain,
)
from trio_chat.config import Config
from trio_chat.server import Server
from trio_chat.testing import Venue, open_server

PATIENCE = 20  # seconds; nothing below waits for time


@pytest.fixture
async def server(chat_server: Venue) -> AsyncIterator[Server]:
    with trio.fail_after(PATIENCE):
        yield chat_server.server


async def expect(chat: Chat, *wanted: Event) -> None:
    """Take events until all of these have come, in any order."""
    missing = set(wanted)
    while missing:
        missing.discard(await anext(chat))


async def text_of(chat: Chat) -> str:
    """Take events until a message comes."""
    async for event in chat:
        if isinstance(event, Message):
            return event.text
    raise AssertionError("this client has left")


async def test_two_talk(server: Server) -> None:
    async with connect(f"{server.url}lobby/", name="alice") as alice:
        async with connect(f"{server.url}lobby/", name="alice") as other:
            assert (alice.name, other.name, other.room) == ("alice", "alice-2", "lobby")
            assert alice.epoch == other.epoch
            await expect(alice, Joined("alice-2"))
            assert alice.members == other.members == ("alice", "alice-2")
            await other.typing()
            await expect(alice, Typing("alice-2"))
            receipts = [await other.say(f"message {number}") for number in range(3)]
            assert [receipt.seq for receipt in receipts] == [1, 2, 3]
            for chat in (alice, other):
                assert [await text_of(chat) for _ in range(3)] == [
                    "message 0",
                    "message 1",
                    "message 2",
                ]
        await expect(alice, Left("alice-2"))
        assert list(alice.members) == ["alice"]


async def test_a_receipt_is_kept(server: Server) -> None:
    async with connect(f"{server.url}lobby/") as chat:
        first = await chat.say("hello")
        again = await chat.say("hello", id=first.id)
        assert (again.id, again.seq, again.duplicate) == (first.id, 1, True)
        with pytest.raises(Refused) as caught:
            await chat.say("another text", id=first.id)
        assert caught.value.code == "bad-id"


async def test_too_long_is_refused_and_the_connection_stays(server: Server) -> None:
    async with connect(f"{server.url}lobby/") as chat:
        with pytest.raises(Refused) as caught:
            await chat.say("x" * (server.config.max_message + 1))
        assert caught.value.code == "too-long"
        assert (await chat.say("x" * server.config.max_message)).seq == 1


async def test_more_at_once_than_the_rate_allows_all_arrive_once() -> None:
    async with (
        open_server(Config(port=0, rate=100, burst=5)) as venue,
        connect(venue.url) as chat,
    ):
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(chat.say, str(number))
        heard = [await text_of(chat) for _ in range(40)]
        assert sorted(heard, key=int) == [str(number) for number in range(40)]


async def test_history_and_where_to_go_on(server: Server) -> None:
    async with connect(f"{server.url}lobby/") as chat:
        for number in range(1, 6):
            await chat.say(str(number))
        epoch = chat.epoch
        async with connect(f"{server.url}lobby/", history=2) as late:
            assert [await text_of(late) for _ in range(2)] == ["4", "5"]
        async with connect(f"{server.url}lobby/?since=3&epoch={epoch}", history=0) as back:
            greeting = await anext(back)
            assert isinstance(greeting, Welcome)
            assert greeting.recovered
            assert [await text_of(back) for _ in range(2)] == ["4", "5"]


async def test_who_is_refused_is_told_why(server: Server) -> None:
    for url, code in (
        (f"{server.url}lobby/?name=%0A", 400),
        (f"{server.url}lobby/?name={'x' * 33}", 400),
    ):
        with pytest.raises(Disconnected) as caught:
            async with connect(url):
                pytest.fail("it got in")
        assert caught.value.code == code
        assert "name" in caught.value.reason


async def test_who_does_not_fit_in_is_told_so() -> None:
    async with (
        open_server(Config(port=0, max_members=1)) as venue,
        connect(venue.url),
    ):
        with pytest.raises(Disconnected, match="1013"):
            async with connect(venue.url):
                pytest.fail("it got in")


async def test_a_second_client_with_the_secret_replaces_the_first(server: Server) -> None:
    async with connect(f"{server.url}lobby/", name="alice") as first:
        greeting = await anext(first)
        assert isinstance(greeting, Welcome)
        async with connect(f"{server.url}lobby/?resume={greeting.resume}") as second:
            assert second.name == "alice"
            with pytest.raises(Disconnected) as caught:
                await expect(first, Left("nobody"))
            assert caught.value.code == 4006


async def test_it_comes_back_to_a_server_that_was_restarted() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as servers:
            before = Server(Config(port=0))
            await servers.start(before.run)
            async with (
                connect(f"{before.url}lobby/", name="alice") as chat,
                trio.open_nursery() as nursery,
            ):
                await chat.say("before")
                assert await text_of(chat) == "before"
                before.drain()
                lost = await anext(chat)
                assert isinstance(lost, Reconnecting)
                assert lost.code == 1001
                nursery.start_soon(chat.say, "meanwhile")
                after = Server(Config(port=before.port))
                await servers.start(after.run)
                async for event in chat:
                    if isinstance(event, Reconnected):
                        # Its history was in memory, so this is another life of the numbering.
                        assert not event.recovered
                        break
                assert await text_of(chat) == "meanwhile"
                assert (chat.name, chat.seq) == ("alice", 1)
            after.drain()


async def test_plain_and_v1_in_one_room(server: Server) -> None:
    async with (
        connect_plain(f"{server.url}lobby/") as plain,
        connect(f"{server.url}lobby/") as chat,
    ):
        await plain.send("from nobody")
        assert await anext(plain) == "from nobody"
        assert await text_of(chat) == "from nobody"
        await chat.say("from somebody")
        assert await anext(plain) == "from somebody"
        await plain.send("x" * (server.config.max_message + 1))
        with pytest.raises(PlainError, match="too-long"):
            await anext(plain)


# --- TLS ---

CERTIFICATE = Path(__file__).parent / "localhost.pem"


@asynccontextmanager
async def behind_tls(venue: Venue) -> AsyncIterator[str]:
    """A proxy that speaks TLS; yields the address of the lobby there."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def proxy(theirs: trio.SSLStream[trio.SocketStream]) -> None:
        ours = await trio.open_tcp_stream("127.0.0.1", venue.server.port)
        async with ours, trio.open_nursery() as nursery:
            nursery.start_soon(carry, theirs, ours)
            await carry(ours, theirs)
            nursery.cancel_scope.cancel()

    async def carry(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                await target.send_all(data)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, proxy, 0, context, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.transport_listener.socket.getsockname()[1]
        yield f"https://localhost:{port}/chat/lobby/"
        nursery.cancel_scope.cancel()


async def test_two_talk_over_tls(chat_server: Venue) -> None:
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    async with (
        behind_tls(chat_server) as url,
        connect(url, tls=trust) as chat,
        connect_plain(url, tls=trust) as plain,
    ):
        await chat.say("hello")
        assert await anext(plain) == "hello"


async def test_a_certificate_that_nobody_vouches_for(chat_server: Venue) -> None:
    async with behind_tls(chat_server) as url:
        with pytest.raises(Disconnected, match=r"1015: no TLS: .*certificate verify failed"):
            async with connect(url):
                pytest.fail("it got in")


# --- Without a server ---


async def test_nobody_listens_there() -> None:
    with trio.socket.socket() as reserved:
        await reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with pytest.raises(Disconnected, match=f"{port}: Connection refused"):
            async with connect(f"127.0.0.1:{port}/lobby"):
                pytest.fail("it got in")


async def test_a_server_without_tls_is_not_trusted_with_it() -> None:
    async def answer_plainly(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer_plainly, 0)
        port = listeners[0].socket.getsockname()[1]
        for opening in (connect, connect_plain):
            with pytest.raises(Disconnected, match="1015: no TLS"):
                async with opening(f"https://localhost:{port}/chat/lobby/"):
                    pytest.fail("it got in")
        nursery.cancel_scope.cancel()
