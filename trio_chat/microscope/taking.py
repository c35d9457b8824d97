"""Taking a recording: what a server tells, line by line, into a file.

Only whole lines are written, and written through at once, so the file can be read at any time. On
standard error stands what is being done. It ends with the server, after a time, or when cancelled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import trio

from ..console import announce, refuse, say
from .asking import Answers, NoAnswer, ask, read_answer

PROGRESS: Final = 0.5  # seconds between two lines about it, on a terminal
HELLO: Final = b'"e":"hello"'
SHORT: Final = 500  # A hello is no longer than this.


class Count:
    """How much was written so far."""

    def __init__(self) -> None:
        self.events = 0
        self.beginnings = 0  # More than one: the server had to leave something out.
        self._began = trio.current_time()
        self._shown = self._began

    def add(self, lines: bytes) -> None:
        """Count whole lines, and show on a terminal how many there are."""
        self.events += lines.count(b"\n")
        if HELLO in lines:
            self.beginnings += sum(HELLO in line[:SHORT] for line in lines.split(b"\n"))
        now = trio.current_time()
        if now - self._shown >= PROGRESS and sys.stderr.isatty():
            self._shown = now
            sys.stderr.write(f"\r{self} ")
            sys.stderr.flush()

    def __str__(self) -> str:
        return f"{self.events:,} events in {trio.current_time() - self._began:.1f} s"


async def record(path: Path, file: Path, seconds: float) -> int:
    """Write what the server whose socket this is tells, for so many seconds at most.

    Raises:
        NoAnswer: it can't be asked, or says why not.

    If cancelled, what has come before is in the file.
    """
    async with ask(path, "watch") as answers:
        first = await answers.next_lines()
        if not first:
            raise NoAnswer(f"{path}: the server has ended")
        read_answer(first.partition(b"\n")[0])  # It may be a refusal.
        announce(f"recording {path}; Ctrl-C ends it")
        count = Count()
        why = f"{seconds:g} s are over"
        try:
            with trio.move_on_after(seconds):
                await _write(file, first, answers, count)
                why = "the server has ended"
        except OSError as error:
            return refuse(f"{file}: {error.strerror or error}")
        except trio.Cancelled:
            _report("stopped", count, file)
            raise
        _report(why, count, file)
    return 0


async def _write(file: Path, lines: bytes, answers: Answers, count: Count) -> None:
    # To open a pipe that nobody reads takes for ever, and a signal has to end that, too.
    opened = await trio.to_thread.run_sync(lambda: file.open("wb"), abandon_on_cancel=True)
    with opened as out:  # A disk's hiccup delays nobody else here.
        while lines:
            out.write(lines)
            out.flush()
            count.add(lines)
            lines = await answers.next_lines()


def _report(why: str, count: Count, file: Path) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r")
    say(f"{why}: {count} are in {file}")
    if count.beginnings > 1:
        say(f"it came too fast {count.beginnings - 1} times: some events are missing")
    announce(f"a page of it: trio-chat replay {file}")
