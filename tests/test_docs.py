"""What the documentation says is so, and the site that is made of it is whole and alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from processes import ROOT, run

from trio_chat.lessons import LESSONS

DOCS = ROOT / "docs"
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]

# What a browser fetches by itself, and so has to be in the site.
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=.(https?:[^\"' >]*)")
FETCHED_BY_STYLE = re.compile(r"(?:url\(|@import)[\s\"']*(https?:[^\"')]*)")


def build(pages: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does."""
    options = ("-q", "-E", "-W", "--keep-going", "-n", "-c", DOCS, "-d", site / "doctrees")
    return run("-m", "sphinx", *options, pages, site)


def test_every_promise_names_tests_that_exist() -> None:
    names = re.findall(r"`(test_\w+)`", (DOCS / "reliability.md").read_text())
    assert len(names) > 40
    assert [name for name in names if f"def {name}(" not in TESTS] == []


def test_the_map_of_the_design_names_every_module_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "design.md").read_text(), re.MULTILINE)
    named = re.findall(r"`([\w/]+(?:\.py)?)`", "".join(rows))
    there = [path for path in (ROOT / "trio_chat").iterdir() if not path.name.startswith("_")]
    packages = [f"{path.name}/" for path in there if path.is_dir()]
    assert sorted(named) == sorted(packages + [path.name for path in there if path.suffix == ".py"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


# --- The site ---


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(DOCS, folder)
    assert built.returncode == 0, built.stdout
    return folder


def test_every_page_is_in_the_site_and_in_its_contents(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {path.relative_to(site) for path in site.rglob("*.html")} >= pages
    front = (site / "index.html").read_text()
    missing = [str(page) for page in pages if f'href="{page}"' not in front]
    assert missing in ([], ["index.html"])


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = [path.read_text() for path in site.rglob("*.html")]
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert len(pages) > 10
    assert len(styles) > 1
    assert [url for page in pages for url in FETCHED.findall(page)] == []
    assert [url for text in pages + styles for url in FETCHED_BY_STYLE.findall(text)] == []


def test_a_link_out_of_the_folder_leads_to_a_copy_of_that_file(site: Path) -> None:
    page = (site / "conformance.html").read_text()
    copies = re.findall(r'href="(_downloads/[^"]*)"', page)
    assert {Path(copy).name for copy in copies} == {"echo.py", "README.md"}
    assert all((site / copy).is_file() for copy in copies)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```{literalinclude} walk.py\n:pyobject: Walk.run\n```", "Walk.run"),
        ("[nothing](nowhere.md)", "nowhere.md"),
        ("```{replay} 99\n```", "there is no replay 99"),
        ("```{replay} 2 clumsy\n```", "there is no replay 2 clumsy"),
    ],
    ids=["a stale name", "a stale link", "a lesson that is not", "a twin that is not"],
)
def test_the_build_fails_on(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "walk.py").write_text("class Walk:\n    def stroll(self) -> None: ...\n")
    (tmp_path / "index.md").write_text(f"# A page\n\n{text}\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    assert complaint in built.stdout


def test_a_replay_stands_in_a_frame_with_a_title_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# A page\n\n```{replay} 2\n```\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 0, built.stdout
    page = (tmp_path / "site/index.html").read_text()
    assert '<iframe src="replays/lesson-2.html" title="Lesson 2: the experiment"' in page
    assert 'loading="lazy"' in page
    assert '<a href="replays/lesson-2.html">' in page


def test_the_tree_of_the_tour_is_that_of_a_running_server() -> None:
    drawn = run(DOCS / "make_tree.py")
    assert drawn.returncode == 0, drawn.stdout
    (shown,) = re.findall(
        r"^```text\n(server\n.*?)```", (DOCS / "tour.md").read_text(), re.M | re.S
    )
    assert shown == drawn.stdout


def test_the_teachers_page_asks_what_the_lessons_ask() -> None:
    page = (DOCS / "teaching.md").read_text().replace("`", "")
    assert len(LESSONS) > 0
    rows = [f"| {key} | {lesson.question} |".replace("`", "") for key, lesson in LESSONS.items()]
    assert [row for row in rows if row not in page] == []
