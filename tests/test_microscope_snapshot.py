"""The tree as it is: what is found, how it reads, and that no tree is too deep or too wide."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence

import pytest
import trio
from trio.lowlevel import Task, current_task
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.config import Config
from trio_chat.microscope.events import Event, Spawned
from trio_chat.microscope.recorder import Recorder
from trio_chat.microscope.snapshot import (
    QUIET,
    NurseryNode,
    Scope,
    Serials,
    TaskNode,
    take_snapshot,
    where,
)
from trio_chat.microscope.tree import render, to_json
from trio_chat.venue import open_room


async def forever() -> None:
    await trio.sleep_forever()


async def parent_of(names: Sequence[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(forever, name=name)


def all_of(tree: TaskNode) -> Iterator[TaskNode]:
    waiting = [tree]
    while waiting:
        task = waiting.pop()
        yield task
        waiting += [one for nursery in task.nurseries for one in nursery.tasks]


# --- What is found --------------------------------------------------------------------------------


async def test_a_snapshot_is_the_tree(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent_of, ["a", "b"], name="parent")
        nursery.start_soon(forever, name="alone")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.deadline = trio.current_time() + 2
        nursery.cancel_scope.shield = True
        tree = take_snapshot(current_task(), Serials())
        nursery.cancel_scope.cancel(reason="enough")
        after = take_snapshot(current_task(), Serials())
    ours = tree.nurseries[-1]
    assert ours.scope == Scope(cancelled=False, deadline=2.0, shield=True)
    alone, parent = ours.tasks
    assert (alone.name, alone.nurseries, alone.count) == ("alone", (), 1)
    assert (parent.name, parent.count) == ("parent", 3)
    assert [task.name for task in parent.nurseries[0].tasks] == ["a", "b"]
    assert parent.nurseries[0].scope == QUIET
    assert tree.count == len([*all_of(tree)])
    assert after.nurseries[-1].scope.cancelled


async def test_siblings_stand_by_age_and_those_of_one_age_by_name() -> None:
    serials = Serials()
    async with trio.open_nursery() as nursery:
        for name in "cab":
            nursery.start_soon(forever, name=name)
        assert names_of(take_snapshot(current_task(), serials)) == ["a", "b", "c"]
        nursery.start_soon(forever, name="a newcomer")
        assert names_of(take_snapshot(current_task(), serials)) == ["a", "b", "c", "a newcomer"]
        nursery.cancel_scope.cancel(reason="enough")


def names_of(tree: TaskNode) -> list[str]:
    return [task.name for task in tree.nurseries[-1].tasks]


async def test_an_id_means_one_thing_for_as_long_as_that_lives() -> None:
    serials = Serials()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forever)
        first = take_snapshot(current_task(), serials)
        assert take_snapshot(current_task(), serials) == first
        nursery.cancel_scope.cancel(reason="enough")
    used = {task.id for task in all_of(first)} | {one.id for one in first.nurseries}
    assert len(used) == len([*all_of(first)]) + len(first.nurseries)
    del nursery
    async with trio.open_nursery():
        again = take_snapshot(current_task(), serials)
        gc.collect()
        assert len(serials) == 1 + len(again.nurseries)  # Nothing is kept of the dead.
    assert again.id == first.id
    assert again.nurseries[-1].id not in used


async def test_where_a_task_waits_is_a_line_that_is_not_trio_s() -> None:
    async def inner() -> None:
        await trio.sleep_forever()

    async def outer() -> None:
        await inner()

    tasks: list[Task] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outer)
        await wait_all_tasks_blocked()
        tasks += nursery.child_tasks
        place = where(tasks[0]) or ""
        assert place.startswith("test_microscope_snapshot.py:")
        assert place.endswith(" inner")
        nursery.cancel_scope.cancel(reason="enough")
    assert where(tasks[0]) is None


async def nest(levels: int, over: trio.Event) -> None:
    """Be a task with a task in it, and so on.

    They are not cancelled: Python's own recursion would not reach the innermost of 5,000 groups.
    """
    async with trio.open_nursery() as nursery:
        if levels:
            nursery.start_soon(nest, levels - 1, over, name=f"level {levels - 1}")
        await over.wait()


async def test_a_tree_of_five_thousand_levels_is_taken_drawn_written_and_recorded() -> None:
    over = trio.Event()
    events: list[Event] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nest, 5000, over, name="level 5000")
        await wait_all_tasks_blocked()
        (top,) = nursery.child_tasks
        tree = take_snapshot(top, Serials())
        with Recorder(top, events.append) as recorder:
            recorder.look()
        over.set()
    assert len([event for event in events if isinstance(event, Spawned)]) == 5001
    assert tree.count == 5001
    assert render(tree).splitlines()[-1].endswith("└── level 0")
    found = json.loads(json.dumps(to_json(tree)))
    assert len(found["tasks"]) == len(found["nurseries"]) == 5001


async def test_a_server_s_tasks_have_the_names_that_its_picture_shows(
    autojump_clock: MockClock,
) -> None:
    async with open_room(Config(port=0, fast_lane=False)) as venue:
        await venue.join("alice", room="green")
        names = {task.name for task in all_of(take_snapshot(current_task(), Serials()))}
        expected = {"server", "heartbeat", "room green", "hub green", "member alice", "engine"}
        assert expected <= names


# --- How it reads ---------------------------------------------------------------------------------


def task(name: str, *children: TaskNode, scope: Scope = QUIET) -> TaskNode:
    count = 1 + sum(child.count for child in children)
    nurseries = (NurseryNode(7, scope, children),) if children or scope != QUIET else ()
    return TaskNode(1, name, nurseries, count)


def test_the_tree_is_drawn_with_one_line_a_task() -> None:
    tree = task("server", task("room lobby", task("hub lobby"), task("member alice")), task("door"))
    assert render(tree).splitlines() == [
        "server",
        "├── room lobby",
        "│   ├── hub lobby",
        "│   └── member alice",
        "└── door",
    ]


def test_nurseries_have_lines_where_a_task_has_several() -> None:
    rooms = NurseryNode(5, QUIET, (task("room lobby"),))
    doors = NurseryNode(9, Scope(cancelled=True, deadline=None, shield=False), (task("door"),))
    empty = NurseryNode(11, QUIET, ())
    assert render(TaskNode(1, "server", (rooms, doors, empty), 3)).splitlines() == [
        "server",
        "├── nursery 5",
        "│   └── room lobby",
        "└── nursery 9 (cancelled)",
        "    └── door",
    ]


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope(cancelled=True, deadline=None, shield=False), "room (cancelled)"),
        (Scope(cancelled=True, deadline=-1.0, shield=True), "room (cancelled, shielded)"),
        (Scope(cancelled=False, deadline=1.94, shield=False), "room (deadline in 1.9 s)"),
        (Scope(cancelled=False, deadline=60, shield=True), "room (deadline in 60.0 s, shielded)"),
    ],
)
def test_what_is_cancelled_and_what_has_a_deadline_is_said(scope: Scope, words: str) -> None:
    assert render(task("room", scope=scope)) == words


def test_many_siblings_are_folded_with_their_number_and_kinds() -> None:
    members = [task(f"member {n}", task("engine")) for n in range(1000)]
    tree = task("room", task("hub room"), *members, task("leave carol"))
    lines = render(tree, fold=3).splitlines()
    assert lines[:2] == ["room", "├── hub room"]
    assert lines[-1] == "└── … and 999 more: member ×998, leave ×1; 998 tasks below them"
    assert len(lines) == 1 + 1 + 2 * 2 + 1
    assert len(render(tree, fold=1002).splitlines()) == 2003


def test_those_alike_are_folded_but_not_who_is_busy_and_not_a_single_one() -> None:
    members = [task(f"member {n}") for n in range(9)]
    busy = task("member bob", task("writer bob"))
    leaving = [task(f"leave {n}") for n in range(3)]
    lines = render(task("room", task("hub"), *members, busy, *leaving), alike=2).splitlines()
    assert lines == [
        "room",
        "├── hub",
        "├── member 0",
        "├── member 1",
        "├── member bob",
        "│   └── writer bob",
        "├── leave 0",
        "├── leave 1",
        "├── leave 2",
        "└── … and 7 more: member ×7",
    ]


def test_a_name_from_elsewhere_moves_no_cursor() -> None:
    assert render(task("member \x1b[2J\nzoë")) == "member \\x1b[2J\\nzoë"


async def test_as_json_parents_come_before_their_children() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent_of, ["a", "b"], name="parent")
        await wait_all_tasks_blocked()
        (parent,) = nursery.child_tasks
        found = to_json(take_snapshot(parent, Serials()))
        nursery.cancel_scope.cancel(reason="enough")
    assert found == {
        "tasks": [
            {"id": 4, "name": "parent", "within": None},
            {"id": 1, "name": "a", "within": 3},
            {"id": 2, "name": "b", "within": 3},
        ],
        "nurseries": [{"id": 3, "of": 4, "cancelled": False, "deadline": None, "shield": False}],
    }
