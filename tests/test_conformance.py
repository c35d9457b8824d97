"""What `make conformance` makes of the suite's word. The suite itself runs only there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest
from conformance import suite
from conformance.outcomes import Outcome, Outcomes, count_verdicts, failed, read_outcomes
from conformance.page import OURS, THEIRS, write_page
from conformance.suite import SuiteError, find_python, run_suite

PAGE: Final = Path(__file__).parent.parent / "docs" / "conformance.md"
RELEASES: Final = dict.fromkeys([*THEIRS, *OURS], "1.0")


def report(**verdicts: str) -> str:
    """An index.json on cases that are named like c6_10_2."""
    cases = {
        name.removeprefix("c").replace("_", "."): {
            "behavior": verdict,
            "behaviorClose": "OK",
            "remoteCloseCode": 1000,
        }
        for name, verdict in verdicts.items()
    }
    return json.dumps({"server": cases})


def test_cases_are_in_the_order_of_their_numbers() -> None:
    outcomes = read_outcomes(report(c10_1_1="OK", c6_10_1="OK", c6_9_1="OK"))
    assert list(outcomes) == ["6.9.1", "6.10.1", "10.1.1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"one": {}, "another": {}}'])
def test_a_report_on_anything_but_one_server_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a report|Expecting value"):
        read_outcomes(text)


@pytest.mark.parametrize("word", ["OK", "NON-STRICT", "INFORMATIONAL"])
def test_these_words_are_no_failure(word: str) -> None:
    assert Outcome(word, word, 1000).passed


@pytest.mark.parametrize("word", ["FAILED", "WRONG CODE", "UNCLEAN", "UNIMPLEMENTED", "MISSING"])
def test_any_other_is_of_the_conversation_and_of_the_closing(word: str) -> None:
    outcomes = {"1.1": Outcome("OK", word, 1000), "1.2": Outcome(word, "OK", None)}
    assert failed(outcomes) == ["1.1", "1.2"]
    assert count_verdicts(outcomes.values()) == f"1 OK, closing {word}, 1 {word}, closing OK"


def test_the_page_names_what_is_not_plainly_ok_and_counts_failures_both_ways() -> None:
    on: Outcomes = read_outcomes(report(c1_1_1="OK", c1_1_2="FAILED", c2_1="NON-STRICT"))
    off: Outcomes = read_outcomes(report(c1_1_1="OK", c1_1_2="OK", c2_1="NON-STRICT"))
    page = write_page({"on": on, "off": off}, RELEASES)
    assert "1 of 3 failed with the fast lane on; 0 of 3 failed with the fast lane off" in page
    assert "the same both ways" not in page
    assert "| 1.1.2 | FAILED, closing OK (1000) | OK (1000) |" in page
    assert "| 1.1.1 – 1.1.2 | 1 OK, 1 FAILED, closing OK (1000) | 2 OK (1000) |" in page
    assert "the same both ways" in write_page({"on": on, "off": on}, RELEASES)


def test_the_page_that_is_kept_tells_of_no_failure() -> None:
    told = PAGE.read_text()
    assert (
        "**0 of 301 failed with the fast lane on; 0 of 301 failed with the fast lane off.**" in told
    )


# --- A suite that is not there, or does not come to its end --------------------------------------


async def test_a_python_of_another_kind_is_not_taken() -> None:
    with pytest.raises(SuiteError, match=r"is no Python 2\.7"):
        await find_python(sys.executable)
    with pytest.raises(SuiteError, match=r"is no Python 2\.7"):
        await find_python("/nowhere/python2.7")


async def test_without_any_python_2_one_is_told_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(SuiteError, match=r"There is no Python 2\.7 here"):
        await find_python(None)


def stand_in(folder: Path, script: str) -> Path:
    """A Python beside which a wstest lies that does what `script` says; its reports go to `out`."""
    python = folder / "python"
    python.symlink_to(sys.executable)
    opening = "import json, pathlib, sys, time\n"
    spec = "out = pathlib.Path(json.loads(pathlib.Path(sys.argv[-1]).read_text())['outdir'])\n"
    (folder / "wstest").write_text(opening + spec + script)
    return python


async def test_a_suite_that_played_all_its_cases_is_believed(tmp_path: Path) -> None:
    told = report(c1_1_1="OK", c1_1_2="OK")
    script = f"print('will run 2 test cases'); (out / 'index.json').write_text({told!r})"
    outcomes = await run_suite(stand_in(tmp_path, script), tmp_path / "on", "ws://x/", ["1.*"])
    assert list(outcomes) == ["1.1.1", "1.1.2"]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("raise SystemExit(3)", r"failed \(3\)"),
        ("print('will run 2 test cases')", "left no report"),
        ("(out / 'index.json').write_text('{}')", "left no report"),
        (
            "print('will run 3 test cases');"
            f"(out / 'index.json').write_text({report(c1_1_1='OK')!r})",
            "only 1 cases were played",
        ),
    ],
)
async def test_a_suite_that_did_not_is_not(tmp_path: Path, script: str, complaint: str) -> None:
    with pytest.raises(SuiteError, match=complaint):
        await run_suite(stand_in(tmp_path, script), tmp_path / "on", "ws://x/", ["1.*"])


async def test_a_suite_that_hangs_is_ended_and_its_last_words_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "RUN_TIMEOUT", 1)
    python = stand_in(tmp_path, "print('case 9.4.1'); time.sleep(60)")
    with pytest.raises(SuiteError, match=r"did not end in 1 s\n(.*\n)*case 9\.4\.1"):
        await run_suite(python, tmp_path / "on", "ws://x/", ["1.*"])
