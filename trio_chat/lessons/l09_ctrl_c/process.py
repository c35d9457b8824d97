"""The server as a process of its own, with a microscope: `trio-chat serve`, signals, an exit code.

It is the package that runs here, whatever is installed, so that a mutant is met there as well.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from ...microscope.asking import ask
from ...microscope.discovery import folder_in
from ...microscope.events import Spawned, decode
from ...microscope.recording import Recording
from ..mutant import python_of

PATIENCE: Final = 8.0  # seconds for whatever takes one or two


class Serving:
    """A server that listens at `port`, and the signals that it can be sent."""

    def __init__(self, process: trio.Process, port: int, path: Path) -> None:
        self._process = process
        self._path = path
        self.port = port

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, as Ctrl-C and `kill` do."""
        self._process.send_signal(number)

    async def wait(self) -> int | None:
        """Wait until it has ended and return the exit code.

        Where that takes longer than `PATIENCE` it is killed, and there is none.
        """
        with trio.move_on_after(PATIENCE):
            return await self._process.wait()
        self._process.kill()
        return None

    async def record(
        self, recording: Recording, members: int, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Take down what its tasks do, until it ends; started when all members are in it."""
        async with ask(self._path, "watch") as answers:
            missing = members
            while lines := await answers.next_lines():
                for line in lines.decode().splitlines():
                    event = decode(line)
                    recording.append(event)
                    if isinstance(event, Spawned) and event.name.startswith("member"):
                        missing -= 1
                        if missing == 0:
                            task_status.started()


@asynccontextmanager
async def serve(*options: str) -> AsyncIterator[Serving]:
    """Run a server on a free port. At the end of the block it is killed, if it still runs."""
    with tempfile.TemporaryDirectory(prefix="trio-chat-lab-") as folder:
        process = await trio.lowlevel.open_process(
            [
                *python_of(),
                "serve",
                "--port",
                "0",
                "--log-level",
                "error",
                "--microscope",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"XDG_RUNTIME_DIR": folder},
        )
        try:
            port = await _read_port(process)
            path = folder_in(Path(folder)) / f"{process.pid}.sock"
            yield Serving(process, port, path)
        finally:
            process.kill()
            with trio.move_on_after(PATIENCE, shield=True):
                await process.wait()


async def _read_port(process: trio.Process) -> int:
    assert process.stdout is not None
    said = b""
    with trio.fail_after(PATIENCE):
        while not said.endswith(b"\n"):
            part = await process.stdout.receive_some()
            if not part:
                raise AssertionError("the server did not start")
            said += part
    port = urlsplit(said.decode().split()[-1]).port
    assert port is not None
    return port
