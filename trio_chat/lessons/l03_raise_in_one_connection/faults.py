"""Three faults that nobody has foreseen: in reading a history, in writing it, and on a line.

Each is an exception of a kind that no code here expects, as bugs are.
"""

from __future__ import annotations

import trio
import trio.testing

from ...config import Config
from ..troubled import TroubledHistory


class Bug(Exception):
    """What no code expects."""


class FaultyHistory(TroubledHistory):
    """A history in memory; of one room it can't be read, and of one it can't be written."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.unreadable = ""  # Rooms by name; none at first.
        self.unwritable = ""

    async def before_appending(self, room: str) -> None:
        """Fail in the room that can't be written."""
        if room == self.unwritable:
            raise Bug("in writing the history")

    async def before_reading(self, room: str) -> None:
        """Fail in the room that can't be read."""
        if room == self.unreadable:
            raise Bug("in reading the history")


async def fail_on_the_line(line: trio.testing.MemorySendStream) -> None:
    """Lose what a line has taken to send, and raise: a hook of `MemorySendStream`."""
    await trio.lowlevel.checkpoint()
    line.get_data_nowait()
    raise Bug("in sending")
