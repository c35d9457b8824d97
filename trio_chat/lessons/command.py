"""``trio-chat lab``: which lessons there are; and one of them, its twin or its mutant, run.

Exit codes: 0 green, 1 red, 2 for what the caller has to mend.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from ..console import MEND, refuse, tell
from . import LESSONS
from .beginning import begin
from .breaking import run_broken, run_in
from .comparing import run_twin
from .lesson import Kind
from .request import Request, Shown
from .running import run_all, run_lesson

ALL: Final = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "lesson", nargs="?", metavar="N", help="which lesson; without, they are listed"
    )
    parser.add_argument("--twin", choices=list(map(str, Kind)), help="the same thing in asyncio")
    parser.add_argument(
        "--break",
        dest="spoil",
        action="store_const",
        const="spoil",
        help="put the lesson's bug into a copy of the server, and run there",
    )
    parser.add_argument("--in", dest="folder", type=Path, metavar="DIR", help="run the copy in DIR")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="where the replay goes")
    parser.add_argument(
        "--solution",
        type=Path,
        metavar="FILE",
        help="try your own solution of an exercise; the file is begun for you",
    )
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument(
        "--check",
        dest="shown",
        action="store_const",
        const=Shown.FINDINGS,
        default=Shown.LESSON,
        help=f"say only what was found, without a replay; also of all lessons: {ALL} --check",
    )
    how_much.add_argument(
        "--plain",
        dest="shown",
        action="store_const",
        const=Shown.RUN,
        help="run at once: no question, no answer",
    )


def run(options: argparse.Namespace, program: str) -> int:
    """Run what was asked for; return the exit code. `program` is how this command was called."""
    key: str | None = options.lesson
    if key is None:
        return _list(program)
    if key != ALL and key not in LESSONS:
        return refuse(f"there is no lesson {key!r}; there are {', '.join(LESSONS)} (and {ALL})")
    request = Request(program, options.shown, options.replay, options.solution)
    if request.solution is not None and not begin(key, request.solution):
        return MEND
    if key == ALL and (options.twin or options.spoil or request.shown is not Shown.FINDINGS):
        return refuse("all of them can only be checked: trio-chat lab all --check")
    if options.folder is not None and (options.twin or options.spoil):
        return refuse("--in runs a lesson in a copy: without --twin, and without --break")
    if options.folder is not None:
        return run_in(options.folder, key, request)
    if key == ALL:
        return run_all()
    lesson = LESSONS[key]
    if options.spoil and options.twin:
        return refuse("--twin and --break are two things: one at a time")
    if options.spoil:
        return run_broken(lesson, request)
    if options.twin:
        return run_twin(lesson, Kind(options.twin), request)
    return run_lesson(lesson, request)


def _list(program: str) -> int:
    for key, lesson in LESSONS.items():
        tell(f"{key:>4}  {lesson.question}")
    tell(f"\n  {program} lab 2\n      asks what you expect, runs it, and tells what came")
    tell(f"  {program} lab 2 --twin naive\n      the same thing in asyncio; or {_name_others()}")
    tell(f"  {program} lab 2 --break\n      the same server with a bug, for you to mend")
    return 0


def _name_others() -> str:
    return ", ".join(kind for kind in Kind if kind is not Kind.NAIVE)
