"""The table of rooms: one room for each name, from the first arrival to the last leave."""

from __future__ import annotations

import logging

import pytest
import trio
from lobby import Guest, calm, failing, in_one_order, open_lobby
from trio.testing import MockClock

from trio_chat.config import Config
from trio_chat.room import NO_HISTORY


async def test_a_room_is_open_from_its_first_arrival_to_its_last_leave(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        assert lobby.rooms.get("lobby") is None
        first = await lobby.join()
        room = lobby.room()
        second = await lobby.join()
        await first.close()
        await lobby.quiet()
        assert lobby.rooms.get("lobby") is room
        await second.close()
        await lobby.quiet()
        assert lobby.rooms.get("lobby") is None


async def test_it_knows_how_many_are_in_each_room(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        for room in ("green", "green", "blue", "grün"):
            await lobby.join(room)
        await lobby.join_plain("blue")

        assert lobby.rooms.counts() == {"green": 2, "blue": 2, "grün": 1}


async def test_16_who_join_at_once_are_in_one_room(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        opening = trio.Event()
        lobby.history.before_opening = opening.wait
        guests: list[Guest] = []

        async def come() -> None:
            guests.append(await lobby.join(name="one of many"))

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(come)
            await lobby.quiet()
            assert lobby.history.held.total() == 0
            opening.set()

        assert lobby.history.held == {"lobby": 1}
        assert lobby.rooms.counts() == {"lobby": 16}
        assert len({guest.name for guest in guests}) == 16
        await guests[0].say("hello")
        for guest in guests:
            await guest.until_heard("hello")


@pytest.mark.parametrize("moment", range(40))
async def test_whoever_joins_as_the_last_one_leaves_finds_the_room_as_it_was(
    moment: int, autojump_clock: MockClock
) -> None:
    async with open_lobby() as lobby:
        last = await lobby.join(name="alice")
        await last.say("one")
        await last.until_heard("one")

        await last.vanish()
        for _ in range(moment):
            await trio.lowlevel.checkpoint()
        new = await lobby.join(since=0, epoch=last.welcome["epoch"])
        await new.say("two")
        await new.until_heard("two")

        assert new.welcome["recovered"] is True
        assert new.texts == ["one", "two"]
        assert new.numbers == [1, 2]


async def test_rooms_do_not_hear_each_other(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        green, blue = await lobby.join("green", "alice"), await lobby.join("blue", "alice")
        await green.say("in green")
        await blue.say("in blue")
        await green.until_heard("in green")
        await blue.until_heard("in blue")

        assert (green.name, green.story()) == ("alice", ["message in green"])
        assert (blue.name, blue.story()) == ("alice", ["message in blue"])


async def test_a_full_room_refuses_and_leaves_the_others_open(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, max_members=1)) as lobby:
        await lobby.join("green")
        refused = await lobby.arrive("green")
        assert (await refused.wait_closed() or (0,))[0] == 1013

        await lobby.join("blue")
        assert lobby.rooms.counts() == {"green": 1, "blue": 1}


async def test_a_fault_costs_one_room(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        green, blue = await lobby.join("green"), await lobby.join("blue")
        lobby.history.before_appending = failing(RuntimeError("on fire"))
        await green.say("hello")
        assert (await green.wait_closed() or (0,))[0] == 1011

        lobby.history.before_appending = calm
        await blue.say("hello")
        await blue.until_heard("hello")

        assert lobby.rooms.counts() == {"blue": 1}
    assert [record.name for record in caplog.records if record.levelno > logging.INFO] == [
        "trio_chat.room"
    ]


async def test_a_drain_ends_all_rooms(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        guests = [await lobby.join(room) for room in ("green", "blue", "green")]

        lobby.rooms.drain(trio.current_time() + 8)

        for guest in guests:
            assert (await guest.wait_closed() or (0,))[0] == 1001
        assert lobby.rooms.counts() == {}


async def test_50_who_each_say_40_things_all_hear_2000_once_and_in_one_order(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        guests = [await lobby.join(name=f"member {index}") for index in range(50)]

        async def talk(guest: Guest) -> None:
            for index in range(40):
                await guest.say(f"{guest.name} says {index}")
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(talk, guest)
        for guest in guests:
            await guest.until(lambda guest: len(guest.texts) == 2_000)

        order = in_one_order(guests)
        for guest in guests:
            said = [event["message"] for event in order if event["name"] == guest.name]
            assert said == [f"{guest.name} says {index}" for index in range(40)]
        await lobby.quiet()
        assert lobby.house.ledger.handed == lobby.house.ledger.owed == 100_000


async def test_while_the_history_is_gone_nobody_is_let_in_and_who_is_there_stays(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        alice = await lobby.join(name="alice")
        lobby.history.is_available = False
        for room in ("lobby", "another"):
            turned_away = await lobby.arrive(room)
            assert await turned_away.wait_closed() == NO_HISTORY
        assert lobby.rooms.counts() == {"lobby": 1}
        lobby.history.is_available = True
        await lobby.join(name="bob")
        await alice.hear("join", name="bob")
