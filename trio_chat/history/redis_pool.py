"""A node's connections to its Redis: one that all calls share, one for whoever waits there.

coredis' own pool has 64 places, and loses one for good with each connection that breaks while it is
waited on, and with each that is given up while it is being made. After 64 interruptions a node
would wait for a place for ever.
"""

from __future__ import annotations

from typing import Any

import trio
from coredis.connection import BaseConnection
from coredis.exceptions import ConnectionError, RedisError
from coredis.pool import ConnectionPool


class Pool(ConnectionPool[Any]):
    """Connections that come and go; none of them leaves a trace. `from_url` makes one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._idle: list[BaseConnection] = []
        self._dialling = trio.Lock()
        self.made = 0  # connections so far

    async def get_connection(self, **_: Any) -> BaseConnection:
        """Return a connection that nobody waits on, or a new one.

        Raises:
            RedisError: none could be made.

        If cancelled, nothing is left of it.
        """
        try:
            nursery = self.task_group
        except RuntimeError as closed:
            raise ConnectionError("the connections are closed") from closed
        # One by one: so all who come while one is made can share it.
        async with self._dialling:
            while self._idle:
                connection = self._idle.pop()
                if connection.reusable:
                    return connection
                connection.invalidate()
            assert self.location is not None
            made: BaseConnection = self.connection_class(self.location, **self.connection_kwargs)
            failure: RedisError | None = await nursery.start(_hold, made, name="redis: connection")
            if failure is not None:
                raise failure
            self.made += 1
            return made

    def release(self, connection: BaseConnection) -> None:
        """Let others have it: everything that was to be sent on it is on its way."""
        if connection.usable:
            self._idle.append(connection)

    def forget(self) -> None:
        """Make new ones from now on: where these lead, something else is in charge."""
        while self._idle:
            self._idle.pop().invalidate()


async def _hold(
    connection: BaseConnection,
    *,
    task_status: trio.TaskStatus[RedisError | None],
) -> None:
    try:
        await connection.run(task_status=task_status)
    except RedisError as failure:
        task_status.started(failure)
