# ruff: noqa: T201 - what it prints is for whoever runs it.
"""Run the suite with the fast lane on and off, and write docs/conformance.md.

    make conformance ARGS="--cases 6.* 7.1.6"

The server lives in a nursery here, the suite is a process that ends before the nursery does. The
exit code is 1 where a case failed, and 2 where the suite can't be had.
"""

from __future__ import annotations

import argparse
import platform
import runpy
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import trio

from trio_chat.config import Config
from trio_chat.endpoint import Handler, serve_connections

from .outcomes import Outcomes, count_verdicts, failed
from .page import OURS, write_page
from .suite import SUITE, SuiteError, ask_versions, install, run_suite

ROOT: Final = Path(__file__).parent.parent.parent
BUILD: Final = ROOT / "build" / "conformance"
PAGE: Final = ROOT / "docs" / "conformance.md"
SECTIONS: Final = [f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
LANES: Final = {"on": True, "off": False}


async def examine(python: Path, lane: str, cases: Sequence[str]) -> Outcomes:
    """Run the cases against the echo example, with the fast lane on or off."""
    example = runpy.run_path(str(ROOT / "examples" / "echo.py"))
    handler: Handler = example["echo"]
    base: Config = example["CONFIG"]
    config = replace(base, port=0, fast_lane=LANES[lane])
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_connections, handler, config)
        begun = trio.current_time()
        outcomes = await run_suite(python, BUILD / lane, f"ws://127.0.0.1:{port}/", cases)
        seconds = trio.current_time() - begun
        nursery.cancel_scope.cancel(reason="the suite is through")
    print(f"fast lane {lane}: {count_verdicts(outcomes.values())}; {seconds:.0f} s", flush=True)
    return outcomes


async def conform(wanted: str | None, cases: Sequence[str]) -> int:
    """Run everything, write the page where that was all, and return the exit code.

    Raises:
        SuiteError: the suite can't be had, or did not run to its end.
    """
    print(f"{SUITE}, in {BUILD.relative_to(ROOT)} ...", flush=True)
    python = await install(BUILD, wanted)
    runs = {lane: await examine(python, lane, cases) for lane in LANES}
    for lane, outcomes in runs.items():
        for number in failed(outcomes):
            print(f"fast lane {lane}: {number} {outcomes[number].verdict}")
    if cases == SECTIONS:
        PAGE.write_text(write_page(runs, await name_releases(python)))
        print(f"{PAGE.relative_to(ROOT)} is written")
    print(f"each case in full: {BUILD.relative_to(ROOT)}/{{{','.join(LANES)}}}/index.html")
    return int(any(map(failed, runs.values())))


async def name_releases(python: Path) -> dict[str, str]:
    """Return the versions of all that took part."""
    theirs = await ask_versions(python)
    ours = {name: version(name) for name in OURS if name != "python"}
    return {**theirs, **ours, "python": platform.python_version(), "python2": theirs["python"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make conformance", description="Run Autobahn's test suite against examples/echo.py."
    )
    parser.add_argument("--python", metavar="PATH", help="the Python 2.7 to use (default: any)")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=SECTIONS,
        help="only these, such as 6.* 7.1.6; the page stays as it is",
    )
    arguments = parser.parse_args()
    try:
        sys.exit(trio.run(conform, arguments.python, arguments.cases))
    except* SuiteError as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
