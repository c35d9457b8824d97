"""Which history a configuration asks for."""

from __future__ import annotations

from typing import assert_never

from ..config import Config
from . import History
from .memory import MemoryHistory


def choose_history(config: Config) -> History:
    """Return the history that `config.history` names, not opened yet."""
    match config.history_kind:
        case "memory":
            return MemoryHistory(config.retention, config.keep_total)
        case "sqlite":
            raise NotImplementedError
        case "redis":
            raise NotImplementedError
        case kind:
            assert_never(kind)
