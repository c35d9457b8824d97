"""Rooms that two nodes share, as their members see them. Both nodes run here, on a real Redis."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import trio
from redis_server import RedisServer
from trio_websocket import WebSocketConnection, open_websocket_url
from witness import JSON, Closed, Line, open_line

from trio_chat.config import Config, Retention
from trio_chat.history.redis import RedisHistory
from trio_chat.protocol import CloseCode
from trio_chat.server import Server

pytest_plugins = ["redis_fixtures"]
pytestmark = pytest.mark.redis

KEEP: Final = Retention(messages=10_000, bytes=0, age=math.inf)
PATIENCE: Final = 30  # seconds until a test gives up


class Cluster:
    """Two nodes, and the lines of those who meet there."""

    def __init__(self, nodes: list[Server], lines: AsyncExitStack) -> None:
        self.nodes = nodes
        self._lines = lines

    async def line(self, node: int, **query: Any) -> Line:
        """Come to the lobby on that node."""
        url = f"ws://127.0.0.1:{self.nodes[node].port}/ws/chat/lobby/?{urlencode(query)}"
        return await self._lines.enter_async_context(open_line(url))

    async def join(self, node: int, name: str, **query: Any) -> tuple[Line, JSON]:
        """Join the lobby on that node, and hear the welcome."""
        line = await self.line(node, name=name, **query)
        welcome = await line.hear()
        assert welcome["type"] == "welcome", welcome
        return line, welcome

    async def plain(self, node: int) -> WebSocketConnection:
        """Join the lobby as a plain member, and be heard there."""
        url = f"ws://127.0.0.1:{self.nodes[node].port}/ws/chat/lobby/"
        line = await self._lines.enter_async_context(open_websocket_url(url))
        await line.send_message("{}")
        assert "bad-message" in await line.get_message()
        return line


@asynccontextmanager
async def two_nodes(
    url: str, *, patience: float = 5.0, lease: float = 9.0
) -> AsyncIterator[Cluster]:
    """Run two nodes; at the end they drain, with balanced books."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, AsyncExitStack() as lines:
            nodes = []
            for _ in range(2):
                history = RedisHistory(url, KEEP, patience=patience, lease=lease)
                nodes.append(Server(Config(port=0, rate=0, close_timeout=1), history))
                await nursery.start(nodes[-1].run)
            yield Cluster(nodes, lines)
            await lines.aclose()
            for node in nodes:
                node.drain()
    assert all(node.house.ledger.balances for node in nodes)
    assert all(node.house.tally.faults == 0 for node in nodes)


async def hear(line: Line, kind: str) -> JSON:
    """Return the next event of that type, whatever comes before it."""
    while (event := await line.hear())["type"] != kind:
        pass
    return event


async def heard_until(line: Line, kind: str) -> list[str]:
    """Return the types of what comes, up to the first of that one."""
    kinds: list[str] = []
    while not kinds or kinds[-1] != kind:
        kinds.append((await line.hear())["type"])
    return kinds


async def code_of(line: Line) -> int:
    """Return the code with which the line ends."""
    while True:
        try:
            await line.hear()
        except Closed as end:
            return end.code


# --- One room ------------------------------------------------------------------------------------


async def test_a_name_is_unique_among_the_members_of_all_nodes(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        _, first = await cluster.join(0, "Ada")
        _, second = await cluster.join(1, "ada")
        _, third = await cluster.join(1, "ADA")
        assert [each["name"] for each in (first, second, third)] == ["Ada", "ada-2", "ADA-3"]
        assert third["members"] == ["ADA-3", "Ada", "ada-2"]


async def test_who_comes_and_goes_on_one_node_is_known_on_the_other(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        assert (await hear(ada, "join"))["name"] == "Bob"
        await bob.say({"message": "hello"})
        await bob.close()
        assert await heard_until(ada, "leave") == ["message", "leave"]


async def test_all_hear_the_same_in_one_order_whatever_they_speak(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        eve = await cluster.plain(1)

        async def talk(say: Callable[[JSON], Awaitable[None]], word: str) -> None:
            for number in range(50):
                await say({"message": f"{word} {number}"})

        async def say_plain(event: JSON) -> None:
            await eve.send_message(json.dumps(event))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, ada.say, "a")
            nursery.start_soon(talk, bob.say, "b")
            nursery.start_soon(talk, say_plain, "e")
        heard = [[await hear(line, "message") for _ in range(150)] for line in (ada, bob)]
        assert heard[0] == heard[1]
        assert [event["seq"] for event in heard[0]] == list(range(1, 151))
        plain = [json.loads(await eve.get_message())["message"] for _ in range(150)]
        assert plain == [event["message"] for event in heard[0]]


async def test_an_id_that_was_accepted_on_one_node_is_a_duplicate_on_the_other(
    redis_url: str,
) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        await ada.say({"message": "once", "id": "x"})
        assert (await hear(ada, "ack")) == {"type": "ack", "id": "x", "seq": 1, "duplicate": False}
        await bob.say({"message": "once", "id": "x"})
        assert (await hear(bob, "ack"))["duplicate"]
        await bob.say({"message": "another", "id": "x"})
        assert (await hear(bob, "error"))["code"] == "bad-id"


async def test_who_types_on_one_node_is_seen_typing_on_the_other(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        await bob.say({"type": "typing"})
        assert (await hear(ada, "typing"))["name"] == "Bob"
        await bob.say({"message": "there"})
        assert await heard_until(bob, "message") == ["message"]  # Nobody is told of himself.


async def test_one_resumes_on_another_node_where_one_was(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, welcome = await cluster.join(0, "Bob")
        await bob.close()
        for number in range(300):
            await ada.say({"message": str(number)})
        for _ in range(300):
            await hear(ada, "message")
        again, recovered = await cluster.join(
            1, "Bob", since=welcome["seq"], epoch=welcome["epoch"]
        )
        assert recovered["recovered"]
        told = [(await hear(again, "message"))["message"] for _ in range(300)]
        assert told == [str(number) for number in range(300)]


@pytest.mark.parametrize("node", [0, 1], ids=["on the same node", "on another node"])
async def test_a_place_is_taken_over_and_nobody_hears_of_it(redis_url: str, node: int) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        old, welcome = await cluster.join(0, "Bob")
        await hear(ada, "join")
        new, again = await cluster.join(node, "whoever", resume=welcome["resume"])
        assert again["name"] == "Bob"
        assert await code_of(old) == CloseCode.REPLACED
        await new.say({"message": "still here"})
        assert await heard_until(ada, "message") == ["message"]
        _, other = await cluster.join(1, "Bob")
        assert other["name"] == "Bob-2"


# --- Ends ----------------------------------------------------------------------------------------


async def test_a_node_that_drains_takes_its_members_out_and_loses_nothing(redis_url: str) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        await bob.say({"message": "last words", "id": "x"})
        await hear(bob, "ack")
        cluster.nodes[1].drain()
        assert await heard_until(ada, "leave") == ["join", "message", "leave"]
        assert await code_of(bob) == CloseCode.GOING_AWAY
    assert cluster.nodes[1].exit_code == 0


async def test_a_name_that_is_claimed_when_the_room_ends_is_free_again(
    new_redis: Callable[[], RedisServer],
) -> None:
    redis = new_redis()
    async with two_nodes(redis.url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        await cluster.join(1, "Eve")
        await hear(ada, "join")
        redis.pause()
        late = await cluster.line(1, name="Bob")
        await trio.testing.wait_all_tasks_blocked(0.05)
        cluster.nodes[1].drain()
        await trio.testing.wait_all_tasks_blocked(0.05)
        redis.resume()
        assert await code_of(late) == CloseCode.GOING_AWAY
        left = [(await hear(ada, "leave"))["name"]]
        if left == ["Bob"]:
            left.append((await hear(ada, "leave"))["name"])
        _, bob = await cluster.join(0, "Bob")
        assert bob["name"] == "Bob"
        assert bob["members"] == ["Ada", "Bob"]


async def test_who_comes_while_redis_does_not_answer_is_asked_to_come_later(
    new_redis: Callable[[], RedisServer],
) -> None:
    redis = new_redis()
    # A lease so long that no sign is due, and so nobody knows of it before Bob does.
    async with two_nodes(redis.url, patience=0.2, lease=60) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        redis.pause()
        assert await code_of(await cluster.line(0, name="Bob")) == CloseCode.TRY_AGAIN_LATER
        redis.resume()
        await ada.close()


async def test_where_redis_has_forgotten_everything_the_numbering_begins_anew(
    new_redis: Callable[[], RedisServer],
) -> None:
    redis = new_redis()
    async with two_nodes(redis.url, lease=1) as cluster:
        ada, welcome = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        redis.ask("flushall")
        await ada.say({"message": "who hears me?"})
        assert await code_of(ada) == CloseCode.RENUMBERED
        assert await code_of(bob) == CloseCode.RENUMBERED  # Although it has said nothing.
        _, anew = await cluster.join(0, "Ada", since=welcome["seq"], epoch=welcome["epoch"])
        assert not anew["recovered"]
        assert anew["epoch"] != welcome["epoch"]


async def test_who_comes_to_a_room_that_redis_has_forgotten_is_sent_to_its_next_life(
    redis_url: str, shared_redis: RedisServer
) -> None:
    async with two_nodes(redis_url) as cluster:
        await cluster.join(0, "Ada")
        database = redis_url.rpartition("/")[2]
        shared_redis.ask("-n", database, "flushdb")
        bob = await cluster.line(0, name="Bob")
        assert await code_of(bob) == CloseCode.RENUMBERED


async def test_without_redis_members_stay_and_are_told_and_others_come_back_later(
    new_redis: Callable[[], RedisServer],
) -> None:
    redis = new_redis()
    async with two_nodes(redis.url, patience=0.2) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        bob, _ = await cluster.join(1, "Bob")
        redis.kill()
        await ada.say({"message": "anybody?", "id": "x"})
        error = await hear(ada, "error")
        assert (error["code"], error["id"]) == ("history-unavailable", "x")
        assert await code_of(await cluster.line(0, name="Eve")) == CloseCode.TRY_AGAIN_LATER
        redis.start()
        answer = error
        while answer["type"] != "ack":  # It is refused until the node has seen that Redis is back.
            await ada.say({"message": "anybody?", "id": "x"})
            while (answer := await ada.hear())["type"] not in {"ack", "error"}:
                pass
        assert (await hear(bob, "message"))["message"] == "anybody?"
        assert cluster.nodes[0].house.tally.unstored > 0


async def test_a_node_that_missed_what_can_no_longer_be_had_sends_its_members_to_recover(
    redis_url: str, shared_redis: RedisServer
) -> None:
    async with two_nodes(redis_url) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        # As if everything between had been trimmed before this node read it.
        ask = ("-n", redis_url.rpartition("/")[2], "xadd", "trio-chat:{lobby}:log", "9-0")
        shared_redis.ask(*ask, "0", "9 1.5 8-0 9", "1", 'm["Eve","news",null]')
        assert await code_of(ada) == CloseCode.EVICTED


async def test_who_has_lost_a_name_to_somebody_meanwhile_is_told_to_come_again(
    redis_url: str, shared_redis: RedisServer
) -> None:
    async with two_nodes(redis_url, lease=0.4) as cluster:
        ada, _ = await cluster.join(0, "Ada")
        # As if this node had been cut off, its members been withdrawn, and the name been taken.
        members = ("-n", redis_url.rpartition("/")[2], "hset", "trio-chat:{lobby}:members")
        shared_redis.ask(*members, "n:ada", f"{'f' * 12}.1 {'0' * 32} Ada")
        assert await code_of(ada) == CloseCode.INTERNAL_ERROR
