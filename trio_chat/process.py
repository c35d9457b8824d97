"""A server as a process: what `trio-chat serve` runs, from the settings to an exit code.

The first SIGINT or SIGTERM drains the server, a second one ends the process at once. SIGUSR1 prints
the tree of tasks.

    main
    ├── signals         for as long as there is a server
    ├── microscope      where it was asked for; its end is no end of the server
    └── server          drained, it ends everything
"""

import gc
import logging
import os
import resource
import signal
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from . import logs, usage
from .config import Config
from .console import announce, refuse, say, tell
from .history import HistoryUnavailable
from .microscope.snapshot import Serials, take_snapshot
from .microscope.tree import render
from .server import Server

if TYPE_CHECKING:
    from .microscope.serving import Doors
    from .microscope.wish import Wish

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
FAREWELL: Final = 1.0  # seconds in which those who watch hear how the server ended


def serve(config: Config, wish: "Wish | None" = None) -> int:
    """Serve until a signal comes, with a microscope if one is wished for; return the exit code.

    Raises:
        KeyboardInterrupt: a Ctrl-C came before the server listened.
    """
    logs.configure(config.log_level, config.log_format)
    _raise_limit_of_open_files()
    return trio.run(_main, config, wish)


async def _main(config: Config, wish: "Wish | None") -> int:
    root = trio.lowlevel.current_task()
    root.name = "main"
    try:
        server = Server(config)
    except HistoryUnavailable as error:
        return refuse(_without_history(config, error))
    if wish is None:
        return await _serve_until_drained(server, None)
    # Imported late: a server without a microscope starts, and stays, without it.
    from .microscope.serving import Doors
    from .microscope.wish import Unservable

    doors = Doors(wish, root, gauges=server.house.outboxes.waiting)
    try:
        await doors.open()
    except Unservable as error:
        return refuse(f"no microscope: {error}")
    try:
        return await _serve_until_drained(server, doors)
    finally:
        doors.shut()


async def _serve_until_drained(server: Server, doors: "Doors | None") -> int:
    failure = ""
    crash: Exception | None = None
    async with trio.open_nursery() as beside:
        signals = trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                failure = await _start(server, nursery)
                if not failure:
                    await beside.start(_obey_signals, server, signals, doors, name="signals")
                    if doors is not None:
                        await beside.start(doors.serve, name="microscope")
                        announce("\n".join(f"microscope on {place}" for place in doors.places))
                    _forget_the_start()
                    tell(f"listening on {server.url}")
        except Exception as error:  # noqa: BLE001 - Raised when those who watch have heard of it.
            crash = error
        # The server has ended; nobody is left to take signals for.
        signals.cancel(reason="the server has ended")
        if doors is not None:
            doors.close()
        beside.cancel_scope.deadline = trio.current_time() + FAREWELL
    if crash is not None:
        raise crash
    return refuse(failure) if failure else server.exit_code


async def _start(server: Server, nursery: trio.Nursery) -> str:
    """Start the server; return why it could not be, or nothing."""
    config = server.config
    try:
        await nursery.start(server.run, name="server")
    except OSError as error:
        return f"can't listen on {config.host}:{config.port}: {error.strerror or error}"
    except HistoryUnavailable as error:
        return _without_history(config, error)
    return ""


def _without_history(config: Config, error: HistoryUnavailable) -> str:
    return f"can't open the history {usage.hide_password(config.history)}: {error}"


async def _obey_signals(
    server: Server,
    scope: trio.CancelScope,
    doors: "Doors | None",
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Drain at the first signal; from then on a signal ends the process.

    If cancelled, by `scope` or otherwise, signals do again what they did before.
    """
    with scope, trio.open_signal_receiver(*SIGNALS, signal.SIGUSR1) as received:
        task_status.started()
        async for number in received:
            if number == signal.SIGUSR1:
                _show_tree(doors)
                continue
            if signal.getsignal(number) is _end_at_once:
                # Both came in one step, so this one is the second.
                _end_at_once(number, None)
            server.drain()
            # Not by way of Trio: a second signal must work even where the loop is stuck.
            for each in SIGNALS:
                signal.signal(each, _end_at_once)


def _show_tree(doors: "Doors | None") -> None:
    # Whoever looks must not end what is looked at, not even where standard error is gone.
    try:
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        if doors is None:
            tree = take_snapshot(nursery.parent_task, Serials())
        else:
            tree = doors.microscope.snapshot()  # Where names are to be hidden, they are here, too.
        announce(render(tree))
    except Exception:
        log.exception("the tree could not be shown")


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
