"""The lessons hold: the real server is green, each mutant is red, each twin leaks what is said.

Each runs in a process of its own, as for those who learn. A mutant has to turn its own lesson red
and no other, so a red lesson says which idea is broken.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trio_chat.lessons import LESSONS, Kind
from trio_chat.lessons.asking import answer, ask
from trio_chat.lessons.findings import differ
from trio_chat.lessons.mutant import DoesNotApply, apply, copy_package, parse, python_of
from trio_chat.lessons.text import WIDTH

TEXTS = Path(__file__).parent.parent / "docs" / "lessons"
TWINS = [(key, kind) for key, lesson in LESSONS.items() for kind in lesson.twins]
PATIENCE = 120  # s; a red lesson waits for up to a minute of its own clock


def lab(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `trio-chat lab`."""
    python = python_of(folder) if folder else [sys.executable, "-m", "trio_chat"]
    return subprocess.run(
        [*python, "lab", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )


def text_of(key: str) -> str:
    """Return the text of a lesson."""
    number = LESSONS[key].package.rpartition(".l")[2][:2]
    (path,) = TEXTS.glob(f"{number}-*.md")
    return path.read_text()


@pytest.mark.parametrize("key", LESSONS)
def test_the_real_server_is_green(key: str) -> None:
    done = lab(key, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"lesson {key}: green" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("key", LESSONS)
def test_a_mutant_turns_its_own_lesson_red_and_no_other(key: str, tmp_path: Path) -> None:
    apply(LESSONS[key].mutant, copy_package(tmp_path))
    done = lab("all", "--check", folder=tmp_path)
    verdicts = dict(re.findall(r"^ *(\w+)  (green|RED)  ", done.stdout, re.MULTILINE))
    assert list(verdicts) == list(LESSONS), done.stdout + done.stderr
    assert [each for each, verdict in verdicts.items() if verdict == "RED"] == [key]
    assert done.returncode == 1


@pytest.mark.parametrize(("key", "kind"), TWINS, ids=str)
def test_a_twin_still_leaks_as_the_text_says(key: str, kind: Kind) -> None:
    done = lab(key, "--twin", kind, "--check")
    said = LESSONS[key].twins[kind].said
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in " ".join(done.stdout.split())
    assert said in " ".join(text_of(key).split()), "the text says something else"


@pytest.mark.parametrize("key", LESSONS)
def test_the_text_asks_the_question_and_shows_the_mutant(key: str) -> None:
    text = text_of(key)
    folder = LESSONS[key].package.rpartition(".")[2]
    assert LESSONS[key].question in text
    assert LESSONS[key].prediction.question in " ".join(text.split())
    assert f"trio-chat lab {key}" in text
    assert f"{folder}/mutant.diff" in text


def test_a_broken_lesson_is_red_and_leaves_nothing_when_checked() -> None:
    done = lab("2", "--break", "--check")
    assert done.returncode == 1
    assert "lesson 2: RED" in done.stdout


def test_a_broken_copy_says_at_its_end_what_is_red_and_which_file_to_mend(tmp_path: Path) -> None:
    done = lab("2", "--break", "--replay", str(tmp_path / "replay.html"))
    red = [line for line in done.stdout.splitlines() if line.startswith("  ✗")]
    assert red
    assert red[: len(red) // 2] == red[len(red) // 2 :]
    assert "What do you expect?" not in done.stdout
    (copy,) = re.findall(r"--check --in (\S+)$", done.stdout, re.MULTILINE)
    assert f"  {copy}/trio_chat/room.py\n" in done.stdout
    assert (tmp_path / "replay.html").is_file()
    shutil.rmtree(copy)


def test_a_mutant_can_be_mended_in_its_copy(tmp_path: Path) -> None:
    copy = copy_package(tmp_path)
    whole = (copy / "room.py").read_text()
    apply(LESSONS["2"].mutant, copy)
    assert lab("2", "--check", "--in", str(tmp_path)).returncode == 1
    (copy / "room.py").write_text(whole)
    assert lab("2", "--check", "--in", str(tmp_path)).returncode == 0


@pytest.mark.parametrize("key", LESSONS)
def test_what_is_asked_fits_a_terminal(key: str) -> None:
    lesson = LESSONS[key]
    lines: list[str] = []
    assert ask(lesson.prediction, lines.append) is None, "nobody is there to answer"
    answer(lesson.prediction, None, lines.append)
    text = "\n".join(lines)
    assert max(map(len, text.splitlines())) <= WIDTH
    asked, _, told = text.partition("The answer is ")
    assert lesson.prediction.because.split()[-1] in told
    assert lesson.prediction.question in " ".join(asked.split())
    assert lesson.prediction.because not in " ".join(asked.split())


def test_of_sets_only_the_difference_is_told_and_many_alike_are_counted() -> None:
    members = {f"member {number}" for number in range(16)}
    assert differ(members | {"hub"}, {"room"}) == "without room; also hub, member ×16"
    assert differ(1, 2) == "found 1, wanted 2"
    assert differ([0] * 16, [16]) == "found 16 times 0, wanted [16]"


def test_what_is_wrong_with_a_command_is_said_in_one_line(tmp_path: Path) -> None:
    for arguments, wrong in [
        (["99"], "there is no lesson '99'"),
        (["2", "--in", str(tmp_path)], "there is no copy of the server"),
        (["all"], "all of them can only be checked"),
        (["2", "--twin", "other"], "choose from 'naive', 'careful', 'taskgroup'"),
        (["2", "--twin", "naive", "--break"], "one at a time"),
        (["2", "--in", str(tmp_path), "--break"], "without --break"),
    ]:
        done = lab(*arguments)
        assert done.returncode == 2
        assert wrong in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_patch_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "room.py"
    file.write_text("one\ntwo\ntwo\n")
    patch = "+++ b/trio_chat/room.py\n@@\n-one\n+1\n@@\n-two\n+2\n"
    with pytest.raises(DoesNotApply, match="2 times, not once"):
        apply(patch, tmp_path)
    assert file.read_text() == "one\ntwo\ntwo\n"


def test_a_mutant_is_short() -> None:
    with pytest.raises(DoesNotApply, match="changes 11 lines"):
        parse("+++ b/trio_chat/room.py\n@@\n" + "+more\n" * 11)
