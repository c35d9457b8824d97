"""An exercise's solution of one's own: the file that one begins with."""

from __future__ import annotations

from pathlib import Path

from ..console import refuse, tell
from . import LESSONS


def begin(key: str, path: Path) -> bool:
    """Write what a solution begins with, unless the file is there; return if that is in order."""
    lesson = LESSONS.get(key)
    beginning = None if lesson is None else lesson.beginning
    if beginning is None:
        exercises = ", ".join(name for name, one in LESSONS.items() if one.exercise)
        refuse(f"--solution is for exercises: {exercises}")
        return False
    if path.suffix != ".py":
        refuse(f"{path}: a solution is a Python file, as in mine.py")
        return False
    if not path.exists():
        try:
            path.write_text(beginning, encoding="utf-8")
        except OSError as error:
            refuse(f"{path}: {error.strerror or error}")
            return False
        tell(f"{path} is begun: it is yours to make green.\n")
    return True
