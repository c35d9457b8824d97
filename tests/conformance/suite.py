"""The suite itself, as its authors published it: a Python for it, an environment, a run.

Its code is Python 2.7, of 2015 and unchanged: a suite that had been translated would have to be
trusted anew. So it gets an environment of its own, made by the last virtualenv that knows 2.7.
Nothing of it stays in this repository.

Whatever is started here has a deadline, and is ended with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import trio

from .outcomes import Outcomes, read_outcomes

SUITE: Final = "autobahntestsuite==25.10.1"
VIRTUALENV: Final = "virtualenv<20.22"
INSTALL_TIMEOUT: Final = 600  # seconds; some of its packages are compiled
RUN_TIMEOUT: Final = 600  # seconds; it takes a quarter of a minute

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

MISSING: Final = """\
There is no Python 2.7 here, and Autobahn's test suite runs on no other. It is looked for on PATH
and among pyenv's. To get one:
    pyenv install 2.7.18              wherever pyenv is
    apt-get install python2.7-dev     Debian 11, Ubuntu 20.04 and 22.04; newer ones have none
Another place is named with ARGS="--python PATH"."""


class SuiteError(Exception):
    """The suite can't be had or did not run to its end. Says nothing about who was tested."""


# --- Getting it ----------------------------------------------------------------------------------


async def find_python(wanted: str | None) -> str:
    """Return the path of a Python 2.7: the one that is wanted, or any.

    Raises:
        SuiteError: there is none.
    """
    for candidate in [wanted] if wanted else _candidates():
        # One that is found may still be none: pyenv has stand-ins for what is not switched on.
        try:
            asked = await _run([candidate, "-c", "import sys; print(sys.version_info[:2])"], 30)
        except (SuiteError, OSError):
            continue
        if asked.strip() == "(2, 7)":
            return candidate
    raise SuiteError(f"{wanted} is no Python 2.7" if wanted else MISSING)


def _candidates() -> Iterable[str]:
    yield from filter(None, map(shutil.which, ("python2.7", "python2")))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


async def install(folder: Path, wanted: str | None) -> Path:
    """Install the suite into `folder`, unless it is there already; return its Python.

    Raises:
        SuiteError: that can't be done.
    """
    python, stamp = folder / "env" / "bin" / "python", folder / "installed"
    if stamp.exists() and stamp.read_text() == SUITE:
        return python
    old = await find_python(wanted)
    shutil.rmtree(folder, ignore_errors=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    maker = folder / "virtualenv"
    await _run([sys.executable, *pip, "--target", str(maker), VIRTUALENV], INSTALL_TIMEOUT)
    await _run(
        [sys.executable, "-m", "virtualenv", "--no-download", "--python", old, str(folder / "env")],
        INSTALL_TIMEOUT,
        {"PYTHONPATH": str(maker)},
    )
    await _run([str(python), *pip, SUITE], INSTALL_TIMEOUT)
    stamp.write_text(SUITE)
    return python


async def ask_versions(python: Path) -> dict[str, str]:
    """Return the releases of what runs: CPython, and the suite's packages in lower case."""
    script = (
        "import json, pkg_resources, platform\n"
        "found = dict((one.key, one.version) for one in pkg_resources.working_set)\n"
        "found['python'] = platform.python_version()\n"
        "print(json.dumps(found))"
    )
    found: dict[str, str] = json.loads(await _run([str(python), "-c", script], 60))
    return found


# --- Running it ----------------------------------------------------------------------------------


async def run_suite(python: Path, folder: Path, url: str, cases: Sequence[str]) -> Outcomes:
    """Let the suite play the client of the server at `url`; its reports go into `folder`.

    Raises:
        SuiteError: it did not play every case to its end.
    """
    spec = _prepare(folder, url, cases)
    wstest = str(python.with_name("wstest"))
    told = await _run([str(python), wstest, "-m", "fuzzingclient", "-s", str(spec)], RUN_TIMEOUT)
    return _conclude(folder, told)


def _prepare(folder: Path, url: str, cases: Sequence[str]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = {
        "outdir": str(folder),
        "servers": [{"agent": "trio-chat", "url": url}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def _conclude(folder: Path, told: str) -> Outcomes:
    announced = re.search(r"will run (\d+) test cases", told)
    try:
        outcomes = read_outcomes((folder / "index.json").read_text())
    except (OSError, ValueError, KeyError) as exc:
        raise SuiteError(f"the suite left no report: {exc}\n{_end_of(told)}") from None
    # A server that is gone half-way ends the suite, too: with a report on what there was.
    if announced is None or len(outcomes) != int(announced[1]):
        raise SuiteError(f"only {len(outcomes)} cases were played\n{_end_of(told)}")
    return outcomes


async def _run(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] = NOTHING
) -> str:
    """Run a program and return what it said.

    Raises:
        SuiteError: it failed, or was still running after so many seconds and was ended.
        OSError: it can't be started.
    """
    with tempfile.TemporaryFile() as output:  # What it said is of interest if it hangs, too.
        with trio.move_on_after(seconds) as patience:
            done = await trio.run_process(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                env={**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", **environment},
            )
        output.seek(0)
        told = output.read().decode(errors="replace")
    if patience.cancelled_caught:
        raise SuiteError(f"{' '.join(command)} did not end in {seconds:g} s\n{_end_of(told)}")
    if done.returncode:
        raise SuiteError(f"{' '.join(command)} failed ({done.returncode})\n{_end_of(told)}")
    return told


def _end_of(told: str) -> str:
    return "\n".join(told.splitlines()[-15:])
