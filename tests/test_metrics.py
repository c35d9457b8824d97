"""What Prometheus gets to read, read as Prometheus does."""

from __future__ import annotations

import re
from dataclasses import fields

from trio_chat.ledger import Ledger
from trio_chat.metrics import CONTENT_TYPE, Tally, render

# A sample: a name, perhaps one label, and a number.
SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="([^"\\\n]*)"\})? (\d+(?:\.\d+)?)')


def scrape(text: str) -> tuple[dict[str, str], dict[tuple[str, str], float]]:
    """Return the kinds of all families, and all samples by name and label."""
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, str], float] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, label, value, number = match.groups()
            assert name in kinds, "a sample stands below its family's line"
            assert (name, value) not in samples
            samples[name, f"{label}={value}" if label else ""] = float(number)
    return kinds, samples


def test_a_server_that_has_just_started_shows_every_family() -> None:
    kinds, samples = scrape(render(Tally(), Ledger(), {}))
    assert set(samples.values()) == {0}
    assert all(name.startswith("trio_chat_") for name in kinds)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())


def test_every_count_of_the_tally_and_the_ledger_is_in_it() -> None:
    tally = Tally(*range(101, 106))
    tally.endings.update({1000: 106, 4000: 107})
    tally.errors["not-json"] = 108
    tally.answers[404] = 109
    ledger = Ledger(110, 111, 112)
    ledger.drop("unsent at the end", 113)
    _, samples = scrape(render(tally, ledger, {}))
    assert sorted(samples.values()) == list(range(101, 114))
    assert len(fields(Tally)) == 8
    assert len(fields(Ledger)) == 4


def test_counts_by_kind_have_a_label_each() -> None:
    tally, ledger = Tally(), Ledger()
    tally.endings[1001] += 2
    tally.errors["too-long"] += 3
    tally.answers[200] += 4
    ledger.drop("evicted", 5)
    _, samples = scrape(render(tally, ledger, {}))
    assert samples["trio_chat_sessions_ended_total", "code=1001"] == 2
    assert samples["trio_chat_errors_total", "code=too-long"] == 3
    assert samples["trio_chat_http_responses_total", "status=200"] == 4
    assert samples["trio_chat_deliveries_dropped_total", "reason=evicted"] == 5


def test_gauges_are_as_they_were_given() -> None:
    kinds, samples = scrape(render(Tally(), Ledger(waiting=7), {"rooms": 3, "lag_seconds": 0.25}))
    assert samples["trio_chat_rooms", ""] == 3
    assert samples["trio_chat_lag_seconds", ""] == 0.25
    assert samples["trio_chat_deliveries_waiting", ""] == 7
    assert kinds["trio_chat_rooms"] == "gauge"


def test_it_is_served_as_what_it_is() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
