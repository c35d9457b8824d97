"""The Unix socket's language: one line asks, lines of JSON answer.

    tree          the tree as text, a JSON string; then the end
    tree 40       the same in 40 lines, if folding can do that
    tree lines    with the line that each task waits at
    tree json     the same as an object
    trees …       again and again: at once, and when it has changed, at the microscope's pace
    watch         the recording, from the tree as it is on

A task for each who asks; it ends with the answer, with who asked, or with the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import orjson
import trio

from .snapshot import TaskNode
from .tree import FOLD, rename, render, to_json
from .visitors import PATIENCE, Stream, notice_leaving, send
from .watch import Microscope, TooManyWatchers

MAX_REQUEST: Final = 64  # bytes
MAX_LINES: Final = 500  # tasks whose line is shown: to find it costs ten times the rest
FOLDS: Final = (FOLD, 30, 15, 8, 4, 2)
Draw = Callable[[], bytes]


async def answer_one(stream: Stream, microscope: Microscope) -> None:
    """Read what is asked and answer it.

    Raises:
        trio.BrokenResourceError: who asked is gone, or takes nothing.
    """
    match (await _read_request(stream) or "").split():
        case []:
            return
        case ["tree", *form] if (draw := _choose(microscope, form)) is not None:
            await send(stream, await microscope.pace.turn(draw))
        case ["trees", *form] if (draw := _choose(microscope, form)) is not None:
            await _while_there(stream, partial(_send_trees, stream, microscope, draw))
        case ["watch"]:
            await _while_there(stream, partial(_send_news, stream, microscope))
        case _:
            await send(stream, b'{"error":"ask for tree, trees or watch"}\n')


async def _read_request(stream: Stream) -> str | None:
    read = b""
    with trio.move_on_after(PATIENCE):
        while b"\n" not in read and len(read) <= MAX_REQUEST:
            part = await stream.receive_some(MAX_REQUEST)
            if not part:
                return None
            read += part
        return read.partition(b"\n")[0].decode(errors="replace").strip()
    return None


def _choose(microscope: Microscope, form: Sequence[str]) -> Draw | None:
    match form:
        case []:
            return lambda: _line(render(microscope.snapshot()))
        case ["lines"]:
            return lambda: _line(render(_with_lines(microscope)))
        case ["json"]:
            return lambda: _line(to_json(microscope.snapshot()))
        case [height] if height.isdecimal():
            return lambda: _line(_fit(microscope.snapshot(), int(height)))
        case _:
            return None


def _with_lines(microscope: Microscope) -> TaskNode:
    tree = microscope.snapshot()
    lines = microscope.lines(MAX_LINES)

    def name(node: TaskNode) -> str:
        return f"{node.name}  {lines[node.id]}" if node.id in lines else node.name

    return rename(tree, name)


def _fit(tree: TaskNode, height: int) -> str:
    text = ""
    for fold in FOLDS:
        text = render(tree, fold=fold)
        if text.count("\n") < height:
            break
    return text


def _line(value: object) -> bytes:
    return orjson.dumps(value) + b"\n"


async def _while_there(stream: Stream, work: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice_leaving, stream, nursery.cancel_scope, name="leaving")
        await work()
        nursery.cancel_scope.cancel(reason="the microscope is closed")


async def _send_news(stream: Stream, microscope: Microscope) -> None:
    try:
        with microscope.watch() as watcher:
            while True:
                await send(stream, await watcher.take())
    except TooManyWatchers as exc:
        await send(stream, orjson.dumps({"error": str(exc)}) + b"\n")
    except trio.EndOfChannel:
        pass


async def _send_trees(stream: Stream, microscope: Microscope, draw: Draw) -> None:
    sent = b""
    while not microscope.closed:
        tree = await microscope.pace.turn(draw)
        if tree != sent:
            await send(stream, tree)
            sent = tree
