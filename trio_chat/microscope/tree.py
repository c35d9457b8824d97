"""A snapshot for reading: under other names, as text for a terminal, as values for JSON. All pure.

A nursery has a line of its own only where a task has several; else its state stands behind the
task. Neither form minds how deep the tree is: the JSON is two flat lists, not values within values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from .snapshot import QUIET, NurseryNode, Scope, TaskNode

_Item = TaskNode | NurseryNode | str

FOLD: Final = 60  # So many tasks of one nursery are shown.


def render(tree: TaskNode, *, fold: int = FOLD, alike: int | None = None) -> str:
    """Return the tree as lines.

    Of a nursery's tasks the first `fold` are shown; and of those of a kind that have no tasks of
    their own, the first `alike`, or all if there is only one more. None shows them as the others.
    """
    lines: list[str] = []
    waiting: list[tuple[_Item, str, str]] = [(tree, "", "")]
    while waiting:
        item, lead, rest = waiting.pop()
        lines.append(lead + _label(item))
        below = _below(item, fold, alike)
        for one in reversed(below):
            last = one is below[-1]
            branch, trunk = ("└── ", "    ") if last else ("├── ", "│   ")
            waiting.append((one, rest + branch, rest + trunk))
    return "\n".join(lines)


def _below(item: _Item, fold: int, alike: int | None) -> Sequence[_Item]:
    match item:
        case TaskNode():
            open_ones = _worth_showing(item)
            return _fold(open_ones[0].tasks, fold, alike) if len(open_ones) == 1 else open_ones
        case NurseryNode():
            return _fold(item.tasks, fold, alike)
        case str():
            return []


def _worth_showing(task: TaskNode) -> list[NurseryNode]:
    return [one for one in task.nurseries if one.tasks or one.scope != QUIET]


def _fold(tasks: Sequence[TaskNode], fold: int, alike: int | None) -> Sequence[_Item]:
    leaves = Counter(_kind(task.name) for task in tasks if task.count == 1)
    shown: list[_Item] = []
    folded: list[TaskNode] = []
    seen = Counter[str]()
    for task in tasks:
        kind = _kind(task.name)
        seen[kind] += task.count == 1
        worth_a_line = (
            alike is None
            or task.count > 1
            or seen[kind] <= alike
            or leaves[kind] == alike + 1  # A line that says "one more" saves none.
        )
        (shown if worth_a_line and len(shown) < fold else folded).append(task)
    if not folded:
        return shown
    kinds = Counter(_kind(task.name) for task in folded)
    words = ", ".join(f"{kind} ×{count:,}" for kind, count in kinds.most_common())
    below = sum(task.count for task in folded) - len(folded)
    tail = f"; {below:,} {'task' if below == 1 else 'tasks'} below them" if below else ""
    return [*shown, f"… and {len(folded):,} more: {words}{tail}"]


def _kind(name: str) -> str:
    """Return what kind of task that is: "member" of "member alice"."""
    return _printable(name.partition(" ")[0])


def _label(item: _Item) -> str:
    match item:
        case TaskNode():
            shown = _worth_showing(item)
            state = _describe(shown[0].scope) if len(shown) == 1 else ""
            return _printable(item.name) + state
        case NurseryNode():
            return f"nursery {item.id}" + _describe(item.scope)
        case str():
            return item


def _describe(scope: Scope) -> str:
    words = []
    if scope.cancelled:
        words.append("cancelled")
    if scope.deadline is not None and not scope.cancelled:
        words.append(f"deadline in {scope.deadline:.1f} s")
    if scope.shield:
        words.append("shielded")
    return f" ({', '.join(words)})" if words else ""


def _printable(name: str) -> str:
    """Return the name for a terminal: what a peer called itself moves no cursor."""
    if name.isprintable():
        return name
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in name
    )


def rename(tree: TaskNode, name: Callable[[TaskNode], str]) -> TaskNode:
    """Return the same tree with other names."""
    done: dict[int, TaskNode] = {}
    waiting = [tree]
    order = []
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += [task for nursery in node.nurseries for task in nursery.tasks]
    for node in reversed(order):
        nurseries = tuple(
            nursery._replace(tasks=tuple(done.pop(task.id) for task in nursery.tasks))
            for nursery in node.nurseries
        )
        done[node.id] = node._replace(name=name(node), nurseries=nurseries)
    return done[tree.id]


def to_json(tree: TaskNode) -> dict[str, object]:
    """Return the tree as two lists, tasks and nurseries, each parent before its children.

    The keys are those of a recording's events; a deadline is in seconds from now.
    """
    tasks: list[dict[str, object]] = []
    nurseries: list[dict[str, object]] = []
    waiting: list[tuple[TaskNode, int | None]] = [(tree, None)]
    while waiting:
        task, within = waiting.pop()
        tasks.append({"id": task.id, "name": task.name, "within": within})
        for nursery in task.nurseries:
            nurseries.append({"id": nursery.id, "of": task.id, **nursery.scope._asdict()})
        for nursery in reversed(task.nurseries):
            waiting += [(one, nursery.id) for one in reversed(nursery.tasks)]
    return {"tasks": tasks, "nurseries": nurseries}
