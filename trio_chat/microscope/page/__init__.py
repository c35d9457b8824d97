"""The page: HTML, a style sheet and modules of JavaScript, as they are; nothing is built.

Served, each file has an address of its own. A page that has to stand alone, opened from a disk, can
import nothing, so `join_modules` writes all modules one behind the other, as one script.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

_FIRST: Final = "microscope.js"
_IMPORT: Final = re.compile(r'^import [^;]*? from "\./([a-z]+\.js)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(
    r"^export (?=(?:const|class|function\*?|async function) (\w+))", re.MULTILINE
)


def join_modules() -> str:
    """Return the page's modules as one script, each behind those that it imports.

    Each keeps a scope of its own; what it exports is there for those behind it.
    """
    joined: dict[str, str] = {}
    waiting = [_FIRST]
    while waiting:
        name = waiting[-1]
        source = (files(__package__) / name).read_text(encoding="utf-8")
        missing = [other for other in _IMPORT.findall(source) if other not in joined]
        if missing:
            waiting += missing
        else:
            joined.setdefault(name, _close(source))
            waiting.pop()
    return "\n".join(joined.values())


def _close(source: str) -> str:
    names = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub("", source))
    return f"const {{ {names} }} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();\n"
