"""The exercise's promises: each can be broken, and a file of one's own is tried like the given one.

Faults that one may make are put into the given solution. What they break is named.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from trio_chat.lessons import LESSONS
from trio_chat.lessons.l11_make_keep_open import promises
from trio_chat.lessons.l11_make_keep_open.lesson import load
from trio_chat.lessons.mutant import apply, copy_package

PACKAGE = "trio_chat.lessons.l11_make_keep_open"
GIVEN = (
    files(PACKAGE)
    .joinpath("solution.py")
    .read_text()
    .replace("from .policy", f"from contextlib import suppress\nfrom {PACKAGE}.policy")
)

RETURNS, PAUSES, HEALTHY, GIVES_UP, STOPS, ALONE, ALONG = promises.PROMISES
NAMES = {
    promise: name
    for name, promise in {
        "returns": RETURNS,
        "pauses": PAUSES,
        "healthy": HEALTHY,
        "gives up": GIVES_UP,
        "stops": STOPS,
        "alone": ALONE,
        "along": ALONG,
    }.items()
}

FAULTS = {
    "begun again whatever it did": (
        ("            return\n", "            pass\n"),
        {"returns", "pauses", "healthy", "alone"},
    ),
    "no pause": (
        ("        await trio.sleep(min", "        await trio.sleep(0 * min"),
        {"pauses", "healthy", "gives up", "stops", "alone", "along"},
    ),
    "pauses that don't grow": (
        ("2 ** (failures - 1)", "1"),
        {"pauses", "healthy", "gives up", "stops", "alone", "along"},
    ),
    "pauses without bound": (
        (
            "min(policy.most, policy.first * 2 ** (failures - 1))",
            "policy.first * 2 ** (failures - 1)",
        ),
        {"pauses", "healthy", "gives up", "stops", "alone", "along"},
    ),
    "nobody recovers": (("                failures = 0\n", "                pass\n"), {"healthy"}),
    "who lived just long enough does not count as healthy": (
        (">= policy.healthy", "> policy.healthy"),
        {"healthy"},
    ),
    "one restart more": (("> policy.restarts", "> policy.restarts + 1"), {"gives up", "along"}),
    "another error": (
        ("                raise\n", "                raise RuntimeError from None\n"),
        {"gives up", "along"},
    ),
    "the last failure is lost": (
        ("                raise\n", "                return\n"),
        {"gives up", "along"},
    ),
    # Its scope stays cancelled, so the pause is over at once: the text asks why.
    "a cancel that is swallowed in a life": (
        ("        except Exception:", "        except BaseException:"),
        set[str](),
    ),
    "a cancel that is swallowed in the pause": (
        (
            "        await trio.sleep(",
            "        with suppress(trio.Cancelled):\n            await trio.sleep(",
        ),
        {"stops"},
    ),
    "a pause that can't be cancelled": (
        (
            "        await trio.sleep(",
            "        with trio.CancelScope(shield=True):\n            await trio.sleep(",
        ),
        {"stops"},
    ),
    "one after the other": (
        ("nursery.start_soon(keep, life, policy, name=name)", "await keep(life, policy)"),
        {"alone"},
    ),
}


async def broken_by(path: Path) -> set[str]:
    """Return which promises a solution breaks."""
    solution = load(path)
    return {name for promise, name in NAMES.items() if await promises.try_out(promise, solution)}


async def test_the_given_solution_keeps_all_promises(
    tmp_path: Path, autojump_clock: object
) -> None:
    path = tmp_path / "solution.py"
    path.write_text(GIVEN)
    assert await broken_by(path) == set()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_breaks_the_promises_that_it_should(
    fault: str, tmp_path: Path, autojump_clock: object
) -> None:
    (old, new), broken = FAULTS[fault]
    assert GIVEN.count(old) == 1
    path = tmp_path / "solution.py"
    path.write_text(GIVEN.replace(old, new))
    assert await broken_by(path) == broken


async def test_the_mutant_breaks_one_promise_of_seven(
    tmp_path: Path, autojump_clock: object
) -> None:
    copy = copy_package(tmp_path)
    apply(LESSONS["make"].mutant, copy)
    path = copy / "lessons" / PACKAGE.rpartition(".")[2] / "solution.py"
    path.write_text(path.read_text().replace("from .policy", f"from {PACKAGE}.policy"))
    assert await broken_by(path) == {"alone"}


# --- The command ---------------------------------------------------------------------------------


def lab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trio_chat", "lab", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_a_solution_of_ones_own_is_begun_and_red_and_green_when_it_is_right(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    begun = lab("make", "--check", "--solution", mine)
    assert begun.returncode == 1
    assert "mine.py is begun: it is yours to make green" in begun.stdout
    assert "✓ who returns is done, and not begun again" in begun.stdout
    assert begun.stdout.count("✗") == 6
    mine.write_text(GIVEN)
    done = lab("make", "--check", "--solution", mine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ blue is the same room as before" in done.stdout
    assert mine.read_text() == GIVEN


def test_a_solution_that_can_not_be_cancelled_is_red_all_the_same(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "async def keep(life, policy):\n"
        "    while True:\n"
        "        try:\n"
        "            await life()\n"
        "        except BaseException:\n"
        "            pass\n"
        "supervise = keep\n"
    )
    done = lab("make", "--check", "--solution", mine)
    assert done.returncode == 1
    assert "this has no end" in done.stderr


def test_a_file_that_is_no_solution_is_red_and_says_why(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    for text, wrong in [("keep = 1", "has no attribute 'supervise'"), ("wait what", "SyntaxError")]:
        mine.write_text(text)
        done = lab("make", "--check", "--solution", mine)
        assert done.returncode == 1
        assert wrong in " ".join(done.stdout.split())


def test_a_file_of_another_kind_is_not_begun(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    done = lab("make", "--check", "--solution", mine)
    assert done.returncode == 2
    assert "a solution is a Python file" in done.stderr
    assert not mine.exists()


def test_what_has_no_solution_can_not_be_given_one(tmp_path: Path) -> None:
    for key in ("2", "all"):
        done = lab(key, "--check", "--solution", tmp_path / "mine.py")
        assert done.returncode == 2
        assert "--solution is for exercises: make" in done.stderr
    done = lab("make", "--solution", tmp_path / "no" / "mine.py")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
