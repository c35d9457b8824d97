"""A lesson's experiment, run on the real server: green, or red."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Final

import trio
import trio.testing

from ..console import tell
from . import LESSONS
from .asking import answer, ask
from .bench import Bench
from .findings import Finding, Findings
from .lesson import Clock, Lesson
from .mutant import PACKAGE
from .replays import write_replay
from .request import Request, Shown
from .text import Paper, nothing, wrap

PATIENCE: Final = 60  # seconds of the lesson's own clock, after which it is red


def run_lesson(lesson: Lesson, request: Request) -> int:
    """Ask, run, answer; return the exit code."""
    title = lesson.title
    paper, asked = Paper(), request.shown is Shown.LESSON
    paper.tell(wrap(title))
    guess = None
    if asked:
        paper.tell("\n" + wrap(lesson.story))
        guess = ask(lesson.prediction, paper.tell)
        if lesson.clock is Clock.REAL:
            paper.tell("\nIt runs by the real clock, and takes some seconds …")
    paper.tell("")
    shown = nothing if request.shown is Shown.FINDINGS else paper.tell
    bench = Bench(title, lesson.clock, Findings(paper.tell), shown)
    bench.solution = request.solution
    _try(lesson, bench)
    if asked:
        answer(lesson.prediction, guess, paper.tell)
    if request.shown is not Shown.FINDINGS:
        write_replay(bench.recording, request.replay or Path(f"lesson-{lesson.key}.html"), title)
    if asked:
        _tell_what_is_next(lesson, request.program)
    return _judge(lesson, bench.findings, request.shown)


def run_all() -> int:
    """Check every lesson, a line each; return the exit code."""
    red = 0
    for lesson in LESSONS.values():
        bench = Bench(lesson.question, lesson.clock, Findings(nothing), nothing)
        _try(lesson, bench)
        red += not bench.findings.green
        tell(f"{lesson.key:>4}  {'green' if bench.findings.green else 'RED'}  {lesson.question}")
    return 1 if red else 0


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
    said = str(error) if isinstance(error, AssertionError) else repr(error)
    said = said.removesuffix(": see the server's log")  # Which is silent here.
    bench.findings.add(Finding("the experiment comes to its end", False, said))


# --- Behind it -----------------------------------------------------------------------------------


def _judge(lesson: Lesson, findings: Findings, shown: Shown) -> int:
    if findings.green:
        tell(f"\nlesson {lesson.key}: green")
        return 0
    tell(f"\nlesson {lesson.key}: RED, {len(findings.red)} of {len(findings)} did not hold")
    if shown is not Shown.FINDINGS:  # They may have scrolled away between the trees.
        for finding in findings.red:
            tell(str(finding))
    return 1


def _tell_what_is_next(lesson: Lesson, program: str) -> None:
    tell("\nNext:")
    for text in _find_texts(lesson):
        tell(f"  {text}\n      what you saw, and why")
    if lesson.twins:
        tell(f"  {program} lab {lesson.key} --twin {next(iter(lesson.twins))}")
        tell("      the same thing in asyncio")
    if lesson.exercise:
        tell(f"  {program} lab {lesson.key} --solution mine.py\n      your own; the file is begun")
    tell(f"  {program} lab {lesson.key} --break\n      the same server with a bug, for you to mend")


def _find_texts(lesson: Lesson) -> list[str]:
    # In a checkout the text stands beside the package; an installation has none.
    number = lesson.package.rpartition(".l")[2][:2]
    root = PACKAGE.parent
    return [str(path.relative_to(root)) for path in root.glob(f"docs/lessons/{number}-*.md")]
