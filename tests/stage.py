"""A scripted peer for the client's tests: a server that says exactly what a test tells it to.

Over memory streams, with trio-websocket on its side, so that time can be virtual. A test plans
what each dial will meet, opens the client, and plays the server itself, line by line.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from trio_chat.client import Chat, connect_over

JSON = dict[str, object]
Pair = tuple[trio.abc.Stream, trio.abc.Stream]


@dataclass
class Accept:
    """Accept the handshake, and say these frames."""

    frames: tuple[JSON, ...]
    subprotocol: str | None = "trio-chat.v1"


@dataclass
class Reject:
    """Refuse the handshake."""

    status: int
    body: bytes = b""


@dataclass
class Ignore:
    """Take the connection, and never answer."""


@dataclass
class Blurt:
    """Say something that is no HTTP, or nothing, and hang up."""

    data: bytes = b""


@dataclass
class Absent:
    """There is nobody to connect to."""


Plan = Accept | Reject | Ignore | Blurt | Absent


def welcome(*frames: JSON, **fields: object) -> Accept:
    """A greeting, and what follows it."""
    greeting: JSON = {
        "type": "welcome",
        "room": "lobby",
        "name": "alice",
        "epoch": "e1",
        "seq": 0,
        "recovered": False,
        "resume": "secret",
        "members": ["alice"],
    }
    return Accept((greeting | fields, *frames))


def message(seq: int, text: str = "", *, name: str | None = "bob", id: str | None = None) -> JSON:
    frame: JSON = {
        "type": "message",
        "seq": seq,
        "name": name,
        "message": text or f"number {seq}",
        "time": float(seq),
    }
    return frame if id is None else frame | {"id": id}


def ack(said: JSON, seq: int, *, duplicate: bool = False) -> JSON:
    return {"type": "ack", "id": said["id"], "seq": seq, "duplicate": duplicate}


def error(code: str, **fields: object) -> JSON:
    return {"type": "error", "code": code, "reason": f"because of {code}"} | fields


@dataclass
class Peer:
    """The server's end of one connection."""

    websocket: WebSocketConnection
    stream: trio.abc.Stream
    scope: trio.CancelScope
    path: str
    query: dict[str, str]
    offered: tuple[str, ...]

    async def say(self, *frames: JSON) -> None:
        for frame in frames:
            await self.websocket.send_message(json.dumps(frame))

    async def hear(self) -> JSON:
        value = json.loads(await self.websocket.get_message())
        assert isinstance(value, dict)
        return value

    async def close(self, code: int, reason: str = "") -> None:
        await self.websocket.aclose(code, reason)

    async def closed(self) -> int:
        """Wait for the client to close, and return with which code."""
        with pytest.raises(ConnectionClosed):
            await self.websocket.get_message()
        assert self.websocket.closed is not None
        return self.websocket.closed.code

    async def vanish(self) -> None:
        """Break off, without a Close frame."""
        await self.stream.aclose()

    def freeze(self) -> None:
        """Neither read nor answer any more, without breaking off."""
        self.scope.cancel()


@dataclass
class Stage:
    """Where the client dials."""

    nursery: trio.Nursery
    new_pair: Callable[[], Pair] = trio.testing.memory_stream_pair
    dials: int = 0
    plans: deque[Plan] = field(default_factory=deque)
    peers: deque[Peer] = field(default_factory=deque)
    arrived: trio.Event = field(default_factory=trio.Event)

    def plan(self, *plans: Plan) -> None:
        self.plans.extend(plans)

    def connect(
        self,
        url: str = "ws://chat.example/ws/chat/lobby/",
        *,
        name: str | None = None,
        history: int | None = None,
    ) -> AbstractAsyncContextManager[Chat]:
        return connect_over(self.dial, url, name=name, history=history)

    async def peer(self) -> Peer:
        """Wait for the next connection that was accepted."""
        while not self.peers:
            self.arrived = trio.Event()
            await self.arrived.wait()
        return self.peers.popleft()

    async def dial(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dials += 1
        plan = self.plans.popleft() if self.plans else Absent()
        if isinstance(plan, Absent):
            raise ConnectionRefusedError("nobody is there")
        theirs, ours = self.new_pair()
        self.nursery.start_soon(self._serve, ours, plan)
        return theirs

    async def _serve(self, stream: trio.abc.Stream, plan: Plan) -> None:
        try:
            await self._play(stream, plan)
        except* ConnectionClosed:
            pass  # The client went before the plan was through.

    async def _play(self, stream: trio.abc.Stream, plan: Plan) -> None:
        match plan:
            case Blurt(data):
                await stream.send_all(data)
                await stream.aclose()
            case Ignore() | Absent():
                pass
            case Reject(status, body):
                async with trio.open_nursery() as nursery:
                    request = await wrap_server_stream(nursery, stream)
                    await request.reject(status, body=body or None)
            case Accept(frames, subprotocol):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        request = await wrap_server_stream(nursery, stream)
                        websocket = await request.accept(subprotocol=subprotocol)
                        url = urlsplit(request.path)
                        query = {key: values[0] for key, values in parse_qs(url.query).items()}
                        offered = tuple(request.proposed_subprotocols)
                        peer = Peer(websocket, stream, scope, url.path, query, offered)
                        await peer.say(*frames)
                        self.peers.append(peer)
                        self.arrived.set()


async def take(chat: Chat, count: int) -> list[object]:
    """Take so many events."""
    return [await anext(chat) for _ in range(count)]
