"""The Unix socket's language: one line asks, lines of JSON answer.

    tree            the tree as text, a JSON string; then the end
    tree json       the same as an object
    trees, trees json   again and again: at once, and when it has changed, at the microscope's pace
    watch           the recording, from the tree as it is on

A task for each who asks; it ends with the answer, with who asked, or with the server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson
import trio

from .tree import render, to_json
from .visitors import PATIENCE, notice_leaving, send
from .watch import Microscope, TooManyWatchers

MAX_REQUEST: Final = 64  # bytes
Draw = Callable[[], bytes]


async def answer_one(stream: trio.SocketStream, microscope: Microscope) -> None:
    """Read what is asked and answer it.

    Raises:
        trio.BrokenResourceError: who asked is gone, or takes nothing.
    """
    match await _read_request(stream):
        case None:
            return
        case "tree":
            await send(stream, await microscope.pace.turn(lambda: _text(microscope)))
        case "tree json":
            await send(stream, await microscope.pace.turn(lambda: _values(microscope)))
        case "trees":
            await _while_there(stream, microscope, lambda: _text(microscope))
        case "trees json":
            await _while_there(stream, microscope, lambda: _values(microscope))
        case "watch":
            await _while_there(stream, microscope, None)
        case _:
            await send(stream, b'{"error":"ask for tree, tree json, trees, trees json or watch"}\n')


async def _read_request(stream: trio.SocketStream) -> str | None:
    read = b""
    with trio.move_on_after(PATIENCE):
        while b"\n" not in read and len(read) <= MAX_REQUEST:
            part = await stream.receive_some(MAX_REQUEST)
            if not part:
                return None
            read += part
        return read.partition(b"\n")[0].decode(errors="replace").strip()
    return None


def _text(microscope: Microscope) -> bytes:
    return orjson.dumps(_printable(render(microscope.snapshot()))) + b"\n"


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _values(microscope: Microscope) -> bytes:
    return orjson.dumps(to_json(microscope.snapshot())) + b"\n"


async def _while_there(
    stream: trio.SocketStream, microscope: Microscope, draw: Draw | None
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice_leaving, stream, nursery.cancel_scope, name="leaving")
        if draw is None:
            await _send_news(stream, microscope)
        else:
            await _send_trees(stream, microscope, draw)
        nursery.cancel_scope.cancel(reason="the microscope is closed")


async def _send_news(stream: trio.SocketStream, microscope: Microscope) -> None:
    try:
        with microscope.watch() as watcher:
            while True:
                await send(stream, await watcher.take())
    except TooManyWatchers as exc:
        await send(stream, orjson.dumps({"error": str(exc)}) + b"\n")
    except trio.EndOfChannel:
        pass


async def _send_trees(stream: trio.SocketStream, microscope: Microscope, draw: Draw) -> None:
    sent = b""
    while not microscope.closed:
        tree = await microscope.pace.turn(draw)
        if tree != sent:
            await send(stream, tree)
            sent = tree
