"""A recording as a page that one opens in a browser."""

from __future__ import annotations

from pathlib import Path

from ..console import say, tell
from ..microscope.excerpts import find_excerpts
from ..microscope.recording import Recording, to_html
from .mutant import PACKAGE


def write_replay(recording: Recording, path: Path, title: str) -> None:
    """Write a replay and say where it is. Where nothing was recorded, nothing is written."""
    if len(recording) == 0:
        return
    page = to_html(recording, title=title, excerpts=find_excerpts(recording, PACKAGE))
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        say(f"no replay: {path}: {error.strerror or error}; --replay FILE names another place")
    else:
        # As an address, which many terminals open at a click.
        tell(f"\nThe replay, to open in a browser:\n  {path.absolute().as_uri()}")
