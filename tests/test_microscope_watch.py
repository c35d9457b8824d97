"""One recorder for all who watch: when it is there, what each is told, and what the slow lose."""

from __future__ import annotations

import gc
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from trio_chat.microscope.pace import REST, SHORTEST, Allowance, Pace
from trio_chat.microscope.recorder import Names, Recorder
from trio_chat.microscope.watch import (
    LINES_A_TURN,
    Bounds,
    Microscope,
    TooManyWatchers,
    Watcher,
)

Line = dict[str, Any]


@asynccontextmanager
async def microscope(
    *, names: Names = Names.SHOWN, bounds: Bounds | None = None
) -> AsyncIterator[Microscope]:
    """Look at the task that runs the test, for as long as the block lasts."""
    root = trio.lowlevel.current_task()
    root.name = "root"
    looking = Microscope(root, names=names, bounds=bounds)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looking.look_while_watched, name="looks")
        yield looking
        nursery.cancel_scope.cancel(reason="the test is over")


async def told(watcher: Watcher) -> list[Line]:
    return [json.loads(line) for line in (await watcher.take()).splitlines()]


async def told_until(watcher: Watcher, **what: object) -> list[Line]:
    """Take lines up to the one that says `what`."""
    lines: list[Line] = []
    with trio.fail_after(60):
        while not any(what.items() <= line.items() for line in lines):
            lines += await told(watcher)
    return lines


def instruments() -> list[Recorder]:
    """Find the recorders that Trio calls: only those can be removed. They are put back."""
    found = []
    # By `type`: a weak proxy, of which anything may have made one, would ask what it stands for.
    for each in [each for each in gc.get_objects() if issubclass(type(each), Recorder)]:
        try:
            trio.lowlevel.remove_instrument(each)
        except KeyError:
            continue
        trio.lowlevel.add_instrument(each)
        found.append(each)
    return found


async def live(name: str) -> None:
    trio.lowlevel.current_task().name = name
    await trio.sleep_forever()


async def live_without_a_name() -> None:
    """Do what breaks a recorder: what is no text can't be written down."""
    trio.lowlevel.current_task().name = object()  # type: ignore[assignment]
    await trio.sleep_forever()


async def take_all(watcher: Watcher) -> None:
    while True:
        await watcher.take()


# --- When Trio has an instrument ---


async def test_trio_has_an_instrument_only_while_somebody_watches() -> None:
    async with microscope() as looking:
        assert instruments() == []
        with looking.watch() as first:
            await first.take()
            assert len(instruments()) == 1
            with looking.watch() as second:
                await second.take()
                assert len(instruments()) == 1
            assert len(instruments()) == 1
        assert instruments() == []
        with looking.watch() as third:
            await third.take()
            assert len(instruments()) == 1
        assert instruments() == []


async def test_a_snapshot_needs_no_instrument() -> None:
    async with microscope() as looking:
        tree = looking.snapshot()
        assert (tree.name, tree.count) == ("root", 2)
        assert instruments() == []


async def test_there_is_a_bound_on_who_watches() -> None:
    async with microscope(bounds=Bounds(watchers=2)) as looking:
        with looking.watch(), looking.watch(), pytest.raises(TooManyWatchers), looking.watch():
            pass
        with looking.watch() as watcher:
            assert await watcher.take()


# --- What is told ---


async def test_who_comes_is_told_the_whole_tree_and_then_what_happens() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        nursery.start_soon(live, "early", name="early")
        await trio.testing.wait_all_tasks_blocked()
        with looking.watch() as watcher:
            begin = await told(watcher)
            assert begin[0]["e"] == "hello"
            assert {"root", "looks", "early"} == {
                line["name"] for line in begin if line["e"] == "spawn"
            }
            nursery.start_soon(live, "late", name="late")
            assert {"e": "spawn", "name": "late"}.items() <= (
                await told_until(watcher, e="spawn", name="late")
            )[-1].items()
            nursery.cancel_scope.cancel(reason="enough")
            late = await told_until(watcher, e="exit", reason="enough")
            assert "hello" not in [line["e"] for line in late]


async def test_what_no_hook_tells_is_found_by_looking() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as watcher:
            await watcher.take()
            nursery.cancel_scope.deadline = trio.current_time() + 1000
            scope = (await told_until(watcher, e="scope"))[-1]
            assert (scope["cancelled"], scope["shield"]) == (False, False)
            assert scope["deadline"] > 900


async def test_two_who_watch_are_told_of_the_same_ids() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as first, looking.watch() as second:
            await first.take()
            await second.take()
            nursery.start_soon(live, "new", name="new")
            one = (await told_until(first, e="spawn", name="new"))[-1]
            other = (await told_until(second, e="spawn", name="new"))[-1]
            assert one == other
        nursery.cancel_scope.cancel(reason="enough")


async def test_who_comes_later_makes_nobody_else_start_anew() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as first:
            await first.take()
            with looking.watch() as second:
                assert (await told(second))[0]["e"] == "hello"
                nursery.start_soon(live, "new", name="new")
                lines = await told_until(first, e="spawn", name="new")
                assert "hello" not in [line["e"] for line in lines]
        nursery.cancel_scope.cancel(reason="enough")


async def test_names_can_be_hidden() -> None:
    async with microscope(names=Names.IDS) as looking, trio.open_nursery() as nursery:
        nursery.start_soon(live, "alice", name="alice")
        await trio.testing.wait_all_tasks_blocked()
        with looking.watch() as watcher:
            lines = await watcher.take()
            nursery.start_soon(live, "bob", name="bob")
            await trio.testing.wait_all_tasks_blocked()
            lines += await watcher.take()
        assert lines.count(b'"e":"spawn"') == 4
        assert not any(name in lines for name in (b"alice", b"bob", b"looks", b"root"))
        waiting = [looking.snapshot()]
        for task in waiting:
            waiting += [child for nursery in task.nurseries for child in nursery.tasks]
        assert [task.name for task in waiting] == [f"task {task.id}" for task in waiting]
        nursery.cancel_scope.cancel(reason="enough")


# --- Who is slow ---


@pytest.mark.parametrize("bounds", [Bounds(lines=10), Bounds(size=1000)])
async def test_the_slow_lose_and_start_anew_and_nobody_else_notices(bounds: Bounds) -> None:
    async with microscope(bounds=bounds) as looking, trio.open_nursery() as nursery:
        with looking.watch() as slow, looking.watch() as quick:
            await slow.take()
            await quick.take()
            for number in range(20):
                nursery.start_soon(live, f"{number}", name=f"{number}")
                lines = await told_until(quick, e="spawn", name=f"{number}")
                assert "hello" not in [line["e"] for line in lines]
            anew = await told(slow)
            assert anew[0]["e"] == "hello"
            assert {f"{number}" for number in range(20)} <= {
                line["name"] for line in anew if line["e"] == "spawn"
            }
            # From here on it is told what happens, as before.
            nursery.start_soon(live, "next", name="next")
            lines = await told_until(slow, e="spawn", name="next")
            assert [line["name"] for line in lines if line["e"] == "spawn"] == ["next"]
        nursery.cancel_scope.cancel(reason="enough")


class Births(trio.abc.Instrument):
    """Starts a task after each step of the task that is called `during`."""

    def __init__(self, nursery: trio.Nursery, during: str) -> None:
        self.names: list[str] = []
        self._nursery = nursery
        self._during = during

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name == self._during:
            self.names.append(name := f"birth {len(self.names)}")
            self._nursery.start_soon(live, name, name=name)


async def test_what_happens_while_a_tree_is_written_is_told_after_it() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        for number in range(LINES_A_TURN + 1):
            nursery.start_soon(live, f"{number}", name=f"{number}")
        await trio.testing.wait_all_tasks_blocked()
        births = Births(nursery, during="root")
        with looking.watch() as watcher:
            trio.lowlevel.add_instrument(births)
            tree = await told(watcher)
            trio.lowlevel.remove_instrument(births)
            later = await told_until(watcher, e="spawn", name=births.names[-1])
        nursery.cancel_scope.cancel(reason="enough")
    assert not any(line.get("name") == births.names[-1] for line in tree)
    spawned = [line["name"] for line in tree + later if line["e"] == "spawn"]
    assert [spawned.count(name) for name in births.names] == [1] * len(births.names)


# --- Its end, and its faults ---


async def test_closing_tells_the_rest_and_then_the_end() -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as watcher:
            await watcher.take()
            nursery.start_soon(live, "last", name="last")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.deadline = trio.current_time() + 1000
            looking.close()
            kinds = [line["e"] for line in await told(watcher)]
            assert kinds[-1] == "scope"
            with pytest.raises(trio.EndOfChannel):
                await watcher.take()
            nursery.cancel_scope.cancel(reason="enough")


async def test_a_fault_of_the_recorder_is_logged_once_and_ends_those_who_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as watcher:
            await watcher.take()
            nursery.start_soon(live_without_a_name, name="fine")
            with trio.fail_after(60), pytest.raises(trio.EndOfChannel):
                await take_all(watcher)
            assert instruments() == []
        assert len(caplog.records) == 1
        nursery.cancel_scope.cancel(reason="enough")


# --- The pace ---


async def test_whoever_looked_for_d_seconds_lets_20_d_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace = Pace()
    begin = trio.current_time()
    assert await pace.turn(lambda: "seen") == "seen"
    assert trio.current_time() == begin  # The first need not wait.
    await pace.turn(lambda: time.sleep(0.02))
    assert trio.current_time() >= begin + SHORTEST
    begin = trio.current_time()
    await pace.turn(lambda: None)
    assert trio.current_time() >= begin + REST * 0.02


async def test_all_who_look_share_one_pace(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace()
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            look = lambda: times.append(trio.current_time())  # noqa: E731
            nursery.start_soon(pace.turn, look, name="look")
    pauses = [later - before for before, later in itertools.pairwise(times)]
    assert len(pauses) == 4
    assert all(pause >= SHORTEST * 0.99 for pause in pauses)  # As floats subtract.


async def test_a_look_that_fails_does_not_stop_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace = Pace()
    with pytest.raises(ZeroDivisionError):
        await pace.turn(lambda: 1 / 0)
    assert await pace.turn(lambda: "seen") == "seen"


def test_an_allowance_is_a_twentieth_of_the_time_and_saved_up_to_a_bound() -> None:
    allowance = Allowance(0.5)
    assert allowance.spend(0.4, 100.0)
    assert allowance.spend(0.0, 101.0)  # 0.15 are left.
    assert not allowance.spend(0.2, 101.0)
    assert allowance.wait_until(101.0) == pytest.approx(101.0 + 0.3 * REST)
    assert allowance.spend(0.24, 107.0)
    assert not allowance.spend(0.02, 107.0)
    assert allowance.wait_until(1000.0) == 1000.0
    assert not allowance.spend(0.5, 1000.0)  # More than that is never saved.


async def test_a_recorder_that_takes_too_much_is_given_up_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bounds = Bounds(in_hooks=1e-9)
    async with microscope(bounds=bounds) as looking, trio.open_nursery() as nursery:
        with looking.watch() as watcher:
            await watcher.take()
            nursery.start_soon(live, "busy", name="busy")
            await trio.sleep(1)
            assert instruments() == []
            nursery.start_soon(live, "meanwhile", name="meanwhile")
            # What was heard before that comes first, and then everything as it is.
            assert (await told(watcher))[0]["e"] != "hello"
            anew = await told(watcher)
            assert anew[0]["e"] == "hello"
            spawned = [line["name"] for line in anew if line["e"] == "spawn"]
            assert sorted(spawned) == ["busy", "looks", "meanwhile", "root"]
            assert len(instruments()) == 1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_many_who_die_at_once_are_within_the_allowance(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with microscope() as looking, trio.open_nursery() as nursery:
        with looking.watch() as watcher:
            await watcher.take()
            async with trio.open_nursery() as crowd:
                for _ in range(500):
                    crowd.start_soon(live, "one of them", name="one of them")
                await told_until(watcher, e="spawn", name="one of them")
                crowd.cancel_scope.cancel(reason="all at once")
            await trio.sleep(1)
            told_of = await told(watcher)
            assert [line["e"] for line in told_of].count("exit") == 500
            assert len(instruments()) == 1
        nursery.cancel_scope.cancel(reason="the test is over")
