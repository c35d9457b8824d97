"""`make soak`: whatever crowds do, for minutes, from one seed; then everything is as it was before.

    python tests/soak.py --minutes 5 --seed 7

Churn, floods, stalls, resets and garbage, at random, against a server in a process of its own.
Each deed knows what its honest members have to hear, and who has to be told what. When the time is
up everybody goes, and tasks, sockets, members and rooms have to be back where they were before
anybody came, memory where it was after the first crowds. Then a last crowd talks while the server
drains: everybody is told goodbye behind the same messages, and the books say how many those were.

What is wrong is said in a sentence, with the seed that shows it again, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from test_crowds import PATIENCE, Subject, read_to_the_end, subject

from benchmarks.load import LoadError, Members, connect, finish_handshake, frame, plain

ROOMS = [f"soak-{number}" for number in range(20)]
WARM_UPS = 4  # rounds of all deeds, after which the server has what it keeps for good
MAY_GROW = 8 * 1024  # KiB
LONG = plain("x" * 4000)
TO_STALL = 50 * 1024 * 1024  # bytes, of which a kernel may hold a few millions
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET /chat/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xff" * 100,
]
VIOLATIONS = [b"\x83\x80abcd", b"\x81\x05hello", b"\x81\x82abcd\xff\xff", b"\x88\x81abcda"]

# What rooms remember is memory too, and meant to stay: so they remember little. What waits for a
# member is bounded as well, or it would take tens of megabytes to make one fall out.
OPTIONS = ("--log-level", "info", "--keep-messages", "20", "--outbox", "64KiB")


class Wrong(Exception):
    """The server did what it must not, in a sentence."""


@dataclass
class State:
    """What a server holds while nobody is there."""

    tasks: float
    files: int
    memory: float  # KiB


@dataclass
class Report:
    """What happened, and what was wrong with it."""

    deeds: Counter[str] = field(default_factory=Counter)
    evicted: float = 0
    sessions: float = 0
    handed: float = 0
    memory: list[float] = field(default_factory=list)  # before, warm, at the end
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        deeds = ", ".join(f"{count} {name}" for name, count in sorted(self.deeds.items()))
        memory = ", ".join(f"{kib / 1024:.1f}" for kib in self.memory)
        return (
            f"{self.deeds.total()} deeds: {deeds}\n"
            f"{self.sessions:.0f} sessions, {self.evicted:.0f} evicted and told so, "
            f"{self.handed:.0f} deliveries\n"
            f"MiB with nobody there, before, after the first crowds, at the end: {memory}\n"
        )


def reset(sock: socket.socket) -> None:
    """Break a connection off."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Crowds:
    """Who comes to a server, and what they do there."""

    def __init__(self, server: Subject, dice: random.Random, patience: float) -> None:
        self.server = server
        self.dice = dice
        self.patience = patience  # seconds
        self.deeds: list[Callable[[], None]] = [
            self.churn,
            self.flood,
            self.stall,
            self.garbage,
            self.vanish,
        ]

    def join(self) -> socket.socket:
        sock = connect(self.server.target, self.dice.choice(ROOMS))
        finish_handshake(sock)
        sock.setblocking(True)
        sock.settimeout(PATIENCE)
        return sock

    def churn(self) -> None:
        """Come, say something or nothing, go politely or not."""
        for _ in range(20):
            sock = self.join()
            if self.dice.random() < 0.7:
                sock.sendall(plain())
            if self.dice.random() < 0.5:
                sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
            if self.dice.random() < 0.5:
                reset(sock)
            sock.close()

    def flood(self) -> None:
        """Everybody in a room talks, and hears everything."""
        self.empty_the_house()
        room = Members(self.server.target)
        try:
            room.join(["flood"] * self.dice.randrange(2, 30))
            self.server.wait_for("members", len(room))
            for number in range(300):
                room.send(number % len(room), plain())
            self.listen(room, 300)
        finally:
            room.close()

    def stall(self) -> None:
        """Some read nothing while megabytes go through their room: they are put out, and told."""
        self.empty_the_house()
        evicted = self.server.metric('sessions_ended_total{code="4000"}')
        room = Members(self.server.target)
        deaf: list[socket.socket] = []
        try:
            room.join(["stall"] * 3)
            deaf += [self.join_deaf("stall") for _ in range(self.dice.randrange(1, 5))]
            self.server.wait_for("members", 3 + len(deaf))
            sent = 0
            while self.server.metric("members") > 3:
                if sent * len(LONG) > TO_STALL:
                    raise Wrong(f"{sent * len(LONG)} bytes evicted none of the deaf")
                for _ in range(100):
                    room.send(self.dice.randrange(3), LONG)
                    room.poll(0)
                sent += 100
            self.listen(room, sent)
            codes = Counter(read_to_the_end(sock, 0)[1] for sock in deaf)
            for sock in deaf:
                sock.close()
            if codes != {4000: len(deaf)}:
                raise Wrong(f"{len(deaf)} were evicted, and told {dict(codes)}")
            self.server.wait_for('sessions_ended_total{code="4000"}', evicted + len(deaf))
        finally:
            room.close()
            for sock in deaf:
                reset(sock)

    def join_deaf(self, room: str) -> socket.socket:
        """Send somebody in who can hold little that was not read."""
        sock = connect(self.server.target, room)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        finish_handshake(sock)
        return sock

    def garbage(self) -> None:
        """Say what is no request, or no frame."""
        for _ in range(10):
            stranger = socket.create_connection(("127.0.0.1", self.server.process.port))
            stranger.sendall(self.dice.choice(GARBAGE))
            reset(stranger)
            member = self.join()
            member.sendall(frame(self.dice.randbytes(self.dice.randrange(200))))
            member.sendall(self.dice.choice(VIOLATIONS))
            with suppress(OSError):
                member.recv(4096)
            reset(member)

    def vanish(self) -> None:
        """A crowd is cut off at once."""
        crowd = Members(self.server.target)
        try:
            crowd.join([self.dice.choice(ROOMS) for _ in range(100)])
        finally:
            crowd.close()

    def empty_the_house(self) -> None:
        """Wait until those who came before have gone."""
        self.server.wait_for("connections_open", 0)
        self.server.wait_for("rooms_open", 0)

    def listen(self, room: Members, messages: int) -> None:
        """Let everybody in a room hear so many messages of one size, and nothing else."""
        while True:
            least, most = min(room.received), max(room.received)
            if least == most and least > 0 and least % messages == 0 and not room.poll(0.02):
                return
            if not room.poll(self.patience):
                raise Wrong(f"of {messages} messages some heard {least} bytes, others {most}")


def soak(
    seconds: float,
    seed: int,
    *,
    program: Sequence[str] = ("-m", "trio_chat"),
    patience: float = PATIENCE,
) -> Report:
    """Soak a server; report what was done, and what is wrong."""
    report = Report()
    with subject(*OPTIONS, program=program) as server:
        crowds = Crowds(server, random.Random(seed), patience)
        try:
            let_in(crowds, seconds, report)
            report.wrong += check_the_books(server)
            report.wrong += drain(server)
        except (OSError, AssertionError, LoadError) as exc:
            report.wrong.append(f"in the end: {exc}")
        server.log.seek(0)
        report.wrong += [f"in the log: {line.strip()}" for line in server.log if " error " in line]
    return report


def let_in(crowds: Crowds, seconds: float, report: Report) -> None:
    """Let crowds in and out for so long, and look at the server before, between and after."""
    server = crowds.server
    before = look_at(server)
    for deed in crowds.deeds * WARM_UPS:
        if not report.wrong:
            do(deed, report)
    rest(crowds, before, report)
    warm = look_at(server)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not report.wrong:
        deed = crowds.dice.choice(crowds.deeds)
        if sys.stderr.isatty():
            name = f"{deed.__name__:8}"
            sys.stderr.write(f"\r{report.deeds.total()} deeds, {left:.0f} s left: {name}")
        do(deed, report)
    rest(crowds, before, report)
    after = look_at(server)
    if (grown := after.memory - warm.memory) > MAY_GROW:
        report.wrong.append(f"memory has grown by {grown / 1024:.1f} MiB")
    report.memory = [before.memory, warm.memory, after.memory]
    report.evicted = server.metric('sessions_ended_total{code="4000"}')
    report.sessions = server.metric("sessions_total")
    report.handed = server.metric("deliveries_handed_total")


def do(deed: Callable[[], None], report: Report) -> None:
    report.deeds[deed.__name__] += 1
    try:
        deed()
    except (Wrong, AssertionError, LoadError, OSError) as exc:
        # Everybody here knows what to expect of the server, so nobody may be cut off without need.
        report.wrong.append(f"{deed.__name__}: {exc}")


def look_at(server: Subject) -> State:
    return State(server.metric("tasks"), server.open_files(), server.process.rss_kib())


def rest(crowds: Crowds, before: State, report: Report) -> None:
    """Wait until the server is as it was `before`, but for its memory; say what is not."""
    server = crowds.server
    deadline = time.monotonic() + crowds.patience
    while True:
        now = look_at(server)
        wrong = [
            f"{name} is {value:g}, not 0"
            for name in ("connections_open", "rooms_open", "members", "outbox_bytes")
            if (value := server.metric(name))
        ]
        if now.tasks > before.tasks:
            wrong.append(f"{now.tasks:g} tasks run, {before.tasks:g} did")
        if now.files > before.files:
            wrong.append(f"{now.files} files are open, {before.files} were")
        if not wrong:
            return
        if time.monotonic() > deadline:
            report.wrong += wrong
            return
        time.sleep(0.05)


def check_the_books(server: Subject) -> list[str]:
    wrong = []
    for name in ("deliveries_waiting", "faults_total", "messages_unstored_total"):
        if value := server.metric(name):
            wrong.append(f"{name} is {value:g}, not 0")
    owed, handed = server.metric("deliveries_owed_total"), server.metric("deliveries_handed_total")
    if owed != handed + server.dropped():
        wrong.append(f"the books don't balance: {owed:g} owed, {handed:g} handed over")
    return wrong


def drain(server: Subject) -> list[str]:
    """End the server while a crowd talks; return what is wrong, in sentences."""
    wrong = []
    handed = server.metric("deliveries_handed_total")
    crowd = Members(server.target)
    names = [ROOMS[number % 5] for number in range(100)]
    try:
        crowd.join(names)
        server.wait_for("members", len(crowd))
        crowd.learn(list(range(0, len(crowd), 5)), plain())
        handed += 2 * 20  # What was learnt from.
        for number in range(2000):
            if number == 1000:
                server.popen.send_signal(signal.SIGTERM)
            with suppress(OSError):  # From now on a server may be gone.
                crowd.sockets[number % 100].send(plain())
        tails = [read_to_the_end(sock, 0) for sock in crowd.sockets]
        code = server.popen.wait(timeout=PATIENCE)
    finally:
        crowd.close()
    if (codes := {close for _, close in tails}) != {1001}:
        wrong.append(f"the goodbyes were {sorted(codes)}, not 1001")
    sizes = {name: {size for size, _ in tails[i::5]} for i, name in enumerate(names[:5])}
    for name, heard in sizes.items():
        if len(heard) != 1 or any(size % crowd.size for size in heard):
            wrong.append(f"before the end some in {name} heard {sorted(heard)} bytes")
    if code != 0:
        wrong.append(f"the drain ended with {code}")
    server.log.seek(0)
    books = re.search(
        r"ledger: \d+ owed, (\d+) handed over, (\d+) waiting.*; (.*)", server.log.read()
    )
    heard_all = handed + sum(size for size, _ in tails) // crowd.size
    if books is None:
        wrong.append("the books are not in the log")
    elif (int(books[1]), books[2], books[3]) != (heard_all, "0", "balances"):
        wrong.append(f"{heard_all:g} deliveries were heard in all; {books[0]}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    sys.stderr.write(f"seed {options.seed}\n")
    report = soak(options.minutes * 60, options.seed)
    sys.stderr.write(f"\n{report}")
    for sentence in report.wrong:
        sys.stderr.write(f"{sentence} (seed {options.seed})\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
