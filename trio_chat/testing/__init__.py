"""Tools for tests of what talks to a chat: a server on a free port, a room over memory streams.

    pytest_plugins = ["trio_chat.testing"]  # in conftest.py

    async def test_my_bot(chat_room, autojump_clock):
        alice = await chat_room.join("alice")
        await alice.say("!help")
        await alice.expect("I can say: help", by="bot")

Guests are real clients, and what they meet is the real server. Over memory streams nothing waits
for a socket, so time may be virtual. Each guest is a task in the nursery of its venue: when that
ends, they have left, the server has drained, and its books have been looked into.

Without the fixtures, `open_server` and `open_room` are the same as context managers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..config import Config
from ..venue import PATIENCE, Guest, PlainGuest, Venue, open_room, open_server

__all__ = [
    "PATIENCE",
    "Guest",
    "PlainGuest",
    "Venue",
    "chat_config",
    "chat_room",
    "chat_server",
    "open_room",
    "open_server",
]


@pytest.fixture
def chat_config() -> Config:
    """The settings of both venues. Override it for others, with port 0."""
    return Config(port=0)


@pytest.fixture
async def chat_server(chat_config: Config) -> AsyncIterator[Venue]:
    """A server on a free port: `chat_server.url`, `await chat_server.join("alice")`."""
    async with open_server(chat_config) as venue:
        yield venue


@pytest.fixture
async def chat_room(chat_config: Config) -> AsyncIterator[Venue]:
    """A room over memory streams, fit for virtual time: `await chat_room.join("alice")`."""
    async with open_room(chat_config) as venue:
        yield venue
