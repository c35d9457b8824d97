"""The twin as one first writes it: 48 people come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..asyncio_chat.naive import Chat
from ..asyncio_chat.peers import peers, settle

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


async def come_and_go(bench: TwinBench) -> Mapping[str, int]:
    """Count who outlives the task that created them."""
    bench.watch()
    chat = Chat()
    everybody = peers(("blue", "green", "red"), 16)
    for peer in everybody:
        chat.accept(peer)
    await settle()

    bench.mark("everybody leaves")
    for peer in everybody:
        peer.leave()
    await settle()
    assert not chat.rooms, "by the table, nobody is there"
    return {"tasks": bench.created, "orphans": len(bench.orphans())}
