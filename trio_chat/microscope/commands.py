"""`trio-chat tree`, `record` and `replay`: their arguments, and from these to an exit code.

A process of their own beside the server's: they ask it over its Unix socket. Ctrl-C is how they
usually end, and no error. Exit codes: 0, or 2 for what the caller has to mend.
"""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from ..console import announce, refuse, tell
from ..logs import escape
from .asking import NoAnswer
from .discovery import NoServer, choose_socket
from .drawing import show_tree, watch_tree
from .events import BadRecording
from .recording import Recording, to_html
from .taking import record

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare what one of the commands takes."""
    match command:
        case "tree":
            parser.description = "Print the tasks of a running server as a tree."
            _add_switch(parser, "--watch", "print it again whenever it has changed")
            _add_switch(parser, "--lines", "with the line that each task waits at")
            _add_switch(parser, "--json", "as values, a tree a line")
            _add_target(parser)
        case "record":
            parser.description = "Write down what the tasks of a server do, a line an event."
            parser.add_argument("file", type=Path, metavar="FILE")
            parser.add_argument(
                "--seconds", type=_seconds, default=math.inf, metavar="N", help="end after so many"
            )
            _add_target(parser)
        case "replay":
            parser.description = "Make a page of a recording, to look at without a network."
            parser.add_argument("file", type=Path, metavar="FILE")
            parser.add_argument("--to", type=Path, metavar="PAGE", help="instead of FILE.html")
        case _:
            raise AssertionError(command)


def _add_switch(parser: argparse.ArgumentParser, name: str, about: str) -> None:
    parser.add_argument(name, action="store_const", const=name.removeprefix("--"), help=about)


def _add_target(parser: argparse.ArgumentParser) -> None:
    about = "the process of the server, or its socket; not needed where there is only one"
    parser.add_argument("target", nargs="?", metavar="PID|PATH", help=about)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text!r}")
    return seconds


def run(command: argparse.Namespace, parents: Sequence[Path]) -> int:
    """Do what was asked for; return the exit code. Sockets are looked for below `parents`."""
    try:
        match command.command:
            case "tree":
                return run_tree(command, parents)
            case "record":
                return run_record(command, parents)
            case _:
                return run_replay(command.file, command.to)
    except NoServer as error:
        code = refuse(str(error))
        for path in error.found:
            announce(f"  {path.stem:>8}  {path}")
        return code


def run_tree(command: argparse.Namespace, parents: Sequence[Path]) -> int:
    """Print the tree of a server, or draw it again and again."""
    path = choose_socket(command.target, parents)
    form: str | None = command.json or command.lines
    if command.watch is None:
        return trio.run(_until_signal, lambda: show_tree(path, form))
    return trio.run(_until_signal, lambda: watch_tree(path, form))


def run_record(command: argparse.Namespace, parents: Sequence[Path]) -> int:
    """Write what happens in a server to a file, until one of both ends."""
    path = choose_socket(command.target, parents)
    file: Path = command.file
    return trio.run(_until_signal, lambda: record(path, file, command.seconds))


def run_replay(source: Path, to: Path | None) -> int:
    """Make a page of a recording; print where it is."""
    page = to or source.with_name(f"{source.name}.html")
    try:
        if page.exists() and page.samefile(source):
            return refuse(f"{page}: that is the recording, and would be no more")
        recording = Recording.read(source)
        if not len(recording):
            return refuse(f"{source}: there is nothing in it")
        text = to_html(recording, title=escape(source.name))  # It may be no Unicode.
        page.write_text(text, encoding="utf-8")
    except BadRecording as bad:
        return refuse(f"{source}: {bad}")
    except OSError as error:  # Where a disk is full, no name is said.
        return refuse(f"{error.filename or page}: {error.strerror or error}")
    tell(str(page))
    return 0


async def _until_signal(work: Callable[[], Awaitable[int]]) -> int:
    """Do the work until it is done or somebody wants an end; both are a good end."""
    code = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_at_signal, nursery.cancel_scope, name="signals")
        try:
            code = await work()
        except NoAnswer as error:  # Within the nursery, or it would come out in a group.
            code = refuse(str(error))
        nursery.cancel_scope.cancel(reason="done")
    return code


async def _cancel_at_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*SIGNALS) as received:
        task_status.started()
        async for _ in received:
            scope.cancel(reason="a signal")
            return
