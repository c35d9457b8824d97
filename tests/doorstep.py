"""What stands before the door: a client that says bytes and reads answers by hand, and servers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import trio
import trio.testing

from trio_chat.config import Config
from trio_chat.server import Server
from trio_chat.transport import StreamTransport

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PATIENCE = 10  # seconds: a test that hangs fails
PATIENCE_APART = 30
LOBBY = "/ws/chat/lobby/"


@dataclass
class Answer:
    """An HTTP answer, read by hand."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A client that says bytes, over any stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.rest = b""

    async def say(self, data: bytes | str) -> None:
        await self.stream.send_all(data.encode() if isinstance(data, str) else data)

    async def ask(self, path: str, *lines: str, method: str = "GET", host: str = "x") -> Answer:
        head = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]
        await self.say("\r\n".join(head))
        return await self.answer("HEAD" if method == "HEAD" else "GET")

    async def answer(self, method: str = "GET") -> Answer:
        while b"\r\n\r\n" not in self.rest:
            data = await self.stream.receive_some()
            assert data, f"the connection ended after {self.rest!r}"
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        size = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(self.rest) < size:
            data = await self.stream.receive_some()
            assert data
            self.rest += data
        body, self.rest = self.rest[:size], self.rest[size:]
        return Answer(int(first.split()[1]), headers, body)

    async def ended(self) -> bool:
        """Wait for the end; return whether nothing came before it."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            return True
        return not data

    async def upgrade(self, path: str, *lines: str) -> Answer:
        return await self.ask(
            path,
            "Upgrade: websocket",
            "Connection: keep-alive, Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
            *lines,
        )


class Place:
    """A running server, and the clients that were let in."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.clients: list[Client] = []

    async def client(self) -> Client:
        one = Client(await trio.open_tcp_stream("127.0.0.1", self.server.port))
        self.clients.append(one)
        return one


@asynccontextmanager
async def serving(config: Config | None = None) -> AsyncIterator[Place]:
    """Run a server on a free port; its clients go and it drains at the end."""
    server = Server(config or Config(port=0))
    place = Place(server)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            try:
                yield place
            finally:
                for one in place.clients:
                    await trio.aclose_forcefully(one.stream)
            server.drain()
    assert server.house.ledger.balances
    assert server.house.tally.faults == 0


def connect_over_memory(nursery: trio.Nursery, config: Config) -> Client:
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(Server(config).meet, StreamTransport(theirs, "127.0.0.1:1"))
    return Client(ours)


@dataclass
class Apart:
    """A server in a process of its own."""

    process: trio.Process
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{LOBBY}"

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def log(self) -> str:
        """Wait for the end, which is 0, and return everything that was logged."""
        assert self.process.stderr
        log = b"".join([part async for part in self.process.stderr]).decode()
        assert await self.process.wait() == 0
        return log


@asynccontextmanager
async def serving_apart(*options: str) -> AsyncIterator[Apart]:
    """Run the command as a process that does not outlive the block."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trio_chat", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with trio.fail_after(PATIENCE_APART):
            assert process.stdout
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
            port = urlsplit(line.decode().split()[-1]).port
            assert port
            yield Apart(process, port)
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
