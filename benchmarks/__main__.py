"""`python -m benchmarks`: measure, show a table, keep the results.

    python -m benchmarks                      our server, everything, in about three minutes
    python -m benchmarks fanout --seconds 3   one part
    python -m benchmarks compare              beside the peers, interleaved
    python -m benchmarks fanout --url ws://127.0.0.1:8001/ws/chat/    somebody else's server
    python -m benchmarks report               the last results as one HTML file

The server gets the first core, the load the second. Each case of each server runs in a fresh
process, and repeats go round all servers before they begin again, so that a machine that slows
down slows everybody down.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import cases
from .cases import Case
from .load import LoadError, Target
from .machine import describe_machine
from .measure import Result
from .peers import PEERS
from .pictures import write_pictures
from .report import write_report
from .servers import OURS, free_port, our_command, pin, running

RESULTS: Final = Path(__file__).parent / "results"
LAST: Final = RESULTS / "last.json"

PARTS: Final[dict[str, Callable[[argparse.Namespace], list[Case]]]] = {
    "fanout": lambda options: cases.fanouts(options.seconds),
    "latency": lambda options: cases.latencies(options.seconds * 2),
    "rooms": lambda options: cases.small_rooms(options.seconds),
    "echo": lambda options: cases.echoes(options.seconds),
    "connections": lambda options: cases.crowds(tuple(options.members)),
    "slow": lambda options: cases.slow_members(options.seconds),
    "churn": lambda options: cases.churns(options.seconds),
    "neighbour": lambda options: cases.neighbours(options.seconds),
    "resume": lambda options: cases.resumes(max(options.members)),
    "history": lambda options: cases.histories(options.seconds),
    "watching": lambda options: cases.watchers(options.seconds),
    "cluster": lambda options: cases.clusters(options.seconds),
}


def main() -> int:
    """Run what was asked for, and return the exit code."""
    options = _parse()
    if options.part == "report":
        _report(json.loads(Path(options.results).read_text()), options)
        return 0
    _raise_limit_of_open_files()
    pin(1)
    chosen = _choose(options)
    servers = [OURS] if options.part != "compare" else [OURS, *_peers(options.peers)]
    print(f"about {_estimate(chosen, servers, options.repeat) / 60:.0f} min", file=sys.stderr)
    runs = [
        run
        for repeat in range(options.repeat)
        for case in chosen
        for run in _run_case(case, servers, repeat, options)
    ]
    _print_table(runs)
    _keep(runs, options)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="?", default="all", choices=["all", "compare", "report", *PARTS]
    )
    parser.add_argument(
        "--url", help="a running server of the plain dialect: ws://HOST:PORT/ws/chat/"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--repeat", type=int, default=1, help="rounds over everything")
    parser.add_argument("--members", type=int, nargs="*", default=[100, 1000, 5000, 10_000])
    parser.add_argument("--peers", default="", help="names, comma separated; all by default")
    parser.add_argument("--cases", default="", help="only cases whose name contains one of these")
    parser.add_argument("--full", action="store_true", help="longer, and with larger crowds")
    parser.add_argument("--smoke", action="store_true", help="everything with five members")
    parser.add_argument("--options", default="", help="more options for our server")
    parser.add_argument("--results", default=str(LAST), help="where the results are kept")
    return parser.parse_args()


def _choose(options: argparse.Namespace) -> list[Case]:
    if options.smoke:
        chosen = cases.SMOKE
    elif options.part in PARTS:
        chosen = PARTS[options.part](options)
    elif options.full:
        chosen = cases.FULL
    else:
        chosen = cases.QUICK
    words = [word for word in options.cases.split(",") if word]
    if options.url:
        chosen = [case for case in chosen if not case.only_ours]
    return [case for case in chosen if not words or any(word in case.name for word in words)]


def _peers(names: str) -> list[str]:
    wanted = [name for name in names.split(",") if name] or list(PEERS)
    able = []
    for name in wanted:
        if name not in PEERS:
            sys.exit(f"{name} is no peer; there are {', '.join(PEERS)}")
        if (missing := PEERS[name].missing()) is None:
            able.append(name)
        else:
            print(f"left out: {name}: {missing}", file=sys.stderr)
    return able


def _estimate(chosen: Sequence[Case], servers: Sequence[str], repeat: int) -> float:
    return repeat * sum(
        (case.seconds + 1) * (1 if case.only_ours else len(servers)) for case in chosen
    )


def _run_case(
    case: Case, servers: Sequence[str], repeat: int, options: argparse.Namespace
) -> list[dict[str, object]]:
    runs = []
    for server in servers[:1] if case.only_ours else servers:
        began = time.monotonic()
        _progress(f"{case.name} · {server} …")
        try:
            result = _run_once(case, server, options)
        except (LoadError, OSError, RuntimeError) as exc:
            _progress(f"{case.name} · {server}: {exc}\n")
            runs.append(
                {"bench": case.name, "server": server, "failed": str(exc), "repeat": repeat}
            )
            continue
        _progress(f"{case.name} · {server}: {time.monotonic() - began:.1f} s\n")
        runs.append(
            {
                "bench": result.bench,
                "case": case.name,
                "server": options.url or server,
                "params": result.params,
                "figures": result.figures,
                "load_cpu": round(result.load_cpu, 3),
                "server_cpu": round(result.server_cpu, 3),
                "bound": result.bound,
                "repeat": repeat,
            }
        )
    return runs


def _run_once(case: Case, server: str, options: argparse.Namespace) -> Result:
    subprotocol = "" if case.dialect == "plain" else case.dialect
    if options.url:
        return case.run(Target.parse(options.url, subprotocol), None)
    port = free_port()
    if server == OURS:
        command = our_command(port, *case.options, *options.options.split())
    else:
        command = PEERS[server].command(port)
    with ExitStack() as stack:
        process = stack.enter_context(running(server, command, port))
        return case.run(Target("127.0.0.1", port, subprotocol=subprotocol), process)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        text = "\r\x1b[K" + text
    elif not text.endswith("\n"):
        return
    sys.stderr.write(text)
    sys.stderr.flush()


# --- Results -------------------------------------------------------------------------------------

SHOWN: Final = {
    "deliveries_per_s": "{:,.0f} deliveries/s",
    "stored_per_s": "{:,.0f} messages/s",
    "added_ms": "{:+.2f} ms beside memory",
    "p50_ms": "p50 {:.2f} ms",
    "p99_ms": "p99 {:.2f} ms",
    "round_trip_us": "{:.0f} µs",
    "connect_per_s": "{:,.0f} connections/s",
    "rss_kib_per_connection": "{:.1f} KiB each",
    "joins_per_s": "{:,.0f} visits/s",
    "ratio": "{:.2f} × the rate without them",
    "rss_grown_mib": "+{:.1f} MiB",
    "of_memory": "{:.2f} × memory's rate",
    "snapshot_ms": "{:.2f} ms a snapshot",
    "look_ms": "{:.2f} ms a look",
    "core_none": "{:.1%} of a core",
    "ratio_unwatched": "× {:.3f} unwatched",
    "ratio_watched": "× {:.3f} watched",
    "visit_us_none": "{:.0f} µs a visit",
    "visit_ratio_unwatched": "× {:.3f} unwatched",
    "visit_ratio_watched": "× {:.3f} watched",
    "seconds": "{:.1f} s",
    "recovered": "{:.0f} recovered",
}


def _print_table(runs: Sequence[dict[str, object]]) -> None:
    """Print a row a case and server: medians over the repeats."""
    grouped: dict[tuple[str, str], list[dict[str, object]]] = {}
    for run in runs:
        grouped.setdefault((str(run.get("case", run["bench"])), str(run["server"])), []).append(run)
    width = max(len(name) for name, _ in grouped) if grouped else 0
    for (name, server), group in grouped.items():
        print(f"{name:{width}}  {server:20}  {_describe(group)}")


def _describe(group: Sequence[dict[str, object]]) -> str:
    done = [run for run in group if "figures" in run]
    if not done:
        return f"failed: {group[0]['failed']}"
    words = []
    for key, form in SHOWN.items():
        values = [run["figures"][key] for run in done if key in run["figures"]]  # type: ignore[index,operator]
        if values:
            words.append(form.format(statistics.median(values)))
    if any(run["figures"].get("lost") for run in done):  # type: ignore[attr-defined]
        words.append("LOST some")
    if any(run["bound"] for run in done):
        words.append("(a lower bound: the load was busy)")
    load = statistics.median(float(str(run["load_cpu"])) for run in done)
    server = statistics.median(float(str(run["server_cpu"])) for run in done)
    return f"{', '.join(words)}  [server {server:.0%}, load {load:.0%}]"


def _keep(runs: Sequence[dict[str, object]], options: argparse.Namespace) -> None:
    results = {
        "version": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "runs": list(runs),
    }
    path = Path(options.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"kept in {path}; `python -m benchmarks report` makes a page of it")


def _report(results: dict[str, object], options: argparse.Namespace) -> None:
    path = Path(options.results).with_suffix(".html")
    write_report(results, path)
    write_pictures(results, path.parent)
    print(f"written to {path}")


def _raise_limit_of_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
