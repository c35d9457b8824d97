"""A real Redis in a process of its own, to be used, killed, stopped, filled and started again.

It listens on a free port and keeps its files in a directory of its own.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

# Below those that the kernel gives out by itself: or else, while the server is dead, a program that
# keeps trying to connect could be given the very port, and the server could not come back to it.
PORTS: Final = range(20_000, 32_000)
DATABASES: Final = 2048
PATIENCE: Final = 20  # seconds

# Durable: written before it is answered, so what was answered survives a kill.
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
FORGETFUL: Final = ("--appendonly", "no")


class RedisServer:
    """A `redis-server` in a process of its own: `start` it, and `kill` it in the end.

    Everything here blocks, for some hundredths of a second.
    """

    def __init__(self, directory: Path, options: tuple[str, ...] = DURABLE) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._databases = itertools.count()
        self.port = 0

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def new_url(self) -> str:
        """Return the address of a database that nobody was given yet."""
        number = next(self._databases)
        assert number < DATABASES
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> None:
        """Start it, and wait until it answers.

        Once it had a port it comes back there, and with the data that it left on the disk.
        """
        # Whether a port is free is known when somebody has it.
        ports = [self.port] if self.port else random.sample(PORTS, 20)
        said = ""
        for port in ports:
            self.port = port
            said = self._try_to_start()
            if self._process is not None:
                self.ask("config", "set", "loglevel", "warning")
                return
        raise RuntimeError(f"redis-server did not start: {said}")

    def _try_to_start(self) -> str:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._directory), "--databases", str(DATABASES), "--save", ""]
        command += ["--repl-diskless-sync-delay", "0", *self._options]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if "Ready to accept connections" in line:
                self._process = process
                return said
        process.stdout.close()
        process.wait(PATIENCE)
        return said

    def kill(self) -> None:
        """End it at once, if it runs: `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def forget(self) -> None:
        """Remove what it left on the disk: it will come back with nothing."""
        assert self._process is None, "it still writes"
        shutil.rmtree(self._directory)
        self._directory.mkdir()

    def pause(self) -> None:
        """Let it stand still: the kernel takes what it is sent, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, with all that it was sent meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def ask(self, *words: str | int) -> str:
        """Say a command to its first database, and return the answer.

        Raises:
            subprocess.SubprocessError: it is an error, or there was no answer.
        """
        command = ["redis-cli", "-e", "-p", str(self.port), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return done.stdout.strip()
