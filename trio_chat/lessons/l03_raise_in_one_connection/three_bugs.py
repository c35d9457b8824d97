"""What the three twins of this lesson do alike: three rooms, three bugs, and who is left."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ..asyncio_chat.peers import Peer, peers, settle
from .overheard import overheard

if TYPE_CHECKING:
    from ..twin_bench import TwinBench


class Bug(Exception):
    """What no code expects."""


class Chat(Protocol):
    """Any of the three chats."""

    def accept(self, peer: Peer) -> None:
        """Serve somebody."""


class BrittlePeer(Peer):
    """Somebody whose line can break, in a way that nobody has foreseen."""

    broken = False

    async def write(self, text: str) -> None:
        """Raise, once it is broken."""
        if self.broken:
            raise Bug("in sending")
        await super().write(text)


def record(text: str) -> None:
    """Record what is said, but for one text."""
    if text == "what can't be recorded":
        raise Bug("in writing the history")


async def raise_three_times(bench: TwinBench, chat: Chat) -> Mapping[str, int]:
    """Raise in a session, in a writer and in a hub; count the log lines, and who is left."""
    blue, green, red = (peers([room], 16) for room in ("blue", "green", "red"))
    everybody = [*blue, *green, *red, bob := BrittlePeer("bob", "green")]
    for peer in everybody:
        chat.accept(peer)
    await settle()
    with overheard("asyncio") as noticed, overheard("trio_chat") as logged:
        bench.mark("blue-0 sends a frame of which its session makes nothing")
        blue[0].send("{}")
        await settle()
        bench.mark("bob's writer raises")
        bob.broken = True
        green[0].say("can you hear me, bob?")
        await settle()
        bench.mark("somebody speaks in red, and the hub of red raises")
        red[0].say("what can't be recorded")
        await settle()
        gc.collect()  # The last chance: asyncio tells of an exception when its task is thrown away.
        await settle()
    gone = [peer for peer in everybody if peer.closed]
    lines = len(noticed) + len(logged)
    return {"faults": 3, "lines": lines, "gone": len(gone), "hanging": len(await deaf(everybody))}


async def deaf(everybody: list[Peer]) -> list[Peer]:
    """Return who is connected and does not hear what is said in their room."""
    there = [peer for peer in everybody if not peer.closed]
    for peer in there:
        peer.say("is anybody there?")
    await settle()
    return [peer for peer in there if "is anybody there?" not in peer.heard]
