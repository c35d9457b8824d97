"""`make soak`: whatever crowds do, for minutes, from one seed; then everything is as it was before.

    python tests/soak.py --minutes 5 --seed 7

Churn, floods, stalls, resets and garbage, at random, against a server in a process of its own.
When the time is up everybody goes, and memory, sockets, members and rooms have to be back where
they were after the first round; then the server drains, and its books have to balance. What does
not is said in a sentence, with the seed that shows it again, and the exit code is 1.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from test_crowds import PATIENCE, Subject, subject

from benchmarks.load import LoadError, Members, connect, finish_handshake, frame, plain

ROOMS = [f"soak-{number}" for number in range(20)]
MAY_GROW = 8 * 1024  # KiB
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET /chat/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xff" * 100,
]
VIOLATIONS = [b"\x83\x80abcd", b"\x81\x05hello", b"\x81\x82abcd\xff\xff", b"\x88\x81abcda"]


def reset(sock: socket.socket) -> None:
    """Break a connection off."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def join(server: Subject, dice: random.Random) -> socket.socket:
    sock = connect(server.target, dice.choice(ROOMS))
    finish_handshake(sock)
    sock.setblocking(True)
    sock.settimeout(PATIENCE)
    return sock


def churn(server: Subject, dice: random.Random) -> None:
    """Come, say something or nothing, go politely or not."""
    for _ in range(20):
        sock = join(server, dice)
        if dice.random() < 0.7:
            sock.sendall(plain())
        if dice.random() < 0.5:
            sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
        if dice.random() < 0.5:
            reset(sock)
        sock.close()


def flood(server: Subject, dice: random.Random) -> None:
    """Everybody in a room talks, and hears everything."""
    room = Members(server.target)
    name = f"flood-{dice.randrange(20)}"
    try:
        room.join([name] * dice.randrange(2, 30))
        for number in range(300):
            room.send(number % len(room), plain())
        room.settle(0.05)
    finally:
        room.close()


def stall(server: Subject, dice: random.Random) -> None:
    """Some read nothing while megabytes go through their room."""
    deaf = [join(server, dice) for _ in range(5)]
    talker = Members(server.target)
    try:
        talker.join(ROOMS[:5])
        for _ in range(300):
            talker.send(dice.randrange(5), plain("x" * 4000))
            talker.poll(0)
    finally:
        talker.close()
        for sock in deaf:
            reset(sock)


def garbage(server: Subject, dice: random.Random) -> None:
    """Say what is no request, or no frame."""
    for _ in range(10):
        stranger = socket.create_connection(("127.0.0.1", server.process.port))
        stranger.sendall(dice.choice(GARBAGE))
        reset(stranger)
        member = join(server, dice)
        member.sendall(frame(dice.randbytes(dice.randrange(200))))
        member.sendall(dice.choice(VIOLATIONS))
        with suppress(OSError):
            member.recv(4096)
        reset(member)


def vanish(server: Subject, dice: random.Random) -> None:
    """A crowd is cut off at once."""
    crowd = Members(server.target)
    crowd.join([dice.choice(ROOMS) for _ in range(100)])
    crowd.close()


DEEDS: list[Callable[[Subject, random.Random], None]] = [churn, flood, stall, garbage, vanish]


def soak(seconds: float, seed: int) -> list[str]:
    """Soak a server; return what is wrong afterwards, in sentences."""
    dice = random.Random(seed)
    # What rooms remember is memory too, and meant to stay: so they remember little.
    with subject("--log-level", "warning", "--keep-messages", "20") as server:
        for deed in DEEDS * 4:  # What the server keeps for good, it has by then.
            deed(server, dice)
        settle(server)
        memory, files, rounds = server.process.rss_kib(), server.open_files(), 0
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            deed = dice.choice(DEEDS)
            rounds += 1
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{rounds} deeds, {left:.0f} s left: {deed.__name__:8}")
            with suppress(LoadError):  # The server may cut off whom it likes; it may not suffer.
                deed(server, dice)
        sys.stderr.write(f"\n{rounds} deeds\n")
        settle(server)
        wrong = compare(server, memory, files)
        server.popen.send_signal(signal.SIGTERM)
        if (code := server.popen.wait(timeout=PATIENCE)) != 0:
            wrong.append(f"the drain ended with {code}")
        server.log.seek(0)
        wrong += [f"in the log: {line.strip()}" for line in server.log if " error " in line]
    return wrong


def settle(server: Subject) -> None:
    server.wait_for("connections_open", 0)
    server.wait_for("rooms_open", 0)


def compare(server: Subject, memory: float, files: int) -> list[str]:
    wrong = []
    if (grown := server.process.rss_kib() - memory) > MAY_GROW:
        wrong.append(f"memory has grown by {grown / 1024:.1f} MiB")
    # The connection that asked for the metrics may be closing still.
    deadline = time.monotonic() + 10
    while (now := server.open_files()) > files and time.monotonic() < deadline:
        time.sleep(0.05)
    if now > files:
        wrong.append(f"{now} files are open, {files} were")
    for name in ("members", "deliveries_waiting", "outbox_bytes", "faults_total"):
        if value := server.metric(name):
            wrong.append(f"{name} is {value:g}, not 0")
    owed, handed = server.metric("deliveries_owed_total"), server.metric("deliveries_handed_total")
    if owed != handed + dropped(server):
        wrong.append(f"the books don't balance: {owed:g} owed, {handed:g} handed over")
    return wrong


def dropped(server: Subject) -> float:
    pattern = r'^trio_chat_deliveries_dropped_total\{reason="[^"]*"\} (\S+)$'
    return sum(map(float, re.findall(pattern, server.metrics(), re.MULTILINE)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    sys.stderr.write(f"seed {options.seed}\n")
    wrong = soak(options.minutes * 60, options.seed)
    for sentence in wrong:
        sys.stderr.write(f"{sentence} (seed {options.seed})\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
