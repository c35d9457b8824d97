"""The pitfalls of the documentation: each goes wrong as it says, and its other half does not."""

from __future__ import annotations

import ast
import json
import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import ROOT, run

FOLDER = ROOT / "docs/pitfalls"
PAGE = (ROOT / "docs/pitfalls.md").read_text()
PROGRAMS = sorted(FOLDER.glob("*.py"))
WRONG = [path for path in PROGRAMS if path.stem.endswith("_wrong")]

# What the rest of the folder may do as well; what these files alone may do is looked for.
ALLOWED = 'lint.per-file-ignores = {"*" = ["D102", "D103", "T20", "TID251", "N999"]}'


class Story(NamedTuple):
    """What the head of a program says of its end."""

    exit_code: int
    says: str
    seen_by: dict[str, set[str]]  # the codes by their tool


def story_of(path: Path) -> Story:
    head = ast.get_docstring(ast.parse(path.read_text())) or ""
    facts = dict(re.findall(r"^(Exit code|Says|Seen by): (.*)$", head, re.MULTILINE))
    tools: dict[str, set[str]] = {"ruff": set(), "flake8-async": set()}
    for tool in facts.get("Seen by", "no tool").split(", "):
        name, *codes = tool.split()
        if name != "no":
            tools[name] = set(codes)
    return Story(int(facts.get("Exit code", 0)), facts["Says"], tools)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_ends_as_its_head_says(program: Path) -> None:
    done, story = run(program), story_of(program)
    assert done.returncode == story.exit_code, done.stdout
    assert story.says in done.stdout


@pytest.mark.parametrize("wrong", WRONG, ids=lambda path: path.stem)
def test_what_goes_wrong_is_not_what_is_right(wrong: Path) -> None:
    right = wrong.with_name(wrong.name.replace("_wrong", "_right"))
    assert story_of(wrong) != story_of(right)
    assert story_of(right).exit_code == 0
    assert story_of(right).says not in run(wrong).stdout or story_of(wrong).exit_code


def test_ruff_sees_what_the_heads_say() -> None:
    done = run("-m", "ruff", "check", "--output-format", "json", "--config", ALLOWED, FOLDER)
    seen: dict[str, set[str]] = {path.name: set() for path in PROGRAMS}
    for finding in json.loads(done.stdout):
        seen[Path(finding["filename"]).name].add(finding["code"])
    assert seen == {path.name: story_of(path).seen_by["ruff"] for path in PROGRAMS}


def test_flake8_async_sees_what_the_heads_say() -> None:
    done = run("-m", "flake8_async", "--disable=ASYNC114,ASYNC9", *PROGRAMS)
    seen: dict[str, set[str]] = {path.name: set() for path in PROGRAMS}
    for file, code in re.findall(r"^(.*?):\d+:\d+: (ASYNC\d+)", done.stdout, re.MULTILINE):
        seen[Path(file).name].add(code)
    assert seen == {path.name: story_of(path).seen_by["flake8-async"] for path in PROGRAMS}


def test_the_page_shows_every_program_in_order_wrong_before_right() -> None:
    shown = re.findall(r"^```{literalinclude} pitfalls/(.*)$", PAGE, re.MULTILINE)
    pairs = [path.name for path in sorted(WRONG, key=lambda path: shown.index(path.name))]
    assert shown == [file for wrong in pairs for file in (wrong, wrong.replace("_wrong", "_right"))]
    assert sorted(shown) == [path.name for path in PROGRAMS]
    numbers = [int(number) for number, _ in groupby(file[:2] for file in shown)]
    assert numbers == list(range(1, 14))


def test_the_page_names_the_tools_that_see_it() -> None:
    told = re.split(r"\*\*Who sees it:\*\*", PAGE)[1:]
    shown = [re.findall(r"literalinclude} pitfalls/(\w+_wrong.py)", part)[0] for part in told]
    for file, part in zip(shown, told, strict=True):
        said = part.split("```")[0]
        seen = story_of(FOLDER / file).seen_by
        assert set(re.findall(r"`([A-Z]+\d+)`", said)) == seen["ruff"] | seen["flake8-async"], file
        for tool, codes in seen.items():
            assert (tool in said) == bool(codes), (file, tool)
        assert ("nobody" in said) == (not any(seen.values()) or "02_" in file), file
