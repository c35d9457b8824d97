"""The twin as one first writes it: a history is sent under a deadline, and nothing may go wrong.

Whoever sends it lets no piece spoil the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .deaf_peer import DEADLINE, HISTORY, DeafPeer, watch_deadline

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def send_history(peer: DeafPeer) -> None:
    """Send all of it, whatever happens to a single piece."""
    for piece in HISTORY:
        with contextlib.suppress(asyncio.CancelledError):  # Too slow; perhaps the next one works.
            await peer.send(piece)


async def welcome(peer: DeafPeer) -> None:
    """Send the history, but not for ever."""
    async with asyncio.timeout(DEADLINE):
        await send_history(peer)


async def take_nothing(bench: TwinBench) -> Mapping[str, int]:
    """Count how often the deadline has struck, the errors, and who still waits."""
    return await watch_deadline(bench, welcome)
