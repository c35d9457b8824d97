"""What lessons stand on: the bench of an experiment, and the one of an asyncio twin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_chat.lessons import LESSONS
from trio_chat.lessons.bench import Bench
from trio_chat.lessons.findings import Findings
from trio_chat.lessons.lesson import Clock
from trio_chat.lessons.twin_bench import TwinBench
from trio_chat.microscope.events import Exited, Hello, How, Marked, Opened, Spawned

ROOT = Path(__file__).parent.parent


def nothing(text: str) -> None:
    """Be told, and forget."""


def new_bench(lines: list[str] | None = None) -> Bench:
    tell = nothing if lines is None else lines.append
    return Bench("a test", Clock.VIRTUAL, Findings(tell), tell)


async def test_a_bench_shows_the_tree_of_the_server_and_of_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lines: list[str] = []
    bench = new_bench(lines)
    async with bench.open_room() as venue:
        await venue.join_once("ada", room="green")
        bench.show("now")
        names = [task.name for task in bench.tasks("")]
        assert bench.tree().count == len(names)
    assert lines[0] == "\nnow:"
    assert lines[1] == "  server"
    assert any("room green" in line for line in lines)
    assert not any("guest" in name for name in names)


async def test_a_bench_records_what_was_marked_and_who_died_behind_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = new_bench()
    async with bench.open_room() as venue:
        await venue.join_once("ada", room="green")
        bench.mark("cancel room green")
        bench.scope("room green").cancel(reason="a test")
        await trio.testing.wait_all_tasks_blocked()
    events = list(bench.recording)
    assert isinstance(events[0], Hello)
    assert [event.t for event in events] == sorted(event.t for event in events)
    at = next(i for i, event in enumerate(events) if isinstance(event, Marked))
    names = {event.id: event.name for event in events if isinstance(event, Spawned)}
    ended = [names[event.id] for event in events[at:] if isinstance(event, Exited)]
    assert "hub green" in ended
    assert "room green" in ended
    assert not [event for event in events[:at] if isinstance(event, Exited) and event.id == 1]


async def test_a_task_is_found_by_its_name_or_said_to_be_missing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = new_bench()
    async with bench.open_room() as venue:
        await venue.join_once("ada", room="green")
        assert bench.task("hub green").name == "hub green"
    async with bench.open_room():
        with pytest.raises(LookupError, match="0 tasks are called 'hub red'"):
            bench.task("hub red")
    bench = new_bench()
    async with bench.open_room() as venue:
        await venue.join_once("ada", room="green")
        with pytest.raises(LookupError, match="has no nursery open"):
            bench.scope("hub green")


async def test_faults_that_were_provoked_are_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(AssertionError, match="0 faults"):
        async with new_bench().open_room(faults=1):
            pass


@pytest.mark.parametrize(
    ("found", "is_green"), [([], False), ([4], True), ([4, 5], False), ([5, 4], False)]
)
def test_a_bench_is_green_where_something_was_found_and_all_of_it_holds(
    found: list[int], is_green: bool
) -> None:
    lines: list[str] = []
    bench = new_bench(lines)
    for number in found:
        bench.expect("two and two", number, 4)
    assert bench.findings.green is is_green
    assert [line.strip()[0] for line in lines] == ["✓" if number == 4 else "✗" for number in found]


# --- The twin's bench ----------------------------------------------------------------------------


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def leave_one_behind() -> None:
    asyncio.get_running_loop().create_task(wait_for_ever(), name="left behind")
    await asyncio.sleep(0)


async def fail() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("nobody hears this")


def twin(program: Callable[[TwinBench], Awaitable[None]]) -> TwinBench:
    """Run an asyncio program on a bench, and return the bench."""
    bench = TwinBench(nothing, "a test")

    async def main() -> Mapping[str, int]:
        bench.watch()
        await program(bench)
        return {}

    asyncio.run(main())
    return bench


def test_a_task_that_outlives_its_creator_is_an_orphan() -> None:
    async def program(bench: TwinBench) -> None:
        parent = asyncio.create_task(leave_one_behind(), name="parent")
        await asyncio.sleep(0)
        assert bench.orphans() == []
        await parent
        assert [task.get_name() for task in bench.orphans()] == ["left behind"]
        assert (bench.created, len(bench.living())) == (3, 2)

    bench = twin(program)
    spawned = {e.name: e for e in bench.recording if isinstance(e, Spawned)}
    opened = {e.id: e.of for e in bench.recording if isinstance(e, Opened)}
    within = spawned["left behind"].within
    assert within is not None
    assert opened[within] == spawned["parent"].id


def test_how_a_task_of_a_twin_ended_is_recorded_and_noticed_no_more_than_before() -> None:
    noticed: list[object] = []

    async def program(bench: TwinBench) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: noticed.append(context["message"]))
        failing = asyncio.create_task(fail(), name="failing")
        waiting = asyncio.create_task(wait_for_ever(), name="waiting")
        await asyncio.sleep(0)
        waiting.cancel("enough")
        await asyncio.wait([failing, waiting])

    bench = twin(program)
    names = {e.id: e.name for e in bench.recording if isinstance(e, Spawned)}
    ends = {names[e.id]: (e.how, e.exc) for e in bench.recording if isinstance(e, Exited)}
    assert ends["failing"] == (How.RAISED, "RuntimeError('nobody hears this')")
    assert ends["waiting"] == (How.CANCELLED, None)
    del bench
    assert noticed in ([], ["Task exception was never retrieved"])


# --- What is installed ---------------------------------------------------------------------------


@pytest.mark.slow
def test_lessons_mutants_and_the_page_are_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for lesson in LESSONS.values():
        folder = lesson.package.replace(".", "/")
        assert f"{folder}/lesson.py" in names
        assert f"{folder}/mutant.diff" in names
    assert "trio_chat/microscope/page/microscope.html" in names
