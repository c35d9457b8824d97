"""A server as a process: what `trio-chat serve` runs, from the settings to an exit code.

The only module that takes signals. The first SIGINT or SIGTERM drains the server, a second one
ends the process at once.

    main
    ├── signals     for as long as there is a server
    └── server      drained, it ends everything
"""

import gc
import os
import resource
import signal
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

import trio

from . import logs, usage
from .config import Config
from .console import refuse, say, tell
from .history import HistoryUnavailable
from .server import Server

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(config: Config) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        KeyboardInterrupt: a Ctrl-C came before the server listened.
    """
    logs.configure(config.log_level, config.log_format)
    _raise_limit_of_open_files()
    return trio.run(_serve_until_drained, config)


async def _serve_until_drained(config: Config) -> int:
    trio.lowlevel.current_task().name = "main"
    try:
        server = Server(config)
    except HistoryUnavailable as error:
        return refuse(f"can't open the history {usage.hide_password(config.history)}: {error}")
    failure = ""
    async with trio.open_nursery() as beside:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(server.run, name="server")
            except OSError as error:
                why = error.strerror or error
                failure = f"can't listen on {config.host}:{config.port}: {why}"
            except HistoryUnavailable as error:
                failure = f"can't open the history {usage.hide_password(config.history)}: {error}"
            else:
                await beside.start(_obey_signals, server, name="signals")
                _forget_the_start()
                tell(f"listening on {server.url}")
        # The server has drained; nobody is left to take signals for.
        beside.cancel_scope.cancel(reason="the server has ended")
    return refuse(failure) if failure else server.exit_code


async def _obey_signals(
    server: Server, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Drain at the first signal; from then on a signal ends the process.

    If cancelled, signals do again what they did before.
    """
    with trio.open_signal_receiver(*SIGNALS) as received:
        task_status.started()
        async for number in received:
            if signal.getsignal(number) is _end_at_once:
                # Both came in one step, so this one is the second.
                _end_at_once(number, None)
            server.drain()
            # Not by way of Trio: a second signal must work even where the loop is stuck.
            for each in SIGNALS:
                signal.signal(each, _end_at_once)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    say("a second signal: ended at once")
    os._exit(128 + number)


def _raise_limit_of_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the hard limit is "infinite", a kernel may still refuse it; then it stays as it is.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _forget_the_start() -> None:
    # Modules and code live as long as the process: no collection need look at them again. With
    # Python's own thresholds 10,000 connections spend half of their connecting on collections.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
