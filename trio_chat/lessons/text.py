"""Text for a terminal of 80 columns: how lines are broken, and that no two empty ones meet."""

from __future__ import annotations

import textwrap
from typing import Final

from ..console import tell

WIDTH: Final = 80


def wrap(text: str, *, first: str = "", rest: str = "") -> str:
    """Break a text into lines; `first` stands before the first of them, `rest` before others.

    A long word, such as the name of a file, is left as it is.
    """
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def nothing(text: str) -> None:
    """Print nothing."""


class Paper:
    """What is printed on, by several who don't know of each other."""

    def __init__(self) -> None:
        self._is_blank = True

    def tell(self, text: str) -> None:
        """Print a text; an empty line at its beginning only where there is none yet."""
        if self._is_blank:
            text = text.removeprefix("\n")
        if text or not self._is_blank:
            tell(text)
        self._is_blank = not text or text.endswith("\n")
