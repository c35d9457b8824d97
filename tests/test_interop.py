"""Another library as the client of both dialects: `websockets`, in an event loop of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import websockets
from websockets.asyncio.client import ClientConnection

from trio_chat.config import Config
from trio_chat.testing import Venue, open_server

V1 = [websockets.Subprotocol("trio-chat.v1")]
PATIENCE = 30

Script = Callable[[str], Coroutine[None, None, None]]


@asynccontextmanager
async def server(config: Config | None = None) -> AsyncIterator[Venue]:
    with trio.fail_after(PATIENCE):
        async with open_server(config or Config(port=0)) as venue:
            yield venue


async def play(script: Script, config: Config | None = None) -> None:
    """Run a client's script against a server, each in its own event loop."""
    async with server(config) as venue:
        await trio.to_thread.run_sync(
            asyncio.run, script(f"ws://127.0.0.1:{venue.server.port}/ws/chat/lobby/")
        )


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        event = json.loads(await client.recv())
    assert isinstance(event, dict)
    return event


async def hear_kind(client: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event of that type."""
    while (event := await hear(client))["type"] != kind:
        pass
    return event


def v1(url: str, query: str = "") -> websockets.connect:
    return websockets.connect(url + query, subprotocols=V1)


async def test_the_tutorial_s_dialect_says_exactly_one_key_and_nothing_else() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one, websockets.connect(url) as two:
            await one.send(json.dumps({"message": "hello"}))
            for client in (one, two):
                assert await client.recv() == '{"message":"hello"}'
            await two.send('{"message":"\\u0000 \\ud83c\\udf33","type":"x","name":"ignored"}')
            assert await hear(one) == {"message": "\0 🌳"}

    await play(script)


async def test_errors_go_to_their_sender_who_stays() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one, websockets.connect(url) as two:
            for text, code in [
                ("no json", "not-json"),
                ("[]", "not-an-object"),
                ("{}", "bad-message"),
                (json.dumps({"message": "x" * 5000}), "too-long"),
                ('{"message": NaN}', "not-json"),
                ('{"message": "a", "x": "\\ud800"}', "not-json"),
                ('{"message": "a", "x": ' + "9" * 5000 + "}", "not-json"),
                ("[" * 60_000, "not-json"),
            ]:
                await one.send(text)
                assert (await hear(one))["error"]["code"] == code
            await one.send('{"message": "still here"}')
            assert await hear(two) == {"message": "still here"}

    await play(script)


async def test_v1_welcomes_names_acknowledges_and_tells_who_comes_and_goes() -> None:
    async def script(url: str) -> None:
        async with v1(url, "?name=ada") as ada:
            assert ada.subprotocol == "trio-chat.v1"
            welcome = await hear(ada)
            assert welcome["type"] == "welcome"
            assert (welcome["name"], welcome["members"], welcome["seq"]) == ("ada", ["ada"], 0)
            async with v1(url, "?name=ADA") as other:
                assert (await hear(other))["members"] == ["ADA-2", "ada"]
                assert await hear(ada) == {"type": "join", "name": "ADA-2"}
                await other.send('{"type": "typing"}')
                assert await hear(ada) == {"type": "typing", "name": "ADA-2"}
                await other.send('{"message": "hi", "id": "7"}')
                message = await hear(ada)
                assert (message["seq"], message["name"], message["id"]) == (1, "ADA-2", "7")
                ack = await hear_kind(other, "ack")
                assert ack == {"type": "ack", "id": "7", "seq": 1, "duplicate": False}
                await other.send('{"message": "hi", "id": "7"}')
                assert (await hear_kind(other, "ack"))["duplicate"] is True
            assert await hear(ada) == {"type": "leave", "name": "ADA-2"}

    await play(script)


async def test_both_dialects_sit_in_one_room() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as plain, v1(url, "?name=ada") as ada:
            await hear(ada)
            await plain.send('{"message": "from nobody"}')
            assert await hear(plain) == {"message": "from nobody"}
            message = await hear(ada)
            assert (message["name"], message["message"]) == (None, "from nobody")
            await ada.send('{"message": "from ada"}')
            assert await hear(plain) == {"message": "from ada"}

    await play(script)


async def test_resuming_brings_what_was_missed_and_says_so() -> None:
    async def script(url: str) -> None:
        async with v1(url, "?name=ada") as ada, v1(url, "?name=bob") as bob:
            epoch = (await hear(bob))["epoch"]
            await bob.close()
            for number in range(3):
                await ada.send(json.dumps({"message": str(number), "id": str(number)}))
                await hear_kind(ada, "ack")
            async with v1(url, f"?name=bob&since=1&epoch={epoch}") as back:
                welcome = await hear(back)
                assert (welcome["recovered"], welcome["seq"]) == (True, 3)
                assert [(await hear_kind(back, "message"))["seq"] for _ in range(2)] == [2, 3]
            async with v1(url, "?since=1&epoch=another&history=1") as fresh:
                assert (await hear(fresh))["recovered"] is False
                assert (await hear_kind(fresh, "message"))["seq"] == 3

    await play(script)


async def test_who_comes_back_with_the_secret_takes_the_place_over() -> None:
    async def script(url: str) -> None:
        async with v1(url, "?name=eve") as witness, v1(url, "?name=ada") as ada:
            await hear(witness)
            welcome = await hear(ada)
            assert await hear(witness) == {"type": "join", "name": "ada"}
            async with v1(url, f"?resume={welcome['resume']}") as again:
                assert (await hear(again))["name"] == "ada"
                await ada.wait_closed()
                assert ada.close_code == 4006
                await again.send('{"message": "me again"}')
                assert (await hear(witness))["message"] == "me again"

    await play(script)


@pytest.mark.parametrize(
    "parts", [["{", '"message"', ': "in pieces"', "}"], ["", '{"message": "in pieces"}']]
)
async def test_a_message_may_come_in_fragments(parts: list[str]) -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one:
            await one.send(parts)
            assert await hear(one) == {"message": "in pieces"}
            await one.send('{"message": "whole"}')
            assert await hear(one) == {"message": "whole"}

    await play(script)


async def test_pings_are_answered_and_compression_is_declined() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url, compression="deflate") as one:
            await (await one.ping(b"hello?"))
            assert one.protocol.extensions == []

    await play(script)


async def test_a_binary_frame_is_1003() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one:
            await one.send(b"\0\1")
            await one.wait_closed()
            assert one.close_code == 1003

    await play(script)


async def test_nothing_but_errors_is_1008() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one:
            for _ in range(20):
                await one.send("nonsense")
                assert (await hear(one))["error"]["code"] == "not-json"
            await one.wait_closed()
            assert one.close_code == 1008

    await play(script)


async def test_a_frame_over_the_limit_is_1009() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one:
            await one.send("x" * 100_000)
            await one.wait_closed()
            assert one.close_code == 1009

    await play(script)


async def test_over_the_rate_a_message_is_refused_and_may_come_again() -> None:
    async def script(url: str) -> None:
        async with v1(url, "?name=ada") as ada:
            await hear(ada)
            for number in range(21):
                await ada.send(json.dumps({"message": str(number), "id": str(number)}))
            error = await hear_kind(ada, "error")
            assert (error["code"], error["id"]) == ("rate-limited", "20")
            await asyncio.sleep(error["retry_after"])
            await ada.send('{"message": "20", "id": "20"}')
            while (await hear_kind(ada, "ack"))["id"] != "20":
                pass

    await play(script)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type": "dance"}', "bad-type"),
        ('{"type": 7, "message": "x"}', "bad-type"),
        ('{"message": "x", "id": ""}', "bad-id"),
        ('{"message": "x", "id": 7}', "bad-id"),
        ('{"message": 7, "id": "7"}', "bad-message"),
        ("7", "not-an-object"),
        ("", "not-json"),
    ],
)
async def test_v1_names_the_error_and_the_message_that_it_is_about(text: str, code: str) -> None:
    async def script(url: str) -> None:
        async with v1(url) as one:
            await hear(one)
            await one.send(text)
            error = await hear(one)
            assert (error["type"], error["code"]) == ("error", code)
            assert isinstance(error["reason"], str)
            assert error.get("id") == ("7" if code == "bad-message" else None)
            await one.send('{"message": "still here", "id": "8"}')
            assert (await hear_kind(one, "ack"))["id"] == "8"

    await play(script)


async def test_an_id_that_comes_again_with_another_text_is_bad() -> None:
    async def script(url: str) -> None:
        async with v1(url) as one:
            await hear(one)
            await one.send('{"message": "first", "id": "7"}')
            await hear_kind(one, "ack")
            await one.send('{"message": "second", "id": "7"}')
            error = await hear_kind(one, "error")
            assert (error["code"], error["id"]) == ("bad-id", "7")

    await play(script)


async def test_typing_is_passed_on_once_in_two_seconds_and_not_to_oneself() -> None:
    async def script(url: str) -> None:
        async with v1(url, "?name=ada") as ada, v1(url, "?name=bob") as bob:
            await hear_kind(ada, "join")
            for _ in range(5):
                await bob.send('{"type": "typing"}')
            await bob.send('{"message": "what I typed", "id": "7"}')
            events = [await hear(ada) for _ in range(2)]
            assert [event["type"] for event in events] == ["typing", "message"]
            assert {event["type"] for event in [await hear(bob) for _ in range(3)]} == {
                "welcome",
                "message",
                "ack",
            }

    await play(script)


async def test_a_fresh_join_gets_as_much_history_as_it_asks_for() -> None:
    async def script(url: str) -> None:
        async with v1(url) as one:
            for number in range(5):
                await one.send(json.dumps({"message": str(number), "id": str(number)}))
            for _ in range(5):
                await hear_kind(one, "ack")
            for query, texts in [
                ("?history=2", ["3", "4"]),
                ("?history=0", []),
                ("", list("01234")),
            ]:
                async with v1(url, query) as fresh:
                    welcome = await hear(fresh)
                    assert (welcome["recovered"], welcome["seq"]) == (False, 5)
                    await fresh.send('{"type": "end of history"}')
                    heard = []
                    while (event := await hear(fresh))["type"] != "error":
                        heard.append(event["message"])
                    assert heard == texts

    await play(script)


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/nowhere/", None, 404),
        ("/chat/lobby/", None, 404),
        ("/ws/chat/a%20b/", None, 404),
        ("/ws/chat/lobby/", "http://elsewhere.example", 403),
        ("/ws/chat/lobby/", "null", 403),
        ("/ws/chat/lobby/?since=soon", None, 400),
    ],
)
async def test_a_handshake_that_is_refused_is_an_answer_in_http(
    path: str, origin: str | None, status: int
) -> None:
    async def script(url: str) -> None:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with websockets.connect(
                url.replace("/ws/chat/lobby/", path),
                subprotocols=V1,
                origin=None if origin is None else websockets.Origin(origin),
            ):
                pass
        assert caught.value.response.status_code == status

    await play(script)


async def test_origins_that_are_allowed_and_ones_own_may_connect() -> None:
    async def script(url: str) -> None:
        own = url.replace("ws://", "http://").partition("/ws/")[0]
        for origin in [own, "https://friend.example"]:
            async with websockets.connect(url, origin=websockets.Origin(origin)) as one:
                await one.send('{"message": "hello"}')
                assert await hear(one) == {"message": "hello"}

    await play(script, Config(port=0, allow_origin=("https://friend.example",)))


@pytest.mark.parametrize("subprotocols", [None, V1])
async def test_a_full_server_says_1013_behind_a_whole_handshake(
    subprotocols: list[websockets.Subprotocol] | None,
) -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as member:
            await member.send("{}")
            await hear(member)
            async with websockets.connect(url, subprotocols=subprotocols) as stranger:
                await stranger.wait_closed()
                assert (stranger.close_code, stranger.close_reason) == (1013, "the server is full")

    await play(script, Config(port=0, max_connections=1))


async def test_a_client_s_goodbye_is_answered_with_its_own_code() -> None:
    async def script(url: str) -> None:
        async with websockets.connect(url) as one:
            await one.close(3333, "enough")
            assert one.protocol.close_rcvd is not None
            assert one.protocol.close_rcvd.code == 3333

    await play(script)


async def test_a_client_that_answers_pings_is_kept_however_quiet_it_is() -> None:
    async def script(url: str) -> None:
        # Without its answers the quiet one would be gone when this one is.
        async with websockets.connect(url, ping_interval=None) as quiet:
            await be_deaf_until_dropped(url)
            await quiet.send('{"message": "still here"}')
            assert await hear(quiet) == {"message": "still here"}

    await play(script, Config(port=0, ping_interval=0.1, ping_timeout=0.9))


async def be_deaf_until_dropped(url: str) -> None:
    """Be a member that answers no ping, until the server ends that with 4003."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"GET {parts.path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.readuntil((4003).to_bytes(2, "big"))
    writer.close()
    await writer.wait_closed()


async def test_fifty_senders_and_two_thousand_messages_reach_everybody_once_in_one_order() -> None:
    senders, each = 50, 40

    async def talk(client: ClientConnection, number: int) -> list[tuple[int, str]]:
        heard: list[tuple[int, str]] = []

        async def say() -> None:
            for count in range(each):
                await client.send(json.dumps({"message": f"{number}/{count}"}))

        async def listen() -> None:
            while len(heard) < senders * each:
                event = await hear_kind(client, "message")
                heard.append((event["seq"], event["message"]))

        await asyncio.gather(say(), listen())
        return heard

    async def script(url: str) -> None:
        clients = [await v1(url, f"?name=sender-{number}") for number in range(senders)]
        everything = await asyncio.gather(*map(talk, clients, range(senders)))
        await asyncio.gather(*(client.close() for client in clients))
        first = everything[0]
        assert all(heard == first for heard in everything)
        assert [seq for seq, _ in first] == list(range(1, senders * each + 1))
        assert len({text for _, text in first}) == senders * each
        for number in range(senders):
            own = [text for _, text in first if text.startswith(f"{number}/")]
            assert own == [f"{number}/{count}" for count in range(each)]

    await play(script, Config(port=0, rate=0))
