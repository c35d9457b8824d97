"""The twin as one first writes it: each member has a queue, and into a queue one can always put."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.peers import settle
from .members import gather_members, lines

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def stall_one_reader(bench: TwinBench) -> Mapping[str, int]:
    """Say a thousand lines to 50, one of whom does not read, and count what waits."""
    bench.watch()
    members = gather_members()
    writers = [
        asyncio.create_task(member.write(), name=f"writer {member.name}") for member in members
    ]
    bench.mark("bob does not read; a thousand lines are said")
    for line in lines():
        for member in members:
            member.outbox.put_nowait(line)
        await asyncio.sleep(0)
    await settle()
    assert not any(writer.done() for writer in writers)
    bob, *others = members
    complete = sum(member.heard == lines() for member in others)
    # One line more is in the hands of bob's writer.
    return {"complete": complete, "waiting": bob.outbox.qsize() + 1}
