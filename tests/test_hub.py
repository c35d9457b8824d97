"""The hub, with members that only listen: what it joins, what it tells whom, when it yields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
import trio
from lobby import JSON, MoodyHistory, failing, take_frame
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.config import Config
from trio_chat.history import (
    Accepted,
    Claim,
    Draft,
    HistoryUnavailable,
    IsTyping,
    Joined,
    Left,
    News,
    Receipt,
    Said,
    SharedLog,
)
from trio_chat.history.memory import MemoryHistory, MemoryLog
from trio_chat.hub import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MEMBERS_A_TURN, Hub
from trio_chat.inbox import Inbox, Item, Post
from trio_chat.ledger import Ledger
from trio_chat.members import Member, Roster
from trio_chat.metrics import Tally
from trio_chat.protocol import MAX_ANNOUNCED, Dialect, Ending, Entry

PLENTY: Final = 10_000


class Listener:
    """A member that takes everything that it is offered, blob by blob."""

    def __init__(self, dialect: Dialect = Dialect.V1) -> None:
        self.blobs: list[bytes] = []
        self.on_offer: Callable[[], object] = int
        self.member = Member(dialect, offer=self.offer, shut=self.shut, end=self.end)

    def offer(self, data: bytes, deliveries: int) -> bool:
        self.blobs.append(data)
        self.on_offer()
        return True

    def shut(self, reason: str) -> None:
        """Nothing will be offered any more."""

    def end(self, ending: Ending) -> None:
        raise AssertionError(ending)

    @property
    def heard(self) -> list[JSON]:
        data = bytearray(b"".join(self.blobs))
        events = []
        while (frame := take_frame(data)) is not None:
            events.append(json.loads(frame[1]))
        assert not data
        return events


@dataclass
class Stage:
    """A hub and what it stands on."""

    hub: Hub
    inbox: Inbox
    roster: Roster
    ledger: Ledger
    tally: Tally
    history: MoodyHistory
    listeners: list[Listener] = field(default_factory=list)

    def enter(self, name: str | None = None) -> Listener:
        listener = Listener(Dialect.PLAIN if name is None else Dialect.V1)
        if name is None:
            self.roster.place(listener.member)
        else:
            self.roster.place_named(listener.member, name, None)
        self.roster.enter(listener.member)
        self.listeners.append(listener)
        return listener

    def put(self, *items: Item) -> None:
        with self.inbox.sender() as sender:
            for item in items:
                sender.send_nowait(item)

    async def run(self) -> None:
        """Let the hub do what there is to do."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_on)
                await wait_all_tasks_blocked()
                scope.cancel()
        assert self.ledger.balances

    async def _run_on(self) -> None:
        while True:
            await self.hub.run_once()


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    history = MoodyHistory(MemoryHistory(Config().retention))
    log = await history.open_room("lobby")
    inbox, roster, ledger, tally = Inbox(max_items=PLENTY, max_bytes=0), Roster(), Ledger(), Tally()
    hub = Hub(inbox, roster, log, ledger, tally)
    yield Stage(hub, inbox, roster, ledger, tally, history)
    assert ledger.balances


def post(author: Listener, message: str, id: str | None = None, size: int = 0) -> Post:
    return Post(author.member, Draft(author.member.name, message, id), size)


def is_idle(stage: Stage) -> bool:
    return stage.hub.idle


def types(events: list[JSON]) -> list[object]:
    return [event.get("type") for event in events]


async def test_what_waits_goes_out_joined() -> None:
    async with open_stage() as stage:
        alice, plain = stage.enter("alice"), stage.enter()
        stage.put(*(post(alice, str(index)) for index in range(100)))

        await stage.run()

        assert len(alice.blobs) == len(plain.blobs) == 1
        assert [event["message"] for event in alice.heard] == [str(index) for index in range(100)]
        assert plain.heard == [{"message": str(index)} for index in range(100)]
        assert stage.ledger.owed == stage.ledger.handed == 200
        assert stage.tally.messages == 100


async def test_a_busy_hub_lingers_for_what_comes_meanwhile_and_an_idle_one_does_not() -> None:
    async with open_stage() as stage:
        alice = stage.enter("alice")

        async def chat() -> None:
            for index in range(5):
                stage.put(post(alice, str(index)))
                await trio.lowlevel.checkpoint()

        async def run_both() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chat)
                await stage.run()

        stage.put(post(alice, "alone"))
        await stage.run()
        stage.put(post(alice, "two"), post(alice, "together"))
        await stage.run()
        blobs = len(alice.blobs)
        await run_both()

        assert blobs == 2
        assert len(alice.blobs) == 3


async def test_a_batch_is_bounded_in_frames() -> None:
    async with open_stage() as stage:
        alice = stage.enter("alice")
        stage.put(*(post(alice, "") for _ in range(2 * MAX_BATCH_ITEMS + 1)))

        await stage.run()

        assert len(alice.blobs) == 3
        assert len(alice.heard) == 2 * MAX_BATCH_ITEMS + 1


async def test_a_batch_is_bounded_in_bytes() -> None:
    async with open_stage() as stage:
        alice = stage.enter("alice")
        stage.put(*(post(alice, "", size=MAX_BATCH_BYTES // 2) for _ in range(5)))

        await stage.run()

        assert [blob.count(b'"seq"') for blob in alice.blobs] == [2, 2, 1]


async def test_between_many_members_others_may_run() -> None:
    async with open_stage() as stage:
        crowd = [stage.enter(f"member {index}") for index in range(2 * MEMBERS_A_TURN + 1)]
        told, ran = trio.Event(), trio.Event()
        ran_before_the_last: list[bool] = []
        crowd[0].on_offer = told.set
        crowd[-1].on_offer = lambda: ran_before_the_last.append(ran.is_set())

        async def another() -> None:
            await told.wait()
            ran.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(another)
            await wait_all_tasks_blocked()
            stage.put(post(crowd[0], "hello"))
            await stage.run()

        assert ran_before_the_last == [True]


async def test_who_enters_while_a_crowd_is_told_is_not_told_what_it_has_read_already() -> None:
    async with open_stage() as stage:
        crowd = [stage.enter(f"member {index}") for index in range(2 * MEMBERS_A_TURN + 1)]
        told = trio.Event()
        crowd[0].on_offer = told.set
        newcomers: list[Listener] = []

        async def enter_in_the_midst() -> None:
            await told.wait()
            assert not crowd[-1].blobs
            assert stage.hub.last == 1
            newcomers.append(stage.enter("newcomer"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter_in_the_midst)
            await wait_all_tasks_blocked()
            stage.put(post(crowd[0], "hello"))
            await stage.run()
        crowd[0].on_offer = int
        stage.put(post(crowd[0], "again"))
        await stage.run()

        assert [event["message"] for event in newcomers[0].heard] == ["again"]


async def test_a_broadcast_that_is_cut_short_is_in_the_books_as_dropped() -> None:
    async with open_stage() as stage:
        crowd = [stage.enter(f"member {index}") for index in range(MEMBERS_A_TURN + 7)]
        stage.put(post(crowd[0], "hello"), post(crowd[0], "hello"))

        with trio.CancelScope() as scope:
            crowd[0].on_offer = scope.cancel
            await stage.hub.run_once()

        assert scope.cancelled_caught
        assert not crowd[-1].blobs
        assert stage.ledger.handed == 2 * MEMBERS_A_TURN
        assert stage.ledger.dropped == {"room ended": 14}
        assert stage.ledger.balances


async def test_the_same_id_twice_in_one_batch_is_published_once() -> None:
    async with open_stage() as stage:
        alice, bob = stage.enter("alice"), stage.enter("bob")
        stage.put(post(alice, "x", "i"), post(bob, "x", "i"), post(bob, "y", "i"))

        await stage.run()

        assert types(alice.heard) == ["message", "ack"]
        assert alice.heard[1] == {"type": "ack", "id": "i", "seq": 1, "duplicate": False}
        assert bob.heard[1] == {"type": "ack", "id": "i", "seq": 1, "duplicate": True}
        assert (bob.heard[2]["code"], bob.heard[2]["id"]) == ("bad-id", "i")
        assert stage.tally.errors == {"bad-id": 1}


async def test_what_can_not_be_stored_reaches_nobody_and_what_else_was_in_the_batch_does() -> None:
    async with open_stage() as stage:
        alice, bob, plain = stage.enter("alice"), stage.enter("bob"), stage.enter()
        stage.history.before_appending = failing(HistoryUnavailable("gone fishing"))
        stage.put(Joined("bob"), post(alice, "x", "i"), post(plain, "y"), IsTyping("bob"))

        await stage.run()

        assert types(alice.heard) == ["join", "typing", "error"]
        assert (alice.heard[2]["code"], alice.heard[2]["id"]) == ("history-unavailable", "i")
        assert [event["error"] for event in plain.heard] == [
            {
                "code": "history-unavailable",
                "reason": "the message could not be stored; send it again later",
            }
        ]
        assert bob.heard == []
        assert stage.tally.unstored == 2
        assert stage.hub.last == 0


async def test_a_member_is_told_everything_but_its_own_coming_and_typing() -> None:
    async with open_stage() as stage:
        alice, bob = stage.enter("alice"), stage.enter("bob")
        stage.put(Joined("alice"), Joined("bob"), post(bob, "hello"), IsTyping("alice"))

        await stage.run()

        assert types(alice.heard) == ["join", "message"]
        assert types(bob.heard) == ["join", "message", "typing"]


async def test_a_leave_is_told_where_a_join_was() -> None:
    async with open_stage() as stage:
        witness, ghost, alice = stage.enter("witness"), stage.enter("ghost"), stage.enter("alice")
        stage.put(Joined("alice"))
        await stage.run()
        for member in (ghost.member, alice.member):
            stage.roster.leave(member)
        stage.roster.free("ghost")
        stage.put(Left("alice"), Joined("ghost"), Left("ghost"))
        await stage.run()

        assert witness.heard == [
            {"type": "join", "name": "alice"},
            {"type": "leave", "name": "alice"},
        ]


async def test_in_a_crowd_nobody_is_told_who_comes_goes_and_types() -> None:
    async with open_stage() as stage:
        witness = stage.enter("witness")
        crowd = [stage.enter(f"member {index}") for index in range(MAX_ANNOUNCED + 1)]
        stage.put(Joined("witness"), *(Joined(f"member {index}") for index in range(len(crowd))))
        await stage.run()

        told = len(witness.heard)
        stage.put(IsTyping("member 0"), post(witness, "psst"))
        await stage.run()
        assert told == MAX_ANNOUNCED - 1
        assert types(witness.heard[told:]) == ["message"]

        stage.put(*(Left(f"member {index}") for index in range(5)))
        await stage.run()
        assert len(witness.heard) > told + 1


async def test_messages_in_a_room_of_plain_members_are_encoded_for_them_alone() -> None:
    async with open_stage() as stage:
        plain = stage.enter()
        stage.put(post(plain, "hello"))

        await stage.run()

        assert plain.heard == [{"message": "hello"}]
        assert stage.ledger.owed == 1


async def test_it_is_idle_when_all_is_recorded_and_offered(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        alice = stage.enter("alice")
        store = trio.Event()
        stage.history.before_appending = store.wait
        assert is_idle(stage)
        stage.put(post(alice, "hello"))
        assert not is_idle(stage)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.hub.run_once)
            await wait_all_tasks_blocked()
            assert stage.inbox.empty
            assert not is_idle(stage)
            store.set()

        assert is_idle(stage)


async def test_it_ends_when_everything_is_said() -> None:
    async with open_stage() as stage:
        alice = stage.enter("alice")
        stage.put(post(alice, "the last"))
        stage.inbox.close()

        await stage.hub.run_once()
        with pytest.raises(trio.EndOfChannel):
            await stage.hub.run_once()

        assert types(alice.heard) == ["message"]


# --- A room that other nodes share ---------------------------------------------------------------


class LateLog(SharedLog):
    """A shared log in memory, whose entries come back when the test lets them."""

    members = ("Eve",)

    def __init__(self, inner: MemoryLog) -> None:
        self._inner = inner
        self._into, self._out_of = trio.open_memory_channel[list[Said]](PLENTY)
        self.appended: list[Said] = []

    @property
    def epoch(self) -> str:
        return self._inner.epoch

    @property
    def last(self) -> int:
        return self._inner.last

    @property
    def first(self) -> int:
        return self._inner.first

    async def append(self, drafts: Sequence[Draft | News]) -> Sequence[Receipt]:
        receipts = await self._inner.append([each for each in drafts if isinstance(each, Draft)])
        outcomes = iter(receipts)
        for each in drafts:
            if not isinstance(each, Draft):
                self.appended.append(each)
            elif isinstance(receipt := next(outcomes), Accepted):
                self.appended.append(receipt.entry)
        return receipts

    def come_back(self) -> None:
        """Let what was appended be heard."""
        self._into.send_nowait(self.appended)
        self.appended = []

    async def listen(self) -> Sequence[Said]:
        return await self._out_of.receive()

    async def claim(self, wanted: str, secret: str, resume: str | None) -> Claim:
        raise AssertionError("no member comes here")

    async def read(self, after: int, upto: int, limit: int) -> Sequence[Entry]:
        return await self._inner.read(after, upto, limit)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_in_a_shared_room_one_is_acknowledged_at_once_and_heard_in_the_log_s_order(
    autojump_clock: MockClock,
) -> None:
    log = LateLog(await MemoryHistory(Config().retention).open_room("lobby"))
    inbox, roster, ledger = Inbox(max_items=PLENTY, max_bytes=0), Roster(), Ledger()
    hub = Hub(inbox, roster, log, ledger, Tally())
    stage = Stage(
        hub, inbox, roster, ledger, Tally(), MoodyHistory(MemoryHistory(Config().retention))
    )
    alice = stage.enter("alice")
    assert roster.begin(Listener().member) == ["Eve"]  # Who was there before.
    stage.put(post(alice, "hello", "x"), IsTyping("alice"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.listen)
        await hub.run_once()
        assert types(alice.heard) == ["ack"]
        assert log.appended[1] == IsTyping("alice")

        heard = trio.Event()

        async def wait_heard() -> None:
            await hub.wait_heard()
            heard.set()

        nursery.start_soon(wait_heard)
        await wait_all_tasks_blocked()
        assert not heard.is_set()
        log.come_back()
        await heard.wait()
        assert types(alice.heard) == ["ack", "message"]
        await hub.wait_heard()  # There is nothing more to wait for.
        nursery.cancel_scope.cancel()
    assert ledger.balances
