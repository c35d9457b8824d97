"""The lessons: experiments on the real server, the same thing without structure, and mutants.

Each lesson is a package of its own, `l01_…` to `l10_…` and the capstone `l11_…`: in it is a
`lesson.py` with a `LESSON`, the twins as asyncio programs, and a `mutant.diff`. Their texts are in
docs/lessons. `trio-chat lab` runs them, and so do the tests.

Nothing here is imported by the server.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Final

from .lesson import Kind, Lesson, Prediction, Twin

__all__ = ["LESSONS", "Kind", "Lesson", "Prediction", "Twin"]


def _find_lessons() -> Mapping[str, Lesson]:
    packages = (info.name for info in pkgutil.iter_modules(__path__) if info.ispkg)
    numbered = sorted(name for name in packages if name.startswith("l") and name[1:3].isdigit())
    lessons = [importlib.import_module(f"{__name__}.{name}.lesson").LESSON for name in numbered]
    return {lesson.key: lesson for lesson in lessons}


LESSONS: Final[Mapping[str, Lesson]] = _find_lessons()
"""Every lesson by its key, in order: "1" … "10", and "make" for the capstone."""
