"""What a command says to whoever started it: a line on standard error, or text on standard output.

Whatever a peer got into a text, its control characters are escaped in what `say` writes. A reader
of standard output who has gone is no fault.
"""

import os
import sys
from contextlib import suppress
from typing import Final

from .logs import escape

MEND: Final = 2  # The exit code for what the caller has to mend.


def refuse(message: str) -> int:
    """Say what has to be mended, in one line; return the exit code for it."""
    say(message)
    return MEND


def say(message: str) -> None:
    """Write one line to standard error."""
    _write(f"trio-chat: {escape(message)}\n")


def announce(text: str) -> None:
    """Write lines to standard error, as they are but for control characters."""
    _write("".join(f"{escape(line)}\n" for line in text.split("\n")))


def _write(text: str) -> None:
    # Where standard error is closed, full or read by nobody, what is to be done is done untold.
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def tell(text: str) -> bool:
    """Print `text`, as it is, to standard output; return whether there is somebody who reads."""
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        # Who read it has gone. What Python still holds must go somewhere when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
