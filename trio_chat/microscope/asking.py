"""The other end of the Unix socket: what `trio-chat tree` and `record` ask, and what they get.

A stream of lines, read in the task of whoever asked; it ends with the server.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import orjson
import trio

CHUNK: Final = 64 * 1024
MAX_LINE: Final = 256 * 1024 * 1024  # a tree of millions


class NoAnswer(Exception):
    """The server can't be asked, or does not answer; the text says why."""


class Answers:
    """The lines that come, each with its newline."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""

    async def next_lines(self) -> bytes:
        """Wait for whole lines; nothing where the server has ended.

        A line that is cut off there is dropped.
        """
        parts = [self._rest]
        size = len(self._rest)
        while size <= MAX_LINE:
            part = await self._receive()
            if not part:
                return b""
            before, newline, behind = part.rpartition(b"\n")
            if newline:
                self._rest = behind
                return b"".join([*parts, before, newline])
            parts.append(part)
            size += len(part)
        raise NoAnswer("the answer has no end")

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(CHUNK))
        except trio.BrokenResourceError:
            return b""


@asynccontextmanager
async def ask(path: Path, request: str) -> AsyncIterator[Answers]:
    """Ask the server whose socket this is.

    Raises:
        NoAnswer: nobody listens there.
    """
    try:
        stream = await trio.open_unix_socket(os.fspath(path))
        await stream.send_all(request.encode() + b"\n")
    except (OSError, trio.BrokenResourceError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else None
        raise NoAnswer(f"{path}: {why or exc}") from exc
    try:
        yield Answers(stream)
    finally:
        await trio.aclose_forcefully(stream)


def read_answer(line: bytes) -> object:
    """Return the value of a line.

    Raises:
        NoAnswer: it is none, or the server says why not.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise NoAnswer("that is no microscope") from None
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        raise NoAnswer(found["error"])
    return found
