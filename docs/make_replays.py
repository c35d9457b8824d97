"""Make the replay of every lesson, and of each of its twins, two at a time.

`make docs` runs it behind the pages, which show the replays in frames:

    .venv/bin/python docs/make_replays.py build/docs/replays

Each is one HTML file, written by `trio-chat lab KEY --replay FILE`; an experiment that records
nothing writes none. The exit code is 1 where one fails, or where a page shows one that is missing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

from trio_chat.lessons import LESSONS

AT_ONCE = 2
PATIENCE = 60.0  # seconds for one replay; it takes a few
SHOWN = re.compile(r'<iframe src="(?:\.\./)*replays/([^"]*)"')
TAIL = 2000  # characters of what a lesson said that failed


@dataclass(frozen=True)
class Play:
    """What is recorded: a lesson's experiment, or one of its twins."""

    lesson: str
    twin: str | None

    @property
    def file(self) -> str:
        """The file's name in the folder of the replays."""
        return "-".join(["lesson", *self.words]) + ".html"

    @property
    def title(self) -> str:
        """What a reader is told that this is."""
        what = "the experiment" if self.twin is None else f"the twin in asyncio, {self.twin}"
        return f"Lesson {self.lesson}: {what}"

    @property
    def words(self) -> tuple[str, ...]:
        """How a page asks for it."""
        return (self.lesson,) if self.twin is None else (self.lesson, self.twin)

    @property
    def arguments(self) -> list[str]:
        """What `trio-chat lab` is asked for."""
        return [self.lesson] if self.twin is None else [self.lesson, "--twin", self.twin]


def find_plays() -> list[Play]:
    """Return all that can be replayed, in the lessons' order."""
    return [
        Play(key, twin)
        for key, lesson in LESSONS.items()
        for twin in (None, *map(str, lesson.twins))
    ]


async def make(play: Play, folder: Path, failed: list[Play], turns: trio.Semaphore) -> None:
    """Record one of them; what could not be made is told, and put into `failed`."""
    command = [sys.executable, "-m", "trio_chat", "lab", *play.arguments]
    command += ["--replay", str(folder / play.file)]
    problem = f"not over after {PATIENCE:g} s"
    async with turns:
        with trio.move_on_after(PATIENCE):
            done = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
            if done.returncode == 0:
                return
            tail = done.stdout.decode(errors="replace")[-TAIL:]
            problem = f"exit code {done.returncode}\n{tail}"
    print(f"{play.title}: {problem}", file=sys.stderr)
    failed.append(play)


def find_missing(folder: Path) -> list[str]:
    """Return the replays that the pages show and that have not been made."""
    pages = "".join(page.read_text() for page in folder.parent.rglob("*.html"))
    return sorted(name for name in set(SHOWN.findall(pages)) if not (folder / name).is_file())


async def make_all(folder: Path) -> int:
    """Make them all; return the exit code."""
    failed: list[Play] = []
    turns = trio.Semaphore(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for play in find_plays():
            nursery.start_soon(make, play, folder, failed, turns, name=play.title)
    missing = find_missing(folder)
    for name in missing:
        print(f"a page shows what is not there: {name}", file=sys.stderr)
    return 1 if failed or missing else 0


if __name__ == "__main__":
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    sys.exit(trio.run(make_all, into))
