"""Mutants: a patch of a few lines, applied to a copy of the whole package.

The copy is what is broken, never the installation; it stays where it is, so that it can be mended
by hand and checked again. A patch is a unified diff, as `git apply` takes it. It is applied
strictly: its lines must stand in the source exactly once, or it is refused.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent
MAX_LINES: Final = 10  # that a mutant may take away or add, in all

_FILE = re.compile(r"^\+\+\+ b/trio_chat/(?P<path>\S+)$")


class DoesNotApply(Exception):
    """The patch does not fit the source, and why."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a patch: what stands there, and what will."""

    path: str  # within the package
    old: str
    new: str
    changes: int  # lines taken away and added


def parse(patch: str) -> list[Hunk]:
    """Take a unified diff apart.

    Raises:
        DoesNotApply: it is none, or it is longer than a mutant may be.
    """
    hunks = list(_hunks(patch))
    if not hunks:
        raise DoesNotApply("the patch changes nothing")
    changes = sum(hunk.changes for hunk in hunks)
    if changes > MAX_LINES:
        raise DoesNotApply(f"the patch changes {changes} lines; a mutant has {MAX_LINES} at most")
    return hunks


def _hunks(patch: str) -> Iterator[Hunk]:
    path, lines = "", list[str]()
    for line in [*patch.splitlines(), "@@"]:
        if line.startswith(("diff ", "index ", "--- ")):
            continue
        if (file := _FILE.match(line)) or line.startswith("@@"):
            if lines:
                yield _hunk(path, lines)
            lines = []
            path = file["path"] if file else path
        elif line[:1] in {" ", "-", "+", ""}:
            lines.append(line or " ")
        else:
            raise DoesNotApply(f"this is no line of a patch: {line!r}")


def _hunk(path: str, lines: list[str]) -> Hunk:
    if not path:
        raise DoesNotApply("the patch names no file of trio_chat: +++ b/trio_chat/…")
    old = "".join(line[1:] + "\n" for line in lines if line[0] != "+")
    new = "".join(line[1:] + "\n" for line in lines if line[0] != "-")
    return Hunk(path, old, new, sum(line[0] != " " for line in lines))


def apply(patch: str, package: Path) -> None:
    """Change the sources of `package` as the patch says. Nothing is changed if it does not apply.

    Raises:
        DoesNotApply: what it wants to change is not there, or there more than once.
    """
    changed: dict[Path, str] = {}
    for hunk in parse(patch):
        file = package / hunk.path
        text = changed.get(file)
        if text is None:
            if not file.is_file():
                raise DoesNotApply(f"there is no trio_chat/{hunk.path}")
            text = file.read_text()
        if (found := text.count(hunk.old)) != 1:
            first = hunk.old.strip().partition("\n")[0]
            raise DoesNotApply(
                f"trio_chat/{hunk.path} has these lines {found} times, not once: {first!r} …"
            )
        changed[file] = text.replace(hunk.old, hunk.new)
    for file, text in changed.items():
        file.write_text(text)


def copy_package(folder: Path) -> Path:
    """Copy the package that runs here into a folder, and return where it is then."""
    copy = folder / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def python_of(folder: Path = PACKAGE.parent) -> list[str]:
    """Return a command that is `python -m trio_chat` with the package in that folder.

    Whatever the current folder or the installation hold: by default it is the package that runs
    here, so that an experiment with a process of its own meets the same mutant.
    """
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); "
        "from trio_chat.cli import main; sys.exit(main())"
    )
    return [sys.executable, "-P", "-c", code]
