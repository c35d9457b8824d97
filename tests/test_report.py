"""The report of the benchmarks: one page without any other file, and pictures of the same."""

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.machine import describe_machine
from benchmarks.peers import PEERS
from benchmarks.pictures import write_pictures
from benchmarks.report import write_report
from benchmarks.summary import summarise

SERVERS = ["trio-chat", *PEERS]


def run(
    bench: str,
    server: str,
    params: Mapping[str, object],
    figures: Mapping[str, object],
    repeat: int = 0,
) -> dict[str, object]:
    return {
        "bench": bench,
        "server": server,
        "params": params,
        "figures": figures,
        "load_cpu": 0.45,
        "server_cpu": 0.99,
        "bound": "",
        "repeat": repeat,
    }


def runs() -> Iterator[dict[str, object]]:
    """Yield made-up runs: every measurement, of every server, three times."""
    for repeat in range(3):
        for rank, server in enumerate(SERVERS, start=1):
            for members in (10, 100, 1000):
                for flight, senders in ((1, 1), (32, 1), (32, 32)):
                    room = {"members": members, "in_flight": flight, "senders": senders}
                    rate = 1e6 * flight**0.5 / rank + 1000 * repeat + members
                    figures = {"deliveries_per_s": rate, "messages_per_s": 1.0, "lost": 0}
                    yield run("fanout", server, {**room, "dialect": "plain"}, figures, repeat)
            points = [[q, 0.3 * rank + q / 50] for q in (0, 25, 50, 75, 90, 99, 99.9, 100)]
            waits = {"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0 * rank, "p999_ms": 4.0}
            yield run(
                "latency",
                server,
                {"members": 100, "deliveries_per_s": 5000},
                {**waits, "percentiles": points, "lost": 0},
                repeat,
            )
            yield run("rooms", server, {"rooms": 200, "members": 5}, {"deliveries_per_s": 9e4})
            yield run("echo", server, {"members": 1}, {"round_trip_us": 80.0, "p99_us": 99.0})
            for members in (1000, 5000, 10_000):
                for kind in ("idle", "talking"):
                    crowd = {
                        "connect_per_s": 5000.0 / rank,
                        "rss_kib_per_connection": 7.0 * rank,
                        "kernel_kib_per_connection": 4.0,
                        "last_welcome_s": 1.0,
                    }
                    yield run(
                        "connections", server, {"members": members, "kind": kind}, crowd, repeat
                    )
            rate = {"messages_per_s": 900.0, "ratio": 0.9, "rss_grown_mib": 2.0, "lost": 3}
            yield run("slow", server, {"members": 100, "silent": 10}, rate, repeat)
            yield run("churn", server, {"members": 1}, {"joins_per_s": 800.0}, repeat)


def results(*more: dict[str, object]) -> dict[str, object]:
    return {
        "version": 1,
        "started": "2030-01-02T03:04:05+00:00",
        "machine": describe_machine(),
        "runs": [*runs(), *more],
    }


class Page(HTMLParser):
    """Which elements a page has, what they refer to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def report(tmp_path: Path, results: dict[str, object]) -> str:
    path = tmp_path / "report.html"
    write_report(json.loads(json.dumps(results)), path)
    return path.read_text()


def test_the_report_is_one_file_that_refers_to_nothing_outside(tmp_path: Path) -> None:
    html = report(tmp_path, results())
    page = Page(html)
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", html)
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}
    assert page.tags.count("svg") == 7
    for peer in PEERS.values():
        assert peer.label in page.text


def test_the_report_shows_medians_spreads_losses_and_how_busy_the_load_was(tmp_path: Path) -> None:
    text = Page(report(tmp_path, results())).text
    assert "1,001,100" in text  # the median of ours, 100 members, one in flight
    assert "1,000,100 – 1,002,100" in text
    assert "45%" in text
    assert "32 in flight, from 32 senders" in text
    assert "100 members at full rate, 10 more that read nothing" in text


def test_a_figure_that_the_load_may_have_limited_is_marked(tmp_path: Path) -> None:
    busy = run("echo", "aiohttp", {"members": 2}, {"round_trip_us": 77.0, "p99_us": 99.0})
    fast = run("rooms", "aiohttp", {"rooms": 7, "members": 5}, {"deliveries_per_s": 123456.0})
    for each in (busy, fast):
        each["bound"] = "lower"
    text = Page(report(tmp_path, results(busy, fast))).text
    assert "≤ 77" in text
    assert "≥ 123,456" in text


def test_a_figure_that_other_programs_disturbed_is_marked(tmp_path: Path) -> None:
    idle = run("rooms", "aiohttp", {"rooms": 7, "members": 5}, {"deliveries_per_s": 123456.0})
    idle |= {"server_cpu": 0.07, "load_cpu": 0.05}
    text = Page(report(tmp_path, results(idle))).text
    assert "123,456 †" in text
    assert text.count("†") == 3  # the figure, and where the sign is explained


def test_a_run_without_a_result_and_a_server_from_elsewhere_are_shown(tmp_path: Path) -> None:
    url = "ws://127.0.0.1:8001/<b>/"
    other = run("rooms", url, {"rooms": 200, "members": 5}, {"deliveries_per_s": 5.0})
    failed = {"bench": "echo", "server": "bun", "failed": "it ended <at once>", "repeat": 0}
    html = report(tmp_path, results(other, failed))
    assert "it ended &lt;at once&gt;" in html
    assert url in Page(html).text


@pytest.mark.parametrize("few", [[], [{"bench": "echo", "server": "bun", "failed": "why"}]])
def test_a_report_can_be_written_of_nothing(tmp_path: Path, few: list[dict[str, object]]) -> None:
    assert "Method" in report(tmp_path, {**results(), "runs": few})


def test_repeats_become_a_median_and_the_lowest_and_the_highest() -> None:
    found, failures = summarise(results())
    [ours] = [
        each
        for each in found
        if each.server == "trio-chat" and each.matches("fanout", members=10, in_flight=1)
    ]
    spread = ours.figures["deliveries_per_s"]
    assert (spread.low, spread.median, spread.high) == (1_000_010, 1_001_010, 1_002_010)
    assert ours.repeats == 3
    assert not failures


def test_the_pictures_are_files_of_their_own(tmp_path: Path) -> None:
    paths = write_pictures(results(), tmp_path)
    assert [path.name for path in paths] == ["fanout.svg", "memory.svg"]
    for path in paths:
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in path.read_text()
    assert write_pictures({**results(), "runs": []}, tmp_path) == []


def test_the_machine_is_described_without_the_names_of_hosts_or_paths() -> None:
    facts = describe_machine()
    assert set(facts) == {"cpu", "cores", "memory_gib", "kernel", "python", "versions"}
    versions = facts["versions"]
    assert isinstance(versions, dict)
    assert {"trio", "trio-websocket", "orjson"} <= set(versions)
    assert all(str(number)[0].isdigit() for number in versions.values())
