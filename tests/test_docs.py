"""What the documentation says of the tests is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]


def test_every_promise_names_tests_that_exist() -> None:
    names = re.findall(r"`(test_\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(names) > 40
    assert [name for name in names if f"def {name}(" not in TESTS] == []


def test_the_map_of_the_design_names_every_module_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    named = re.findall(r"`([\w/]+(?:\.py)?)`", "".join(rows))
    there = [path for path in (ROOT / "trio_chat").iterdir() if not path.name.startswith("_")]
    packages = [f"{path.name}/" for path in there if path.is_dir()]
    assert sorted(named) == sorted(packages + [path.name for path in there if path.suffix == ".py"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
