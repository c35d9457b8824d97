"""What the three twins have in common: a peer that takes nothing, and a history to send it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..asyncio_chat.peers import settle

if TYPE_CHECKING:
    from ..twin_bench import TwinBench

DEADLINE: Final = 0.01  # seconds for the whole history
HISTORY: Final = ("the first piece", "the second", "the last")


class DeafPeer:
    """Takes nothing, ever. `struck` counts how often somebody who sent to it was interrupted."""

    def __init__(self) -> None:
        self.struck = 0
        self.interrupted = asyncio.Event()
        self._taking = asyncio.Event()  # Nobody sets it.

    async def send(self, piece: str) -> None:
        """Send a piece. If cancelled, it has not arrived."""
        try:
            await self._taking.wait()
        except asyncio.CancelledError:
            self.struck += 1
            self.interrupted.set()
            raise


async def watch_deadline(
    bench: TwinBench, welcome: Callable[[DeafPeer], Awaitable[None]]
) -> Mapping[str, int]:
    """Welcome a deaf peer, wait until the deadline has struck, and look what came of it."""
    bench.watch()
    peer = DeafPeer()
    welcoming = asyncio.ensure_future(_count_errors(welcome, peer))
    welcoming.set_name("welcome")
    bench.mark("the deadline strikes")
    await peer.interrupted.wait()
    await settle()
    struck, waiting = peer.struck, not welcoming.done()
    while not welcoming.done():  # Each cancel costs the naive one a piece.
        welcoming.cancel()
        await settle()
    return {"struck": struck, "errors": welcoming.result(), "waiting": int(waiting)}


async def _count_errors(welcome: Callable[[DeafPeer], Awaitable[None]], peer: DeafPeer) -> int:
    try:
        await welcome(peer)
    except TimeoutError:
        return 1
    return 0
