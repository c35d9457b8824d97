"""Crowds that behave badly, against the server in a process of its own: what is left of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from benchmarks.load import Members, Target, connect, finish_handshake, frame, plain
from benchmarks.servers import Process

PATIENCE = 60  # seconds: a test that hangs fails
MiB = 1024


@dataclass
class Subject:
    """The server under test."""

    process: Process
    popen: subprocess.Popen[str]
    log: IO[str]

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.process.port)

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.process.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        pattern = rf"^trio_chat_{re.escape(name)} (\S+)$"
        found = re.search(pattern, self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_for(self, name: str, value: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while (now := self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} stays at {now}, not {value}"

    def wait_for_rest(self, tasks: float, files: int) -> None:
        """Wait until no more tasks run and no more files are open than these."""
        deadline = time.monotonic() + PATIENCE
        while self.metric("tasks") > tasks or self.open_files() > files:
            assert time.monotonic() < deadline, "tasks or open files stay"

    def dropped(self) -> float:
        """Return how many deliveries were dropped, whatever the reason."""
        pattern = r'^trio_chat_deliveries_dropped_total\{reason="[^"]*"\} (\S+)$'
        return sum(map(float, re.findall(pattern, self.metrics(), re.MULTILINE)))

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextmanager
def subject(*options: str, program: Sequence[str] = ("-m", "trio_chat")) -> Iterator[Subject]:
    command = [sys.executable, *program, "serve", "--port", "0", "--rate", "0"]
    with tempfile.TemporaryFile("w+") as log:
        popen = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert popen.stdout
            port = urlsplit(popen.stdout.readline().split()[-1]).port
            assert port
            yield Subject(Process("ours", popen.pid, port), popen, log)
        finally:
            popen.kill()
            popen.communicate()


def test_50_mb_past_a_member_that_reads_nothing_evict_it_and_cost_no_memory() -> None:
    with subject("--log-level", "error") as server:
        room, deaf = Members(server.target), Members(server.target)
        room.join(["lobby"] * 10)
        message = plain("x" * 4000)
        room.learn(list(range(10)), message)
        deaf.join(["lobby"])
        before = server.process.rss_kib()
        for sent in range(1, 50 * 1024 * 1024 // 4000):
            room.send(0, message)
            while room.total < (sent - 30) * room.size * 10:
                room.poll(1.0)
        while room.total < sent * room.size * 10:
            assert room.poll(PATIENCE)
        assert room.received == [sent * room.size] * 10
        assert server.process.rss_kib() - before < 20 * MiB
        server.wait_for('sessions_ended_total{code="4000"}', 1)
        room.close()
        deaf.close()
        server.wait_for("connections_open", 0)
        owed, handed = map(server.metric, ("deliveries_owed_total", "deliveries_handed_total"))
        assert owed == handed + server.dropped()


def test_500_who_vanish_at_once_leave_nothing_behind() -> None:
    with subject("--log-level", "error") as server:
        tasks, files = server.metric("tasks"), server.open_files()
        memory: list[float] = []
        for _ in range(4):  # A later crowd finds the memory that the first one left.
            crowd = Members(server.target)
            crowd.join([f"room-{number // 50}" for number in range(500)])
            server.wait_for("members", 500)
            crowd.close()  # By reset, all of them.
            server.wait_for("connections_open", 0)
            server.wait_for_rest(tasks, files)
            memory.append(server.process.rss_kib())
        assert server.metric("members") == 0
        assert server.metric("rooms_open") == 0
        assert max(memory[1:]) < memory[0] + 2 * MiB
        assert server.metric("faults_total") == 0


def test_half_closed_sockets_are_let_go() -> None:
    with subject("--log-level", "error") as server:
        tasks, files = server.metric("tasks"), server.open_files()
        socks = [connect(server.target, "lobby") for _ in range(500)]
        for sock in socks:
            finish_handshake(sock)
            sock.shutdown(socket.SHUT_WR)
        server.wait_for("connections_open", 0)
        for sock in socks:
            sock.setblocking(True)
            assert sock.recv(10) == b""
            sock.close()
        server.wait_for_rest(tasks, files)
        assert server.metric("rooms_open") == 0


def test_2000_joins_over_500_rooms_leave_less_than_8_mib() -> None:
    with subject("--log-level", "error") as server:
        first = Members(server.target)
        first.join(["warm-up"] * 64)
        first.close()
        server.wait_for("connections_open", 0)
        before = server.process.rss_kib()
        for start in range(0, 2000, 100):
            crowd = Members(server.target)
            crowd.join([f"room-{number % 500}" for number in range(start, start + 100)])
            crowd.close()
        server.wait_for("sessions_total", 2064)
        server.wait_for("connections_open", 0)
        assert server.metric("rooms_open") == 0
        assert server.process.rss_kib() - before < 8 * MiB


def test_a_drain_of_1000_members_under_load_loses_nothing() -> None:
    with subject() as server:
        crowd, deaf = Members(server.target), Members(server.target)
        crowd.join(["lobby"] * 1000)
        message = plain()
        crowd.learn(list(range(1000)), message)
        deaf.join(["lobby"])
        for number in range(50):
            crowd.send(number, message)
        server.wait_for("messages_total", 52)
        for number in range(50):
            crowd.send(number, message)  # Accepted or not, when the signal comes.
        server.popen.send_signal(signal.SIGTERM)
        tails = [read_to_the_end(sock, crowd.received[i]) for i, sock in enumerate(crowd.sockets)]
        assert {close for _, close in tails} == {1001}
        sizes = {size for size, _ in tails}
        assert len(sizes) == 1  # Everybody got the same,
        (size,) = sizes
        assert size % crowd.size == 0  # in whole messages,
        assert size // crowd.size >= 50  # and what was accepted before the signal.
        deaf.close()
        crowd.close()
        assert server.popen.wait(timeout=PATIENCE) == 0
        server.log.seek(0)
        books = re.search(
            r"ledger: (\d+) owed, (\d+) handed over, 0 waiting; balances", server.log.read()
        )
        assert books  # Nothing was dropped,
        said = 2 + size // crowd.size  # and what was accepted is what everybody got:
        assert 1000 * said <= int(books[1]) <= 1001 * said  # the deaf one came in the course of it.
        assert books[1] == books[2]


def read_to_the_end(sock: socket.socket, received: int) -> tuple[int, int]:
    """Return how many bytes of messages came in all, and the code of the Close behind them.

    Where there is none, that is 1006.
    """
    sock.setblocking(True)
    sock.settimeout(PATIENCE)
    data = b""
    while piece := sock.recv(65536):
        data += piece
        if is_closed(data):
            sock.sendall(frame(b"")[:0] + b"\x88\x80\0\0\0\0")
    if not is_closed(data):
        return received + len(data), 1006
    at = data.rindex(b"\x88")
    return received + at, int.from_bytes(data[at + 2 : at + 4], "big")


def is_closed(data: bytes) -> bool:
    at = data.rfind(b"\x88")
    return at >= 0 and len(data) >= at + 2 and len(data) == at + 2 + data[at + 1]
