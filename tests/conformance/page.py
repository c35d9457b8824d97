"""What docs/conformance.md says.

Pure, and the same for the same outcomes and releases: a diff of the page shows what changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .outcomes import Outcome, Outcomes, by_group, by_section, count_verdicts, failed

LANES: Final = ("on", "off")

# What took part: as releases are keyed, and as it is called.
THEIRS: Final = {
    "autobahntestsuite": "autobahntestsuite",
    "autobahn": "autobahn",
    "twisted": "Twisted",
    "python2": "Python",
}
OURS: Final = {
    "trio-chat": "trio-chat",
    "trio": "Trio",
    "trio-websocket": "trio-websocket",
    "wsproto": "wsproto",
    "h11": "h11",
    "python": "Python",
}

SECTIONS: Final = {
    "1": "texts and binaries of every form of length",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "reserved opcodes",
    "5": "fragmentation, with control frames between",
    "6": "UTF-8, valid and not, whole and cut anywhere",
    "7": "closing: order, codes, reasons",
    "9": "messages of up to 16 MiB, fragments and writes of 64 bytes, 1,000 in a row",
    "10": "64 KiB in fragments of 1,300 bytes",
}

NOTES: Final = {
    "7.1.6": "256 KiB, a short text, a Close and a Ping in one go. Both texts come back before our"
    " Close; the suite records what happens and gives no verdict.",
    "7.13.1": "A Close with code 5000, which is in none of RFC 6455's ranges (section 7.4.2): we"
    " answer as to any code that must not be sent.",
    "7.13.2": "The same with 65535.",
}


def write_page(runs: Mapping[str, Outcomes], releases: Mapping[str, str]) -> str:
    """Return the page for what came of the cases with the fast lane on and off.

    `releases` names versions of ours and of theirs.
    """
    parts = [
        _opening(runs, releases),
        _by_section(runs),
        _exceptions(runs),
        _by_group(runs),
    ]
    return "\n".join(parts)


def _opening(runs: Mapping[str, Outcomes], releases: Mapping[str, str]) -> str:
    total = len(runs["on"])
    counts = [
        f"{len(failed(runs[lane]))} of {total} failed with the fast lane {lane}" for lane in LANES
    ]
    same = "The outcomes are the same both ways." if runs["on"] == runs["off"] else ""
    return f"""\
# Conformance to RFC 6455

**{"; ".join(counts)}.** {same}

[Autobahn's test suite](https://github.com/crossbario/autobahn-testsuite) plays the client,
[examples/echo.py](../examples/echo.py) is the server: the chat's listener, door, wire and goodbyes
without a chat, and without the limits that a chat needs. With the fast lane on, plain text frames
are lifted past the protocol engine; with it off, the engine sees everything.

`make conformance` writes this page; [how it gets the suite](../tests/conformance/README.md).

| | releases |
|---|---|
| the suite, unchanged | {_named(releases, THEIRS)} |
| the server | {_named(releases, OURS)} |

Sections 12 and 13 are about compression, which this server does not negotiate: not applicable. The
suite has no sections 8 and 11.
"""


def _named(releases: Mapping[str, str], names: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {releases[key]}" for key, name in names.items())


def _by_section(runs: Mapping[str, Outcomes]) -> str:
    lines = [
        "| section | about | cases | fast lane on | fast lane off |",
        "|---|---|---|---|---|",
    ]
    for section, numbers in by_section(runs["on"]).items():
        counts = [count_verdicts(runs[lane][number] for number in numbers) for lane in LANES]
        about = SECTIONS.get(section, "")
        lines.append(f"| {section} | {about} | {len(numbers)} | {' | '.join(counts)} |")
    return "\n".join([*lines, ""])


def _exceptions(runs: Mapping[str, Outcomes]) -> str:
    lines = [
        "## What is not plainly OK",
        "",
        "| case | fast lane on | fast lane off | |",
        "|---|---|---|---|",
    ]
    for number in runs["on"]:
        outcomes = [runs[lane][number] for lane in LANES]
        if any(outcome.verdict != "OK" for outcome in outcomes):
            told = " | ".join(f"{outcome.verdict} ({_code(outcome)})" for outcome in outcomes)
            lines.append(f"| {number} | {told} | {NOTES.get(number, '')} |")
    return "\n".join([*lines, ""])


def _by_group(runs: Mapping[str, Outcomes]) -> str:
    lines = [
        "## Every case",
        "",
        "In brackets: the close codes that the server answered with.",
        "",
        "| cases | fast lane on | fast lane off |",
        "|---|---|---|",
    ]
    for numbers in by_group(runs["on"]).values():
        span = numbers[0] if len(numbers) == 1 else f"{numbers[0]} – {numbers[-1]}"
        told = [_sum_up([runs[lane][number] for number in numbers]) for lane in LANES]
        lines.append(f"| {span} | {' | '.join(told)} |")
    return "\n".join([*lines, ""])


def _sum_up(outcomes: list[Outcome]) -> str:
    codes = sorted({_code(outcome) for outcome in outcomes})
    return f"{count_verdicts(outcomes)} ({', '.join(codes)})"


def _code(outcome: Outcome) -> str:
    return "none" if outcome.code is None else str(outcome.code)
