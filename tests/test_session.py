"""One member's conversation, over memory, in lockstep, and over TCP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import trio
from lobby import (
    Guest,
    Line,
    Lobby,
    calm,
    failing,
    in_one_order,
    lockstep,
    memory,
    number,
    open_lobby,
    tcp,
)
from trio.abc import Clock
from trio.testing import MockClock

from trio_chat.config import Config
from trio_chat.history import HistoryUnavailable
from trio_chat.protocol import Ending
from trio_chat.session import OVERTAKEN, SLOW_JOIN


@pytest.fixture(params=[memory, lockstep, tcp], ids=lambda line: line.__name__)
def line(request: pytest.FixtureRequest) -> Line:
    """The form that a connection has: a Trio stream, the shortest one there is, a socket."""
    chosen: Line = request.param
    return chosen


@pytest.fixture
def clock(line: Line) -> Clock | None:
    """Virtual time, but for sockets."""
    return None if line is tcp else MockClock(autojump_threshold=0)


@pytest.fixture(autouse=True)
def troubles(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that nothing was logged that somebody would have to look into."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno > logging.INFO] == []


def expect_one_fault(caplog: pytest.LogCaptureFixture, cause: str) -> None:
    """See that one error was logged, once, with its cause."""
    [record] = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.exc_info is not None
    assert cause in caplog.text
    caplog.clear()


# --- Arriving -------------------------------------------------------------------------------------


async def test_the_first_frame_is_a_welcome_that_says_where_one_is(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice = await lobby.join("green", "alice")

        welcome = alice.heard[0]
        assert welcome.keys() == {
            "type",
            "room",
            "name",
            "epoch",
            "seq",
            "recovered",
            "resume",
            "members",
        }
        assert (welcome["room"], welcome["name"], welcome["seq"]) == ("green", "alice", 0)
        assert welcome["recovered"] is False
        assert welcome["members"] == ["alice"]


async def test_who_comes_and_goes_is_told_to_the_others_and_to_nobody_else(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice = await lobby.join(name="alice")
        bob = await lobby.join(name="bob")
        await alice.hear("join", name="bob")
        assert bob.welcome["members"] == ["alice", "bob"]

        assert code(await bob.close()) == 1000
        await alice.hear("leave", name="bob")

        assert alice.story() == ["join bob", "leave bob"]
        assert bob.story() == []


async def test_whoever_breaks_off_has_left(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        alice = await lobby.join(name="alice")
        bob = await lobby.join(name="bob")

        await bob.vanish()

        await alice.hear("leave", name="bob")


async def test_a_name_that_is_taken_gets_a_number(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        guests = [await lobby.join(name="Alice"), await lobby.join(name="alice")]
        guests.append(await lobby.join(name="ALICE"))

        assert [guest.name for guest in guests] == ["Alice", "alice-2", "ALICE-3"]


async def test_a_name_is_free_again_when_its_member_has_left(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        first = await lobby.join(name="alice")
        witness = await lobby.join(name="witness")
        await first.close()

        again = await lobby.join(name="alice")

        assert again.name == "alice"
        await witness.until(lambda guest: guest.story() == ["leave alice", "join alice"])


async def test_whoever_gives_no_name_gets_one(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        names = [(await lobby.join()).name for _ in range(3)]

        assert len(set(names)) == 3
        assert all(name.startswith("guest-") for name in names)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(0, []), (3, [18, 19, 20]), (7, [*range(14, 21)]), (8, [*range(14, 21)])],
)
async def test_a_fresh_join_gets_the_newest_messages_as_many_as_it_asks_for_and_may(
    asked: int, expected: list[int], line: Line, clock: Clock
) -> None:
    async with open_lobby(Config(rate=0, max_history=7), line=line) as lobby:
        speaker = await talk(lobby, 20)

        guest = await lobby.join(history=asked)
        await speaker.say("now")
        await guest.until_heard("now")

        assert (guest.welcome["seq"], guest.welcome["recovered"]) == (20, False)
        assert guest.numbers == [*expected, 21]


async def test_without_a_limit_a_fresh_join_may_ask_for_everything(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, max_history=0)) as lobby:
        await talk(lobby, 600)

        guest = await lobby.join(history=1000)
        await guest.until(lambda guest: len(guest.numbers) == 600)

        assert guest.numbers == [*range(1, 601)]


async def test_whoever_comes_back_with_since_and_epoch_gets_everything_after(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(Config(rate=0, max_history=7), line=line) as lobby:
        speaker = await talk(lobby, 250)

        epoch = speaker.welcome["epoch"]
        guest = await lobby.join(since=20, epoch=epoch, history=0)
        await guest.until_heard("message 250")

        assert (guest.welcome["seq"], guest.welcome["recovered"]) == (250, True)
        assert guest.events("message") == speaker.events("message")[20:]


async def test_whoever_missed_nothing_has_recovered_too(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        speaker = await talk(lobby, 3)

        guest = await lobby.join(since=3, epoch=speaker.welcome["epoch"])
        await speaker.say("now")
        await guest.until_heard("now")

        assert guest.welcome["recovered"] is True
        assert guest.numbers == [4]


@pytest.mark.parametrize("since", [0, 3, 9])
@pytest.mark.parametrize("epoch", [None, "another"])
async def test_since_counts_only_with_the_epoch_of_the_room(
    since: int, epoch: str | None, autojump_clock: MockClock
) -> None:
    async with open_lobby() as lobby:
        speaker = await talk(lobby, 3)

        guest = await lobby.join(since=since, epoch=epoch, history=1)
        await speaker.say("now")
        await guest.until_heard("now")

        assert guest.welcome["recovered"] is False
        assert guest.numbers == [3, 4]


@pytest.mark.parametrize(("since", "first"), [(3, 9), (4, 9), (5, 6), (10, 11)])
async def test_only_what_is_kept_in_full_can_be_recovered(
    since: int, first: int, autojump_clock: MockClock
) -> None:
    async with open_lobby(Config(rate=0, keep_messages=5)) as lobby:
        speaker = await talk(lobby, 10)

        guest = await lobby.join(since=since, epoch=speaker.welcome["epoch"], history=2)
        await speaker.say("now")
        await guest.until_heard("now")

        assert guest.welcome["recovered"] is (first == since + 1)
        assert guest.numbers == [*range(first, 12)]


async def test_since_above_the_last_number_is_a_fresh_join(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        speaker = await talk(lobby, 3)

        guest = await lobby.join(since=4, epoch=speaker.welcome["epoch"])
        await guest.until(lambda guest: len(guest.numbers) == 3)

        assert guest.welcome["recovered"] is False


async def test_whoever_joins_a_room_whose_past_has_expired_finds_it_empty(
    autojump_clock: MockClock,
) -> None:
    now = 1e9
    async with open_lobby(Config(rate=0, keep_age=60), clock=lambda: now) as lobby:
        speaker = await talk(lobby, 3)
        now += 61

        guest = await lobby.join(since=1, epoch=speaker.welcome["epoch"])
        await speaker.say("now")
        await guest.until_heard("now")

        assert guest.welcome["recovered"] is False
        assert guest.numbers == [4]


async def test_numbers_go_on_in_the_next_life_of_a_room(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        speaker = await talk(lobby, 3)
        epoch = speaker.welcome["epoch"]
        await speaker.close()

        guest = await lobby.join(since=1, epoch=epoch)
        await guest.say("four")
        await guest.until_heard("four")

        assert guest.welcome["recovered"] is True
        assert guest.numbers == [2, 3, 4]


@pytest.mark.parametrize("coming", ["anew", "back"])
async def test_joining_while_messages_flow_shows_each_once(
    coming: str, line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        speaker = await lobby.join(name="speaker")
        epoch = speaker.welcome["epoch"]
        guests: list[Guest] = []

        async def come() -> None:
            for index in range(10):
                await speaker.until_heard(f"message {20 * index + 1}")
                since = 5 * index if coming == "back" else None
                guests.append(await lobby.join(since=since, epoch=epoch, history=0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            for index in range(300):
                await speaker.say(f"message {index + 1}")

        for index, guest in enumerate(guests):
            await guest.until_heard("message 300")
            since = 5 * index if coming == "back" else number(guest.welcome)
            assert guest.events("message") == speaker.events("message")[since:]


async def test_news_that_a_newcomer_missed_while_reading_stands_in_its_place(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0)) as lobby:
        speaker = await talk(lobby, 150)
        page = trio.Event()
        lobby.history.before_reading = page.wait

        newcomer = await lobby.join(name="newcomer", since=0, epoch=speaker.welcome["epoch"])
        await speaker.hear("join", name="newcomer")
        passer_by = await lobby.join(name="passer-by", history=0)
        await speaker.hear("join", name="passer-by")
        await speaker.say("hello")
        await speaker.send({"type": "typing"})
        await speaker.say("anybody?")
        await speaker.until_heard("anybody?")
        await passer_by.vanish()
        await speaker.hear("leave", name="passer-by")
        await speaker.say("pity")
        page.set()
        await newcomer.until_heard("pity")

        told = [line for line in speaker.story() if line != "join newcomer"]
        heard = [line for line in newcomer.story() if line != "typing speaker"]
        assert heard == told
        assert newcomer.story()[-5:] == [
            "message hello",
            "typing speaker",
            "message anybody?",
            "leave passer-by",
            "message pity",
        ]


async def test_whoever_is_on_the_way_in_is_a_member_for_those_who_come_after(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        await talk(lobby, 1)
        page = trio.Event()
        lobby.history.before_reading = page.wait
        alice = await lobby.join(name="alice")

        bob = await lobby.join(name="bob")
        assert alice.texts == bob.texts == []
        page.set()

        assert bob.welcome["members"] == ["alice", "bob", "speaker"]


async def test_a_newcomer_that_takes_too_long_over_the_history_is_evicted(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, join_timeout=60)) as lobby:
        await talk(lobby, 1)
        lobby.history.before_reading = trio.Event().wait
        start = trio.current_time()

        guest = await lobby.join()

        assert await guest.wait_closed() == SLOW_JOIN
        assert trio.current_time() - start == 60


async def test_a_newcomer_whose_next_page_was_trimmed_is_evicted(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, keep_messages=5)) as lobby:
        speaker = await talk(lobby, 5)
        page = trio.Event()
        lobby.history.before_reading = page.wait
        guest = await lobby.join(since=0, epoch=speaker.welcome["epoch"])

        await speaker.say("six")
        await speaker.until_heard("six")
        page.set()

        assert guest.welcome["recovered"] is True
        assert await guest.wait_closed() == OVERTAKEN
        assert guest.numbers == []


async def test_a_history_that_can_not_be_read_sends_the_newcomer_away_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        speaker = await talk(lobby, 1)
        lobby.history.before_reading = failing(HistoryUnavailable("gone fishing"))

        guest = await lobby.join()

        assert code(await guest.wait_closed()) == 1013
        await speaker.say("still here")
        await speaker.until_heard("still here")


def code(ending: Ending | None) -> int:
    assert ending is not None, "the connection broke off without a goodbye"
    return ending.code


# --- Taking over ----------------------------------------------------------------------------------


async def test_the_secret_takes_over_place_and_name_without_leave_and_join(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        witness = await lobby.join(name="witness")
        old = await lobby.join(name="alice")
        await old.say("before")
        await old.until_heard("before")

        new = await lobby.join(name="somebody", resume=old.welcome["resume"])

        assert code(await old.wait_closed()) == 4006
        assert new.name == "alice"
        assert new.welcome["members"] == ["alice", "witness"]
        assert new.welcome["resume"] != old.welcome["resume"]
        await new.say("after")
        await witness.until_heard("after")
        assert witness.story() == ["join alice", "message before", "message after"]
        assert {event["name"] for event in witness.events("message")} == {"alice"}
        await new.close()
        await witness.hear("leave", name="alice")


async def test_a_secret_works_once(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        old = await lobby.join(name="alice")
        new = await lobby.join(name="alice", resume=old.welcome["resume"])

        third = await lobby.join(name="alice", resume=old.welcome["resume"])

        assert third.name == "alice-2"
        await new.hear("join", name="alice-2")


async def test_the_secret_of_one_who_has_left_is_worth_nothing(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        witness = await lobby.join(name="witness")
        old = await lobby.join(name="alice")
        await old.close()

        new = await lobby.join(name="alice", resume=old.welcome["resume"])

        assert new.name == "alice"
        await witness.until(
            lambda guest: guest.story() == ["join alice", "leave alice", "join alice"]
        )


# --- The tutorial's dialect -----------------------------------------------------------------------


async def test_both_dialects_share_a_room(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        alice = await lobby.join(name="alice")
        plain = await lobby.join_plain()

        await alice.say("hello", "some-id")
        await plain.say("hi")
        await plain.until_heard("hi")
        await alice.until_heard("hi")

        assert plain.heard == [{"message": "here"}, {"message": "hello"}, {"message": "hi"}]
        names = [(event["name"], event["message"]) for event in alice.events("message")]
        assert names == [(None, "here"), ("alice", "hello"), (None, "hi")]


async def test_a_plain_member_counts_but_has_no_name_and_comes_and_goes_unannounced(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice = await lobby.join(name="alice")
        plain = await lobby.join_plain()
        assert lobby.rooms.counts() == {"lobby": 2}

        bob = await lobby.join(name="bob", history=0)
        assert bob.welcome["members"] == ["alice", "bob"]
        await plain.vanish()
        await bob.vanish()
        await alice.hear("leave", name="bob")

        assert alice.story() == ["message here", "join bob", "leave bob"]


async def test_a_plain_member_gets_no_history(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        speaker = await talk(lobby, 3)
        plain = await lobby.join_plain()

        await speaker.say("now")
        await plain.until_heard("now")

        assert plain.texts == ["here", "now"]


async def test_a_plain_member_is_told_errors_in_its_own_words(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        plain = await lobby.join_plain()

        await plain.send({"type": "typing"})
        await plain.until(lambda guest: len(guest.heard) == 2)

        error = plain.heard[-1]["error"]
        assert isinstance(error, dict)
        assert error.keys() == {"code", "reason"}
        assert error["code"] == "bad-message"


# --- Talking --------------------------------------------------------------------------------------


async def test_a_message_with_an_id_is_acknowledged_to_its_sender_alone(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")

        await alice.say("one", "a")
        await alice.say("two")
        await alice.say("three", "c")
        await alice.hear("ack", id="c")
        await bob.until_heard("three")

        assert alice.events("ack") == [
            {"type": "ack", "id": "a", "seq": 1, "duplicate": False},
            {"type": "ack", "id": "c", "seq": 3, "duplicate": False},
        ]
        assert bob.events("ack") == []
        assert [event.get("id") for event in bob.events("message")] == ["a", None, "c"]


async def test_acks_come_in_the_order_of_the_messages(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        alice = await lobby.join(name="alice")
        for index in range(200):
            await alice.say("again", f"id-{index}")
        await alice.hear("ack", id="id-199")

        acks = [number(event) for event in alice.events("ack")]
        assert acks == sorted(acks)
        assert acks == alice.numbers


async def test_an_id_that_was_accepted_is_not_published_again(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        await alice.say("hello", "a")
        await alice.say("hello", "a")  # Perhaps in the same batch,
        await alice.hear("ack", id="a", duplicate=True)
        await bob.say("hello", "a")  # perhaps long after, and from whomever.

        assert await bob.hear("ack") == {"type": "ack", "id": "a", "seq": 1, "duplicate": True}
        assert len(alice.events("ack")) == 2
        assert bob.texts == ["hello"]


async def test_the_same_id_with_another_text_is_an_error_and_not_published(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        await alice.say("hello", "a")
        await alice.hear("ack")

        await alice.say("good-bye", "a")
        await alice.hear("error", code="bad-id", id="a")
        await alice.say("and so on")
        await bob.until_heard("and so on")

        assert bob.texts == ["hello", "and so on"]
        assert bob.events("error") == []


async def test_what_could_not_be_stored_is_said_to_its_sender_who_can_send_it_again(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        lobby.history.before_appending = failing(HistoryUnavailable("gone fishing"))
        await alice.say("hello", "a")
        await alice.hear("error", code="history-unavailable", id="a")
        assert lobby.house.tally.unstored == 1

        lobby.history.before_appending = calm
        await alice.say("hello", "a")
        await bob.until_heard("hello")

        assert bob.numbers == [1]
        assert await alice.hear("ack") == {"type": "ack", "id": "a", "seq": 1, "duplicate": False}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("hello", "not-json"),
        ('{"message": "a", "ignored": NaN}', "not-json"),
        ("[" * 60_000, "not-json"),
        ("[]", "not-an-object"),
        ('{"message": 1}', "bad-message"),
        ('{"message": "a", "id": ""}', "bad-id"),
        ('{"type": "shout", "message": "a"}', "bad-type"),
        (json.dumps({"message": "a" * 4097}), "too-long"),
    ],
)
async def test_bad_input_is_an_error_to_its_sender_who_stays(
    text: str, error: str, line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")

        await alice.send_text(text)
        await alice.hear("error", code=error)
        await alice.say("sorry")
        await bob.until_heard("sorry")

        assert bob.heard[1:] == [alice.events("message")[0]]
        assert lobby.house.tally.errors == {error: 1}


async def test_typing_is_passed_on_to_the_others_once_in_two_seconds(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        plain = await lobby.join_plain()
        start = trio.current_time()

        for moment in (0.0, 0.1, 1.9, 2.0, 3.9, 4.1):
            await trio.sleep_until(start + moment)
            await alice.send({"type": "typing"})
            await lobby.quiet()
            await alice.say(f"{moment}")
        await bob.until_heard("4.1")

        assert [line for line in bob.story() if "here" not in line] == [
            "typing alice",
            "message 0.0",
            "message 0.1",
            "message 1.9",
            "typing alice",
            "message 2.0",
            "message 3.9",
            "typing alice",
            "message 4.1",
        ]
        assert alice.events("typing") == []
        assert plain.texts == ["here", *alice.texts[1:]]


async def test_typing_is_not_passed_on_where_the_room_has_no_room_for_it(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, inbox_frames=1)) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        store = trio.Event()
        lobby.history.before_appending = store.wait
        await bob.say("held by the hub")
        await lobby.quiet()
        await bob.say("fills the inbox")
        await lobby.quiet()

        await alice.send({"type": "typing"})
        await alice.say("waits")
        await lobby.quiet()
        store.set()
        await bob.until_heard("waits")

        assert bob.events("typing") == []


# --- Limits ---------------------------------------------------------------------------------------


async def test_whoever_goes_over_the_rate_is_told_how_long_to_wait(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=10, burst=3)) as lobby:
        alice = await lobby.join(name="alice")
        for index in range(4):
            await alice.say("hello", f"id-{index}")

        error = await alice.hear("error", code="rate-limited", id="id-3")
        assert error["retry_after"] == pytest.approx(0.1)
        await trio.sleep(0.1)
        await alice.say("hello", "id-3")

        await alice.hear("ack", id="id-3")
        assert alice.numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("frame", ['{"type": "typing"}', "no JSON", '{"message": 5}'])
async def test_every_data_frame_counts_towards_the_rate(
    frame: str, autojump_clock: MockClock
) -> None:
    async with open_lobby(Config(rate=10, burst=3)) as lobby:
        alice = await lobby.join(name="alice")
        for _ in range(3):
            await alice.send_text(frame)

        await alice.say("one more")

        await alice.hear("error", code="rate-limited")
        assert alice.texts == []


async def test_bytes_have_a_rate_too(autojump_clock: MockClock) -> None:
    config = Config(rate=0, byte_rate=60_000, max_message=0, max_frame=50_000)
    async with open_lobby(config) as lobby:
        alice = await lobby.join(name="alice")
        await alice.say("a" * 40_000)
        await alice.say("b" * 40_000)

        error = await alice.hear("error", code="rate-limited")
        retry_after = error["retry_after"]
        assert isinstance(retry_after, float)
        await trio.sleep(retry_after)
        await alice.say("b" * 40_000)

        await alice.until(lambda guest: len(guest.texts) == 2)


async def test_a_rate_of_0_is_no_limit(line: Line, clock: Clock) -> None:
    async with open_lobby(Config(rate=0), line=line) as lobby:
        await talk(lobby, 500)


async def test_20_errors_in_a_row_end_the_connection(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        for _ in range(20):
            await alice.send_text("no JSON")

        assert code(await alice.wait_closed()) == 1008
        assert len(alice.events("error")) == 20
        await bob.hear("leave", name="alice")


async def test_one_good_frame_makes_up_for_the_errors_before(autojump_clock: MockClock) -> None:
    async with open_lobby() as lobby:
        alice = await lobby.join(name="alice")
        for _ in range(3):
            for _ in range(19):
                await alice.send_text("no JSON")
            await alice.say("good")

        await alice.until(lambda guest: len(guest.texts) == 3)
        assert len(alice.events("error")) == 57


async def test_without_a_limit_errors_end_nothing(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, max_errors=0)) as lobby:
        alice = await lobby.join(name="alice")
        for _ in range(50):
            await alice.send_text("no JSON")
        await alice.say("good")

        await alice.until_heard("good")


async def test_flooding_ends_the_flooder(line: Line, clock: Clock) -> None:
    async with open_lobby(Config(rate=0.001, burst=5), line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        for index in range(25):
            await alice.say(str(index))

        assert code(await alice.wait_closed()) == 1008
        await bob.hear("leave", name="alice")
        assert bob.texts == ["0", "1", "2", "3", "4"]


async def test_a_binary_frame_ends_its_sender_with_1003(line: Line, clock: Clock) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        await alice.say("so far")

        await alice.send_frame(0x2, b'{"message": "hello"}')

        assert code(await alice.wait_closed()) == 1003
        await bob.hear("leave", name="alice")
        assert bob.texts == ["so far"]


async def test_everything_said_before_leaving_comes_before_the_leave(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        witness = await lobby.join(name="witness")
        alice = await lobby.join(name="alice")
        for index in range(100):
            await alice.say(str(index))

        await alice.close()
        await witness.hear("leave", name="alice")

        story = ["join alice", *(f"message {index}" for index in range(100)), "leave alice"]
        assert witness.story() == story


# --- Slow ones ------------------------------------------------------------------------------------


async def test_a_full_inbox_makes_its_senders_wait_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, inbox_frames=2), line=lockstep) as lobby:
        green = await lobby.join("green")
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        store = trio.Event()
        lobby.history.before_appending = store.wait

        async with trio.open_nursery() as nursery:
            said = await say_many(nursery, alice, 100)
            await lobby.quiet()
            # The hub has one in hand; two are in the inbox, and one is in the session, which reads
            # no more before it has got rid of it.
            assert said == [str(index) for index in range(4)]

            await bob.vanish()  # Nobody has to wait for the inbox in order to go,
            await green.send_text("no JSON")  # and other rooms are other rooms.
            await green.hear("error")
            store.set()

        await alice.until(lambda guest: len(guest.texts) == 100)
        assert alice.texts == said
        await alice.hear("leave", name="bob")


async def say_many(
    nursery: trio.Nursery, guest: Guest, messages: int, filling: str = ""
) -> list[str]:
    """Begin to say a number of things; return the list of those that the line has taken."""
    said: list[str] = []

    async def say() -> None:
        for index in range(messages):
            await guest.say(f"{index}{filling}")
            said.append(f"{index}{filling}")

    nursery.start_soon(say)
    await trio.lowlevel.checkpoint()
    return said


async def test_bytes_that_wait_in_an_inbox_make_senders_wait_too(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, inbox=20_000, max_message=0), line=lockstep) as lobby:
        alice = await lobby.join(name="alice")
        store = trio.Event()
        lobby.history.before_appending = store.wait

        async with trio.open_nursery() as nursery:
            said = await say_many(nursery, alice, 20, "x" * 9_000)
            await lobby.quiet()
            # As above, and three fill the inbox.
            assert len(said) == 5
            store.set()

        await alice.until(lambda guest: len(guest.texts) == 20)
        assert alice.texts == said


async def test_a_stalled_member_is_evicted_and_49_others_notice_nothing(
    autojump_clock: MockClock,
) -> None:
    config = Config(rate=0, outbox=100_000, stall_timeout=10)
    async with open_lobby(config) as lobby:
        stalled = await lobby.join(name="stalled", line=lockstep)
        others = [await lobby.join(history=0) for _ in range(49)]
        stalled.pause()

        start = trio.current_time()
        for index in range(40):
            await others[index].say(f"{index}" + "x" * 4_000)
        for guest in others:
            await guest.until(lambda guest: len(guest.texts) == 40)
            await guest.hear("leave", name="stalled")
        assert trio.current_time() == start

        in_one_order(others)
        assert lobby.house.tally.endings == {}
        await lobby.quiet()
        stalled.resume()
        assert code(await stalled.wait_closed()) == 4000
        assert lobby.house.ledger.dropped["evicted"] > 0


async def test_a_member_that_takes_nothing_for_10_seconds_is_evicted(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, stall_timeout=10)) as lobby:
        stalled = await lobby.join(name="stalled", line=lockstep)
        alice = await lobby.join(name="alice", history=0)
        await stalled.hear("join", name="alice")
        stalled.pause()

        start = trio.current_time()
        await alice.say("hello?")
        await alice.hear("leave", name="stalled")

        assert trio.current_time() - start == 10


async def test_a_newcomer_that_reads_gets_a_history_larger_than_an_outbox(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, outbox=2_000)) as lobby:
        speaker = await talk(lobby, 100)

        guest = await lobby.join(line=lockstep, since=0, epoch=speaker.welcome["epoch"])
        await guest.until_heard("message 100")

        assert guest.numbers == [*range(1, 101)]


async def test_an_evicted_member_comes_back_with_since_and_has_missed_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, outbox=50_000)) as lobby:
        alice = await lobby.join(name="alice")
        slow = await lobby.join(name="slow", line=lockstep)
        await alice.say("before")
        await slow.until_heard("before")
        slow.pause()
        for index in range(40):
            await alice.say(f"{index}" + "x" * 4_000)
        await alice.hear("leave", name="slow")

        again = await lobby.join(
            name="slow", line=lockstep, since=slow.numbers[-1], epoch=slow.welcome["epoch"]
        )
        await again.until(lambda guest: len(guest.numbers) == 40)

        assert again.welcome["recovered"] is True
        assert slow.events("message") + again.events("message") == alice.events("message")


# --- Ends -----------------------------------------------------------------------------------------


def drain(lobby: Lobby) -> None:
    lobby.rooms.drain(trio.current_time() + 8)


async def test_draining_delivers_what_was_accepted_and_says_1001_behind_it(
    line: Line, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        alice, bob = await lobby.join(name="alice"), await lobby.join(name="bob")
        plain = await lobby.join_plain()
        store = trio.Event()
        lobby.history.before_appending = store.wait
        await alice.say("the first", "a")
        await alice.fence()
        await bob.say("the last", "b")
        await bob.fence()

        drain(lobby)
        assert not alice.gone.is_set()
        store.set()

        for guest in (alice, bob, plain):
            assert code(await guest.wait_closed()) == 1001
            assert sorted(guest.texts) == ["here", "the first", "the last"]
        assert [event["id"] for event in alice.events("ack")] == ["a"]
        assert [event["id"] for event in bob.events("ack")] == ["b"]
        in_one_order([alice, bob])
        assert alice.events("leave") == bob.events("leave") == []


async def test_a_stalled_member_does_not_keep_a_drain_beyond_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, stall_timeout=60, close_timeout=60)) as lobby:
        stalled = await lobby.join(name="stalled", line=lockstep)
        alice = await lobby.join(name="alice", history=0)
        await stalled.hear("join", name="alice")
        stalled.pause()
        await alice.say("hello?")
        await alice.until_heard("hello?")

        start = trio.current_time()
        drain(lobby)
        assert code(await alice.wait_closed()) == 1001
        assert trio.current_time() == start
        await trio.sleep_until(start + 8)
        await lobby.quiet()

        assert lobby.rooms.counts() == {}
        assert lobby.house.ledger.dropped.total() == 1
        assert lobby.house.tally.endings == {1001: 2}


async def test_whoever_still_reads_the_history_when_a_drain_begins_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        speaker = await talk(lobby, 3)
        lobby.history.before_reading = trio.Event().wait
        newcomer = await lobby.join(name="newcomer")

        drain(lobby)

        assert code(await newcomer.wait_closed()) == 1001
        assert code(await speaker.wait_closed()) == 1001


async def test_whoever_is_at_the_threshold_when_a_drain_begins_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        opening = trio.Event()
        lobby.history.before_opening = opening.wait
        guests = [await lobby.arrive() for _ in range(3)]
        await lobby.quiet()

        drain(lobby)
        opening.set()

        for guest in guests:
            assert code(await guest.wait_closed()) == 1001


async def test_a_fault_of_a_session_costs_that_session_alone(
    line: Line, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    async with open_lobby(line=line) as lobby:
        speaker = await talk(lobby, 1)
        lobby.history.before_reading = failing(RuntimeError("a page is missing"))
        victim = await lobby.join(name="victim")

        assert code(await victim.wait_closed()) == 1011
        await speaker.hear("leave", name="victim")
        await speaker.say("still here")
        await speaker.until_heard("still here")

        assert lobby.house.tally.faults == 1
        expect_one_fault(caplog, "a page is missing")


async def test_whoever_goes_away_during_the_handshake_leaves_no_trace(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby() as lobby:
        witness = await lobby.join(name="witness")
        ghost = await lobby.arrive(name="ghost")
        await ghost.vanish()
        await lobby.quiet()

        assert lobby.rooms.counts() == {"lobby": 1}
        assert len(witness.events("join")) == len(witness.events("leave"))


async def test_a_full_room_turns_people_away_with_1013(autojump_clock: MockClock) -> None:
    async with open_lobby(Config(rate=0, max_members=2)) as lobby:
        first, _ = await lobby.join(), await lobby.join()

        third = await lobby.arrive()
        assert code(await third.wait_closed()) == 1013

        await first.close()
        await lobby.quiet()
        await lobby.join()


async def test_whoever_does_not_wait_to_be_turned_away_leaves_no_trace(
    autojump_clock: MockClock,
) -> None:
    async with open_lobby(Config(rate=0, max_members=1)) as lobby:
        await lobby.join()
        third = await lobby.arrive()
        await third.vanish()
        await lobby.quiet()

        assert lobby.house.tally.endings == {1013: 1}


async def talk(lobby: Lobby, messages: int) -> Guest:
    """Let somebody say a number of things, and come back when the room has heard them."""
    speaker = await lobby.join(name="speaker")
    for index in range(messages):
        await speaker.say(f"message {index + 1}")
    await speaker.until(lambda guest: len(guest.texts) == messages)
    return speaker
