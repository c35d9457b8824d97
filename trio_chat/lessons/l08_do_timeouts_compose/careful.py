"""The twin with care: who is cancelled lets it pass, and asks whose deadline it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from .deaf_peer import DEADLINE, HISTORY, DeafPeer, watch_deadline

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

log = logging.getLogger(__name__)

FOR_A_PIECE: Final = 10 * DEADLINE


async def send_history(peer: DeafPeer) -> None:
    """Send all of it, but wait only so long for a single piece."""
    for piece in HISTORY:
        patience = asyncio.timeout(FOR_A_PIECE)
        try:
            async with patience:
                await peer.send(piece)
        except TimeoutError:
            if not patience.expired():
                raise  # Not ours: somebody else's has the same type.
            log.info("%s is missing", piece)


async def welcome(peer: DeafPeer) -> None:
    """Send the history, but not for ever."""
    async with asyncio.timeout(DEADLINE):
        await send_history(peer)


async def take_nothing(bench: TwinBench) -> Mapping[str, int]:
    """Count how often the deadline has struck, the errors, and who still waits."""
    return await watch_deadline(bench, welcome)
