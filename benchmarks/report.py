"""The results as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from . import plots
from .figures import BENCHES
from .pictures import connection_curves, fanout_curves, fanout_ranks, latency_curves
from .summary import Failure, Summary, summarise
from .tables import at_a_glance, case_title, table

METHOD: Final = """
<p>Each measurement of each server runs in a fresh process on one core; the load runs on another
and reaches it over loopback. A round goes over all servers before the next begins, so a machine
that slows down slows everybody down. A figure is the median over the rounds, with the lowest and
the highest beside it. Compare within one run: the ratios hold elsewhere, the numbers don't.</p>
<p><b>The load</b> is raw non-blocking sockets under one epoll. It counts every delivery, and what
did not arrive is shown as lost. Its own share of a core stands beside each figure. Where that is
above 90&nbsp;%, the load may have been the limit: the figure is then <b>a bound</b>, marked ≥ or
≤, and the server may be better than it says.</p>
<p><b>†</b> marks a figure that was disturbed: while a closed loop runs, the server or the load
has something to do, and here both together used less than nine tenths of a core. Something else
ran on the machine meanwhile. Measure again.</p>
<p><b>One message in flight</b> means that the next goes out when the last has reached everybody.
Every server then makes one <code>send()</code> a member and message, and that system call is most
of the work of a quick one. It is the floor, and nobody can be far ahead there: differences of a
tenth are noise. With 32 in flight a server may send many messages at once, and
there it shows which of them do.</p>
<p><b>Latency</b> is an open loop: messages are due at fixed times, whatever the server does, and
one that comes late makes the next ones late, which counts. A loop that waits for each answer would
ask least often when the server is slowest.</p>
<p><b>Memory</b> is what the resident set of the process grew by, divided by the connections. What
a process had set aside before it grew is not seen, so that small crowds look cheaper than they
are, even free. The kernel's share, for both ends, stands beside it.</p>
<p><b>What this does not show.</b> One machine, no network, no TLS, no compression, messages of
about 70 bytes, one room or many equal ones. The peers are as short as their libraries' examples
and do less: no history, names, acknowledgements or limits, and hardly a defence against a member
that does not read. Those in Python decode with the standard library, as their examples do, but for
picows and the bare loop, which use orjson as ours does. The bare loop checks nothing; it is there
to show where Python ends.</p>
"""

GLANCE: Final = """
<h2>At a glance</h2>
<p>The best of each column is underlined. “100 × 32” means deliveries a second in a room of 100
members with 32 messages in flight, “small rooms” the same in many rooms; ≥ and ≤ mark bounds,
† what was disturbed.
<a href="#method">How it was measured, and what it does not show.</a></p>
"""

CSS: Final = """
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 2rem 1rem 4rem; }
p, dl, ul { max-width: 46rem; }
a { color: var(--trio-chat); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
.soft, small { color: var(--soft); }
.wide { overflow-x: auto; margin: .8rem 0 1.6rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; vertical-align: top; }
th { font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: .4rem; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tr.ours { background: var(--band); font-weight: 600; }
td small { font-weight: 400; padding-left: .6rem; }
td.best { font-weight: 700; text-decoration: underline; text-underline-offset: 3px; }
.lost { color: #c42847; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media print { .wide { overflow: visible; } }
"""


DRAWN: Final[dict[str, Callable[[Sequence[Summary]], list[str]]]] = {
    "fanout": lambda found: [fanout_ranks(found), *fanout_curves(found)],
    "latency": latency_curves,
    "connections": connection_curves,
}


def write_report(results: Mapping[str, object], path: Path) -> None:
    """Write the page."""
    found, failures = summarise(results)
    started = escape(str(results["started"]))
    rounds = max((each.repeats for each in found), default=0)
    body = "\n".join(
        [
            "<h1>trio-chat, measured beside what one might pick instead</h1>",
            f'<p class="soft">{started} · {_rounds(rounds)} · {_machine_line(results)}</p>',
            GLANCE,
            at_a_glance(found),
            *(_section(name, found) for name in BENCHES if any(s.bench == name for s in found)),
            f'<h2 id="method">Method, and its limits</h2>{METHOD}',
            _failures(failures),
            _machine(results),
        ]
    )
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>trio-chat: benchmarks</title><style>{plots.STYLE}{CSS}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _section(name: str, found: Sequence[Summary]) -> str:
    bench = BENCHES[name]
    drawn = DRAWN[name](found) if name in DRAWN else []
    cases: dict[str, list[Summary]] = {}
    for each in found:
        if each.bench == name:
            cases.setdefault(case_title(bench, each), []).append(each)
    return "\n".join(
        [
            f'<h2 id="{name}">{bench.title}</h2>',
            *(f'<div class="wide">{svg}</div>' for svg in drawn if svg),
            *(f"<h3>{escape(title)}</h3>{table(bench, group)}" for title, group in cases.items()),
        ]
    )


def _rounds(number: int) -> str:
    return "one round" if number == 1 else f"up to {number} rounds"


def _machine_line(results: Mapping[str, object]) -> str:
    machine = results["machine"]
    assert isinstance(machine, dict)
    return escape(f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}")


def _machine(results: Mapping[str, object]) -> str:
    machine = results["machine"]
    assert isinstance(machine, dict)
    facts = {name.replace("_gib", ", GiB"): value for name, value in machine.items()}
    versions = facts.pop("versions", {})
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<h2>The machine</h2><dl>{items}</dl>"


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li>{escape(each.case)} · {escape(each.server)}: {escape(each.why)}</li>"
        for each in failures
    )
    return f"<h2>What came to no result</h2><ul>{items}</ul>"
