"""``trio-chat lab``: run a lesson's experiment, its twin or its mutant, and say red or green.

Exit codes: 0 green, 1 red, 2 for what the caller has to mend.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import subprocess
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path
from typing import Final

import trio
import trio.testing

from ..console import MEND, refuse, say, tell
from ..microscope.excerpts import find_excerpts
from ..microscope.recording import Recording, to_html
from . import LESSONS
from .bench import Bench
from .findings import Finding, Findings
from .lesson import Clock, Kind, Lesson
from .mutant import PACKAGE, DoesNotApply, apply, copy_package, python_of
from .twin_bench import TwinBench

PATIENCE: Final = 60  # seconds of the lesson's own clock, after which it is red
ALL: Final = "all"
WIDTH: Final = 80  # columns of what is to be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("lesson", nargs="?", metavar="N", help="which lesson, or all of them")
    parser.add_argument("--twin", choices=[*Kind], help="run the same thing in asyncio")
    parser.add_argument(
        "--break",
        dest="spoil",
        action="store_const",
        const="spoil",
        help="apply the lesson's mutant to a copy of the server, and run there",
    )
    parser.add_argument(
        "--check",
        action="store_const",
        const="check",
        help="say only what was found: no question, no trees, no replay",
    )
    parser.add_argument("--in", dest="folder", type=Path, metavar="DIR", help="run the copy in DIR")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="where the replay goes")
    parser.add_argument(
        "--solution",
        type=Path,
        metavar="FILE",
        help="try your own solution of an exercise; the file is begun for you",
    )


def run(options: argparse.Namespace) -> int:
    """Run what was asked for; return the exit code."""
    key: str | None = options.lesson
    if key is None:
        return _list()
    if key != ALL and key not in LESSONS:
        return refuse(f"there is no lesson {key!r}; there are {', '.join(LESSONS)} (and {ALL})")
    if options.solution is not None and not _begin(key, options.solution):
        return MEND
    if options.folder is not None:
        return _run_in(options.folder, options)
    if key == ALL:
        return _run_all(options)
    lesson = LESSONS[key]
    if options.spoil:
        return _run_broken(lesson, options)
    if options.twin:
        return _run_twin(lesson, Kind(options.twin), options)
    return _run_lesson(lesson, options)


def _list() -> int:
    for key, lesson in LESSONS.items():
        twins = f"   (--twin {', '.join(lesson.twins)})" if lesson.twins else ""
        tell(f"{key:>4}  {lesson.question}{twins}")
    tell("\ntrio-chat lab N runs one; with --break its mutant, which is yours to mend.")
    return 0


def _begin(key: str, path: Path) -> bool:
    """Write what a solution begins with, unless the file is there; return if that is in order."""
    beginning = None if key == ALL else LESSONS[key].beginning
    if beginning is None:
        exercises = ", ".join(name for name, lesson in LESSONS.items() if lesson.exercise)
        refuse(f"--solution is for exercises: {exercises}")
        return False
    if not path.exists():
        try:
            path.write_text(beginning, encoding="utf-8")
        except OSError as error:
            refuse(f"{path}: {error.strerror or error}")
            return False
        tell(f"{path} is begun: it is yours to make green.\n")
    return True


# --- The experiment, on the real server ----------------------------------------------------------


def _run_lesson(lesson: Lesson, options: argparse.Namespace) -> int:
    title = f"Lesson {lesson.key} · {lesson.question}"
    tell(f"{title}\n\n{_wrap(lesson.story)}")
    guess = None if options.check else _ask(lesson)
    shown = _nothing if options.check else tell
    bench = Bench(title, lesson.clock, Findings(tell), shown)
    bench.solution = options.solution
    tell("")
    _try(lesson, bench)
    if not options.check:
        _answer(lesson, guess)
        _write(bench.recording, options.replay or Path(f"lesson-{lesson.key}.html"), title)
    green = bench.findings.green
    tell(f"\nlesson {lesson.key}: {'green' if green else 'RED'}")
    return 0 if green else 1


def _try(lesson: Lesson, bench: Bench) -> None:
    logging.getLogger("trio_chat").setLevel(logging.CRITICAL)  # Some provoke errors on purpose.
    clock = trio.testing.MockClock(autojump_threshold=0) if lesson.clock is Clock.VIRTUAL else None
    try:
        trio.run(partial(_be_patient, lesson, bench), clock=clock)
    except BaseExceptionGroup as group:
        _blame(bench, group)
    except Exception as error:  # noqa: BLE001 - whatever a mutant does, it is red.
        _blame(bench, error)


async def _be_patient(lesson: Lesson, bench: Bench) -> None:
    trio.lowlevel.current_task().name = "the lab"  # As whoever cancels is called in the replay.
    with trio.fail_after(PATIENCE):
        await lesson.experiment(bench)


def _blame(bench: Bench, error: BaseException) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        raise error
    bench.findings.add(Finding("the experiment comes to its end", False, repr(error)))


def _nothing(text: str) -> None:
    """Print nothing."""


def _run_all(options: argparse.Namespace) -> int:
    if options.twin or options.spoil or not options.check:
        return refuse("all of them can only be checked: trio-chat lab all --check")
    red = 0
    for lesson in LESSONS.values():
        bench = Bench(lesson.question, lesson.clock, Findings(_nothing), _nothing)
        _try(lesson, bench)
        red += not bench.findings.green
        tell(f"{lesson.key:>4}  {'green' if bench.findings.green else 'RED'}  {lesson.question}")
    return 1 if red else 0


# --- What one expects, and what came ------------------------------------------------------------


def _ask(lesson: Lesson) -> int | None:
    prediction = lesson.prediction
    tell(f"\nWhat do you expect? {prediction.question}")
    for index, answer in enumerate(prediction.answers):
        tell(f"  {_letter(index)}  {answer}")
    if not sys.stdin.isatty():
        return None
    letters = [_letter(index) for index in range(len(prediction.answers))]
    while True:
        try:
            word = input(f"Your guess ({', '.join(letters)}, or Enter for none): ").strip().lower()
        except EOFError:
            return None
        if not word or word in letters:
            return letters.index(word) if word else None


def _answer(lesson: Lesson, guess: int | None) -> None:
    prediction = lesson.prediction
    right = f"{_letter(prediction.right)}: {prediction.answers[prediction.right]}"
    match guess:
        case None:
            verdict = f"The answer is {right}"
        case prediction.right:
            verdict = f"As you said, {right}"
        case _:
            verdict = f"You said {_letter(guess)}; it is {right}"
    tell(f"\n{verdict}\n\n{_wrap(prediction.because)}")


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _letter(index: int) -> str:
    return "abcdefgh"[index]


def _write(recording: Recording, path: Path, title: str) -> None:
    if len(recording) == 0:
        return
    try:
        path.write_text(_to_page(recording, title), encoding="utf-8")
    except OSError as error:
        say(f"no replay: {path}: {error.strerror or error}; --replay FILE names another place")
    else:
        tell(f"\nThe replay, to open in a browser: {path}")


def _to_page(recording: Recording, title: str) -> str:
    return to_html(recording, title=title, excerpts=find_excerpts(recording, PACKAGE))


# --- The twin ------------------------------------------------------------------------------------


def _run_twin(lesson: Lesson, kind: Kind, options: argparse.Namespace) -> int:
    twin = lesson.twins.get(kind)
    if twin is None:
        there = ", ".join(lesson.twins) or "none"
        return refuse(f"lesson {lesson.key} has no {kind} twin; it has {there}")
    title = f"Lesson {lesson.key}, in asyncio ({kind}) · {lesson.question}"
    tell(title)
    bench = TwinBench(_nothing if options.check else tell, title)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    counts = asyncio.run(twin.program(bench))
    known = counts == twin.counts
    said = twin.sentence.format_map(counts)
    tell(str(Finding(said, known, f"the text says: {twin.said}")))
    if not options.check:
        path = options.replay or Path(f"lesson-{lesson.key}-{kind}.html")
        _write(bench.recording, path, title)
    return 0 if known else 1


# --- The mutant ----------------------------------------------------------------------------------


def _run_broken(lesson: Lesson, options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix=f"trio-chat-lab-{lesson.key}-"))
    try:
        apply(lesson.mutant, copy_package(folder))
    except DoesNotApply as error:
        shutil.rmtree(folder)
        return refuse(f"the mutant of lesson {lesson.key} does not apply: {error}")
    tell(f"This is broken in a copy of the server:\n\n{lesson.mutant}")
    code = _run_in(folder, options)
    if options.check:
        shutil.rmtree(folder)
    else:
        tell(f"The copy is in {folder}/trio_chat. Mend it there, then:")
        tell(f"  trio-chat lab {lesson.key} --check --in {folder}")
    return code


def _run_in(folder: Path, options: argparse.Namespace) -> int:
    if not (folder / "trio_chat" / "cli.py").is_file():
        return refuse(f"there is no copy of the server in {folder}: no trio_chat/cli.py")
    command = [*python_of(folder), "lab", options.lesson]
    if options.check:
        command.append("--check")
    if options.twin:
        command += ["--twin", options.twin]
    if options.replay:
        command += ["--replay", str(options.replay)]
    if options.solution:
        command += ["--solution", str(options.solution)]
    code = subprocess.run(command, check=False).returncode
    return code if code in {0, 1, MEND} else 1  # A server that dies of it is red as well.
