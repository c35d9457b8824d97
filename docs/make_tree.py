"""Print the tree of a running server: two rooms, three members, and somebody who has said nothing.

The tree in `docs/tour.md` is this one, and a test compares them:

    .venv/bin/python docs/make_tree.py
"""

from __future__ import annotations

import re

import trio

from trio_chat.microscope.snapshot import Serials, take_snapshot
from trio_chat.microscope.tree import render
from trio_chat.venue import open_server

PORT = re.compile(r"(?<=:)\d+$", re.MULTILINE)
A_PORT = "50312"  # instead of whichever the system gave out


def find_task(name: str) -> trio.lowlevel.Task:
    """Return the task of that name, the first that is found."""
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        if task.name == name:
            return task
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    raise LookupError(name)


async def draw() -> str:
    """Return the tree of a server that runs meanwhile."""
    # Connections are accepted in their order: when the others are in, this one is at the door.
    async with open_server() as venue, await venue.dial():
        await venue.join("alice")
        await venue.join("bob")
        await venue.join("carol", room="green")
        return PORT.sub(A_PORT, render(take_snapshot(find_task("server"), Serials())))


if __name__ == "__main__":
    print(trio.run(draw))
