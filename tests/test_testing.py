"""The tools for tests, used as their users do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_chat.client import (
    Disconnected,
    Joined,
    Left,
    Message,
    Reconnected,
    Reconnecting,
    Welcome,
    connect,
    connect_over,
)
from trio_chat.config import Config
from trio_chat.testing import PATIENCE, Venue, open_room, open_server


async def test_guests_talk_over_memory(chat_room: Venue, autojump_clock: MockClock) -> None:
    alice = await chat_room.join("alice")
    bob = await chat_room.join("alice")
    assert (alice.name, bob.name) == ("alice", "alice-2")
    await alice.expect(Joined("alice-2"))
    receipt = await bob.say("hello")
    message = await alice.expect("hello", by="alice-2")
    assert message.seq == receipt.seq == 1
    welcome = await bob.expect(Welcome)
    assert welcome.members == ("alice", "alice-2")
    await bob.expect(Message, by="alice-2")
    await alice.expect_nothing()
    await bob.leave()
    await alice.expect(Left, by="alice-2")
    assert [type(event) for event in alice.heard] == [Welcome, Joined, Message, Left]


async def test_guests_talk_over_tcp(chat_server: Venue) -> None:
    alice = await chat_server.join("alice", history=0)
    plain = await chat_server.join_plain()
    async with connect(chat_server.url, name="bob") as bob:
        await bob.say("hello")
        await plain.expect("hello")
        await plain.say("from nobody")
        await alice.expect("hello", by="bob")
        assert (await alice.expect("from nobody")).name is None
    await alice.expect(Left("bob"))


async def test_rooms_are_apart(chat_room: Venue, autojump_clock: MockClock) -> None:
    alice = await chat_room.join("alice")
    await alice.expect(Welcome)
    bob = await chat_room.join("bob", room="green")
    await bob.say("hello")
    await alice.expect_nothing()
    assert bob.chat.room == "green"


async def test_who_loses_the_connection_comes_back(
    chat_room: Venue, autojump_clock: MockClock
) -> None:
    alice, bob = await chat_room.join("alice"), await chat_room.join("bob")
    await alice.lose_connection()
    await bob.say("meanwhile")
    lost = await alice.expect(Reconnecting)
    assert lost.code == 1006
    assert (await alice.expect(Reconnected)).recovered
    await alice.expect("meanwhile")


async def test_what_did_not_come_fails_and_tells_what_did(
    chat_room: Venue, autojump_clock: MockClock
) -> None:
    alice = await chat_room.join("alice")
    await alice.say("something else")
    start = trio.current_time()
    with pytest.raises(AssertionError, match=r"(?s)expected 'hello' by bob, but.*something else"):
        await alice.expect("hello", by="bob")
    assert trio.current_time() - start == PATIENCE
    with pytest.raises(AssertionError, match=r"(?s)expected nothing, but heard.*something else"):
        await alice.expect_nothing()
    await alice.expect("something else")
    with pytest.raises(AssertionError, match="expected Left, but heard\n  nothing"):
        await alice.expect(Left)


async def test_what_can_not_come_any_more_fails_at_once(
    chat_room: Venue, autojump_clock: MockClock
) -> None:
    alice, plain = await chat_room.join("alice"), await chat_room.join_plain()
    await plain.say("x" * (chat_room.server.config.max_message + 1))
    await plain.expect_error("too-long")
    greeting = await alice.expect(Welcome)
    start = trio.current_time()
    async with connect_over(chat_room.dial, f"{chat_room.url}?resume={greeting.resume}") as other:
        with pytest.raises(AssertionError, match="the end: 4006"):
            await alice.expect("hello")
        assert alice.ended is not None
        assert other.name == "alice"
    assert trio.current_time() == start


async def test_who_can_not_enter_is_told() -> None:
    async with open_server(Config(port=0, max_members=1)) as venue:
        await venue.join("alice")
        with pytest.raises(Disconnected, match="1013"):
            await venue.join("bob")


async def test_an_error_in_the_server_fails_the_test(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="1 faults, exit code 0: see the server's log"):
        async with open_room() as venue:
            venue.server.house.tally.faults += 1


class TestOtherSettings:
    """A class, so that its settings are its own."""

    @pytest.fixture
    def chat_config(self) -> Config:
        return Config(port=0, max_message=5)

    async def test_the_settings_are_those_of_the_fixture(
        self, chat_room: Venue, autojump_clock: MockClock
    ) -> None:
        plain = await chat_room.join_plain()
        await plain.say("123456")
        await plain.expect_error("too-long")
        await plain.say("12345")
        await plain.expect("12345")


# --- The page about it ---


async def test_the_example_in_the_docs_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text(encoding="utf-8")
    for name, code in re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = await trio.run_process(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_stdout=True,
        check=False,
        env=dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert b"2 passed" in done.stdout, done.stdout.decode()


# --- Client and server, with nothing between them that can be relied on ---

Cut = tuple[str, float]  # Who loses the connection, and after how many seconds.


async def talk_over_bad_lines(cuts: Sequence[Cut]) -> None:
    async with open_room(Config(port=0, rate=0)) as venue:
        guests = {name: await venue.join(name) for name in ("alice", "bob")}
        count = 20

        async def cut(name: str, seconds: float) -> None:
            await trio.sleep(seconds)
            await guests[name].lose_connection()

        async with trio.open_nursery() as nursery:
            for name, seconds in cuts:
                nursery.start_soon(cut, name, seconds)
            for number in range(1, count + 1):
                receipt = await guests["alice"].say(str(number))
                assert receipt.seq == number
                await trio.sleep(0.1)
        await trio.sleep(60)
        for guest in guests.values():
            messages = [event for event in guest.heard if isinstance(event, Message)]
            assert [message.seq for message in messages] == list(range(1, count + 1))
            assert [message.text for message in messages] == [*map(str, range(1, count + 1))]


@given(
    cuts=st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.floats(0, 5)), max_size=8),
    schedule=st.random_module(),
)
@settings(max_examples=50)
def test_over_the_worst_line_each_message_comes_once(cuts: list[Cut], schedule: object) -> None:
    trio.run(talk_over_bad_lines, cuts, clock=MockClock(autojump_threshold=0))
