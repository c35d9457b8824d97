"""Several nodes on one Redis are one chat: one order, one list of members, one name each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import trio
from cluster import Node, has_heard, knows, open_company, open_nodes, serving
from redis_server import RedisServer
from witness import PATIENCE, Witness, open_line

pytest_plugins = ["redis_fixtures"]
pytestmark = pytest.mark.redis

KEPT: Final = 500  # messages that a room keeps here
EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "cluster.py"
ROOMS: Final = count(1)


@pytest.fixture(scope="module")
def nodes(
    shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sequence[Node]]:
    """Three nodes for all tests of this module, each of which takes a room of its own."""
    directory = tmp_path_factory.mktemp("nodes")
    options = ("--keep-messages", str(KEPT), "--max-history", "0")
    with serving(directory, shared_redis.new_url(), 3, *options) as nodes:
        yield nodes


@pytest.fixture
def room() -> str:
    return f"room-{next(ROOMS)}"


# --- One order -----------------------------------------------------------------------------------


async def test_everybody_on_every_node_hears_the_same_in_the_same_order(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        everybody = await company.join_everywhere(2)
        company.talk(*everybody, rate=100)
        await company.go_on(*everybody, more=30)
        story = await company.close_books()
        assert len(story) >= 360
        assert [one.refused for one in everybody] == [[]] * 6


async def test_whoever_comes_back_to_another_node_gets_everything_after(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(2, "Bob")
        company.talk(bob, rate=200)
        for _ in range(3):
            await ada.until(partial(has_heard, ada, ada.at + 10))
            before = len(ada.chapters)
            ada.lose_connection()
            await ada.until(lambda: len(ada.chapters) > before)  # noqa: B023
            assert ada.welcome["recovered"] is True
        await company.close_books()
        assert len({chapter.epoch for chapter in ada.chapters}) == 1


async def test_numbers_go_on_when_everybody_has_gone_and_comes_to_another_node(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada = await company.join(0, "Ada")
        assert (await ada.say_and_hear("one")).seq == 1
        await ada.leave()
        bob = await company.join(1, "Bob", history=10)
        assert (await bob.say_and_hear("two")).seq == 2
        await bob.until(partial(has_heard, bob, 2))
        assert [(each.seq, each.text) for each in bob.heard()] == [(1, "one"), (2, "two")]
        assert bob.welcome["epoch"] == ada.welcome["epoch"]
        assert bob.members == ["Bob"]


async def test_nothing_is_forgotten_when_all_nodes_have_ended(
    redis_url: str, tmp_path: Path
) -> None:
    async with open_nodes(tmp_path, redis_url) as before, open_company(before, "lobby") as company:
        ada = await company.join(0, "Ada")
        said = await ada.say_and_hear("I will be back")
    async with open_nodes(tmp_path, redis_url) as after, open_company(after, "lobby") as company:
        bob = await company.join(0, "Bob", since=0, epoch=said.epoch)
        await bob.until(partial(has_heard, bob, said.seq))
        assert bob.welcome["recovered"] is True
        assert [each.text for each in bob.heard()] == ["I will be back"]
        assert bob.members == ["Bob"]


async def test_an_id_that_one_node_has_accepted_is_a_duplicate_on_another(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(1, "Bob")
        first = await ada.say_and_hear("hello", "x")
        again = await bob.say_and_hear("hello", "x")
        assert (first.duplicate, again.duplicate) == (False, True)
        assert again.seq == first.seq
        await bob.send({"message": "something else", "id": "x"})
        await bob.until(lambda: bool(bob.refused))
        assert [(error["code"], error["id"]) for error in bob.refused] == [("bad-id", "x")]
        assert len(await company.close_books()) == 1


async def test_a_room_keeps_its_newest_messages_whichever_node_they_came_to(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(1, "Bob")
        company.talk(ada, bob, rate=1000)
        await company.go_on(ada, bob, more=KEPT)
        epoch = await company.settle()
        for node in range(3):
            late = await company.join(node, "Late", since=0, epoch=epoch, history=2 * KEPT)
            await late.until(partial(has_heard, late, ada.at))
            assert late.welcome["recovered"] is False
            assert late.heard() == ada.heard()[-KEPT:]
            await late.leave()


async def test_both_dialects_of_all_nodes_are_one_conversation(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada = await company.join(0, "Ada")
        async with company.open_plain(1) as plain:
            await plain.say({"message": "I have no name"})
            assert await plain.hear() == {"message": "I have no name"}
            await ada.until(partial(has_heard, ada, 1))
            await ada.say("I have")
            assert await plain.hear() == {"message": "I have"}
        assert (ada.heard()[0].name, ada.heard()[0].text) == (None, "I have no name")
        assert ada.news == []


# --- One company ---------------------------------------------------------------------------------


async def test_the_members_are_those_of_all_nodes(nodes: Sequence[Node], room: str) -> None:
    async with open_company(nodes, room) as company:
        ada = await company.join(0, "Ada")
        bob = await company.join(1, "Bob")
        eve = await company.join(2, "Eve")
        assert bob.welcome["members"] == ["Ada", "Bob"]
        assert eve.welcome["members"] == ["Ada", "Bob", "Eve"]
        for one in (ada, bob):
            await one.until(partial(knows, one, ["Ada", "Bob", "Eve"]))
        await bob.leave()
        for one in (ada, eve):
            await one.until(partial(knows, one, ["Ada", "Eve"]))
        assert [(event["type"], event["name"]) for event in ada.news] == [
            ("join", "Bob"),
            ("join", "Eve"),
            ("leave", "Bob"),
        ]


async def test_who_left_is_heard_to_the_end_first(nodes: Sequence[Node], room: str) -> None:
    async with open_company(nodes, room) as company:
        ada = await company.join(0, "Ada")
        names = [f"Bob {number}" for number in range(20)]
        bobs = [await company.join(1, name) for name in names]
        async with trio.open_nursery() as nursery:
            for bob in bobs:
                nursery.start_soon(talk_and_leave, bob)
        await ada.until(partial(knows, ada, ["Ada"]))
        events = [(event["type"], event["name"]) for event in ada.chapters[0].events]
        for name in names:
            about = [kind for kind, who in events if who == name]
            assert about == ["join", *["message"] * 5, "leave"]


async def talk_and_leave(witness: Witness) -> None:
    for text in "abcde":
        await witness.mutter(text)
    await witness.leave()


async def test_a_name_is_one_member_s_whichever_nodes_they_come_to(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        everybody = [company.arrive(number % 3, name="Ada") for number in range(9)]
        for one in everybody:
            await one.until(lambda one=one: bool(one.chapters))  # type: ignore[misc]
        names = {"Ada", *(f"Ada-{number}" for number in range(2, 10))}
        assert {one.name for one in everybody} == names
        for one in everybody:
            await one.until(partial(knows, one, names))
        ada = await company.join(1, "ＡＤＡ")
        assert ada.name == "ＡＤＡ-10"


async def test_a_secret_takes_a_place_over_from_another_node(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes, room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(1, "Bob")
        ada.will_not_come_back()
        new = await company.join(2, "whoever", resume=str(ada.welcome["resume"]))
        await ada.until(lambda: ada.over)
        assert (ada.endings, new.name) == ([4006], "Ada")
        await new.say_and_hear("it is me")
        await bob.until(partial(has_heard, bob, 1))
        assert bob.heard()[0].name == "Ada"
        assert bob.news == []
        assert new.welcome["members"] == ["Ada", "Bob"]
        await new.leave()
        await bob.until(partial(knows, bob, ["Bob"]))


async def test_typing_is_seen_on_other_nodes(nodes: Sequence[Node], room: str) -> None:
    async with open_company(nodes, room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(1, "Bob")
        await bob.send({"type": "typing"})
        await ada.until(lambda: {"type": "typing", "name": "Bob"} in ada.news)
        await ada.say_and_hear("I see")
        await bob.until(partial(has_heard, bob, 1))
        assert bob.news == []


async def test_a_crowd_that_comes_at_once_to_a_silent_room_costs_nobody_their_place(
    nodes: Sequence[Node], room: str
) -> None:
    async with open_company(nodes[:2], room) as company:
        ada, bob = await company.join(0, "Ada"), await company.join(1, "Bob")
        async with company.open_crowd(900):
            for one in (ada, bob):
                await one.until(partial(is_among, one, 902))
            assert len((await company.join(0, "Eve")).members) == 903
        assert (ada.endings, bob.endings) == ([], [])


def is_among(witness: Witness, count: int) -> bool:
    return len(witness.members) == count


# --- What it costs -------------------------------------------------------------------------------


async def test_a_thousand_rooms_are_not_a_thousand_connections_and_no_poll_each(
    shared_redis: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    number = redis_url.rpartition("/")[2]

    def connections() -> int:
        return sum(
            f" db={number} " in line for line in shared_redis.ask("client", "list").split("\n")
        )

    async with open_nodes(tmp_path, redis_url) as nodes, open_company(nodes, "lobby") as company:
        ada = await company.join(0, "Ada")
        async with company.open_rooms(0, 1000):
            assert connections() <= 10
            before = calls(shared_redis, "xread")
            for text in range(20):
                await ada.say_and_hear(str(text))
            assert calls(shared_redis, "xread") - before < 100


def calls(redis: RedisServer, command: str) -> int:
    """How often a command was called so far."""
    stats = dict(line.split(":") for line in redis.ask("info", "commandstats").split("\n")[1:])
    return int(stats[f"cmdstat_{command}"].split(",")[0].removeprefix("calls="))


# --- To try --------------------------------------------------------------------------------------


async def test_the_cluster_to_try_starts_survives_the_loss_of_a_node_and_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, str(EXAMPLE), "--nodes", "2"]
    with trio.fail_after(PATIENCE):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            said = await read_until(process.stdout, b"Ctrl-C ends everything.\n")
            first, second = re.findall(r"node \d +http://(\S+?)/chat/ +kill -9 (\d+)", said)
            os.kill(int(first[1]), signal.SIGKILL)
            await read_until(process.stdout, b"node 1 has ended, with -9\n")
            async with open_line(f"ws://{second[0]}/ws/chat/lobby/") as line:
                assert (await line.hear())["type"] == "welcome"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        finally:
            process.kill()
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(int(second[1]), 0)


async def read_until(stream: trio.abc.ReceiveStream, words: bytes) -> str:
    said = b""
    while words not in said:
        data = await stream.receive_some()
        assert data, said.decode()
        said += data
    return said.decode()
