"""Which history a configuration asks for."""

from __future__ import annotations

from typing import Final, assert_never

from ..config import Config
from . import History, HistoryUnavailable
from .memory import MemoryHistory


def choose_history(config: Config) -> History:
    """Return the history that `config.history` names, not opened yet."""
    match config.history_kind:
        case "memory":
            return MemoryHistory(config.retention, config.keep_total)
        case "sqlite":
            return _sqlite_history(config)
        case "redis":
            return _redis_history(config)
        case kind:
            assert_never(kind)


def _sqlite_history(config: Config) -> History:
    # Imported late: who keeps no file starts faster without it.
    from .sqlite import SqliteHistory

    path = config.history.removeprefix("sqlite:")
    sync: Final = "normal" if config.history_sync == "normal" else "full"
    return SqliteHistory(path, config.retention, sync)


def _redis_history(config: Config) -> History:
    # Imported late: only who asks for it needs the client library.
    try:
        from .redis import RedisHistory
    except ImportError as exc:
        raise HistoryUnavailable(f"{exc}; install trio-chat[redis]") from exc
    return RedisHistory(config.history, config.retention, patience=config.history_timeout)
