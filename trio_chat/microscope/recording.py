"""A recording in memory: the events of one tree, as they came; kept as lines, or as a page.

A list and no more: it has no bound, so it is for experiments and for `trio-chat record`, which
writes as it goes. `append` is a recorder's sink.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import orjson

from .events import BadRecording, Event, decode, encode
from .excerpts import Excerpt
from .page import join_modules


class Recording:
    """Events in the order in which they came."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def append(self, event: Event) -> None:
        """Take one event more."""
        self.events.append(event)

    def write(self, path: Path) -> None:
        """Write a line an event."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(encode(event) + "\n" for event in self.events)

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Return what a file holds. A last line that was cut off is left out.

        Raises:
            BadRecording: a line of it is no event.
            OSError: it can't be read.
        """
        recording = cls()
        *lines, _torn = path.read_bytes().decode("utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    recording.append(decode(line))
                except BadRecording as bad:
                    raise BadRecording(bad.reason, line, number) from None
        return recording


def to_html(
    recording: Recording, *, title: str, excerpts: Mapping[str, Excerpt] | None = None
) -> str:
    """Return the recording as one page that needs no network and no other file.

    `excerpts` are the lines around the places where tasks ended (see `find_excerpts`).
    """
    page = files(__package__) / "page"
    text = (page / "microscope.html").read_text(encoding="utf-8")
    style = (page / "microscope.css").read_text(encoding="utf-8")
    script = join_modules()
    lines = "\n".join(map(encode, recording)).replace("<", "\\u003c")
    data = f'<script type="application/x-ndjson" id="recording">\n{lines}\n</script>'
    if excerpts:
        around = orjson.dumps(excerpts).decode().replace("<", "\\u003c")
        data += f'\n<script type="application/json" id="excerpts">{around}</script>'
    return (
        text.replace("<title>Microscope</title>", f"<title>{html.escape(title)}</title>")
        .replace('<link rel="stylesheet" href="microscope.css">', f"<style>\n{style}</style>")
        .replace(
            '<script type="module" src="microscope.js"></script>',
            f'{data}\n<script type="module">\n{script}</script>',
        )
    )
