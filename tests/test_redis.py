"""The history in Redis, at the level of the log: several nodes in this process, and a real Redis.

What every history promises is in test_history.py; what members see of several nodes, and of Redis
failing under them, in test_shared_rooms.py and test_cluster.py.
"""

from __future__ import annotations

import logging
import math
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
import trio
import trio.testing
from coredis import Redis
from redis_server import RedisServer

from trio_chat.config import Retention
from trio_chat.history import (
    Accepted,
    Conflict,
    Draft,
    Duplicate,
    FellBehind,
    HistoryUnavailable,
    IsTyping,
    Joined,
    Left,
    Lost,
    Moved,
    News,
    NumberingBeganAnew,
    Receipt,
    Said,
)
from trio_chat.history.redis import RedisHistory
from trio_chat.history.redis_room import FEED, PORTION, RedisLog, RoomKeys
from trio_chat.history.redis_scripts import APPEND, CLAIM, NEWS_KEPT, RESTORE, WITHDRAW
from trio_chat.hub import MAX_BATCH_ITEMS
from trio_chat.protocol import Entry, fold_name

pytest_plugins = ["redis_fixtures"]
pytestmark = pytest.mark.redis

KEEP_ALL: Final = Retention(messages=0, bytes=0, age=math.inf)
ALL: Final = 10**6
LEASE: Final = 1.0  # seconds: so nobody waits long for the dead
PATIENCE: Final = 30  # seconds until a test gives up
KEYS: Final = RoomKeys.of("lobby")

NewRedis = Callable[[], RedisServer]


class Nodes:
    """The nodes of a test: histories of one Redis, each of which runs until it is killed."""

    def __init__(self, nursery: trio.Nursery, url: str) -> None:
        self._nursery = nursery
        self._url = url
        self._lives: dict[RedisHistory, trio.CancelScope] = {}

    async def start(
        self,
        retention: Retention = KEEP_ALL,
        *,
        patience: float = 5.0,
        lease: float = LEASE,
        url: str | None = None,
    ) -> RedisHistory:
        history = RedisHistory(url or self._url, retention, patience=patience, lease=lease)
        await history.open()
        self._lives[history] = trio.CancelScope()
        self._nursery.start_soon(self._live, history)
        return history

    async def _live(self, history: RedisHistory) -> None:
        with self._lives[history]:
            await history.run()
        assert self._lives[history].cancelled_caught, "run ended by itself"

    async def rooms(self, count: int, retention: Retention = KEEP_ALL) -> list[RedisLog]:
        """Start so many nodes, and open the lobby on each."""
        return [await (await self.start(retention)).open_room("lobby") for _ in range(count)]

    def kill(self, history: RedisHistory) -> None:
        """End a node without a word."""
        self._lives[history].cancel(reason="the node is killed")

    def kill_all(self) -> None:
        for history in self._lives:
            self.kill(history)


@asynccontextmanager
async def open_nodes(url: str) -> AsyncIterator[Nodes]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nodes = Nodes(nursery, url)
            await trio.lowlevel.checkpoint()
            yield nodes
            nodes.kill_all()


def open_redis(url: str) -> Redis[str]:
    return Redis.from_url(url, decode_responses=True)


def draft(message: str, id: str | None = None) -> Draft:
    return Draft("Ada", message, id)


def drafts(*messages: str) -> list[Draft]:
    return [draft(message) for message in messages]


def numbers(receipts: Sequence[Receipt]) -> list[int]:
    """The numbers of a batch of which nothing was refused."""
    return [accepted.entry.seq for accepted in receipts if isinstance(accepted, Accepted)]


async def hear(log: RedisLog, count: int) -> list[Said]:
    """Listen until so much was said."""
    said: list[Said] = []
    while len(said) < count:
        said += await log.listen()
    return said


async def hear_until(log: RedisLog, last: Said) -> list[Said]:
    """Listen until that was said; return all of it."""
    said: list[Said] = []
    while last not in said:
        said += await log.listen()
    return said


async def hear_text(log: RedisLog, text: str) -> list[Said]:
    """Listen until somebody has said that; return all of it."""
    said: list[Said] = []
    while text not in texts(said):
        said += await log.listen()
    return said


async def hear_end(log: RedisLog) -> list[Said]:
    """Listen until nothing more comes. Raises what `listen` raises."""
    said: list[Said] = []
    while True:
        said += await log.listen()


def entries(said: Iterable[Said]) -> list[Entry]:
    return [each for each in said if isinstance(each, Entry)]


def texts(said: Iterable[Said]) -> list[str]:
    return [entry.message for entry in entries(said)]


async def kept(log: RedisLog) -> list[Entry]:
    return list(await log.read(0, log.last, ALL))


def by_hand(log: RedisLog, number: int, owner: str, *messages: str) -> list[str | float]:
    """The arguments of the script for a batch of messages."""
    arguments: list[str | float] = [log.epoch, log.last, owner, number, 0, 0]
    for message in messages:
        arguments += [f'm["Ada","{message}",null]', "", ""]
    return arguments


# --- Numbers and receipts ------------------------------------------------------------------------


async def test_numbers_are_one_count_over_all_nodes(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        assert one.epoch == other.epoch
        assert numbers(await one.append(drafts("a", "b"))) == [1, 2]
        assert numbers(await other.append(drafts("c"))) == [3]
        assert numbers(await one.append(drafts("d"))) == [4]


async def test_an_id_accepted_by_one_node_is_a_duplicate_on_another(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        await one.append([draft("a", "x")])
        receipts = await other.append([draft("b"), draft("a", "x"), draft("A", "x")])
        assert numbers(receipts) == [2]
        assert list(receipts[1:]) == [Duplicate("x", 1), Conflict("x", 1)]


async def test_what_a_receipt_says_is_what_everybody_hears_and_reads(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        (receipt,) = await one.append([draft("a", "x")])
        assert isinstance(receipt, Accepted)
        assert await hear(one, 1) == await hear(other, 1) == [receipt.entry]
        assert await kept(other) == [receipt.entry]


async def test_a_batch_that_is_sent_again_is_answered_again_and_appended_once(
    redis_url: str,
) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        log = await history.open_room("lobby")
        batch, keys = by_hand(log, 1, "someone.1", "a", "b"), [*KEYS.all, "batch"]
        first = await history.call(APPEND, keys, batch, anew=False)
        again = await history.call(APPEND, keys, batch, anew=False)
        assert again == first
        assert await redis.xlen(KEYS.log) == 1
        assert texts(await hear(log, 2)) == ["a", "b"]


async def test_a_batch_that_comes_after_a_later_one_is_refused(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        log = await history.open_room("lobby")
        keys = [*KEYS.all, "batch"]
        await history.call(APPEND, keys, by_hand(log, 2, "someone.1", "new"), anew=False)
        with pytest.raises(HistoryUnavailable):
            await history.call(APPEND, keys, by_hand(log, 1, "someone.1", "old"), anew=False)
        assert await redis.xlen(KEYS.log) == 1


async def test_the_largest_flush_of_a_hub_is_one_entry(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        one, other = await nodes.rooms(2)
        batch = [draft("x" * 4096, str(i).zfill(64)) for i in range(MAX_BATCH_ITEMS)]
        assert numbers(await one.append(batch)) == list(range(1, MAX_BATCH_ITEMS + 1))
        assert await redis.xlen(KEYS.log) == 1
        heard = await other.listen()
        assert [entry.id for entry in entries(heard)] == [each.id for each in batch]


@pytest.mark.parametrize(
    "text", ["", "\0", "😀", "a\nb\r\n", "\"'\\", "%d %s", "{}", "x" * 100_000, "\u2028\ufeff"]
)
async def test_any_text_reaches_the_other_nodes_as_it_is(redis_url: str, text: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        await one.append([Draft(text or None, text, text or None)])
        (said,) = entries(await other.listen())
        assert (said.name, said.message, said.id) == (text or None, text, text or None)


# --- Listening -----------------------------------------------------------------------------------


async def test_every_node_hears_all_that_all_say_in_one_order_news_in_their_place(
    redis_url: str,
) -> None:
    async with open_nodes(redis_url) as nodes:
        logs = await nodes.rooms(3)
        batches = 20

        async def talk(log: RedisLog, who: str) -> None:
            for i in range(batches):
                news: list[Draft | News] = [draft(f"{who}{i}"), Joined(f"{who}{i}")]
                await log.append([*news, draft(f"{who}{i}!")])

        async with trio.open_nursery() as nursery:
            for log, who in zip(logs, "abc", strict=True):
                nursery.start_soon(talk, log, who)
        stories = [await hear(log, 3 * 3 * batches) for log in logs]
        assert stories[0] == stories[1] == stories[2]
        said = entries(stories[0])
        assert [entry.seq for entry in said] == list(range(1, 2 * 3 * batches + 1))
        assert [entry.time for entry in said] == sorted(entry.time for entry in said)
        for index, each in enumerate(stories[0]):
            if isinstance(each, Joined):
                before, after = stories[0][index - 1], stories[0][index + 1]
                assert texts([before, after]) == [each.name, f"{each.name}!"]


async def test_whoever_opens_a_room_hears_what_comes_after(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        (one,) = await nodes.rooms(1)
        await one.append([draft("a"), IsTyping("Ada")])
        (late,) = await nodes.rooms(1)
        assert late.last == 1
        await one.append(drafts("b"))
        assert texts(await late.listen()) == ["b"]


async def test_a_room_that_is_opened_anew_hears_nothing_of_the_time_before(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start()
        for life in range(20):
            log = await history.open_room("lobby")
            await log.claim("Ada", f"s{life}", None)
            await log.append([IsTyping("Ada")])
            assert await hear(log, 2) == [Joined("Ada"), IsTyping("Ada")]
            await log.aclose()


async def test_a_hub_that_does_not_listen_is_not_read_for_and_loses_nothing(
    redis_url: str,
) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.start(), await nodes.start()
        deaf, elsewhere = await other.open_room("lobby"), await other.open_room("elsewhere")
        loud, beside = await one.open_room("lobby"), await one.open_room("elsewhere")
        flushes = FEED + 2 * PORTION
        for i in range(flushes):
            await loud.append(drafts(str(i)))
            if i >= FEED:  # Others on that node are heard all the same.
                await beside.append(drafts(str(i)))
                assert texts(await elsewhere.listen()) == [str(i)]
        assert int(deaf.cursor.partition("-")[0]) <= FEED
        assert texts(await hear(deaf, flushes)) == [str(i) for i in range(flushes)]


async def test_whoever_stops_listening_loses_nothing(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        flushes = 2 * FEED
        for i in range(flushes):
            await one.append(drafts(str(i)))
        said: list[Said] = []

        async def listen(scope: trio.CancelScope) -> None:
            with scope:
                said.extend(await other.listen())

        steps = random.Random(1)
        while len(said) < flushes:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(listen, scope)
                for _ in range(steps.randrange(1, 8)):
                    await trio.lowlevel.checkpoint()
                scope.cancel(reason="it has something else to do")
        assert texts(said) == [str(i) for i in range(flushes)]


async def test_a_hub_that_fell_behind_what_is_kept_is_told(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2, Retention(messages=10, bytes=0, age=math.inf))
        for i in range(2 * FEED):
            await one.append(drafts(str(i)))
        with pytest.raises(FellBehind):
            await hear_end(other)


async def test_a_hub_that_fell_behind_the_news_is_told(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        for _ in range(FEED + 3 * NEWS_KEPT):
            await one.append([IsTyping("Ada")])
        with pytest.raises(FellBehind):
            await hear_end(other)


async def test_listening_goes_on_where_it_was_when_redis_has_been_restarted(
    new_redis: NewRedis,
) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        one, other = await nodes.rooms(2)
        await one.append(drafts("a", "b"))
        server.kill()
        await trio.to_thread.run_sync(server.start)
        await one.append(drafts("c"))
        await other.append(drafts("d"))
        for log in (one, other):
            assert texts(await hear(log, 4)) == ["a", "b", "c", "d"]


@pytest.mark.slow
async def test_a_node_survives_any_number_of_broken_connections(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        (log,) = await nodes.rooms(1)
        for i in range(66):
            server.ask("client", "kill", "type", "normal")
            await log.append(drafts(str(i)))
            assert texts(await log.listen()) == [str(i)]


async def test_a_node_needs_few_connections_however_many_its_rooms(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start()

        async def visit(name: str) -> None:
            log = await history.open_room(name)
            for text in "abc":
                await log.append(drafts(text))
                assert texts(await log.listen()) == [text]

        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(visit, f"room-{i}")
        # And one of them is the one that asks.
        assert len(server.ask("client", "list").splitlines()) <= 5


# --- Reading -------------------------------------------------------------------------------------


async def test_pages_of_history_pass_over_the_news_between(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        (log,) = await nodes.rooms(1)
        for i in range(10):
            await log.append(drafts(f"{i}a", f"{i}b"))
            for _ in range(5):
                await log.append([IsTyping("Ada")])
        cursor, pages = 0, []
        while cursor < log.last:
            page = await log.read(cursor, log.last, 3)
            pages.append([entry.seq for entry in page])
            cursor = page[-1].seq
        assert pages == [[i, i + 1, i + 2] for i in range(1, 19, 3)] + [[19, 20]]


# --- Bounds --------------------------------------------------------------------------------------


async def test_what_is_trimmed_is_gone_from_redis_ids_included(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        one, other = await nodes.rooms(2, Retention(messages=5, bytes=0, age=math.inf))
        for i in range(20):
            await one.append([draft(str(i), f"id-{i}"), IsTyping("Ada")])
        assert texts(await kept(one)) == ["15", "16", "17", "18", "19"]
        assert await redis.xlen(KEYS.log) == 5
        assert await redis.hlen(KEYS.ids) == await redis.zcard(KEYS.order) == 5
        await hear_text(other, "19")
        assert other.first == one.first == 16
        assert list(await other.append([draft("19", "id-19")])) == [Duplicate("id-19", 20)]
        assert numbers(await other.append([draft("0", "id-0")])) == [21]


async def test_what_is_too_old_is_trimmed_with_what_is_said_ids_included(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        (log,) = await nodes.rooms(1, Retention(messages=0, bytes=0, age=0.3))
        await log.append([draft("a", "x")])
        while log.first == 1:
            await log.append([IsTyping("Ada")])
        assert await kept(log) == []
        assert numbers(await log.append([draft("b", "x")])) == [2]
        assert texts(await kept(log)) == ["b"]


async def test_a_message_grows_old_while_nobody_speaks(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2, Retention(messages=0, bytes=0, age=0.3))
        await one.append(drafts("a"))
        for log in (one, other):
            while log.first == 1:
                await log.listen()  # Whoever notices it first lets the others know.
            assert (log.first, log.last) == (2, 1)
            assert await kept(log) == []
        assert numbers(await other.append(drafts("b"))) == [2]


async def test_a_room_that_is_opened_late_has_nothing_that_is_too_old(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start(Retention(messages=0, bytes=0, age=60))
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        await log.aclose()
        # A minute passes: or, what is the same to a room, it was said long ago.
        await redis.delete([KEYS.log])
        fields: dict[str | bytes, str | bytes | int | float] = {"0": "1 1000.0 0-0 1"}
        await redis.xadd(KEYS.log, fields | {"1": 'm["Ada","a",null]'}, identifier="1-0")
        log = await history.open_room("lobby")
        assert (log.first, log.last) == (2, 1)
        assert await kept(log) == []


async def test_of_news_only_so_many_are_kept(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        (log,) = await nodes.rooms(1)
        await log.append(drafts("a"))
        for _ in range(5 * NEWS_KEPT):
            await log.append([IsTyping("Ada")])
        assert await redis.xlen(KEYS.log) <= 2 * NEWS_KEPT + 1
        assert texts(await kept(log)) == ["a"]


async def test_a_room_in_which_nothing_was_said_leaves_nothing_behind(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        log = await history.open_room("lobby")
        await log.claim("Ada", "secret", None)
        await log.append([IsTyping("Ada"), Left("Ada", "secret")])
        await log.aclose()
        # But the number of its last batch, which may still be on the way a second time.
        for key in await redis.keys("*lobby*"):
            assert 0 < await redis.ttl(key) <= 60


async def test_a_room_whose_opening_was_given_up_leaves_nothing_behind(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()

        async def open_room(scope: trio.CancelScope) -> None:
            with scope:
                await (await history.open_room("lobby")).aclose()

        for steps in range(1, 12):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(open_room, scope)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel(reason="it has something else to do")
        await (await history.open_room("lobby")).aclose()
        while await redis.exists([KEYS.meta]):
            pass


async def test_a_room_in_which_something_was_said_goes_on(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start()
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        await log.aclose()
        again = await history.open_room("lobby")
        assert (again.epoch, again.last) == (log.epoch, 1)
        assert texts(await kept(again)) == ["a"]


# --- The numbering begins anew -------------------------------------------------------------------


async def test_a_redis_that_has_lost_everything_begins_anew(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start()
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        server.kill()
        server.forget()
        server.start()
        with pytest.raises(NumberingBeganAnew):
            await log.append(drafts("b"))
        await log.aclose()
        again = await history.open_room("lobby")
        assert (again.last, again.epoch != log.epoch) == (0, True)
        assert numbers(await again.append(drafts("c"))) == [1]


async def test_who_only_listens_hears_of_it_as_soon_as_redis_is_back(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start(lease=10 * PATIENCE)  # So a look in its turn would be too late.
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        server.kill()
        server.forget()
        server.start()
        with pytest.raises(NumberingBeganAnew):
            await hear_end(log)


class Copy:
    """What a Redis had on its disk at one moment, to come back with it later."""

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self._server = server
        self._directory = directory
        server.kill()
        shutil.copytree(directory, f"{directory}-copy")
        server.start()

    def bring_back(self) -> None:
        self._server.kill()
        self._server.forget()
        shutil.copytree(f"{self._directory}-copy", self._directory, dirs_exist_ok=True)
        self._server.start()


@pytest.mark.parametrize("who", [0, 1], ids=["the one that spoke", "the other"])
async def test_numbers_that_were_seen_are_not_given_again_when_the_newest_are_lost(
    new_redis: NewRedis, tmp_path: Path, who: int
) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        logs = await nodes.rooms(2)
        await logs[0].append(drafts("a"))
        copy = Copy(server, tmp_path / "redis-1")
        await logs[0].append(drafts("lost"))
        for log in logs:
            await hear_text(log, "lost")
        copy.bring_back()
        with pytest.raises(NumberingBeganAnew):
            await logs[who].append(drafts("b"))
        # The others hear of it, and it is one new epoch for all of them.
        with pytest.raises(NumberingBeganAnew):
            await hear_end(logs[1 - who])
        again = await nodes.rooms(2)
        assert again[0].epoch == again[1].epoch != logs[0].epoch


async def test_a_newcomer_that_speaks_first_does_not_hide_that_the_newest_are_lost(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start()
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        copy = Copy(server, tmp_path / "redis-1")
        await log.append(drafts("lost"))
        await hear_text(log, "lost")
        copy.bring_back()
        (newcomer,) = await nodes.rooms(1)
        # Whoever knows nothing of what is lost may be quicker than those who do.
        with suppress(NumberingBeganAnew):
            await newcomer.append(drafts("b", "c"))
        with pytest.raises(NumberingBeganAnew):
            await hear_end(log)


async def test_whoever_has_seen_more_than_redis_has_is_not_taken_from(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start()
        log = await history.open_room("lobby")
        epoch, _, *rest = by_hand(log, 1, "someone.1", "a")
        with pytest.raises(NumberingBeganAnew):
            await history.call(APPEND, [*KEYS.all, "batch"], [epoch, 1, *rest], anew=False)
        assert (await history.open_room("lobby")).epoch != epoch


async def test_what_was_said_in_place_of_something_lost_is_noticed(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        (log,) = await nodes.rooms(1)
        await log.append(drafts("lost"))
        await hear_text(log, "lost")
        # As if Redis had come back without it, and somebody who did not know had spoken twice.
        await redis.delete([KEYS.log])
        first = {"0": "1 1000.5 0-0@0 1", "1": 'm["Eve","in its place",null]'}
        second = {"0": "2 1001.5 1-0@1000.5 1", "1": 'm["Eve","and more",null]'}
        await redis.hset(KEYS.meta, {"last": 2, "tail": "2-0", "time": "1001.5"})
        for place, fields in [("1-0", first), ("2-0", second)]:
            await redis.xadd(KEYS.log, dict(fields), identifier=place)
        with pytest.raises(NumberingBeganAnew):
            await hear_end(log)
        (again,) = await nodes.rooms(1)
        assert again.epoch != log.epoch


# --- Names ---------------------------------------------------------------------------------------


async def test_a_name_is_unique_among_all_nodes(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        logs = await nodes.rooms(3)
        claims: list[str] = []

        async def claim(log: RedisLog, secret: str) -> None:
            claims.append((await log.claim("Ada", secret, None)).name)

        async with trio.open_nursery() as nursery:
            for i in range(30):
                nursery.start_soon(claim, logs[i % 3], f"secret-{i}")
        expected = ["Ada", *(f"Ada-{i}" for i in range(2, 31))]
        assert sorted(claims) == sorted(expected)
        joins = [{each.name for each in await hear(log, 30)} for log in logs]
        assert joins == [set(expected)] * 3


@pytest.mark.parametrize(
    "name", ["a b", "a  b", "n:s:x", "{}", "'\"\\", "%d", "😀", "1.1 x y", "\u00e9", "ẞ", "a-2"]
)
async def test_any_name_can_be_claimed_heard_and_left(redis_url: str, name: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        assert (await one.claim(name, "secret", None)).name == name
        assert (await other.claim(name, "other", None)).name == f"{name}-2"
        (late,) = await nodes.rooms(1)
        assert sorted(late.members) == sorted([name, f"{name}-2"])
        await one.append([Left(name, "secret")])
        said = await hear_until(other, Left(name))
        assert said == [Joined(name), Joined(f"{name}-2"), Left(name)]
        assert (await other.claim(name, "third", None)).name == name


async def test_who_comes_back_to_another_node_takes_the_place_over_unheard(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other, third = await nodes.rooms(3)
        await one.claim("Ada", "first", None)
        claim = await other.claim("whatever", "second", "first")
        assert claim.name == "Ada"
        joined, moved = await hear(one, 2)
        assert joined == Joined("Ada")
        assert isinstance(moved, Moved)
        assert moved.name == "Ada"
        await one.append([Left("Ada", "first"), draft("that was all")])
        assert texts(await one.listen()) == ["that was all"]
        for log in (other, third):
            joined, *rest = await hear_text(log, "that was all")
            assert joined == Joined("Ada")
            assert texts(rest) == ["that was all"]
            assert len(rest) == 1


async def test_who_comes_back_at_once_is_not_taken_for_the_one_that_went(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        await one.claim("Ada", "first", None)
        await other.claim("Ada", "second", "first")
        await one.claim("Ada", "third", "second")
        await one.append(drafts("here I am"))
        said = await hear_text(one, "here I am")
        assert not [each for each in said if isinstance(each, Moved)]
        assert [type(each) for each in await hear_text(other, "here I am")] == [
            Joined,
            Moved,
            Entry,
        ]


async def test_a_claim_is_not_cut_short(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        with trio.CancelScope() as scope:
            scope.cancel(reason="it has gone away")
            claim = await one.claim("Ada", "secret", None)
        assert claim.name == "Ada"
        await one.append([Left("Ada", "secret")])
        assert await hear(other, 2) == [Joined("Ada"), Left("Ada")]


async def owner_of(redis: Redis[str], name: str) -> str:
    held = await redis.hget(KEYS.members, f"n:{fold_name(name)}")
    assert held is not None
    return held.split(" ")[0]


async def test_a_claim_whose_answer_was_lost_leaves_no_ghost(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "secret", None)
        owner = await owner_of(redis, "Ada")
        ghost = [one.epoch, owner, "digest", "", "Bob", "bob"]
        await history.call(CLAIM, KEYS.all, ghost, anew=False)
        said = await hear_until(other, Left("Bob"))
        assert said == [Joined("Ada"), Joined("Bob"), Left("Bob")]


async def test_the_leave_of_an_older_connection_costs_the_newer_nothing(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "first", None)
        await other.claim("Ada", "second", "first")
        await one.claim("Ada", "third", "second")
        await one.append([Left("Ada", "first")])
        # Whoever looks twice and withdraws a ghost has looked at Ada as well.
        ghost = [one.epoch, await owner_of(redis, "Ada"), "digest", "", "Bob", "bob"]
        await history.call(CLAIM, KEYS.all, ghost, anew=False)
        said = await hear_until(other, Left("Bob"))
        assert Left("Ada") not in said
        assert (await other.claim("Ada", "fourth", None)).name == "Ada-2"


async def test_a_place_that_was_taken_over_and_never_answered_goes_back(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "secret", None)
        held = await redis.hget(KEYS.members, "n:ada")
        assert held is not None
        owner, digest, _ = held.split(" ")
        taken_over = [one.epoch, owner, "another", digest, "Ada", "ada"]
        await history.call(CLAIM, KEYS.all, taken_over, anew=False)
        await hear_until(other, Left("Ada"))
        assert Joined("Ada") in await hear_until(other, Joined("Ada"))
        assert await redis.hget(KEYS.members, "n:ada") == held


# --- Lives and deaths of nodes -------------------------------------------------------------------


async def test_who_ends_a_room_withdraws_its_members(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        one, other = await nodes.rooms(2)
        await one.claim("Ada", "secret", None)
        await other.claim("Bob", "other", None)
        await one.aclose()
        said = await hear_until(other, Left("Ada"))
        assert said == [Joined("Ada"), Joined("Bob"), Left("Ada")]


async def test_the_members_of_a_dead_node_are_withdrawn_once(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        doomed = await nodes.start()
        log = await doomed.open_room("lobby")
        await log.claim("Ada", "secret", None)
        others = await nodes.rooms(2)
        await others[0].claim("Bob", "other", None)
        nodes.kill(doomed)
        for each in others:
            await hear_until(each, Left("Ada"))
        await others[0].append([Left("Bob", "other")])
        for each in others:
            assert await hear_until(each, Left("Bob")) == [Left("Bob")]


async def test_whoever_opens_a_room_of_the_dead_finds_it_empty_soon(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        doomed = await nodes.start()
        await (await doomed.open_room("lobby")).claim("Ada", "secret", None)
        nodes.kill(doomed)
        (log,) = await nodes.rooms(1)
        await hear_until(log, Left("Ada"))
        assert (await log.claim("Ada", "other", None)).name == "Ada"


async def test_all_members_of_a_large_dead_node_are_withdrawn(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        log = await history.open_room("lobby")
        many = 10_000
        crowd: list[str | float] = [log.epoch, "dead.1"]
        for i in range(many):
            crowd += [f"digest-{i}", f"guest-{i}", f"guest-{i}"]
        await history.call(RESTORE, KEYS.all, crowd, anew=False)
        said = await hear(log, 2 * many)
        assert set(said[:many]) == {Joined(f"guest-{i}") for i in range(many)}
        assert set(said[many:]) == {Left(f"guest-{i}") for i in range(many)}
        assert not await redis.exists([KEYS.members])


async def test_nodes_that_redis_forgot_do_not_take_each_other_for_dead(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        logs = await nodes.rooms(3)
        for i, log in enumerate(logs):
            await log.claim(f"member-{i}", f"secret-{i}", None)
        for _ in range(8):
            await redis.delete(["trio-chat:nodes"])
            while await redis.zcard("trio-chat:nodes") < len(logs):
                pass
        await logs[0].append(drafts("all here"))
        for log in logs:
            said = await hear_text(log, "all here")
            assert not [each for each in said if isinstance(each, Left)]


async def withdraw(history: RedisHistory, node: RedisHistory) -> None:
    """Do what others do with a node that they take for dead."""
    await history.call(WITHDRAW, KEYS.all, [f"{node.node}."], anew=False)


async def test_who_was_taken_for_dead_comes_back_with_its_members(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start()
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "secret", None)
        await withdraw(history, history)
        await hear_until(other, Left("Ada"))
        await hear_until(other, Joined("Ada"))
        assert (await other.claim("Ada", "other", None)).name == "Ada-2"


async def test_a_name_that_was_given_away_meanwhile_is_lost(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start()
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "secret", None)
        await other.claim("Bob", "other", None)
        await withdraw(history, history)
        assert (await other.claim("Ada", "another", None)).name == "Ada"
        said: list[Said] = []
        while not [each for each in said if isinstance(each, Lost)]:
            said += await one.listen()
        assert said[-1].name == "Ada"
        # And what the one that lost it says of it later changes nothing.
        await one.append([Left("Ada", "secret"), draft("bye")])
        assert Left("Ada") not in (await hear_text(one, "bye"))


async def test_a_room_that_ended_while_redis_was_gone_leaves_no_members_behind(
    new_redis: NewRedis,
) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start(patience=0.2, lease=9.0)
        one = await history.open_room("lobby")
        (other,) = await nodes.rooms(1)
        await one.claim("Ada", "secret", None)
        server.kill()
        await one.aclose()
        server.start()
        assert await hear_until(other, Left("Ada")) == [Joined("Ada"), Left("Ada")]


async def test_who_comes_back_after_that_has_the_old_name(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start(patience=0.2, lease=9.0)
        log = await history.open_room("lobby")
        await log.claim("Ada", "secret", None)
        server.kill()
        await log.aclose()
        server.start()
        log = await until_open(history)
        assert (await log.claim("Ada", "again", "secret")).name == "Ada"
        await log.append(drafts("here I am"))
        assert Left("Ada") not in await hear_text(log, "here I am")


async def until_open(history: RedisHistory) -> RedisLog:
    while True:
        try:
            return await history.open_room("lobby")
        except HistoryUnavailable:
            await trio.lowlevel.checkpoint()


async def test_an_entry_that_cannot_be_read_costs_its_room_alone(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes, open_redis(redis_url) as redis:
        history = await nodes.start()
        log, beside = await history.open_room("lobby"), await history.open_room("beside")
        await redis.xadd(KEYS.log, {"0": "what?"}, identifier="1-0")
        with pytest.raises(ValueError, match="unpack"):
            await hear_end(log)
        await beside.append(drafts("a"))
        assert texts(await beside.listen()) == ["a"]


async def test_what_ends_after_the_node_does_is_no_error(redis_url: str) -> None:
    async with open_nodes(redis_url) as nodes:
        history = await nodes.start(lease=9.0)
        log = await history.open_room("lobby")
        await log.claim("Ada", "secret", None)
        nodes.kill(history)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(HistoryUnavailable):
            await log.append(drafts("a"))
        await log.aclose()
        await history.aclose()
        # It has taken itself off the list of those who live, so its members are withdrawn.
        (other,) = await nodes.rooms(1)
        await hear_until(other, Left("Ada"))


# --- Redis is gone -------------------------------------------------------------------------------


async def test_while_redis_is_gone_everything_fails_at_once(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start(patience=0.1)
        log = await history.open_room("lobby")
        server.kill()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: log.append(drafts("a")),
            lambda: log.claim("Ada", "secret", None),
            lambda: log.read(0, 1, 1),
            lambda: history.open_room("elsewhere"),
        ]
        for call in calls:
            with pytest.raises(HistoryUnavailable):
                await call()
        server.start()
        assert (await until_open(history)).last == 0


async def test_a_redis_that_stands_still_delays_and_doubles_nothing(new_redis: NewRedis) -> None:
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        history = await nodes.start(patience=0.2)
        log = await history.open_room("lobby")
        server.pause()
        with pytest.raises(HistoryUnavailable):
            await log.append([draft("a", "x")])
        server.resume()
        log = await until_open(history)
        await log.append([draft("a", "x"), draft("b")])
        assert texts(await kept(log)) == ["a", "b"]


@pytest.mark.parametrize("seed", range(2))
async def test_however_often_redis_is_killed_the_books_balance(
    new_redis: NewRedis, seed: int
) -> None:
    chance = random.Random(seed)
    server = new_redis()
    async with open_nodes(server.url) as nodes:
        logs = await nodes.rooms(2)
        books = Books()
        async with trio.open_nursery() as nursery:
            for log in logs:
                nursery.start_soon(books.listen, log)
            async with trio.open_nursery() as talkers:
                for log, who in zip(logs, "ab", strict=True):
                    talkers.start_soon(books.talk, log, who)
                for _ in range(6):
                    await books.until_accepted(chance.randrange(1, 200))
                    server.kill()
                    await trio.to_thread.run_sync(server.start)
                books.over = True
            await books.until_heard(logs)
            nursery.cancel_scope.cancel(reason="everything was heard")
        books.check()


class Books:
    """What was accepted, and what each node has heard."""

    def __init__(self) -> None:
        self.over = False
        self._accepted: dict[int, str] = {}
        self._stories: dict[RedisLog, list[Entry]] = {}
        self._changed = trio.Event()

    async def talk(self, log: RedisLog, who: str) -> None:
        """Say something again and again, until it is over."""
        for i in count(1):
            if self.over:
                return
            batch = [draft(f"{who}{i}.{j}", f"{who}{i}.{j}") for j in range(i % 5 + 1)]
            for each, receipt in zip(batch, await self._say(log, batch), strict=True):
                assert not isinstance(receipt, Conflict)
                seq = receipt.entry.seq if isinstance(receipt, Accepted) else receipt.seq
                assert self._accepted.setdefault(seq, each.message) == each.message
            self._tell()

    async def _say(self, log: RedisLog, batch: Sequence[Draft]) -> Sequence[Receipt]:
        while True:  # As a client does: again, with the same ids.
            try:
                return await log.append(batch)
            except HistoryUnavailable:
                await trio.lowlevel.checkpoint()

    async def listen(self, log: RedisLog) -> None:
        """Hear everything."""
        story = self._stories[log] = []
        while True:
            story += entries(await log.listen())
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until_accepted(self, more: int) -> None:
        enough = len(self._accepted) + more
        while len(self._accepted) < enough:
            await self._changed.wait()

    async def until_heard(self, logs: Sequence[RedisLog]) -> None:
        """Wait until these nodes have heard as much as was accepted."""
        while any(len(self._stories[log]) < len(self._accepted) for log in logs):
            await self._changed.wait()

    def check(self) -> None:
        """Accepted is what every node has heard, once, in one order, without gaps."""
        expected = sorted(self._accepted.items())
        assert [seq for seq, _ in expected] == list(range(1, len(expected) + 1))
        for story in self._stories.values():
            assert [(entry.seq, entry.message) for entry in story] == expected


# --- Addresses -----------------------------------------------------------------------------------


async def test_a_password_works_and_is_never_told(
    new_redis: NewRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server, password = new_redis(), "s3:cr@t/?#%"
    server.ask("config", "set", "requirepass", password)
    where = server.url.removeprefix("redis://")
    async with open_nodes(f"redis://:{quote(password, safe='')}@{where}") as nodes:
        (log,) = await nodes.rooms(1)
        await log.append(drafts("a"))
        assert texts(await log.listen()) == ["a"]
        wrong = RedisHistory(f"redis://:wr0ng@{where}", KEEP_ALL, patience=0.1)
        with pytest.raises(HistoryUnavailable) as refusal:
            await wrong.open()
    told = f"{caplog.text} {refusal.value}"
    assert "s3" not in told
    assert "wr0ng" not in told
    assert "password" in str(refusal.value)


async def test_bytes_are_not_what_redis_keeps_by(redis_url: str) -> None:
    history = RedisHistory(redis_url, Retention(0, 1, math.inf), patience=1)
    with pytest.raises(HistoryUnavailable, match="keep-bytes"):
        await history.open()
