"""Log lines, listened to: what an operator would see, whatever the command has silenced."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Ear(logging.Handler):
    """Keeps the message of each line."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


@contextmanager
def overheard(logger: str) -> Iterator[list[str]]:
    """Collect the errors that are logged in the block, and print none of them."""
    lines: list[str] = []
    log, ear = logging.getLogger(logger), _Ear(lines)
    level, propagate = log.level, log.propagate
    log.addHandler(ear)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(ear)
        log.setLevel(level)
        log.propagate = propagate
