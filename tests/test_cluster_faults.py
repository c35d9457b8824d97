"""Whatever dies between members of one room, what was accepted is heard by all, once, in order.

Each test has talkers on every node before, during and after its fault. They say again what was not
accepted, as the contract asks for; in the end the books have to balance, and every node has to tell
the same story to somebody who comes late.
"""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from cable import Cable, open_cable
from cluster import Company, knows, open_company, open_nodes
from redis_server import RedisServer
from witness import WINDOW, Witness, agree

pytest_plugins = ["redis_fixtures"]
pytestmark = pytest.mark.redis

GONE_IN: Final = 15  # seconds until a dead node's members are out of the others' lists

MASTER: Final = ("replicaof", "no", "one")
FULL: Final = ("config", "set", "maxmemory")

NewRedis = Callable[[], RedisServer]


@asynccontextmanager
async def two_nodes(directory: Path, *histories: str) -> AsyncIterator[Company]:
    """Two nodes, and two on each who talk."""
    async with (
        open_nodes(directory, *histories) as nodes,
        open_company(nodes, "lobby") as company,
    ):
        company.talk(*await company.join_everywhere(2))
        await company.go_on(more=5)
        yield company


def is_told(witness: Witness) -> bool:
    """Whether it was refused, or says nothing more because nothing is answered."""
    return bool(witness.refused) or len(witness.waiting) >= WINDOW


def has_heard(witness: Witness, messages: int) -> bool:
    """Whether it has heard so many."""
    return len(witness.heard()) >= messages


async def until_told(witnesses: Sequence[Witness]) -> None:
    """Wait until each of them has felt the fault."""
    for witness in witnesses:
        await witness.until(partial(is_told, witness))


async def go_on_as_if_nothing_had_been(company: Company) -> None:
    """See that the books balance, and that nobody was disconnected or seemed to come or go."""
    await company.go_on(more=20)
    everybody = company.present
    await company.close_books()
    names = {witness.name for witness in everybody}
    for witness in everybody:
        assert (witness.endings, names - {*witness.members}) == ([], set())
        assert names.intersection(witness.comings("leave")) == set()


async def until_gone(witnesses: Sequence[Witness], *names: str) -> None:
    """Wait until they all know that these have left."""
    for witness in witnesses:
        await witness.until(lambda witness=witness: not {*names} & {*witness.members})  # type: ignore[misc]


async def go_on_with_everybody_in_the_lists(company: Company) -> None:
    """See that the books balance, that nobody was disconnected, and that all are there again."""
    everybody = company.present
    await company.go_on(more=20)
    for witness in everybody:
        await witness.until(partial(knows, witness, [each.name for each in everybody]))
    await company.close_books()
    assert [witness.endings for witness in everybody] == [[]] * 4


# --- A node --------------------------------------------------------------------------------------


async def test_who_was_on_a_node_that_was_killed_goes_on_at_another(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        company.nodes[0].kill()
        moved, stayed = company.present[:2], company.present[2:]
        await company.go_on(more=20)
        await company.close_books()
        assert [witness.endings for witness in moved] == [[1006], [1006]]
        # Their places were taken over with their secrets before they were given up.
        names = {witness.name for witness in moved}
        assert names == {"0-0", "0-1"}
        assert [names.intersection(witness.comings("leave")) for witness in stayed] == [set()] * 2


async def test_who_was_on_a_node_that_drains_goes_on_at_another(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        company.nodes[0].signal(signal.SIGTERM)
        await company.go_on(more=20)
        assert [witness.endings for witness in company.present] == [[1001], [1001], [], []]
        await company.close_books()


@pytest.mark.slow
async def test_the_members_of_a_node_that_was_killed_are_out_of_the_lists_in_time(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        gone, stayed = company.present[:2], company.present[2:]
        for witness in gone:
            witness.will_not_come_back()
        company.nodes[0].kill()
        with trio.fail_after(GONE_IN):
            await until_gone(stayed, "0-0", "0-1")
        ada = await company.join(1, "0-0")
        assert ada.name == "0-0"
        await company.close_books()


@pytest.mark.slow
async def test_the_members_of_a_node_that_stood_still_for_too_long_are_gone_and_come_again(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        stayed = company.present[2:]
        company.nodes[0].signal(signal.SIGSTOP)
        await until_gone(stayed, "0-0", "0-1")
        company.nodes[0].signal(signal.SIGCONT)
        await go_on_with_everybody_in_the_lists(company)


@pytest.mark.slow
async def test_a_name_that_was_given_away_meanwhile_is_lost(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        loser, stayed = company.present[0], company.present[2:]
        company.nodes[0].signal(signal.SIGSTOP)
        await until_gone(stayed, "0-0", "0-1")
        heir = await company.join(1, "0-0")
        assert heir.name == "0-0"
        company.nodes[0].signal(signal.SIGCONT)
        await loser.until(lambda: len(loser.chapters) > 1)
        assert (loser.endings, loser.name) == ([1011], "0-0-2")
        await company.go_on(*company.present[:4], more=20)
        await company.close_books()


# --- Redis ---------------------------------------------------------------------------------------


async def test_nothing_accepted_is_missing_or_doubled_when_redis_was_killed_and_comes_back(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.kill()
        await until_told(company.present)
        redis.start()
        await go_on_as_if_nothing_had_been(company)
        # It was quick enough: everything has waited for it.
        assert [witness.refused for witness in company.witnesses[:4]] == [[]] * 4


async def test_a_redis_that_comes_back_with_nothing_begins_a_new_epoch_and_all_are_told_so(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        for witness in company.present:
            await witness.until(partial(has_heard, witness, 20))
        redis.kill()
        redis.forget()
        redis.start()
        for witness in company.present:
            await witness.until(lambda witness=witness: len(witness.chapters) > 1)  # type: ignore[misc]
        assert [witness.endings for witness in company.present] == [[4005]] * 4
        await company.go_on(more=20)
        everybody = company.present
        await company.close_books()
        old, new = (everybody[0].chapters[number].epoch for number in (0, 1))
        assert old != new
        # What was acknowledged in the last moment may have died with the old epoch.
        assert len(agree(everybody, old)) >= 20


async def test_a_redis_that_stands_still_for_a_moment_is_waited_for(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.pause()
        await until_told(company.present)
        redis.resume()
        await go_on_as_if_nothing_had_been(company)


@pytest.mark.slow
async def test_a_redis_that_stands_still_for_10_s_disconnects_nobody_and_loses_nothing(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.pause()
        await trio.sleep(10)  # This long a fault is what is tested.
        assert all(witness.refused for witness in company.present)
        redis.resume()
        await go_on_as_if_nothing_had_been(company)


@pytest.mark.slow
async def test_a_redis_that_is_gone_for_longer_than_nodes_are_believed_to_live_is_no_node_s_death(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.kill()
        await trio.sleep(GONE_IN + 5)  # This long a fault is what is tested.
        assert all(witness.refused for witness in company.present)
        redis.start()
        await go_on_as_if_nothing_had_been(company)


@pytest.mark.slow
async def test_a_redis_that_takes_no_writes_is_waited_for(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.ask("replicaof", "127.0.0.1", 1)  # Where nobody is: READONLY.
        await until_told(company.present)
        redis.ask("replicaof", "no", "one")
        await go_on_as_if_nothing_had_been(company)


async def test_a_redis_that_is_full_is_waited_for(new_redis: NewRedis, tmp_path: Path) -> None:
    redis = new_redis()
    async with two_nodes(tmp_path, redis.url, redis.url) as company:
        redis.ask("config", "set", "maxmemory", 1)
        await until_told(company.present)
        redis.ask("config", "set", "maxmemory", 0)
        await go_on_as_if_nothing_had_been(company)


@pytest.mark.slow
async def test_another_redis_takes_over_and_the_nodes_follow(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    old, new = new_redis(), new_redis()
    new.ask("replicaof", "127.0.0.1", old.port)
    while old.ask("wait", 1, 1000) != "1":
        pass  # It has not begun to copy.
    async with (
        open_cable(old.port) as cable,
        two_nodes(tmp_path, cable.url, cable.url) as company,
    ):
        # Nothing is lost in it: writers wait, the replica catches up, and they change places.
        old.ask("failover", "to", "127.0.0.1", new.port)
        while "role:master" not in new.ask("info", "replication"):
            pass  # It blocks until there is an answer.
        cable.lead_to(new.port)
        await go_on_as_if_nothing_had_been(company)
        assert int(new.ask("xlen", "trio-chat:{lobby}:log")) > 0


# --- The network ---------------------------------------------------------------------------------


async def test_a_node_that_is_cut_off_for_a_moment_catches_up(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with (
        open_cable(redis.port) as cable,
        two_nodes(tmp_path, cable.url, redis.url) as company,
    ):
        cable.cut()
        await until_told(company.present[:2])
        await company.go_on(*company.present[2:])
        cable.mend()
        await go_on_as_if_nothing_had_been(company)


async def test_what_was_stored_is_not_stored_again_when_the_answer_was_lost(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with (
        open_cable(redis.port) as cable,
        two_nodes(tmp_path, cable.url, redis.url) as company,
    ):
        for _ in range(2):
            cable.block_answers()
            await cable.wait_for_a_held_answer()
            await until_told(company.present[:2])
            cable.cut()
            cable.mend()
            await company.go_on(more=5)
        await go_on_as_if_nothing_had_been(company)


async def test_whoever_comes_to_a_node_that_is_behind_resumes_all_the_same(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with (
        open_cable(redis.port) as cable,
        open_nodes(tmp_path, redis.url, cable.url) as nodes,
        open_company(nodes, "lobby") as company,
    ):
        ada, bob = await company.join(0, "Ada"), await company.join(0, "Bob")
        await company.join(1, "Eve")
        cable.block_answers()
        for number in range(10):
            await bob.say_and_hear(str(number))
        await ada.until(partial(has_heard, ada, 10))
        ada.lose_connection()
        await cable.wait_for_a_held_answer()
        cable.mend()
        await ada.until(lambda: len(ada.chapters) > 1)
        assert ada.welcome["recovered"] is True
        await company.close_books()


@pytest.mark.slow
async def test_a_node_that_hears_nothing_for_5_s_and_is_told_nothing_catches_up(
    new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with (
        open_cable(redis.port) as cable,
        two_nodes(tmp_path, cable.url, redis.url) as company,
    ):
        cable.block()
        await trio.sleep(5)  # This long a fault is what is tested.
        await company.go_on(*company.present[2:])
        cable.mend()
        await go_on_as_if_nothing_had_been(company)


@pytest.mark.slow
@pytest.mark.parametrize("how", [Cable.cut, Cable.block], ids=["cut", "blocked"])
async def test_the_members_of_a_node_that_is_cut_off_for_too_long_are_gone_and_come_again(
    how: Callable[[Cable], None], new_redis: NewRedis, tmp_path: Path
) -> None:
    redis = new_redis()
    async with (
        open_cable(redis.port) as cable,
        two_nodes(tmp_path, cable.url, redis.url) as company,
    ):
        others = company.present[2:]
        how(cable)
        with trio.fail_after(GONE_IN):
            await until_gone(others, "0-0", "0-1")
        cable.mend()
        await go_on_with_everybody_in_the_lists(company)


# --- Everything ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "moving"), [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)])
async def test_the_books_balance_after_a_dozen_faults_one_after_the_other(
    seed: int, moving: int, new_redis: NewRedis, tmp_path: Path
) -> None:
    redis, chance = new_redis(), random.Random(seed)
    async with (
        open_cable(redis.port) as one,
        open_cable(redis.port) as other,
        two_nodes(tmp_path, one.url, other.url) as company,
    ):
        faults: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (redis.kill, redis.start),
            (redis.pause, redis.resume),
            (partial(redis.ask, "replicaof", "127.0.0.1", 1), partial(redis.ask, *MASTER)),
            (partial(redis.ask, *FULL, 1), partial(redis.ask, *FULL, 0)),
            (one.cut, one.mend),
            (other.block, other.mend),
            (one.block_answers, one.cut),
        ]
        for begin, end in chance.choices(faults, k=12):
            begin()
            await trio.sleep(chance.uniform(0, 1.5))  # How long a fault is, is part of the test.
            end()
            one.mend()
            for witness in chance.sample(company.present, moving):
                witness.lose_connection()
            await trio.sleep(chance.uniform(0, 0.5))
        await company.go_on(more=20)
        await company.close_books()
