"""Processes: the command, run to its end; a server that runs until it is told; other programs.

Readiness is read from standard output; nothing here waits for a time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import trio

COMMAND = (sys.executable, "-m", "trio_chat")
ROOT = Path(__file__).parent.parent
PATIENCE = 60  # seconds for a program that takes a few
HANG = 30  # Seconds after which a test that waits for a process has failed.

HANDSHAKE = (
    b"GET /ws/chat/lobby/ HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GOING_AWAY = b"\x03\xe9"  # 1001, as a Close frame carries it.


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


async def ended(*arguments: str, environ: dict[str, str] | None = None) -> Ended:
    """Run the command to its end."""
    with trio.fail_after(HANG):
        process = await trio.run_process(
            [*COMMAND, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environ or {},
        )
    return Ended(process.returncode, process.stdout.decode(), process.stderr.decode())


def run(*program: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program in the checkout to its end; all that it says is in `stdout`."""
    return subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass(frozen=True)
class Serving:
    """A server that runs in a process of its own."""

    process: trio.Process
    url: str

    async def open_stream(self) -> trio.SocketStream:
        port = urlsplit(self.url).port
        assert port
        return await trio.open_tcp_stream("127.0.0.1", port)

    async def join(self) -> trio.SocketStream:
        """Enter the lobby by hand, so that what is not read and not answered is up to the test."""
        stream = await self.open_stream()
        await stream.send_all(HANDSHAKE)
        head = await read_until(stream, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        return stream

    async def end(self) -> Ended:
        """Wait for the end; what was read before as the line of readiness is not in `out`."""
        assert self.process.stdout
        assert self.process.stderr
        with trio.fail_after(HANG):
            out = b"".join([part async for part in self.process.stdout])
            err = b"".join([part async for part in self.process.stderr])
            code = await self.process.wait()
        return Ended(code, out.decode(), err.decode())


async def read_until(stream: trio.abc.ReceiveStream, mark: bytes) -> bytes:
    read = b""
    with trio.fail_after(HANG):
        while mark not in read:
            part = await stream.receive_some()
            assert part, f"ended after {read!r}"
            read += part
    return read


@asynccontextmanager
async def serving(*options: str, environ: dict[str, str] | None = None) -> AsyncIterator[Serving]:
    """Run a server on a free port, from the moment it says that it listens."""
    process = await trio.lowlevel.open_process(
        [*COMMAND, "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ or {},
    )
    assert process.stdout
    try:
        line = (await read_until(process.stdout, b"\n")).decode()
        assert line.startswith("listening on http://127.0.0.1:")
        assert line.endswith("/chat/\n")
        assert line.count("\n") == 1
        yield Serving(process, line.removeprefix("listening on ").strip())
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
