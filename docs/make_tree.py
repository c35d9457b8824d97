"""Print the tree of a running server: two rooms, three members, and somebody who has said nothing.

The tree in `docs/tour.md` is this one, and a test compares them:

    .venv/bin/python docs/make_tree.py
"""

from __future__ import annotations

import re

import trio

from trio_chat.microscope.snapshot import Serials, take_snapshot, walk
from trio_chat.microscope.tree import render
from trio_chat.venue import open_server

PORT = re.compile(r"(?<=:)\d+$", re.MULTILINE)
A_PORT = "50312"  # instead of whichever the system gave out


async def draw() -> str:
    """Return the tree of a server that runs meanwhile."""
    # Connections are accepted in their order: when the others are in, this one is at the door.
    async with open_server() as venue, await venue.dial():
        await venue.join("alice")
        await venue.join("bob")
        await venue.join("carol", room="green")
        server = next(task for task in walk(trio.lowlevel.current_task()) if task.name == "server")
        return PORT.sub(A_PORT, render(take_snapshot(server, Serials())))


if __name__ == "__main__":
    print(trio.run(draw))
