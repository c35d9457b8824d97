"""Rooms under every schedule, cancelled at every step, and against a model.

Trio shuffles the tasks that are ready, and under Hypothesis `random_module()` seeds that shuffle:
each example is another interleaving, and a failing one can be had again from its seed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lobby import (
    JSON,
    Guest,
    Line,
    Lobby,
    in_one_order,
    lockstep,
    memory,
    number,
    open_lobby,
)
from trio.abc import Instrument
from trio.lowlevel import Task, checkpoint
from trio.testing import MockClock

from trio_chat.config import Config
from trio_chat.protocol import Ending
from trio_chat.room import Arrival, Room

WIDE: Final = Config(rate=0)
NARROW: Final = Config(rate=0, inbox_frames=1)
SCHEDULES: Final = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def troubles(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that nothing was logged that somebody would have to look into."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelname != "INFO"] == []


def run(scenario: Callable[[], Awaitable[None]], *instruments: Instrument) -> None:
    """Run something in virtual time."""
    trio.run(scenario, clock=MockClock(autojump_threshold=0), instruments=instruments)


# --- What must hold of any story ------------------------------------------------------------------


def expect_a_sound_story(guest: Guest) -> None:
    """See that in one member's eyes everybody came before they spoke and left, once, in turn."""
    welcome = guest.welcome
    members = welcome["members"]
    assert isinstance(members, list)
    here = {*members}
    for event in guest.events("message", "join", "leave", "typing"):
        name = event["name"]
        if event["type"] == "message" and number(event) <= number(welcome):
            continue  # That was before this member came.
        if event["type"] == "join":
            assert name not in here, f"{name} came twice: {guest.story()}"
            here.add(name)
        elif name is not None:
            assert name in here, f"{event['type']} of {name}, who is not here: {guest.story()}"
            if event["type"] == "leave":
                here.remove(name)


def expect_a_slice(guest: Guest, order: Sequence[JSON]) -> None:
    """See that a member heard a contiguous part of the room's one order."""
    heard = guest.events("message")
    if heard:
        first = number(heard[0])
        assert heard == order[first - 1 : first - 1 + len(heard)]
        assert first <= number(guest.welcome) + 1


# --- Fuzzing the schedule -------------------------------------------------------------------------


class Trace(Instrument):
    """Which task ran when."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def before_task_step(self, task: Task) -> None:
        self.steps.append(task.name)


def test_seeds_give_different_schedules_and_the_same_seed_the_same() -> None:
    traces: dict[int, set[tuple[str, ...]]] = {}

    @settings(max_examples=30, database=None)
    @given(random=st.random_module())
    def trace_one(random: object) -> None:
        trace = Trace()
        run(partial(busy_room, 3, 3), trace)
        traces.setdefault(hash(str(random)), set()).add(tuple(trace.steps))

    trace_one()
    assert all(len(found) == 1 for found in traces.values())
    assert len({found for traced in traces.values() for found in traced}) > 0.8 * len(traces) > 20


async def busy_room(members: int, messages: int) -> None:
    async with open_lobby() as lobby, trio.open_nursery() as nursery:
        guests = [await lobby.join(name=f"member {index}") for index in range(members)]

        async def talk(guest: Guest) -> None:
            for index in range(messages):
                await guest.say(f"{index}")
            await guest.until(lambda guest: len(guest.texts) == members * messages)

        for guest in guests:
            nursery.start_soon(talk, guest)


@dataclass(frozen=True)
class Visitor:
    """Somebody who comes a number of times, each time saying a number of things."""

    name: str
    patience: int  # scheduler ticks before it comes
    visits: tuple[int, ...]
    line: Line
    polite: bool  # says goodbye, or breaks off
    returning: str  # "anew", "with since", or "with secret" while the last visit is still going on


visitors = st.lists(
    st.builds(
        Visitor,
        name=st.sampled_from(["alice", "bob"]),  # They have namesakes.
        patience=st.integers(0, 20),
        visits=st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple),
        line=st.sampled_from([memory, lockstep]),
        polite=st.booleans(),
        returning=st.sampled_from(["anew", "with since", "with secret"]),
    ),
    min_size=1,
    max_size=5,
)
narrow = st.builds(
    Config,
    rate=st.just(0),
    inbox_frames=st.sampled_from([1, 2, 1024]),
    inbox=st.sampled_from([1, 4 * 2**20]),
    arrivals=st.just(256),
)


async def visit(lobby: Lobby, visitor: Visitor, said: list[tuple[str, str]]) -> None:
    for _ in range(visitor.patience):
        await checkpoint()
    guest: Guest | None = None
    for round, messages in enumerate(visitor.visits):
        before = guest
        if before is None or visitor.returning == "anew":
            guest = await lobby.join(name=visitor.name, line=visitor.line)
        else:
            guest = await lobby.join(
                name=visitor.name,
                line=visitor.line,
                since=before.numbers[-1] if before.numbers else number(before.welcome),
                epoch=before.welcome["epoch"],
                resume=before.welcome["resume"],
            )
            assert guest.welcome["recovered"] is True
        for index in range(messages):
            await guest.send({"type": "typing"})
            text = f"{guest.name}, {id(guest)}: {round}.{index}"
            await guest.say(text, text[:64])
            said.append((guest.name, text))
        if not (visitor.returning == "with secret" and round + 1 < len(visitor.visits)):
            await guest.fence()
            await (guest.close() if visitor.polite else guest.vanish())
        else:
            await guest.fence()  # It is still there when its successor comes.


async def visits(config: Config, crowd: Sequence[Visitor]) -> None:
    said: list[tuple[str, str]] = []
    async with open_lobby(config) as lobby:
        witness = await lobby.join(name="witness")
        async with trio.open_nursery() as nursery:
            for visitor in crowd:
                nursery.start_soon(visit, lobby, visitor, said)
        await witness.until(lambda guest: len(guest.texts) == len(said))
        await lobby.quiet()

        order = in_one_order([witness])
        assert sorted(witness.texts) == sorted(text for _, text in said)
        for name in {name for name, _ in said}:
            by_name = [event["message"] for event in order if event["name"] == name]
            assert sorted(map(str, by_name)) == sorted(text for who, text in said if who == name)
        for guest in lobby.guests:
            expect_a_slice(guest, order)
            expect_a_sound_story(guest)
            acks = [number(event) for event in guest.events("ack")]
            assert acks == sorted(acks)
        joins, leaves = witness.events("join"), witness.events("leave")
        assert sorted(str(event["name"]) for event in joins) == sorted(
            str(event["name"]) for event in leaves
        )
        assert lobby.rooms.counts() == {"lobby": 1}


@SCHEDULES
@given(random=st.random_module(), config=narrow, crowd=visitors)
def test_whoever_comes_and_goes_and_however_tasks_run_there_is_one_order(
    random: object, config: Config, crowd: list[Visitor]
) -> None:
    run(partial(visits, config, crowd))


async def lives(rounds: Sequence[int]) -> None:
    """Let a room end and begin again, with somebody coming a few ticks after the last one went."""
    async with open_lobby() as lobby:
        last: Guest | None = None
        texts: list[str] = []
        for ticks in rounds:
            since, epoch = (0, None) if last is None else (0, last.welcome["epoch"])
            if last is not None:
                await last.vanish()
            for _ in range(ticks):
                await checkpoint()
            guest = await lobby.join(name="alice", since=since, epoch=epoch)
            assert last is None or guest.welcome["recovered"] is True
            texts.append(f"{len(texts)}")
            await guest.say(texts[-1])
            await guest.until_heard(*texts)
            assert guest.texts == texts
            last = guest


@SCHEDULES
@given(random=st.random_module(), rounds=st.lists(st.integers(0, 30), min_size=2, max_size=8))
def test_numbering_goes_on_whenever_the_next_one_comes(random: object, rounds: list[int]) -> None:
    run(partial(lives, rounds))


# --- Cancelling everywhere ------------------------------------------------------------------------


@dataclass(eq=False)
class CancelAfter(Instrument):
    """Cancels `scope` after so many steps of a task and its children."""

    steps: int
    prefix: str  # of the task's name
    cancel: Callable[[], None] | None = None
    taken: int = 0
    roots: set[Task] = field(default_factory=set)

    def task_spawned(self, task: Task) -> None:
        if task.name.startswith(self.prefix):
            self.roots.add(task)

    def after_task_step(self, task: Task) -> None:
        if not self._is_meant(task):
            return
        self.taken += 1
        if self.taken == self.steps and self.cancel is not None:
            self.cancel()

    def _is_meant(self, task: Task) -> bool:
        ancestor: Task | None = task
        while ancestor is not None and ancestor not in self.roots:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        return ancestor is not None


@dataclass(frozen=True)
class Mortal:
    """An arrival that can be cancelled by itself."""

    arrival: Arrival
    scope: trio.CancelScope

    @property
    def peer(self) -> str:
        return self.arrival.peer

    async def serve(self, room: Room) -> None:
        with self.scope:
            await self.arrival.serve(room)

    async def abandon(self) -> None:
        await self.arrival.abandon()


async def do_everything(victim: Guest) -> None:
    """Go through all that a member does."""
    try:
        await victim.hear("welcome")
        await victim.say("one", "id-1")
        await victim.send({"type": "typing"})
        await victim.send_text("no JSON")
        await victim.say("two", "id-2")
        await victim.hear("ack", id="id-2")
        await victim.close()
    except (AssertionError, trio.BrokenResourceError, trio.ClosedResourceError):
        await victim.wait_closed()  # It was cancelled on the way.


async def chat(guest: Guest) -> None:
    for index in range(3):
        await guest.say(f"witness {index}")
        await checkpoint()


async def cancel_a_member(cancel: CancelAfter, line: Line, config: Config) -> None:
    async with open_lobby(config) as lobby:
        scope = trio.CancelScope()
        cancel.cancel = scope.cancel
        lobby.wrap = lambda visit: Mortal(visit, scope)
        victim = await lobby.arrive(name="victim", line=line)  # It is the room's first.
        lobby.wrap = lambda visit: visit
        witness = await lobby.join(name="witness")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(do_everything, victim)
            nursery.start_soon(chat, witness)
        await witness.until_heard("witness 2")
        await lobby.quiet()

        # The witness is unharmed,
        assert lobby.rooms.counts() == {"lobby": 1}
        await witness.say("and so on")
        await witness.until_heard("and so on")
        order = in_one_order([witness])
        assert [event["seq"] for event in order] == [*range(1, len(order) + 1)]
        if victim.heard:
            expect_a_slice(victim, order)
        # every join has its leave,
        expect_a_sound_story(witness)
        came = [name for name in here_before(witness) if name != "witness"]
        came += [event["name"] for event in witness.events("join")]
        assert came == [event["name"] for event in witness.events("leave")]
        # and the place is free.
        assert (await lobby.join(name="victim")).name == "victim"


def here_before(guest: Guest) -> list[object]:
    members = guest.welcome["members"]
    assert isinstance(members, list)
    return members


@pytest.mark.parametrize("config", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("line", [memory, lockstep], ids=lambda line: line.__name__)
def test_a_member_may_be_cancelled_at_any_step_and_is_gone_without_a_trace(
    line: Line, config: Config
) -> None:
    for steps in range(1, 1_000):
        cancel = CancelAfter(steps, "member guest:1")
        run(partial(cancel_a_member, cancel, line, config), cancel)
        if cancel.taken < steps:
            break
    assert steps > 20


async def cancel_the_rooms(cancel: CancelAfter, line: Line, config: Config) -> None:
    async with open_lobby(config) as lobby:
        cancel.cancel = lobby.nursery.cancel_scope.cancel
        guests = [await lobby.arrive(name=name, line=line) for name in ("victim", "witness")]
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(do_everything, guest)

        for guest in guests:
            ending = await guest.wait_closed()
            # A stream whose sending was cancelled is torn, and can't be told any more.
            assert ending is None or ending.code in (1000, 1001)
        await lobby.quiet()
        assert lobby.rooms.counts() == {}
        assert lobby.house.crowd.size == 0


@pytest.mark.parametrize("config", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("line", [memory, lockstep], ids=lambda line: line.__name__)
def test_rooms_may_be_cancelled_at_any_step_and_nobody_is_left_behind(
    line: Line, config: Config
) -> None:
    for steps in range(1, 1_000):
        cancel = CancelAfter(steps, "room lobby")
        run(partial(cancel_the_rooms, cancel, line, config), cancel)
        if cancel.taken < steps:
            break
    assert steps > 50


CLOSED: Final = Ending(4002, "the landlord wants to sleep")


async def end_the_room(end: CancelAfter, line: Line, config: Config) -> None:
    async with open_lobby(config) as lobby:
        ended = trio.Event()

        def begin() -> None:
            if (room := lobby.rooms.get("lobby")) is not None:
                room.end(CLOSED)
                ended.set()

        end.cancel = begin
        guests = [await lobby.arrive(name=name, line=line) for name in ("victim", "witness")]
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(do_everything, guest)

        for guest in guests:
            ending = await guest.wait_closed()
            assert ending == CLOSED or (ending is not None and ending.code == 1000)
        end.cancel = None
        assert ended.is_set() or guests[0].closed == guests[1].closed
        await lobby.quiet()
        assert lobby.rooms.counts() == {}
        again = await lobby.join(name="victim", since=0, epoch=epoch_of(guests))
        assert again.name == "victim"


def epoch_of(guests: Sequence[Guest]) -> object:
    return next((guest.welcome["epoch"] for guest in guests if guest.heard), None)


@pytest.mark.parametrize("config", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("line", [memory, lockstep], ids=lambda line: line.__name__)
def test_a_room_may_be_ended_at_any_step_and_everybody_is_told_why(
    line: Line, config: Config
) -> None:
    for steps in range(1, 1_000):
        end = CancelAfter(steps, "room lobby")
        run(partial(end_the_room, end, line, config), end)
        if end.taken < steps:
            break
    assert steps > 50


async def drain_the_rooms(drain: CancelAfter, line: Line, config: Config) -> None:
    async with open_lobby(config) as lobby:
        drained = trio.Event()

        def begin() -> None:
            lobby.rooms.drain(trio.current_time() + 8)
            drained.set()

        drain.cancel = begin
        guests = [await lobby.arrive(name=name, line=line) for name in ("victim", "witness")]
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(do_everything, guest)

        for guest in guests:
            ending = await guest.wait_closed()
            assert ending is not None
            assert ending.code in (1000, 1001)
            if guest.heard:
                expect_a_sound_story(guest)
            # What was acknowledged was delivered, to its author too.
            said = {event.get("id") for event in guest.events("message")}
            assert {
                event["id"]
                for event in guest.events(
                    "ack",
                )
                if not event["duplicate"]
            } <= said
        assert lobby.house.ledger.dropped.total() == 0 or not drained.is_set()
        await lobby.quiet()
        assert lobby.rooms.counts() == {}


@pytest.mark.parametrize("line", [memory, lockstep], ids=lambda line: line.__name__)
def test_a_drain_may_begin_at_any_step_and_loses_nothing(line: Line) -> None:
    for steps in range(1, 1_000):
        drain = CancelAfter(steps, "room lobby")
        run(partial(drain_the_rooms, drain, line, Config(rate=0)), drain)
        if drain.taken < steps:
            break
    assert steps > 50
