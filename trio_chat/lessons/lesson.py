"""What a lesson is made of. Values only: `running` plays them, and `comparing` their twins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import Bench
    from .twin_bench import TwinBench

Experiment = Callable[["Bench"], Awaitable[None]]
Program = Callable[["TwinBench"], Coroutine[Any, Any, Mapping[str, int]]]


class Kind(StrEnum):
    """How a twin is written: as one first would, as one would with care, or with a TaskGroup."""

    NAIVE = "naive"
    CAREFUL = "careful"
    TASKGROUP = "taskgroup"


class Clock(Enum):
    """By which clock an experiment runs."""

    VIRTUAL = "virtual"  # Time jumps when everybody waits: no sockets, no threads, no processes.
    REAL = "real"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one is asked before the experiment: a question, its answers, and which one is right."""

    question: str
    answers: tuple[str, ...]
    right: int  # an index of `answers`
    because: str


@dataclass(frozen=True, slots=True)
class Twin:
    """The same situation in asyncio. `program` returns what it counted.

    `counts` is what it is known to count: a twin that counts anything else is not what the text
    says. `sentence` is what the text says, with the counts by name: "{orphans} of {tasks} tasks".
    """

    program: Program
    counts: Mapping[str, int]
    sentence: str

    @property
    def said(self) -> str:
        """The sentence with its counts, as it stands in the lesson's text."""
        return self.sentence.format_map(self.counts)


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson. `package` is the package that it lives in, where its mutant is found.

    Where there is something to write, `exercise` is the file in there that one begins with.
    """

    key: str
    question: str
    story: str  # What the experiment does, in one or two sentences.
    prediction: Prediction
    experiment: Experiment
    clock: Clock
    package: str
    twins: Mapping[Kind, Twin] = field(default_factory=dict)
    exercise: str | None = None

    @property
    def title(self) -> str:
        """The lesson's number and question, as plain text."""
        return f"Lesson {self.key} · {self.question.replace('`', '')}"

    @property
    def mutant(self) -> str:
        """The patch against the server's source that this lesson has to notice."""
        return files(self.package).joinpath("mutant.diff").read_text()

    @property
    def beginning(self) -> str | None:
        """What the exercise's solution begins with, if there is an exercise."""
        if self.exercise is None:
            return None
        return files(self.package).joinpath(self.exercise).read_text()
