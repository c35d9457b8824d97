"""The client against a scripted peer: what it asks, what it yields, and how it comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from stage import (
    Absent,
    Accept,
    Blurt,
    Ignore,
    Peer,
    Reject,
    Stage,
    ack,
    error,
    message,
    take,
    welcome,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.client import (
    Deleted,
    Disconnected,
    Joined,
    Left,
    Message,
    Overrun,
    PlainError,
    Receipt,
    Reconnected,
    Reconnecting,
    Refused,
    Typing,
    Welcome,
    connect_plain_stream,
    connect_stream,
)
from trio_chat.client.backlog import FULL, PLENTY
from trio_chat.client.link import CLOSE_TIMEOUT, PING_TIMEOUT, SILENCE
from trio_chat.client.member import HOLDS, JOIN_TIMEOUT
from trio_chat.client.outgoing import RETRY_AFTER, WINDOW
from trio_chat.protocol import TYPING_INTERVAL


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        # Virtual: whatever waits for ever fails its test at once.
        with trio.fail_after(24 * 3600):
            yield Stage(nursery)
        nursery.cancel_scope.cancel()


def texts(events: list[object]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]


# --- Joining ---


async def test_it_joins_and_asks_for_what_it_was_given(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(name="alice-2"))
    async with stage.connect("ws://h/ws/chat/lobby/?token=t", name="alice", history=7) as chat:
        peer = await stage.peer()
        assert peer.path == "/ws/chat/lobby/"
        assert peer.offered == ("trio-chat.v1",)
        assert peer.query == {"token": "t", "name": "alice", "history": "7"}
        assert (chat.room, chat.name, chat.epoch, chat.seq) == ("lobby", "alice-2", "e1", 0)


async def test_it_asks_for_nothing_by_itself(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect():
        assert (await stage.peer()).query == {}


async def test_an_address_may_say_where_to_go_on(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome(message(6), seq=6, recovered=True))
    async with stage.connect("ws://h/ws/chat/lobby/?since=5&epoch=e1") as chat:
        assert (await stage.peer()).query == {"since": "5", "epoch": "e1"}
        greeting, six = await take(chat, 2)
        assert isinstance(greeting, Welcome)
        assert greeting.recovered
        assert six == Message(6, "bob", "number 6", 6.0)


async def test_events_are_typed_and_the_unknown_is_ignored(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(members=["alice", "bob"], seq=1))
    async with stage.connect() as chat:
        peer = await stage.peer()
        await peer.say(
            message(1),
            {"type": "confetti", "color": "all"},
            {"type": "join", "name": "carol", "mood": "good"},
            {"type": "typing", "name": "carol"},
            {"type": "leave", "name": "bob"},
            message(2, name=None, id="x"),
            {"type": "deleted", "seq": 1},
            {"type": "deleted", "seq": 3},
            {"type": "ack", "id": "nobody's", "seq": 3, "duplicate": False},
            message(4),
        )
        assert await take(chat, 9) == [
            Welcome("lobby", "alice", "e1", 1, False, ("alice", "bob"), 2, "secret"),
            Message(1, "bob", "number 1", 1.0),
            Joined("carol"),
            Typing("carol"),
            Left("bob"),
            Message(2, None, "number 2", 2.0, "x"),
            Deleted(1),
            Deleted(3),
            Message(4, "bob", "number 4", 4.0),
        ]
        assert chat.members == ("alice", "carol")
        assert chat.seq == 4


async def test_a_room_too_large_to_name_its_members(
    stage: Stage, autojump_clock: MockClock
) -> None:
    greeting = welcome(count=5000)
    del greeting.frames[0]["members"]
    stage.plan(greeting)
    async with stage.connect() as chat:
        assert chat.members == ()
        assert (await anext(chat)) == Welcome(
            "lobby", "alice", "e1", 0, False, None, 5000, "secret"
        )


@pytest.mark.parametrize(
    ("plan", "code", "reason"),
    [
        (Reject(404, b"no such room\nreally"), 404, "no such room"),
        (Reject(403), 403, "Forbidden"),
        (Reject(503), 503, "Service Unavailable"),
        (Reject(599), 599, "refused"),
        (Blurt(), 1006, "the connection was lost during the handshake"),
        (Blurt(b"SSH-2.0-OpenSSH\r\n"), 1006, "the connection was lost during the handshake"),
        (Absent(), 1006, "can't connect to chat.example, port 80: nobody is there"),
        (Accept((), subprotocol=None), 1002, "the server does not speak trio-chat.v1"),
        (Accept((message(1),)), 1002, "the server did not say welcome"),
        (Accept(({"type": "welcome"},)), 1002, "the server sent 'welcome' with room None"),
    ],
)
async def test_who_never_gets_in_is_told_why(
    stage: Stage, plan: Absent, code: int, reason: str, autojump_clock: MockClock
) -> None:
    stage.plan(plan)
    with pytest.raises(Disconnected) as caught:
        async with stage.connect():
            pytest.fail("it got in")
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert stage.dials == 1


async def test_a_server_that_closes_instead_of_greeting_says_why(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(Accept(()))

    async def turn_away() -> None:
        await (await stage.peer()).close(1013, "the room is full")

    stage.nursery.start_soon(turn_away)
    with pytest.raises(Disconnected, match="1013: the room is full"):
        async with stage.connect():
            pytest.fail("it got in")


@pytest.mark.parametrize("plan", [Ignore(), Accept(())])
async def test_a_server_that_never_greets_is_given_up(
    stage: Stage, plan: Ignore, autojump_clock: MockClock
) -> None:
    stage.plan(plan)
    start = trio.current_time()
    with pytest.raises(Disconnected, match="no welcome within 30 s"):
        async with stage.connect():
            pytest.fail("it got in")
    # Where there is a WebSocket, it is closed; the peer here answers at once.
    assert trio.current_time() - start == JOIN_TIMEOUT


# --- Leaving ---


async def test_leaving_says_goodbye(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        peer = await stage.peer()
        assert isinstance(await anext(chat), Welcome)
    assert await peer.closed() == 1000
    with pytest.raises(StopAsyncIteration):
        await anext(chat)
    with pytest.raises(Disconnected, match="1000"):
        await chat.say("too late")
    with pytest.raises(Disconnected, match="1000"):
        await chat.typing()


async def test_leaving_does_not_wait_for_a_server_that_is_silent(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect():
        (await stage.peer()).freeze()
        await wait_all_tasks_blocked()
        start = trio.current_time()
    assert trio.current_time() - start == CLOSE_TIMEOUT


async def test_who_is_cancelled_says_goodbye_and_does_not_wait(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    start = trio.current_time()
    with trio.CancelScope() as scope:
        async with stage.connect():
            peer = await stage.peer()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert await peer.closed() == 1000
    assert trio.current_time() == start


async def test_when_both_leave_nobody_waits(stage: Stage, autojump_clock: MockClock) -> None:
    for ticks in range(30):
        stage.plan(welcome())
        start = trio.current_time()
        async with stage.connect():
            peer = await stage.peer()
            stage.nursery.start_soon(peer.close, 1001)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
        assert trio.current_time() == start


async def test_leaving_while_away_is_at_once(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        await (await stage.peer()).vanish()
        assert isinstance((await take(chat, 2))[1], Reconnecting)
        start = trio.current_time()
    assert trio.current_time() == start


async def test_an_error_in_the_block_comes_out_as_it_is(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    cause, context = OSError("cause"), KeyError("context")

    async def fail() -> None:
        async with stage.connect():
            try:
                raise context
            except KeyError:
                raise ValueError("mine") from cause

    with pytest.raises(ValueError, match="mine") as caught:
        await fail()
    assert caught.value.__cause__ is cause
    assert caught.value.__context__ is context


async def test_a_ping_behind_the_goodbye_harms_nobody(
    stage: Stage, autojump_clock: MockClock
) -> None:
    # trio-websocket's reader raises when it has to answer after its own Close.
    async def ping_at_the_goodbye(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(b"\x89\x00")

    stage.plan(welcome(), Accept((), subprotocol=None))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stage.connect())
        await stack.enter_async_context(connect_plain_stream(await stage.dial()))
        for peer in (await stage.peer(), await stage.peer()):
            peer.freeze()
            await wait_all_tasks_blocked()
            stage.nursery.start_soon(ping_at_the_goodbye, peer)


# --- Saying ---


async def test_a_receipt_comes_for_what_was_said(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()

        async def answer() -> None:
            said = await peer.hear()
            assert said == {"type": "message", "message": "hé\n\0", "id": said["id"]}
            assert len(str(said["id"])) == 36
            await peer.say(message(1, "hé\n\0", name="alice"), ack(said, 1))

        nursery.start_soon(answer)
        receipt = await chat.say("hé\n\0")
        assert receipt == Receipt(receipt.id, 1, False)


async def test_messages_are_under_way_together_and_acks_find_their_own(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    receipts: dict[str, Receipt] = {}

    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()

        async def say(text: str) -> None:
            receipts[text] = await chat.say(text)

        for text in ("a", "b", "c"):
            nursery.start_soon(say, text)
        heard = [await peer.hear() for _ in range(3)]
        for seq, said in enumerate(reversed(heard), 1):
            await peer.say(ack(said, seq))
    assert {text: receipt.seq for text, receipt in receipts.items()} == {
        str(said["message"]): seq for seq, said in enumerate(reversed(heard), 1)
    }


async def test_no_more_are_under_way_than_the_window_holds(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()
        for number in range(WINDOW + 1):
            nursery.start_soon(chat.say, str(number))
        first = [await peer.hear() for _ in range(WINDOW)]
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as impatient:
            await peer.hear()
        assert impatient.cancelled_caught
        await peer.say(*(ack(said, seq) for seq, said in enumerate(first, 1)))
        await peer.say(ack(await peer.hear(), WINDOW + 1))


async def test_a_refusal_carries_code_reason_and_id(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()

        async def refuse() -> None:
            said = await peer.hear()
            await peer.say(error("history-unavailable", id=said["id"]))
            again = await peer.hear()
            assert again == said
            await peer.say(ack(again, 4, duplicate=True))

        nursery.start_soon(refuse)
        with pytest.raises(Refused) as caught:
            await chat.say("hello")
        refused = caught.value
        assert (refused.code, refused.reason) == (
            "history-unavailable",
            "because of history-unavailable",
        )
        assert await chat.say("hello", id=refused.id) == Receipt(refused.id, 4, True)


@pytest.mark.parametrize(
    ("fields", "pause"),
    [({"retry_after": 2.5}, 2.5), ({}, RETRY_AFTER), ({"retry_after": -1}, 0)],
)
async def test_what_came_too_fast_is_sent_again_after_the_time_asked_for(
    stage: Stage, fields: dict[str, object], pause: float, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()

        async def slow_down() -> None:
            for _ in range(3):
                said = await peer.hear()
                await peer.say(error("rate-limited", id=said["id"], **fields))
            await peer.say(ack(await peer.hear(), 1))

        start = trio.current_time()
        nursery.start_soon(slow_down)
        assert (await chat.say("hello")).seq == 1
        assert trio.current_time() - start == pytest.approx(3 * pause)


async def test_what_was_refused_together_is_sent_again_one_by_one(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()
        for number in range(5):
            nursery.start_soon(chat.say, str(number))
        for said in [await peer.hear() for _ in range(5)]:
            await peer.say(error("rate-limited", id=said["id"], retry_after=1))
        for seq in range(1, 6):
            said = await peer.hear()
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.5) as alone:
                await peer.hear()
            assert alone.cancelled_caught
            await peer.say(ack(said, seq))


async def test_a_rate_limit_that_names_no_message_means_all_of_them(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()
        nursery.start_soon(chat.say, "a")
        nursery.start_soon(chat.say, "b")
        before = {str((await peer.hear())["id"]) for _ in range(2)}
        await peer.say(error("not-json"), error("rate-limited", retry_after=1))
        after = set()
        for seq in (1, 2):
            said = await peer.hear()
            after.add(str(said["id"]))
            await peer.say(ack(said, seq))
        assert before == after


async def test_text_that_is_no_text_is_refused_here(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        with pytest.raises(ValueError, match="surrogate"):
            await chat.say("\ud800")


async def test_an_id_can_be_under_way_once(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        nursery.start_soon(chat.say, "one", name="one")
        nursery.start_soon(lambda: chat.say("two", id="x"))
        await wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="'x' is under way"):
            await chat.say("two", id="x")
        nursery.cancel_scope.cancel()


async def test_what_was_cancelled_is_forgotten(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome(), welcome(recovered=True))
    async with stage.connect() as chat:
        peer = await stage.peer()
        with trio.move_on_after(1):
            await chat.say("never mind")
        assert (await peer.hear())["message"] == "never mind"
        await peer.vanish()
        peer = await stage.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.say, "this")
            said = await peer.hear()
            assert said["message"] == "this"
            await peer.say(ack(said, 1))


async def test_typing_is_said_no_more_often_than_it_is_passed_on(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        peer = await stage.peer()
        await wait_all_tasks_blocked()
        start = trio.current_time()

        async def type_on() -> None:
            while True:
                await chat.typing()
                await trio.sleep(TYPING_INTERVAL / 20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(type_on)
            for number in range(3):
                assert await peer.hear() == {"type": "typing"}
                late = trio.current_time() - start - TYPING_INTERVAL * number
                assert 0 <= late <= number * TYPING_INTERVAL / 20
            nursery.cancel_scope.cancel()


async def test_typing_while_away_is_not_sent_later(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome(), welcome(recovered=True))
    async with stage.connect() as chat:
        await (await stage.peer()).vanish()
        await wait_all_tasks_blocked()
        await chat.typing()
        peer = await stage.peer()
        with trio.move_on_after(1) as quiet:
            await peer.hear()
        assert quiet.cancelled_caught


# --- Coming back ---


async def test_it_goes_on_after_the_last_message(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(
        welcome(message(1), message(2), seq=2),
        welcome(message(3), seq=3, recovered=True, resume="new", name="alice", members=["zoe"]),
        welcome(seq=3, recovered=True),
    )
    async with stage.connect(name="al", history=9) as chat:
        peer = await stage.peer()
        await take(chat, 3)
        await peer.vanish()
        peer = await stage.peer()
        assert peer.query == {
            "name": "alice",
            "history": "9",
            "since": "2",
            "epoch": "e1",
            "resume": "secret",
        }
        lost, back, three = await take(chat, 3)
        assert isinstance(lost, Reconnecting)
        assert (lost.code, lost.reason, lost.attempt) == (1006, "the connection was lost", 1)
        assert isinstance(back, Reconnected)
        assert back.recovered
        assert back.welcome.resume == "new"
        assert three == Message(3, "bob", "number 3", 3.0)
        assert chat.members == ("zoe",)

        await peer.vanish()
        assert (await stage.peer()).query["resume"] == "new"


async def test_nothing_comes_twice(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(
        welcome(message(1), message(2), seq=2),
        welcome(message(1), message(2), message(3), seq=3, recovered=True),
    )
    async with stage.connect() as chat:
        peer = await stage.peer()
        await peer.say(message(2))
        await peer.vanish()
        assert texts(await take(chat, 6)) == ["number 1", "number 2", "number 3"]


async def test_what_is_missing_is_said_to_be(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(
        welcome(message(1), seq=1),
        welcome(message(8), message(9), seq=9),
        welcome(message(1, "anew"), seq=1, epoch="e2"),
    )
    async with stage.connect(history=2) as chat:
        for _ in range(2):
            await (await stage.peer()).vanish()
        events = [event for event in await take(chat, 9) if not isinstance(event, Reconnecting)]
        assert [
            event.recovered if isinstance(event, Reconnected) else type(event) for event in events
        ] == [Welcome, Message, False, Message, Message, False, Message]
        assert texts(list(events)) == ["number 1", "number 8", "number 9", "anew"]
        assert (chat.epoch, chat.seq) == ("e2", 1)


async def test_a_gap_is_filled_by_coming_back(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(
        welcome(message(1), message(3), seq=3),
        welcome(message(2), message(3), seq=3, recovered=True),
    )
    async with stage.connect() as chat:
        _, _, lost, _, *messages = await take(chat, 6)
        assert isinstance(lost, Reconnecting)
        assert lost.reason == "message 3 came after 1"
        assert texts(messages) == ["number 2", "number 3"]
        await stage.peer()
        assert (await stage.peer()).query["since"] == "1"


async def test_a_renumbered_room_is_joined_afresh(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome(message(7), seq=7), welcome(message(1), seq=1, epoch="e2"))
    async with stage.connect() as chat:
        await (await stage.peer()).close(4005, "the numbering began anew")
        assert (await stage.peer()).query == {"name": "alice", "resume": "secret"}
        assert texts(await take(chat, 5)) == ["number 7", "number 1"]


async def test_a_message_is_sent_again_until_it_is_answered(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(), welcome(recovered=True), Absent(), welcome(recovered=True))
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        receipts = []

        async def say() -> None:
            receipts.append(await chat.say("hello"))

        nursery.start_soon(say)
        heard = []
        for _ in range(2):
            peer = await stage.peer()
            heard.append(await peer.hear())
            await peer.vanish()
        peer = await stage.peer()
        heard.append(await peer.hear())
        await peer.say(ack(heard[0], 1, duplicate=True))
    assert heard[0] == heard[1] == heard[2]
    assert receipts == [Receipt(str(heard[0]["id"]), 1, True)]


async def test_what_is_said_while_away_is_sent_once_it_is_back(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(), welcome(recovered=True))
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        await (await stage.peer()).vanish()
        await wait_all_tasks_blocked()
        nursery.start_soon(chat.say, "meanwhile")
        peer = await stage.peer()
        said = await peer.hear()
        with trio.move_on_after(1) as once:
            await peer.hear()
        assert once.cancelled_caught
        await peer.say(ack(said, 1))


@pytest.mark.parametrize("code", [1001, 1008, 1011, 1012, 1013, 4000, 4003])
async def test_it_comes_back_after(stage: Stage, code: int, autojump_clock: MockClock) -> None:
    stage.plan(welcome(message(1), seq=1), welcome(seq=1, recovered=True))
    async with stage.connect() as chat:
        await (await stage.peer()).close(code, "why")
        start = trio.current_time()
        _, _, lost, back = await take(chat, 4)
        assert isinstance(lost, Reconnecting)
        assert (lost.code, lost.reason) == (code, "why")
        assert trio.current_time() - start == pytest.approx(lost.pause)
        assert isinstance(back, Reconnected)
        assert (await stage.peer()).query["since"] == "1"


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1009, 4001, 4002, 4004, 4006, 4321])
async def test_it_does_not_come_back_after(
    stage: Stage, code: int, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(message(1), seq=1), welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()

        async def say_in_vain() -> None:
            with pytest.raises(Disconnected, match=f"{code}: why"):
                await chat.say("hello")

        nursery.start_soon(say_in_vain)
        await peer.hear()
        await peer.close(code, "why")
        await take(chat, 2)
        for _ in range(2):
            with pytest.raises(Disconnected) as caught:
                await anext(chat)
            assert (caught.value.code, caught.value.reason) == (code, "why")
        await say_in_vain()
        with pytest.raises(Disconnected):
            await chat.typing()
    assert stage.dials == 1


@pytest.mark.parametrize("plan", [Reject(404, b"gone"), Reject(400, b"since: no")])
async def test_it_does_not_come_back_where_it_is_refused(
    stage: Stage, plan: Reject, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(), Absent(), Reject(503), plan)
    async with stage.connect() as chat:
        await (await stage.peer()).vanish()
        events = await take(chat, 4)
        assert [event.code for event in events if isinstance(event, Reconnecting)] == [
            1006,
            1006,
            503,
        ]
        with pytest.raises(Disconnected, match=str(plan.status)):
            await anext(chat)


async def test_what_the_server_may_not_say_ends_it(stage: Stage, autojump_clock: MockClock) -> None:
    for said in ('{"type": "join"}', b"\x00", "\x7f"):
        stage.plan(welcome())
        async with stage.connect() as chat:
            await (await stage.peer()).websocket.send_message(said)
            await anext(chat)
            with pytest.raises(Disconnected) as caught:
                await anext(chat)
            assert caught.value.code in {1002, 1003}


async def test_a_server_that_breaks_the_websocket_protocol_ends_it(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        await (await stage.peer()).stream.send_all(b"\x83\x00")  # A reserved opcode.
        await anext(chat)
        with pytest.raises(Disconnected, match="1002"):
            await anext(chat)


async def test_pauses_grow_while_nobody_is_there_and_are_kept_to_the_second(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(), *[Absent()] * 8, welcome(recovered=True))
    async with stage.connect() as chat:
        await (await stage.peer()).vanish()
        await anext(chat)
        start = trio.current_time()
        lost = [event for event in await take(chat, 10) if isinstance(event, Reconnecting)]
        assert [event.attempt for event in lost] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert all(event.pause <= min(30, 2**event.attempt) for event in lost)
        assert trio.current_time() - start == pytest.approx(sum(event.pause for event in lost))


async def test_a_connection_that_held_is_a_new_beginning(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(*[welcome(recovered=True)] * 4)
    async with stage.connect() as chat:
        attempts = []
        for held in (0.0, HOLDS - 1, HOLDS):
            peer = await stage.peer()
            await anext(chat)
            await trio.sleep(held)
            await peer.vanish()
            lost = await anext(chat)
            assert isinstance(lost, Reconnecting)
            attempts.append(lost.attempt)
        assert attempts == [1, 2, 1]


async def test_a_single_stream_is_not_opened_again(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with connect_stream(await stage.dial(), name="al", history=0) as chat:
        peer = await stage.peer()
        assert (peer.path, peer.query) == ("/ws/chat/lobby/", {"name": "al", "history": "0"})
        await peer.close(1001, "restarting")
        await anext(chat)
        with pytest.raises(Disconnected, match="1001: restarting"):
            await anext(chat)


# --- A server that has vanished ---


async def test_a_silent_server_is_asked_and_then_given_up(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome(), welcome(recovered=True))
    async with stage.connect() as chat:
        (await stage.peer()).freeze()
        await anext(chat)
        start = trio.current_time()
        lost = await anext(chat)
        assert isinstance(lost, Reconnecting)
        assert lost.reason == "the connection was lost"
        assert trio.current_time() - start == SILENCE + PING_TIMEOUT


async def test_a_quiet_server_that_answers_is_kept(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat:
        await stage.peer()
        await anext(chat)
        with trio.move_on_after(3600) as hour:
            await anext(chat)
        assert hour.cancelled_caught
    assert stage.dials == 1


# --- Back-pressure ---


async def flood(peer: Peer, start: int = 1) -> None:
    seq = start
    while True:
        await peer.say(message(seq))
        seq += 1


async def test_who_does_not_take_events_makes_the_server_wait(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.new_pair = trio.testing.lockstep_stream_pair
    stage.plan(welcome(members=[]))
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        await anext(chat)
        peer = await stage.peer()
        nursery.start_soon(flood, peer)
        with trio.move_on_after(5 * SILENCE):
            await trio.sleep_forever()
        # Some more are with trio-websocket, on both sides.
        assert PLENTY <= chat.seq < PLENTY + 10
        seen = chat.seq
        await take(chat, 100)
        await wait_all_tasks_blocked()
        assert seen < chat.seq <= seen + 100
        assert texts(await take(chat, 900))[-1] == "number 1000"
        nursery.cancel_scope.cancel()
    assert stage.dials == 1


async def test_who_says_something_before_taking_more_gets_the_receipt(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.new_pair = trio.testing.lockstep_stream_pair
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        await anext(chat)
        peer = await stage.peer()

        async def answer_late() -> None:
            said = await peer.hear()
            for seq in range(1, 3 * PLENTY):
                await peer.say(message(seq))
            await peer.say(ack(said, 3 * PLENTY))

        nursery.start_soon(answer_late)
        assert (await chat.say("hello")).seq == 3 * PLENTY
        assert len(texts(await take(chat, 3 * PLENTY - 1))) == 3 * PLENTY - 1


async def test_who_is_far_behind_can_still_say_something(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.new_pair = trio.testing.lockstep_stream_pair
    stage.plan(welcome(members=[]))
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        await anext(chat)
        peer = await stage.peer()

        async def flood_and_answer() -> None:
            await peer.say(*map(message, range(1, 2 * PLENTY)))
            await peer.say(ack(await peer.hear(), 2 * PLENTY))

        nursery.start_soon(flood_and_answer)
        await trio.sleep(SILENCE / 2)
        assert PLENTY <= chat.seq < PLENTY + 10
        assert (await chat.say("hello")).seq == 2 * PLENTY


async def test_a_receipt_out_of_reach_is_an_overrun(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        await anext(chat)
        peer = await stage.peer()
        nursery.start_soon(flood, peer)
        with pytest.raises(Overrun) as caught:
            await chat.say("hello")
        with pytest.raises(Overrun):
            await chat.say("hello", id=caught.value.id)
        nursery.cancel_scope.cancel()
        # Nothing was lost of what came before.
        assert texts(await take(chat, FULL))[-1] == f"number {FULL}"


async def test_who_only_talks_need_not_listen(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(welcome())
    async with stage.connect() as chat, trio.open_nursery() as nursery:
        peer = await stage.peer()
        count = PLENTY + 100

        async def echo() -> None:
            for seq in range(1, count + 1):
                said = await peer.hear()
                await peer.say(ack(said, seq), message(seq, str(said["message"]), name="alice"))

        nursery.start_soon(echo)
        for number in range(1, count + 1):
            await chat.say(str(number))
        await wait_all_tasks_blocked()
        # Who comes to listen later hears the newest, without a gap.
        heard = texts(await take(chat, PLENTY))
        assert heard == [str(number) for number in range(count - PLENTY + 1, count + 1)]


# --- Torn frames ---


async def test_after_half_a_frame_nothing_is_sent(stage: Stage, autojump_clock: MockClock) -> None:
    stage.new_pair = trio.testing.lockstep_stream_pair
    stage.plan(welcome())
    async with stage.connect() as chat:
        peer = await stage.peer()
        peer.freeze()
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with trio.move_on_after(1):
            await chat.say("stuck half-way")
    # Its Close would stand in the middle of that message, so there is no waiting for an answer.
    assert trio.current_time() - start == 1


# --- Cancelled at every step ---


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after so many steps of the task that opened it and its children."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope = scope
        self.left = step
        self.root = trio.lowlevel.current_task()
        self.family = {self.root}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        parent = task.parent_nursery.parent_task if task.parent_nursery else None
        if parent in self.family:
            self.family.add(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self.family:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def say_and_hear(stage: Stage) -> None:
    async with stage.connect() as chat:
        peer = await stage.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.say, "hello")
            said = await peer.hear()
            await peer.say(ack(said, 1), message(1, name="alice"))
        await take(chat, 2)
        await peer.vanish()
        peer = await stage.peer()
        await take(chat, 2)


async def test_wherever_it_is_cancelled_the_streams_are_closed(autojump_clock: MockClock) -> None:
    step, done = 0, False
    while not done:
        step += 1
        pairs: list[tuple[trio.abc.Stream, trio.abc.Stream]] = []

        def new_pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            pair = trio.testing.memory_stream_pair()
            pairs.append(pair)  # noqa: B023
            return pair

        async with trio.open_nursery() as nursery:
            stage = Stage(nursery, new_pair)
            stage.plan(welcome(), welcome(seq=1, recovered=True))
            with trio.CancelScope() as scope:
                instrument = CancelAtStep(scope, step)
                trio.lowlevel.add_instrument(instrument)
                await say_and_hear(stage)
                done = True
            trio.lowlevel.remove_instrument(instrument)
            for theirs, _ in pairs:
                with pytest.raises(trio.ClosedResourceError):
                    await theirs.receive_some(1)
            nursery.cancel_scope.cancel()
    assert step > 30


# --- The plain dialect ---


async def test_plain_text_goes_in_and_comes_out(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(Accept(({"message": "welcome, all"},), subprotocol=None))
    async with connect_plain_stream(await stage.dial()) as plain:
        peer = await stage.peer()
        assert (peer.path, peer.offered, peer.query) == ("/ws/chat/lobby/", (), {})
        await plain.send("hello")
        assert await peer.hear() == {"message": "hello"}
        await peer.say({"message": "hello"})
        assert [await anext(plain), await anext(plain)] == ["welcome, all", "hello"]
    assert await peer.closed() == 1000


async def test_plain_errors_are_raised_and_the_talk_goes_on(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(Accept((), subprotocol=None))
    async with connect_plain_stream(await stage.dial()) as plain:
        peer = await stage.peer()
        await peer.say({"error": {"code": "too-long", "reason": "why"}}, {"message": "next"})
        with pytest.raises(PlainError) as caught:
            await anext(plain)
        assert (caught.value.code, caught.value.reason) == ("too-long", "why")
        async for text in plain:
            assert text == "next"
            break


@pytest.mark.parametrize("said", ["", "[]", '{"message": 1}', '{"error": {}}'])
async def test_what_is_not_plain_ends_it(
    stage: Stage, said: str, autojump_clock: MockClock
) -> None:
    stage.plan(Accept((), subprotocol=None))
    async with connect_plain_stream(await stage.dial()) as plain:
        await (await stage.peer()).websocket.send_message(said)
        with pytest.raises(Disconnected, match="1002"):
            await anext(plain)


async def test_plain_ends_with_the_server(stage: Stage, autojump_clock: MockClock) -> None:
    stage.plan(Accept((), subprotocol=None))
    async with connect_plain_stream(await stage.dial()) as plain:
        await (await stage.peer()).close(1001, "bye")
        with pytest.raises(Disconnected, match="1001: bye"):
            await anext(plain)
        with pytest.raises(Disconnected):
            await plain.send("too late")


async def test_plain_gives_up_a_server_that_does_not_answer(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.plan(Ignore())
    start = trio.current_time()
    with pytest.raises(Disconnected, match="no answer within 30 s"):
        async with connect_plain_stream(await stage.dial()):
            pytest.fail("it got in")
    assert trio.current_time() - start == JOIN_TIMEOUT
