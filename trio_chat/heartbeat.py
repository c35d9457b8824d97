"""One wheel for everybody: who was silent is asked, who does not answer is gone.

A single task for the whole server. A task a connection would cost 3 KiB and 40 % of the connect
rate; this costs a look at two numbers a connection and turn.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from .config import Config
from .connection import Connection
from .protocol import CloseCode, Ending

TURN: Final = 1.0  # seconds
CONNECTIONS_A_TURN: Final = 500  # after so many, others may run

SILENT: Final = Ending(CloseCode.NO_HEARTBEAT, "no answer to the heartbeat")
UNFINISHED: Final = Ending(CloseCode.POLICY, "a message was begun and not finished in time")


class Heartbeat:
    """Watches the connections of one server."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._watched: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, connection: Connection) -> None:
        """Begin to watch a connection."""
        self._watched[connection] = None

    def forget(self, connection: Connection) -> None:
        """Stop watching a connection."""
        del self._watched[connection]

    async def run(self) -> None:
        """Turn, for ever."""
        while True:
            await trio.sleep(TURN)
            for index, connection in enumerate(list(self._watched)):
                if index % CONNECTIONS_A_TURN == CONNECTIONS_A_TURN - 1:
                    await trio.lowlevel.checkpoint()
                self._look_at(connection, trio.current_time())

    def _look_at(self, connection: Connection, now: float) -> None:
        config, heard = self._config, connection.wire.heard
        begun = connection.wire.begun
        if heard == math.inf:
            return  # It is we who are busy: nobody can be blamed for what we have not read.
        if now - begun > config.message_timeout:
            connection.end(UNFINISHED)
        elif connection.pinged > heard:
            if now - connection.pinged >= config.ping_timeout:
                connection.end(SILENT)
        elif now - heard >= config.ping_interval:
            connection.ping()
