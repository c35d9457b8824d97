"""The recorder: whatever happens to a tree of tasks, the recording comes to the same tree."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import pytest
import trio
import trio.testing
from film import Film
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.lowlevel import Task, current_task
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.microscope.endings import End
from trio_chat.microscope.events import (
    Event,
    Exited,
    Gauged,
    Hello,
    How,
    Marked,
    Moved,
    Named,
    Opened,
    ScopeChanged,
    Spawned,
)
from trio_chat.microscope.known import AUTHORS
from trio_chat.microscope.recorder import Names, Recorder
from trio_chat.microscope.snapshot import Serials, take_snapshot

Kind = TypeVar("Kind")


@dataclass
class Set:
    """A recorder of the test's own task, and what it said."""

    serials: Serials = field(default_factory=Serials)
    events: list[Event] = field(default_factory=list)

    def recorder(self, names: Names = Names.SHOWN) -> Recorder:
        return Recorder(current_task(), self.events.append, names=names, serials=self.serials)

    def ids(self, name: str) -> list[int]:
        return [event.id for event in self.of(Spawned) if event.name == name]

    def id(self, name: str) -> int:
        (id,) = self.ids(name)
        return id

    def exit(self, name: str) -> Exited:
        (found,) = [event for event in self.of(Exited) if event.id == self.id(name)]
        return found

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def stage() -> Set:
    return Set()


async def forever() -> None:
    await trio.sleep_forever()


async def play(roles: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
    """Run functions side by side, as tasks of these names."""
    async with trio.open_nursery() as nursery:
        for name, function in roles.items():
            nursery.start_soon(function, name=name)


async def test_a_recording_begins_with_hello_and_the_tree_as_it_is(stage: Set) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forever, name="here before")
        await wait_all_tasks_blocked()
        with stage.recorder():
            pass
        nursery.cancel_scope.cancel(reason="enough")
    # The last three are of this test's own nursery: its task has others around it.
    hello, root, *_, opened, spawned = stage.events
    assert isinstance(hello, Hello)
    assert isinstance(root, Spawned)
    assert isinstance(opened, Opened)
    assert isinstance(spawned, Spawned)
    assert (root.within, opened.of) == (None, root.id)
    assert (spawned.within, spawned.name) == (opened.id, "here before")


async def test_only_tasks_below_the_root_are_recorded(stage: Set) -> None:
    async with trio.open_nursery() as outside:
        await play({"root": partial(record_child, stage, outside)})
    assert [event.name for event in stage.of(Spawned)] == ["root", "inside"]


async def record_child(stage: Set, outside: trio.Nursery) -> None:
    with stage.recorder():
        outside.start_soon(trio.lowlevel.checkpoint, name="outside")
        await play({"inside": trio.lowlevel.checkpoint})


async def kill(scope: trio.CancelScope, reason: str) -> None:
    await trio.lowlevel.checkpoint()
    scope.cancel(reason=reason)


async def test_a_task_s_end_is_told_with_who_did_it_and_why(stage: Set) -> None:
    with stage.recorder():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="victim")
            await wait_all_tasks_blocked()
            await play({"killer": partial(kill, nursery.cancel_scope, "I felt like it")})
    end = stage.exit("victim")
    assert (end.how, end.reason, end.source) == (How.CANCELLED, "I felt like it", "explicit")
    assert end.by == stage.id("killer")
    assert (end.at or "").endswith(" forever")
    assert stage.exit("killer").how is How.RETURNED
    # The first that died of it knew why the scope was cancelled.
    scope = stage.of(ScopeChanged)[-1]
    assert (scope.cancelled, scope.reason) == (True, "I felt like it")
    assert stage.events.index(scope) < stage.events.index(end)


async def test_a_task_that_killed_others_by_failing_is_found_though_it_is_dead(stage: Set) -> None:
    async def fail() -> None:
        await wait_all_tasks_blocked()
        current_task().name = "known by another name"
        raise ValueError("out of tea")

    with stage.recorder(), pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="victim")
            nursery.start_soon(fail, name="culprit")
    (named,) = stage.of(Named)
    assert (named.id, named.name) == (stage.id("culprit"), "known by another name")
    assert (stage.exit("culprit").how, stage.exit("culprit").exc) == (
        How.RAISED,
        "ValueError: out of tea",
    )
    assert (stage.exit("victim").by, stage.exit("victim").source) == (
        stage.id("culprit"),
        "nursery",
    )


async def test_who_is_not_in_this_tree_is_named(stage: Set) -> None:
    async with trio.open_nursery() as outside:
        await play({"root": partial(record_victim, stage, outside)})
    assert stage.exit("victim").by == "stranger"


async def record_victim(stage: Set, outside: trio.Nursery) -> None:
    with stage.recorder():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="victim")
            await wait_all_tasks_blocked()
            outside.start_soon(kill, nursery.cancel_scope, "from outside", name="stranger")


@dataclass
class Hearsay:
    """A way to learn of ends that has heard something about everybody."""

    end: End

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def take(self, task: Task) -> End:
        return self.end


@pytest.mark.parametrize(
    ("words", "by"),
    [
        ("<Task 'somebody' at 0x1>", "somebody"),
        ('<Task "somebody\'s task" at 0x1>', "somebody's task"),
        ("words of another Trio", None),
        ("<Task 'somebody' at 0xanywhere>", "somebody"),
    ],
)
async def test_an_author_is_named_in_trio_s_words_where_nothing_else_is_known(
    stage: Set, words: str, by: str | None
) -> None:
    hearsay = Hearsay(End(How.CANCELLED, author=words))
    with Recorder(current_task(), stage.events.append, endings=hearsay):
        await play({"victim": trio.lowlevel.checkpoint})
    assert stage.exit("victim").by == by


async def test_start_moves_a_task_and_that_is_told_at_the_next_look(stage: Set) -> None:
    async def service(task_status: trio.TaskStatus[None]) -> None:
        await wait_all_tasks_blocked()
        task_status.started()
        await trio.sleep_forever()

    with stage.recorder() as recorder:
        async with trio.open_nursery() as nursery:
            await nursery.start(service, name="service")
            recorder.look()
            Film().play(stage.events).expect(take_snapshot(current_task(), stage.serials), 0)
            nursery.cancel_scope.cancel(reason="enough")
    (moved,) = stage.of(Moved)
    home, passing = [event.id for event in stage.of(Opened)][-2:]
    assert stage.of(Spawned)[-1].within == passing
    assert (moved.id, moved.within) == (stage.id("service"), home)


async def test_a_task_that_was_moved_is_no_leak_though_nobody_looked(stage: Set) -> None:
    async def service(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    with stage.recorder():
        async with trio.open_nursery() as home:
            await play({"starter": partial(home.start, service, name="service")})
            home.cancel_scope.cancel(reason="enough")
    Film().play(stage.events)  # It would find a child of the starter that has outlived it.
    ends = [event.id for event in stage.of(Exited)]
    assert ends.index(stage.id("starter")) < ends.index(stage.id("service"))


@pytest.mark.parametrize("roles", [{}, {"assistant": trio.lowlevel.checkpoint}])
async def test_a_task_that_was_moved_has_moved_before_anything_else_is_told_of_it(
    stage: Set, roles: Mapping[str, Callable[[], Awaitable[object]]]
) -> None:
    async def service(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await play(roles)

    with stage.recorder():
        async with trio.open_nursery() as home:
            await home.start(service, name="service")
            home.start_soon(trio.lowlevel.checkpoint, name="another")
    (moved,) = stage.of(Moved)
    told: list[Event] = [stage.exit("service")]
    told += [event for event in stage.of(Spawned) if event.name in roles]
    assert stage.events.index(moved) < min(stage.events.index(event) for event in told)


async def test_a_scope_is_told_as_cancelled_at_the_first_spawn_or_death_in_it(stage: Set) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("out of tea")

    with stage.recorder():
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.cancel(reason="before anybody came")
            nursery.start_soon(trio.lowlevel.cancel_shielded_checkpoint, name="late")
        with pytest.RaisesGroup(ValueError):
            await play({"culprit": fail})
    first, second = [event for event in stage.of(ScopeChanged) if event.reason is None]
    assert first.cancelled
    assert second.cancelled
    late, culprit = (stage.events.index(event) for event in stage.of(Spawned)[-2:])
    assert stage.events.index(first) < late < culprit < stage.events.index(second)


async def test_whoever_killed_a_thousand_is_named_by_each_of_them(stage: Set) -> None:
    async def fail() -> None:
        await wait_all_tasks_blocked()
        raise ValueError("out of tea")

    with stage.recorder(), pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            for _ in range(AUTHORS + 100):
                nursery.start_soon(forever, name="victim")
            nursery.start_soon(fail, name="culprit")
    ends = [event for event in stage.of(Exited) if event.how is How.CANCELLED]
    assert len(ends) == AUTHORS + 100
    assert {event.by for event in ends} == {stage.id("culprit")}


async def test_new_names_deadlines_and_shields_are_told_at_the_next_look(
    stage: Set, autojump_clock: MockClock
) -> None:
    with stage.recorder() as recorder:
        async with trio.open_nursery() as nursery:
            recorder.look()
            told = len(stage.events)
            recorder.look()
            assert len(stage.events) == told  # Nothing is new, so nothing is said.
            current_task().name = "somebody else"
            nursery.cancel_scope.deadline = trio.current_time() + 2.5
            nursery.cancel_scope.shield = True
            recorder.look()
            named, scope = stage.events[told:]
    assert isinstance(named, Named)
    assert named.name == "somebody else"
    assert isinstance(scope, ScopeChanged)
    assert (scope.deadline, scope.shield, scope.cancelled) == (2.5, True, False)


async def test_a_mark_stands_where_it_was_made(stage: Set) -> None:
    with stage.recorder() as recorder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="victim")
            await wait_all_tasks_blocked()
            recorder.mark("cancel it")
            nursery.cancel_scope.cancel(reason="marked")
    (mark,) = stage.of(Marked)
    assert mark.text == "cancel it"
    assert stage.events.index(mark) < stage.events.index(stage.exit("victim"))


async def test_hidden_names_are_hidden_in_everything_that_is_said(stage: Set) -> None:
    async def fail() -> None:
        await wait_all_tasks_blocked()
        raise ValueError("alice has no tea")

    current = current_task()
    current.name = "alice"
    with stage.recorder(Names.IDS) as recorder:
        with pytest.RaisesGroup(ValueError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(forever, name="friend of alice")
                nursery.start_soon(fail, name="alice again")
        current.name = "alice at last"
        recorder.look()
        stage.events += recorder.describe()
    assert "alice" not in repr(stage.events)
    assert stage.of(Spawned)[0].name == f"task {stage.of(Spawned)[0].id}"
    assert [event.exc for event in stage.of(Exited) if event.how is How.RAISED] == ["ValueError"]


async def test_gauges_are_told_when_they_change(stage: Set) -> None:
    waiting: dict[Task, tuple[int, int]] = {}
    recorder = Recorder(
        current_task(), stage.events.append, serials=stage.serials, gauges=lambda: waiting
    )
    with recorder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="writer alice")
            nursery.start_soon(forever, name="writer alice")  # of another room
            writer, _ = sorted(nursery.child_tasks, key=stage.serials.number)
            outside = trio.lowlevel.current_root_task()
            assert outside is not None
            waiting.update({writer: (3, 16), outside: (1, 1)})
            recorder.look()
            recorder.look()
            waiting[writer] = (0, 0)
            recorder.look()
            nursery.cancel_scope.cancel(reason="enough")
    first, _ = stage.ids("writer alice")
    gauged = [(event.id, event.outbox) for event in stage.of(Gauged)]
    assert gauged == [(first, (3, 16)), (first, (0, 0))]


async def test_who_comes_later_is_told_the_whole_tree_with_the_same_ids(stage: Set) -> None:
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await may_end.wait()

    may_end = trio.Event()
    with stage.recorder() as recorder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, name="victim")
            nursery.start_soon(stubborn, name="stubborn")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="known to all")
            await wait_for_exit(nursery, 1)
            recorder.look()
            retold = [*recorder.describe()]
            may_end.set()
    film = Film().play(retold)
    assert stage.id("stubborn") in film.tasks
    assert stage.id("victim") not in film.tasks
    reasons = [event.reason for event in retold if isinstance(event, ScopeChanged)]
    assert reasons[-1] == "known to all"


async def wait_for_exit(nursery: trio.Nursery, left: int) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
        await wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == left


# --- Its own boundary -----------------------------------------------------------------------------


async def test_nothing_is_left_behind_once_it_is_detached(stage: Set) -> None:
    recorder = stage.recorder()
    for _ in range(2):
        recorder.attach()
        recorder.attach()
        assert recorder.attached
        recorder.detach()
        recorder.detach()
        assert not recorder.attached
    said = len(stage.events)
    await play({"nobody": trio.lowlevel.checkpoint})
    recorder.look()
    recorder.mark("nobody hears it")
    assert len(stage.events) == said
    with pytest.raises(KeyError):
        trio.lowlevel.remove_instrument(recorder)
    if sys.version_info >= (3, 12):
        assert sys.monitoring.get_tool(3) is None


async def test_a_recorder_whose_sink_fails_watches_no_longer_and_nobody_else_notices(
    stage: Set, caplog: pytest.LogCaptureFixture
) -> None:
    def sink(event: Event) -> None:
        if isinstance(event, Exited):
            raise OSError("the disk is full")
        stage.events.append(event)

    with Recorder(current_task(), sink) as recorder:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.lowlevel.checkpoint)
        assert not recorder.attached
        recorder.look()
    assert not stage.of(Exited)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trio_chat.microscope.recorder", logging.ERROR)


async def test_a_recorder_keeps_nothing_of_the_dead(stage: Set) -> None:
    with stage.recorder() as recorder:
        for _ in range(50):
            await play({"mortal": trio.lowlevel.checkpoint})
        recorder.look()
        living = [event for event in recorder.describe() if isinstance(event, Spawned | Opened)]
        assert len(living) == len(stage.serials) < 5


# --- Whatever happens -----------------------------------------------------------------------------


class Crash(Exception):
    """What a task of the story fails with."""


@dataclass
class Story:
    """A tree of tasks that do as they are told; `cast` and `homes` are all that ever were."""

    cast: list[tuple[Task, trio.MemorySendChannel[str]]] = field(default_factory=list)
    homes: list[trio.Nursery] = field(default_factory=list)

    async def live(
        self, tough: bool, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be a task, until told to end."""
        orders, mine = trio.open_memory_channel[str](100)
        self.cast.append((current_task(), orders))
        if len(self.cast) % 2:  # Half of those who are started are ready at once.
            task_status.started()
        with orders, mine:
            try:
                await self._obey(mine, task_status)
            except* Crash:
                if not tough:
                    raise

    async def _obey(
        self, orders: trio.MemoryReceiveChannel[str], task_status: trio.TaskStatus[None]
    ) -> None:
        async with trio.open_nursery() as home:
            self.homes.append(home)
            async for order in orders:
                match order.split():
                    case ["open"]:
                        await self._obey(orders, task_status)
                    case ["close"]:
                        break
                    case ["crash"]:
                        raise Crash
                    case ["started"]:
                        with suppress(RuntimeError):  # Once is enough.
                            task_status.started()
                    case ["start", tough, index]:
                        target = self.homes[int(index) % len(self.homes)]
                        await self._start(target, tough == "tough")

    async def _start(self, target: trio.Nursery, tough: bool) -> None:
        try:
            await target.start(self.live, tough, name="started")
        except RuntimeError:  # That nursery is over, or the task ended before it was ready.
            await trio.lowlevel.checkpoint()


@dataclass(frozen=True)
class Step:
    """Something done to the tree from outside."""

    act: str
    target: int
    other: int
    tough: bool
    hasty: bool  # Nobody has time to do anything before the next.


TOLD: Final = ["open", "close", "crash", "start", "start", "started"]  # to one of the tasks
DONE: Final = ["spawn", "spawn", "cancel", "deadline", "shield", "rename"]
ACTS: Final = [*TOLD, *DONE, "jump", "look"]

steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(ACTS),
        target=st.integers(0, 30),
        other=st.integers(0, 30),
        tough=st.booleans(),
        hasty=st.sampled_from([False, False, True]),
    ),
    min_size=10,
    max_size=50,
)


class Director:
    """Takes the steps, and compares what was recorded with what is there."""

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.began = 0.0
        self.story = Story()
        self.serials = Serials()
        self.events: list[Event] = []

    async def run(self, script: list[Step]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.story.live, True, name="root")
            await wait_all_tasks_blocked()
            root = self.story.cast[0][0]
            self.began = trio.current_time()
            with Recorder(root, self.events.append, serials=self.serials) as recorder:
                for step in script:
                    self.take(step)
                    if not step.hasty:
                        await wait_all_tasks_blocked()
                    if step.act == "look":
                        self.compare(recorder, root)
                self.compare(recorder, root)
                nursery.cancel_scope.cancel(reason="the end")
                await self.wait_for(root)
        film = Film().play(self.events)
        assert not film.tasks
        assert not film.nurseries

    async def wait_for(self, root: Task) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await wait_all_tasks_blocked()
        for home in self.story.homes:  # Shields have no end of their own here.
            home.cancel_scope.shield = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await wait_all_tasks_blocked()
        assert root.coro.cr_frame is None

    def compare(self, recorder: Recorder, root: Task) -> None:
        recorder.look()
        if root.coro.cr_frame is not None:
            now = trio.current_time() - self.began
            Film().play(self.events).expect(take_snapshot(root, self.serials), now)

    def take(self, step: Step) -> None:
        homes, cast = self.story.homes, self.story.cast
        home = homes[step.target % len(homes)]
        task, orders = cast[step.target % len(cast)]
        match step.act:
            case "close" | "crash" if task is cast[0][0]:
                pass  # The root is to see the end.
            case "cancel" | "deadline" if home is homes[0]:
                pass
            case "spawn":
                with suppress(RuntimeError):  # It may be closed to new arrivals.
                    home.start_soon(self.story.live, step.tough, name="spawned")
            case "cancel":
                home.cancel_scope.cancel(reason="a step")
            case "deadline":
                home.cancel_scope.deadline = trio.current_time() + step.other / 10
            case "shield":
                home.cancel_scope.shield = step.tough
            case "rename":
                task.name = f"renamed {step.other}"
            case "jump":
                self.clock.jump(step.other / 10)
            case "start":
                self.tell(orders, f"start {'tough' if step.tough else 'soft'} {step.other}")
            case "look":
                pass
            case order:
                self.tell(orders, order)

    def tell(self, orders: trio.MemorySendChannel[str], order: str) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            orders.send_nowait(order)  # Unless it is busy, or over.


@settings(max_examples=200)
@given(steps, st.random_module())
def test_the_recording_comes_to_the_tree_as_it_is(script: list[Step], schedule: object) -> None:
    clock = MockClock()
    trio.run(Director(clock).run, script, clock=clock)
