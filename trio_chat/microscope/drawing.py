"""The tree in a terminal: once, or drawn again whenever it has changed.

On a terminal the drawing has a screen of its own, which is gone when it ends; elsewhere one tree
follows the other. It ends with the server, when it is cancelled, or with whoever read it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
import trio

from ..console import refuse, say, tell
from ..logs import escape
from .asking import NoAnswer, ask, read_answer

PATIENCE: Final = 30.0  # seconds in which a server that is well answers
ENTER: Final = "\x1b[?1049h\x1b[?25l"
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
HOME: Final = "\x1b[H"
REST_OF_LINE: Final = "\x1b[K"
REST_OF_SCREEN: Final = "\x1b[J"


async def show_tree(path: Path, form: str | None) -> int:
    """Print the tree of the server whose socket this is.

    Raises:
        NoAnswer: it does not answer.
    """
    with trio.move_on_after(PATIENCE):
        async with ask(path, _request("tree", form)) as answers:
            line = await answers.next_lines()
        if not line:
            raise NoAnswer(f"{path}: the server has ended")
        tell(_to_text(line))
        return 0
    return refuse(f"{path}: no answer within {PATIENCE:g} s")


async def watch_tree(path: Path, form: str | None) -> int:
    """Draw the tree, and draw it again when it has changed.

    Raises:
        NoAnswer: it does not answer.
    """
    on_screen = form is None and sys.stdout.isatty()
    if on_screen:
        form = str(shutil.get_terminal_size().lines)
    async with ask(path, _request("trees", form)) as answers:
        if on_screen:
            with _screen():
                while lines := await answers.next_lines():
                    _draw(_to_text(_last(lines)))
        else:
            gap = "" if form else "\n"
            while lines := await answers.next_lines():
                if not tell(_to_text(_last(lines)) + gap):
                    return 0
    say("the server has ended")
    return 0


def _request(what: str, form: str | None) -> str:
    return f"{what} {form}" if form else what


def _last(lines: bytes) -> bytes:
    return lines.rstrip(b"\n").rpartition(b"\n")[2]


def _to_text(line: bytes) -> str:
    found = read_answer(line)
    if isinstance(found, str):
        return "\n".join(map(escape, found.split("\n")))
    return orjson.dumps(found).decode()


@contextmanager
def _screen() -> Iterator[None]:
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


def _draw(text: str) -> None:
    width, height = shutil.get_terminal_size()
    lines = text.split("\n")
    shown = lines if len(lines) <= height else lines[: height - 1]
    drawn = [line[:width] + REST_OF_LINE for line in shown]
    if len(shown) < len(lines):
        drawn.append(f"… {len(lines) - len(shown)} more lines" + REST_OF_LINE)
    sys.stdout.write(HOME + "\n".join(drawn) + REST_OF_SCREEN)
    sys.stdout.flush()
