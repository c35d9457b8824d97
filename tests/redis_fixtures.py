"""A real Redis for the tests, as fixtures: `pytest_plugins = ["redis_fixtures"]`.

One server for the whole session and a database of it for each test; or servers of the test's own.
Whatever asks for one of these has the mark `redis`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis_server import FORGETFUL, RedisServer


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole session: not to be harmed."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), FORGETFUL)
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """An empty database of the shared server."""
    return shared_redis.new_url()


@pytest.fixture
def new_redis(tmp_path: Path) -> Iterator[Callable[[], RedisServer]]:
    """Start servers of the test's own, empty and durable, to do everything to."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start() -> RedisServer:
            directory = tmp_path / f"redis-{next(numbers)}"
            directory.mkdir()
            server = RedisServer(directory)
            stack.callback(server.kill)
            server.start()
            return server

        yield start
