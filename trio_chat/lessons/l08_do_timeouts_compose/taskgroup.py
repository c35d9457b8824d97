"""The twin with TaskGroup: each piece is sent by a task of its own, under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .deaf_peer import DEADLINE, HISTORY, DeafPeer, watch_deadline

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def welcome(peer: DeafPeer) -> None:
    """Send the history, but not for ever: the deadline is around the group."""
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for piece in HISTORY:
            await group.create_task(peer.send(piece), name=piece)


async def take_nothing(bench: TwinBench) -> Mapping[str, int]:
    """Count how often the deadline has struck, the errors, and who still waits."""
    return await watch_deadline(bench, welcome)
