"""A lesson's twin: the same thing in asyncio, recorded, and what of it was counted."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from ..console import refuse, tell
from .lesson import Kind, Lesson, Twin
from .replays import write_replay
from .request import Request, Shown
from .text import Paper, nothing, wrap
from .twin_bench import TwinBench

WRITTEN: Final = {
    Kind.NAIVE: "in asyncio, as one first writes it",
    Kind.CAREFUL: "in asyncio, with care: tasks are kept, cancelled, and waited for",
    Kind.TASKGROUP: "in asyncio, with asyncio.TaskGroup",
}


def run_twin(lesson: Lesson, kind: Kind, request: Request) -> int:
    """Run a twin; return the exit code: 1 where it counts other than the lesson's text says."""
    twin = lesson.twins.get(kind)
    if twin is None:
        there = ", ".join(lesson.twins) or "none"
        return refuse(f"lesson {lesson.key} has no {kind} twin; it has {there}")
    title = f"In asyncio ({kind}): {lesson.title}"
    paper = Paper()
    paper.tell(wrap(title))
    asked = request.shown is not Shown.FINDINGS
    if asked:
        file = twin.program.__module__.replace(".", "/")
        paper.tell("\n" + wrap(f"The scene is played {WRITTEN[kind]}.") + f"\n  {file}.py")
    bench = TwinBench(paper.tell if asked else nothing, title)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    code = _count(twin, bench, paper)
    if asked:
        path = request.replay or Path(f"lesson-{lesson.key}-{kind}.html")
        write_replay(bench.recording, path, title)
        tell(wrap("Red in it is what outlives the task that started it: an orphan."))
    return code


def _count(twin: Twin, bench: TwinBench, paper: Paper) -> int:
    counts = asyncio.run(twin.program(bench))
    said = twin.sentence.format_map(counts)
    paper.tell("\n" + wrap(f"The result: {said}."))
    if counts == twin.counts:
        return 0
    tell(wrap(f"RED: the lesson's text says: {twin.said}."))
    return 1
