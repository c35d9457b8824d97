"""A snapshot for reading: as text in a terminal, and as values for JSON. Pure functions."""

from __future__ import annotations

from .snapshot import TaskNode


def render(tree: TaskNode, *, fold: int = 60) -> str:
    """Return the tree as lines; of more than `fold` siblings only the first are shown."""
    lines: list[str] = []
    waiting = [(tree, "", "")]
    while waiting:
        node, first, rest = waiting.pop()
        lines.append(first + node.name)
        children = [task for nursery in node.nurseries for task in nursery.tasks]
        shown = children[:fold]
        if len(children) > fold:
            more = sum(task.count for task in children[fold:])
            lines.append(f"{rest}… and {more} more")
        for index, task in reversed(list(enumerate(shown))):
            last = index == len(shown) - 1
            waiting.append(
                (task, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
            )
    return "\n".join(lines)


def to_json(tree: TaskNode) -> dict[str, object]:
    """Return the tree as values."""
    return {"id": tree.id, "name": tree.name}
