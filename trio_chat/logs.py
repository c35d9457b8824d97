"""How the log is written: a line for each record, on standard error, as text or as JSON.

The last line of defence against forged logs: whatever a peer got into a message, its control
characters are escaped here, so a line that looks like a record is one. Installed by ``cli`` only;
whoever uses the server as a library has a log of their own.
"""

import json
import logging
import sys
import unicodedata
from datetime import UTC, datetime
from typing import Final

# Cc and Cf hold line ends, escape sequences and the marks that turn text around; Zl and Zp are
# line ends too; Cs can't even be written.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escape(text: str) -> str:
    r"""Write control characters as ``\x1b`` and the like, so that `text` stays on one line."""
    if text.isprintable():  # The usual case, at the speed of C.
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _UNSAFE
        else char
        for char in text
    )


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z info trio_chat.session: …``; a traceback is indented below."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; only a line that begins with a time begins a record."""
        head = f"{_time(record)} {record.levelname.lower()} {record.name}: "
        line = head + escape(record.getMessage())
        return "\n".join([line, *("  | " + escape(below) for below in _traceback(self, record))])


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: ``time``, ``level``, ``logger``, ``message``, ``cause``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; JSON escapes whatever a peer put into it."""
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if lines := _traceback(self, record):
            entry["cause"] = "\n".join(lines)
        return json.dumps(entry)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    # By LF alone: `splitlines` would also break at what a peer may have put into an exception.
    return formatter.formatException(record.exc_info).split("\n") if record.exc_info else []


def configure(level: str, form: str) -> None:
    """Send what is at least as severe as `level` to standard error, as ``text`` or ``json``."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    # Other libraries may warn; their day-to-day is not ours.
    logging.basicConfig(level=logging.WARNING, handlers=[stream], force=True)
    logging.getLogger("trio_chat").setLevel(level.upper())
    # It logs each failed connection with its traceback, and then raises; what is raised is told.
    logging.getLogger("coredis").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
