"""The lines that a page shows beside a task's end are the ones where it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_chat.microscope.events import Exited, How
from trio_chat.microscope.excerpts import AROUND, Excerpt, find_excerpts

CHAT = "\n".join(
    ["import trio", "", "", "async def listen():", "    await trio.sleep(1)", "", "", "x = 1", ""]
)


def ended_at(place: str | None) -> list[Exited]:
    return [Exited(1.0, 2, How.CANCELLED, at=place)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "chat.py").write_text(CHAT)
    (tmp_path / "one.py").write_text("async def same():\n    pass\n")
    (tmp_path / "below" / "one.py").write_text("async def same():\n    pass\n")
    return tmp_path


def test_lines_lose_the_indent_that_they_share(tmp_path: Path) -> None:
    body = [f"        step({number})" for number in range(9)]
    (tmp_path / "deep.py").write_text("\n".join(["class A:", "    def go(self):", *body]))
    (excerpt,) = find_excerpts(ended_at("deep.py:7 go"), tmp_path).values()
    assert excerpt == Excerpt(4, tuple(f"step({number})" for number in range(1, 8)))


def test_the_lines_around_a_place_are_found(folder: Path) -> None:
    found = find_excerpts(ended_at("chat.py:5 listen"), folder)
    lines = tuple(CHAT.splitlines()[5 - AROUND - 1 : 5 + AROUND])
    assert found == {"chat.py:5 listen": Excerpt(5 - AROUND, lines)}
    assert lines[AROUND] == "    await trio.sleep(1)"


@pytest.mark.parametrize(
    "place",
    [
        None,
        "",
        "chat.py:9 listen",  # Another version's, maybe: the function does not reach so far.
        "chat.py:5 speak",
        "other.py:5 listen",
        "../below/chat.py:5 listen",
        "one.py:2 same",  # One of two.
        "nonsense",
    ],
)
def test_a_place_that_is_not_surely_there_has_no_lines(folder: Path, place: str | None) -> None:
    assert find_excerpts(ended_at(place), folder) == {}
