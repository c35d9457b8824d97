"""A server in a process of its own, on a core of its own, and what the kernel says it used."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

START_TIMEOUT: Final = 30.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024

OURS: Final = "trio-chat"

# In a command it stands for a directory that is there for one run.
SCRATCH: Final = "{scratch}"


def our_command(port: int, *options: str) -> list[str]:
    """Return the command of this project's server, with nothing limited that others don't limit."""
    return [
        sys.executable, "-m", "trio_chat", "serve", "--port", str(port),
        "--rate", "0", "--log-level", "warning", *options,
    ]  # fmt: skip


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pin(core: int, pid: int = 0) -> None:
    """Keep a process, or this one, on one core, where there is more than one."""
    cores = list(range(os.cpu_count() or 1))
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core % len(cores)]})


@dataclass(frozen=True, slots=True)
class Process:
    """A running server."""

    name: str
    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Return user and system time used so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_kib(self) -> float:
        """Return the resident memory."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return float(int(statm.read().split()[1]) * PAGE_KIB)


# The kernel's tables of what one connected TCP socket takes.
SLABS: Final = frozenset({"TCP", "TCPv6", "sock_inode_cache", "filp", "ep_item", "eventpoll_epi"})


def kernel_socket_kib() -> float:
    """Return what the kernel holds for TCP sockets on this machine, both ends, in KiB.

    The sockets themselves are counted for root only; for others, what is in their buffers.
    """
    return _buffers_kib() + _slabs_kib()


def _buffers_kib() -> float:
    with open("/proc/net/sockstat") as stat:
        for line in stat:
            if line.startswith("TCP:"):
                return float(int(line.split()[-1]) * PAGE_KIB)
    return 0.0


def _slabs_kib() -> float:
    # Their columns: name, objects in use, objects, bytes of each.
    try:
        with open("/proc/slabinfo") as slabs:
            rows = [line.split() for line in slabs]
    except PermissionError:
        return 0.0
    return sum(int(row[1]) * int(row[3]) for row in rows if row[0] in SLABS) / 1024


@contextmanager
def running(name: str, command: list[str], port: int) -> Iterator[Process]:
    """Run a server on the first core during the block; the load belongs on the second.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as scratch:
        server = subprocess.Popen(
            [word.replace(SCRATCH, scratch) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        pin(0, server.pid)
        try:
            _wait_until_listening(name, server, port, errors)
            yield Process(name, server.pid, port)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(timeout=12)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_listening(
    name: str, server: subprocess.Popen[bytes], port: int, errors: IO[bytes]
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            errors.seek(0)
            why = errors.read().decode(errors="replace")[-500:]
            raise RuntimeError(f"{name} ended at once: {why}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{name} did not listen within {START_TIMEOUT:g} s")


def has_redis() -> bool:
    """Tell whether there is a Redis here that can be run."""
    return shutil.which("redis-server") is not None


@contextmanager
def running_redis() -> Iterator[str]:
    """Run a Redis that keeps nothing on the disk; yield the address of its first database.

    Raises:
        RuntimeError: there is none, or it did not listen in time.
    """
    if not has_redis():
        raise RuntimeError("there is no redis-server here")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", SCRATCH]
    with running("Redis", [*command, "--save", "", "--appendonly", "no"], port):
        yield f"redis://127.0.0.1:{port}/0"
