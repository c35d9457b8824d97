"""A room's life: how it opens and ends, and what it tells those who are in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio
from lobby import Guest, Lobby, calm, failing, in_one_order, lockstep, open_lobby
from trio.testing import MockClock

from trio_chat.config import Config
from trio_chat.history import HistoryUnavailable
from trio_chat.protocol import Ending


@pytest.fixture(autouse=True)
def troubles(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that nothing was logged that somebody would have to look into."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno > logging.INFO] == []


def expect_logged(caplog: pytest.LogCaptureFixture, *causes: str) -> None:
    """See that these troubles were logged, once each, and nothing else."""
    records = [record for record in caplog.records if record.levelno > logging.INFO]
    told = [f"{record.getMessage()}\n{record.exc_text}" for record in records]
    assert len(told) == len(causes), told
    for cause, text in zip(causes, told, strict=True):
        assert cause in text
    caplog.clear()


async def code(guest: Guest) -> int:
    """Wait for the server's goodbye."""
    ending = await guest.wait_closed()
    assert ending is not None, "the connection broke off without a goodbye"
    return ending.code


async def gone(lobby: Lobby, guest: Guest) -> None:
    """Have somebody leave, and wait until the server has done with it."""
    await guest.close()
    await lobby.quiet()


# --- Opening --------------------------------------------------------------------------------------


async def test_whoever_arrives_while_the_history_is_opened_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        opening = trio.Event()
        lobby.history.before_opening = opening.wait
        guest = await lobby.arrive()
        await lobby.quiet()
        assert guest.heard == []

        opening.set()

        await guest.hear("welcome")


async def test_no_more_may_wait_to_enter_than_there_are_places_for_that(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, arrivals=3)) as lobby:
        opening = trio.Event()
        lobby.history.before_opening = opening.wait
        waiting = [await lobby.arrive() for _ in range(3)]
        refused = await lobby.arrive()

        assert await code(refused) == 1013
        opening.set()

        for guest in waiting:
            await guest.hear("welcome")


async def test_who_waits_to_enter_counts_as_a_member(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, max_members=2)) as lobby:
        opening = trio.Event()
        lobby.history.before_opening = opening.wait
        waiting = [await lobby.arrive() for _ in range(2)]
        assert await code(await lobby.arrive()) == 1013
        opening.set()

        for guest in waiting:
            await guest.hear("welcome")


async def test_without_its_history_a_room_sends_everybody_away_until_it_is_back(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        opening = trio.Event()

        async def fail_later() -> None:
            await opening.wait()
            raise HistoryUnavailable("gone fishing")

        lobby.history.before_opening = fail_later
        guests = [await lobby.arrive() for _ in range(3)]
        await lobby.quiet()
        opening.set()
        for guest in guests:
            assert await code(guest) == 1013
        expect_logged(caplog, "gone fishing")

        lobby.history.before_opening = calm
        await lobby.join()


async def test_a_history_that_fails_to_open_is_told_to_everybody_and_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        opening = trio.Event()

        async def fail_later() -> None:
            await opening.wait()
            raise RuntimeError("the index is upside down")

        lobby.history.before_opening = fail_later
        guests = [await lobby.arrive() for _ in range(3)]
        await lobby.quiet()
        opening.set()
        for guest in guests:
            assert await code(guest) == 1011
        expect_logged(caplog, "the index is upside down")
        assert lobby.house.tally.faults == 1

        lobby.history.before_opening = calm
        await lobby.join()


# --- Ending ---------------------------------------------------------------------------------------


async def test_a_room_stays_until_what_was_said_is_recorded(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        store = trio.Event()
        lobby.history.before_appending = store.wait
        alice = await lobby.join(name="alice")
        await alice.say("one")
        await alice.say("two")
        await gone(lobby, alice)

        assert lobby.rooms.counts() == {"lobby": 0}
        store.set()
        await lobby.quiet()
        assert lobby.rooms.counts() == {}

        late = await lobby.join()
        await late.until_heard("one", "two")


async def test_whoever_joins_while_a_slow_hub_works_off_what_was_said_hears_all_of_it(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        store = trio.Event()
        lobby.history.before_appending = store.wait
        alice = await lobby.join(name="alice")
        for index in range(5):
            await alice.say(f"{index}")
        await gone(lobby, alice)

        bob = await lobby.join(name="bob", since=0, epoch=alice.welcome["epoch"])
        carol = await lobby.join(name="carol")
        await bob.say("and I")
        store.set()
        for guest in (bob, carol):
            await guest.until_heard("and I")

        assert in_one_order([bob, carol])[-1]["seq"] == 6
        assert bob.texts == ["0", "1", "2", "3", "4", "and I"]


async def test_a_fault_of_the_hub_is_told_to_its_members_and_the_next_opens_the_room_anew(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        plain = await lobby.join_plain()
        await alice.say("before")
        await bob.until_heard("before")

        lobby.history.before_appending = failing(RuntimeError("the pen is broken"))
        await alice.say("lost", "some-id")
        for guest in (alice, bob, plain):
            assert await code(guest) == 1011
            assert "lost" not in guest.texts
        assert alice.events("ack") == []
        expect_logged(caplog, "the pen is broken")
        assert lobby.house.tally.faults == 1

        lobby.history.before_appending = calm
        again = await lobby.join(name="alice", since=1, epoch=alice.welcome["epoch"])
        await again.say("lost", "some-id")
        await again.until_heard("lost")
        assert again.welcome["recovered"] is True
        assert again.numbers == [2, 3]


async def test_a_fault_is_told_behind_what_was_on_its_way(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob", line=lockstep)
        await alice.hear("join", name="bob")
        moods = iter([calm, failing(RuntimeError("the pen is broken"))])

        async def fail_the_second_time() -> None:
            await next(moods)()

        lobby.history.before_appending = fail_the_second_time
        bob.pause()
        await alice.say("recorded")
        await alice.until_heard("recorded")
        await alice.say("not recorded")
        assert await code(alice) == 1011
        bob.resume()

        assert await code(bob) == 1011
        assert bob.texts == ["recorded"]
        expect_logged(caplog, "the pen is broken")


async def test_a_room_opens_anew_while_members_of_the_failed_one_still_linger(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby(Config(rate=0, close_timeout=5)) as lobby:
        rude = await lobby.join(name="rude", line=lockstep, answers_close=False)
        alice = await lobby.join(name="alice")
        await alice.say("one")
        await rude.until_heard("one")
        lobby.history.before_appending = failing(RuntimeError("the pen is broken"))
        rude.pause()
        await alice.say("lost")
        assert await code(alice) == 1011
        expect_logged(caplog, "the pen is broken")

        lobby.history.before_appending = calm
        start = trio.current_time()
        again = await lobby.join(name="rude", since=1, epoch=alice.welcome["epoch"])
        await again.say("two")
        await again.until_heard("two")

        assert trio.current_time() == start
        assert again.name == "rude"
        assert again.welcome["members"] == ["rude"]
        assert again.numbers == [2]
        await trio.sleep_until(start + 6)
        assert lobby.rooms.counts() == {"lobby": 1}
        await again.say("three")
        await again.until_heard("three")


async def test_a_history_that_fails_to_close_is_logged_and_the_room_is_over(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby() as lobby:
        lobby.history.before_closing = failing(RuntimeError("the lid does not fit"))
        alice = await lobby.join(name="alice")
        await gone(lobby, alice)
        expect_logged(caplog, "the lid does not fit")

        lobby.history.before_closing = calm
        await lobby.join(name="alice")


async def test_a_history_that_takes_too_long_to_close_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, close_timeout=5)) as lobby:
        lobby.history.before_closing = trio.Event().wait
        alice = await lobby.join(name="alice")
        await gone(lobby, alice)
        assert lobby.history.held.total() == 1

        await trio.sleep(5)
        await lobby.quiet()

        assert lobby.history.held.total() == 0


async def test_whoever_ends_a_room_says_why_and_everybody_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        guests = [await lobby.join() for _ in range(3)]
        closed = Ending(4002, "the landlord wants to sleep")

        lobby.room().end(closed)
        lobby_again = await lobby.join()

        for guest in guests:
            assert await guest.wait_closed() == closed
        assert lobby_again.welcome["members"] == [lobby_again.name]


async def test_the_first_reason_counts(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        guest = await lobby.join()
        room = lobby.room()

        room.end(Ending(4002, "first"))
        room.end(Ending(1011, "second"))

        assert await guest.wait_closed() == Ending(4002, "first")


async def test_members_of_rooms_that_are_cancelled_are_told_that_the_server_goes_away(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        guests = [await lobby.join(room) for room in ("green", "green", "blue")]

        lobby.nursery.cancel_scope.cancel()

        for guest in guests:
            assert await code(guest) == 1001
        await lobby.quiet()
        assert lobby.house.tally.endings == {1001: 3}


async def test_whatever_fails_in_a_room_costs_that_room_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("nobody thought of this")

    async with open_lobby() as lobby:
        alice = await lobby.join("green", name="alice")
        bob = await lobby.join("blue", name="bob")
        (green,) = [task for task in lobby.nursery.child_tasks if task.name == "room green"]

        green.child_nurseries[0].start_soon(fail, name="fails")

        assert await code(alice) == 1011
        await lobby.quiet()
        expect_logged(caplog, "nobody thought of this")
        assert lobby.house.tally.faults == 1
        await bob.say("we go on")
        await bob.until_heard("we go on")
        again = await lobby.join("green", name="alice")
        await again.say("and so do we")
        await again.until_heard("and so do we")


async def test_those_who_still_wait_when_a_room_is_cancelled_are_let_go_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        lobby.history.before_opening = trio.Event().wait
        waiting = [await lobby.arrive(answers_close=False) for _ in range(5)]
        await lobby.quiet()
        start = trio.current_time()

        lobby.nursery.cancel_scope.cancel()

        for guest in waiting:
            assert await guest.wait_closed() is None
        assert trio.current_time() == start
        assert lobby.house.crowd.size == 0
        assert lobby.house.tally.endings == {1006: 5}


# --- Leaving --------------------------------------------------------------------------------------


async def test_a_leave_waits_behind_a_full_inbox_and_keeps_the_name_until_it_is_in(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, inbox_frames=1)) as lobby:
        witness = await lobby.join(name="witness")
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        await witness.hear("join", name="bob")
        store = trio.Event()
        lobby.history.before_appending = store.wait
        await bob.say("in the hub's hands")
        await lobby.quiet()
        await alice.say("fills the inbox")
        await lobby.quiet()

        await gone(lobby, alice)
        namesake = await lobby.arrive(name="alice")
        await lobby.quiet()
        store.set()
        await namesake.hear("welcome")

        assert namesake.name == "alice-2"
        await witness.hear("join", name="alice-2")
        assert witness.story()[2:] == [
            "message in the hub's hands",
            "message fills the inbox",
            "leave alice",
            "join alice-2",
        ]
        third = await lobby.join(name="alice")
        assert third.name == "alice"


async def test_a_leave_that_waits_does_not_keep_a_room_that_has_failed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lobby(Config(rate=0, inbox_frames=1)) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        store = trio.Event()

        async def fail_later() -> None:
            await store.wait()
            raise RuntimeError("the pen is broken")

        lobby.history.before_appending = fail_later
        await alice.say("in the hub's hands")
        await lobby.quiet()
        await bob.say("fills the inbox")
        await lobby.quiet()
        await gone(lobby, bob)
        await alice.say("waits for space")
        await lobby.quiet()

        store.set()
        assert await code(alice) == 1011
        await lobby.quiet()

        assert lobby.history.held.total() == 0
        expect_logged(caplog, "the pen is broken")


async def test_whoever_leaves_before_its_join_is_out_was_never_there(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, inbox_frames=1)) as lobby:
        witness = await lobby.join(name="witness")
        store = trio.Event()
        lobby.history.before_appending = store.wait
        await witness.say("in the hub's hands")
        await lobby.quiet()
        await witness.say("fills the inbox")
        await lobby.quiet()

        ghost = await lobby.arrive(name="ghost")
        await lobby.quiet()
        lobby.room().drain(trio.current_time() + 8)
        store.set()

        assert await code(ghost) == 1001
        assert ghost.heard == []
        await witness.wait_closed()
        assert witness.events("join", "leave") == []
