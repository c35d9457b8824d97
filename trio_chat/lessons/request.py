"""What a lesson was asked for, by the command line. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Shown(Enum):
    """How much is printed."""

    LESSON = "lesson"  # the question, the run, the answer, and what to do next
    RUN = "run"  # The run alone: trees and findings, as in a copy that is broken.
    FINDINGS = "findings"  # only what was found; no replay either


@dataclass(frozen=True, slots=True)
class Request:
    """How something is to be run. `program` is this command, as one can type it again.

    `solution` is a file of one's own, where the lesson is an exercise.
    """

    program: str
    shown: Shown
    replay: Path | None
    solution: Path | None = None
