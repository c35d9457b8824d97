"""Lines as fixtures, each with the clock that it needs: `pytest_plugins = ["wire_fixtures"]`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from wires import LINES, Ends, tcp


@pytest.fixture(params=["memory", "tcp"])
def line(request: pytest.FixtureRequest) -> Callable[[], Ends]:
    """Both forms of a wire: over a Trio stream, and over a socket."""
    return LINES[request.param]


@pytest.fixture(params=["lockstep", "tcp"])
def narrow(request: pytest.FixtureRequest) -> Callable[[], Ends]:
    """Both forms of a wire, over lines that take little: a slow reader makes them stand still."""
    return LINES[request.param]


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> trio.abc.Clock | None:
    """Virtual time for what is in memory; for sockets there is only the real one."""
    names = {"line", "narrow"} & set(request.fixturenames)
    lines = [request.getfixturevalue(name) for name in names]
    return None if tcp in lines else trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
def fast_lane(request: pytest.FixtureRequest) -> bool:
    """With and without the fast lane: nothing may depend on it."""
    return bool(request.param)
