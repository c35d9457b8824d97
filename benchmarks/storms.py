"""Measurements in which somebody misbehaves: slow members, loud neighbours, everybody at once."""

from __future__ import annotations

import re
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .load import BATCH, PATIENCE, LoadError, Members, Target, connect, finish_handshake, plain
from .measure import Figures, Result, _percentile, fanout, metered
from .servers import OURS, Process, free_port, our_command, running

WELCOME: Final = re.compile(
    rb'"epoch":"([^"]+)","seq":(\d+),"recovered":(true|false),"resume":"([^"]+)"'
)

# The quiet room must not wait for the load itself, which has a crowd to listen to.
A_FEW: Final = 32


def slow(
    target: Target,
    server: Process | None,
    *,
    members: int = 100,
    silent: int = 10,
    seconds: float = 3.0,
) -> Result:
    """A room at full rate, without and with members that read nothing: the ratio of the rates."""
    clean = fanout(target, server, members=members, in_flight=32, seconds=seconds)
    before = server.rss_kib() if server else 0.0
    stalled = fanout(target, server, members=members, in_flight=32, seconds=seconds, silent=silent)
    grown = (server.rss_kib() if server else 0.0) - before
    rates = [float(str(run.figures["messages_per_s"])) for run in (clean, stalled)]
    result = Result("slow", {"members": members, "silent": silent})
    result.load_cpu, result.server_cpu = stalled.load_cpu, stalled.server_cpu
    result.figures = {
        "messages_per_s": rates[1],
        "ratio": rates[1] / rates[0],
        "lost": stalled.figures["lost"],
        "rss_grown_mib": grown / 1024,
    }
    return result


def neighbour(
    target: Target, server: Process | None, *, crowd: int = 5000, seconds: float = 5.0
) -> Result:
    """A room of ten that talks ten times a second beside a crowd at full rate: its latency."""
    result = Result("neighbour", {"members": 10, "crowd": crowd})
    loud, quiet, message = Members(target), Members(target), plain()
    try:
        loud.join(["crowd"] * crowd)
        quiet.join(["quiet"] * 10)
        quiet.learn(list(range(10)), message)
        loud.learn(list(range(crowd)), message)
        waits: list[float] = []
        due, sent, asked = time.perf_counter(), 0, 0
        end = due + seconds
        with metered(result, server):
            while (now := time.perf_counter()) < end:
                if now >= due:
                    # An open loop: what is late waits, and that is counted.
                    asked += 1
                    quiet.send(asked % 10, message)
                    begin, due = due, due + 0.1
                    waits += _listen(quiet, loud, asked * 10 * quiet.size, begin)
                if loud.total // loud.size // crowd >= sent:
                    loud.send(0, message)
                    sent += 1
                loud.poll(0, A_FEW)
        result.figures = {
            "p50_ms": _percentile(sorted(waits), 50) * 1000,
            "p99_ms": _percentile(sorted(waits), 99) * 1000,
            "crowd_deliveries_per_s": loud.total / loud.size / seconds,
        }
    finally:
        loud.close()
        quiet.close()
    return result


def _listen(quiet: Members, loud: Members, expected: int, begin: float) -> list[float]:
    # Until the quiet room has heard the message; the crowd is kept going meanwhile.
    waits: list[float] = []
    while quiet.total < expected:
        before = quiet.total
        quiet.poll(0)
        heard = (quiet.total - before) // quiet.size
        waits += [time.perf_counter() - begin] * heard
        loud.poll(0, A_FEW)
        if time.perf_counter() > begin + PATIENCE:
            raise LoadError("the quiet room was not served")
    return waits


def resume(target: Target, server: Process | None, *, members: int = 5000) -> Result:
    """Everybody is cut off and comes back at once: seconds until the last has its recovery."""
    result = Result("resume", {"members": members, "after": "a cut"})
    places = _be_cut_off(target, members)
    with metered(result, server):
        result.figures = _come_back(target, places)
    return result


def resume_after_restart(target: Target, server: Process | None, *, members: int = 5000) -> Result:
    """The same after a restart, which the history outlives: in SQLite, in a temporary directory.

    The servers are two of its own, one after the other on one port; `server` is left alone.
    """
    result = Result("resume", {"members": members, "after": "a restart"})
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        command = our_command(port, "--history", f"sqlite:{directory}/history.db")
        here = replace(target, port=port)
        with running(OURS, command, port):
            places = _be_cut_off(here, members)
        with running(OURS, command, port) as restarted, metered(result, restarted):
            result.figures = _come_back(here, places)
    return result


Place = tuple[str, str, str]  # epoch, number, secret


def _be_cut_off(target: Target, members: int) -> list[Place]:
    crowd = Members(target)
    try:
        places = [_join(target, crowd, f"resume-{index // 50}", "") for index in range(members)]
        # One message a room, which everybody missed: the recovery has something to bring.
        for index in range(0, members, 50):
            crowd.send(index, plain())
        crowd.settle()
    finally:
        crowd.close()
    return places


def _come_back(target: Target, places: Sequence[Place]) -> Figures:
    crowd, recovered, begin = Members(target), 0, time.perf_counter()
    try:
        for start in range(0, len(places), BATCH):
            opened = []
            for index, (epoch, seq, secret) in enumerate(places[start : start + BATCH], start):
                query = f"?since={seq}&epoch={epoch}&resume={secret}"
                opened.append(connect(target, f"resume-{index // 50}", query))
            for sock in opened:
                early = finish_handshake(sock)
                recovered += _read_welcome(sock, early)[3] == b"true"
                crowd.add(sock)
        return {"seconds": time.perf_counter() - begin, "recovered": recovered}
    finally:
        crowd.close()


def _join(target: Target, crowd: Members, room: str, query: str) -> tuple[str, str, str]:
    sock = connect(target, room, query)
    epoch, seq, secret, _ = _read_welcome(sock, finish_handshake(sock))
    crowd.add(sock)
    return epoch.decode(), seq.decode(), secret.decode()


def _read_welcome(sock: socket.socket, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    sock.setblocking(True)
    sock.settimeout(30)
    while (found := WELCOME.search(data)) is None:
        piece = sock.recv(65536)
        if not piece:
            raise LoadError("no welcome")
        data += piece
    sock.setblocking(False)
    epoch, seq, recovered, secret = found.groups()
    return epoch, seq, secret, recovered
