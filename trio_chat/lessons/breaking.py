"""A lesson's mutant: a fault in a copy of the server, the lesson run there, and checked again.

The copy runs in a process of its own. It is kept where somebody is to mend it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ..console import MEND, refuse, tell
from .asking import wait_for_enter
from .lesson import Lesson
from .mutant import PACKAGE, DoesNotApply, apply, copy_package, parse, python_of
from .request import Request, Shown
from .text import wrap


def run_broken(lesson: Lesson, request: Request) -> int:
    """Break a copy of the server and run the lesson there; return the exit code."""
    asked = request.shown is not Shown.FINDINGS
    tell(f"This is broken in a copy of the server:\n\n{lesson.mutant}")
    if asked:
        tell(wrap("Before you look: what will go wrong now, and who will notice it?"))
        wait_for_enter("Press Enter to see it.")
        tell("")
    folder = Path(tempfile.mkdtemp(prefix=f"trio-chat-lab-{lesson.key}-"))
    try:
        apply(lesson.mutant, copy_package(folder))
    except DoesNotApply as error:
        shutil.rmtree(folder)
        return refuse(f"the mutant of lesson {lesson.key} does not apply: {error}")
    code = _run_copy(folder, lesson.key, request)
    if asked:
        _tell_how_to_mend(lesson, folder, request.program)
    else:
        shutil.rmtree(folder)
    return code


def _tell_how_to_mend(lesson: Lesson, folder: Path, program: str) -> None:
    files = dict.fromkeys(folder / PACKAGE.name / hunk.path for hunk in parse(lesson.mutant))
    tell("\nYours to mend, in an editor:")
    for file in files:
        tell(f"  {file}")
    tell(f"Then:\n  {program} lab {lesson.key} --check --in {folder}")


def run_in(folder: Path, key: str, request: Request) -> int:
    """Run a lesson, or all of them, in the copy that is in a folder; return the exit code."""
    if not (folder / PACKAGE.name / "cli.py").is_file():
        return refuse(f"there is no copy of the server in {folder}: no trio_chat/cli.py")
    code = _run_copy(folder, key, request)
    if code == 0:
        tell(f"The copy is whole. If you don't need it any more: rm -r {folder}")
    return code


def _run_copy(folder: Path, key: str, request: Request) -> int:
    command = [*python_of(folder), "lab", key]
    if request.shown is Shown.FINDINGS:
        command.append("--check")
    else:
        replay = request.replay or Path(f"lesson-{key}-copy.html")
        command += ["--plain", "--replay", str(replay)]
    if request.solution:
        command += ["--solution", str(request.solution)]
    code = subprocess.run(command, check=False).returncode
    return code if code in {0, 1, MEND} else 1  # A server that dies of it is red as well.
