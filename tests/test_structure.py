"""What the microscope lives from: every task has a name, and every cancel says why.

So it is in the whole package, the client and the lessons included. The twins are asyncio's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "trio_chat"


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "asyncio" not in _imports(path))


def calls(path: Path, method: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == method
        ):
            yield node


def without(path: Path, method: str, keyword: str) -> list[str]:
    """Return the calls that leave a keyword out."""
    return [
        f"{path.relative_to(PACKAGE)}:{call.lineno}: {ast.unparse(call)}"
        for call in calls(path, method)
        if keyword not in {each.arg for each in call.keywords}
    ]


def test_every_task_has_a_name() -> None:
    assert [found for path in SOURCES for found in without(path, "start_soon", "name")] == []


def test_every_task_that_says_when_it_has_begun_has_a_name() -> None:
    awaited = {
        (path, node.value.lineno)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call)
    }
    starts = [(path, call) for path in SOURCES for call in calls(path, "start")]
    nameless = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}: {ast.unparse(call)}"
        for path, call in starts
        if (path, call.lineno) in awaited and "name" not in {each.arg for each in call.keywords}
    ]
    assert len(starts) > 5
    assert nameless == []


def test_every_cancel_has_a_reason() -> None:
    assert [found for path in SOURCES for found in without(path, "cancel", "reason")] == []
