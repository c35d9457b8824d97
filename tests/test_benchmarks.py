"""The benchmarks measure what they say, at a size that costs nothing; and the fast path is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cases, measure
from benchmarks.load import MARK, LoadError, Target, frame, plain, with_id
from benchmarks.peers import PEERS
from benchmarks.servers import OURS, free_port, our_command, running
from trio_chat.frames import FrameFollower


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_every_case_runs_loses_nothing_and_has_a_row(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    done = bench("--smoke", "--results", str(results))
    assert done.returncode == 0, done.stderr
    runs: list[dict[str, Any]] = json.loads(results.read_text())["runs"]
    assert {run.get("case") for run in runs} == {case.name for case in cases.SMOKE}
    for run in runs:
        assert "failed" not in run, run
        assert run["figures"].get("lost", 0) == 0, run
        assert run["case"] in done.stdout
        for figure, value in run["figures"].items():
            if figure.endswith("_per_s"):
                assert value > 0, run


def test_somebody_elses_server_is_measured_by_its_address(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    port = free_port()
    with running(OURS, our_command(port), port):
        url = f"ws://127.0.0.1:{port}/ws/chat/"
        done = bench("echo", "--seconds", "0.1", "--url", url, "--results", str(results))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(results.read_text())["runs"]
    assert run["server"] == url
    assert run["figures"]["round_trip_us"] > 0


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = bench("compare", "--peers", "nonsense")
    assert done.returncode != 0
    assert "nonsense is no peer" in done.stderr


def test_an_address_that_is_no_websocket_s_is_refused() -> None:
    with pytest.raises(LoadError, match="expected ws://"):
        Target.parse("http://127.0.0.1/")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 5000])
def test_the_load_s_frames_are_a_client_s(size: int) -> None:
    text = "x" * size
    follower = FrameFollower(max_bytes=0, max_fragments=0, lifts=True)
    chunk = follower.feed(frame(text.encode()))
    assert chunk.messages == [text]


def test_each_message_of_the_load_carries_one_mark() -> None:
    follower = FrameFollower(max_bytes=0, max_fragments=0, lifts=True)
    for text in follower.feed(plain() + with_id(7)).messages:
        assert text is not None
        assert text.encode().count(MARK) == 1


def test_the_fast_path_is_many_times_the_naive_one() -> None:
    # In one run, beside each other: a ratio, and far below what was measured (about 50).
    rates = {}
    for name in (OURS, "trio-naive"):
        port = free_port()
        command = our_command(port) if name == OURS else PEERS[name].command(port)
        with running(name, command, port) as process:
            target = Target("127.0.0.1", port)
            run = measure.fanout(target, process, members=50, in_flight=32, seconds=0.5)
        assert run.figures["lost"] == 0
        rates[name] = float(str(run.figures["deliveries_per_s"]))
    assert rates[OURS] > 5 * rates["trio-naive"], rates
