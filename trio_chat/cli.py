"""The command ``trio-chat``: argv, environment and file become a `Config`; signals become a drain.

The outermost layer, and the only one that knows a terminal, a signal or an exit code: 0 for a clean
end, 1 where something accepted was lost, 2 for what the caller has to mend (said in one line), and
128 + N for a second signal N, which ends the process at once.
"""

import argparse
import gc
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from . import __version__, logs, usage
from .config import SETTINGS, Config, ConfigError
from .settings import Unit, option
from .sources import Settled, SourceError, nearest, settle

if TYPE_CHECKING:
    from .server import Server

MEND: Final = 2  # The exit code for what the caller has to mend.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and give its exit code.

    Raises:
        SystemExit: a bad option (code 2), or help was asked for (code 0).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A terminal that can't show a name.
    try:
        return _run(_parse(sys.argv[1:] if argv is None else argv))
    except (ConfigError, SourceError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(command: argparse.Namespace) -> int:
    match command.command:
        case "serve":
            return _serve(_settle(command))
        case "config":
            return _show(_settle(command), command.form)
        case "connect":
            return _connect(command)
        case _:
            return _refuse("say what to do: serve, connect or config (--help tells more)")


def _show(settled: Settled, form: str) -> int:
    if form == "json":
        _print(json.dumps(usage.tabulate_config(settled), indent=2))
    else:
        _print(usage.describe_config(settled))
    return 0


# --- The command line ---


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; argparse would put the usage before it."""
        sys.exit(_refuse(message))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _new_parser()
    command, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0]
        known = [*map(option, SETTINGS), "--config", "--json", "--help", "--help-all", "--version"]
        parser.error(f"{word} is no option of this command{nearest(word, known)}")
    return command


def _new_parser() -> _Parser:
    parser = _Parser(prog="trio-chat", add_help=False, allow_abbrev=False)
    _add_help(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in ("serve", "config"):
        command = commands.add_parser(name, add_help=False, allow_abbrev=False)
        _add_help(command)
        _add_settings(command)
        if name == "config":
            command.add_argument("--json", dest="form", action="store_const", const="json")
    connect = commands.add_parser("connect", add_help=False, allow_abbrev=False)
    _add_help(connect)
    _add_conversation(connect)
    return parser


def _add_conversation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url")
    parser.add_argument("--name")
    parser.add_argument("--history", type=_count)
    parser.add_argument("--json", dest="form", action="store_const", const="json")
    parser.add_argument("--time", dest="stamps", action="store_const", const="time")
    parser.add_argument("--verbose", "-v", dest="notices", action="store_const", const="always")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, not {text!r}")


def _add_help(parser: argparse.ArgumentParser) -> None:
    # The action that prints a version prints any text; the formatter must leave the lines alone.
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=f"trio-chat {__version__}")
    parser.add_argument("--help", "-h", action="version", version=usage.short_help())
    parser.add_argument("--help-all", action="version", version=usage.long_help())


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE")
    for name, about in SETTINGS.items():
        several = "append" if about.unit is Unit.LIST else "store"
        parser.add_argument(option(name), dest=name, action=several, default=argparse.SUPPRESS)


def _settle(command: argparse.Namespace) -> Settled:
    options = {
        name: ",".join(given) if isinstance(given, list) else str(given)
        for name, given in vars(command).items()
        if name in SETTINGS
    }
    settled = settle(options, os.environ, command.config)
    for warning in settled.warnings:
        _say(f"warning: {warning}")
    return settled


# --- serve ---


def _serve(settled: Settled) -> int:
    logs.configure(settled.config.log_level, settled.config.log_format)
    _raise_limit_of_open_files()
    try:
        return trio.run(_serve_until_drained, settled.config)
    except BaseExceptionGroup as group:
        # A Ctrl-C before the server listens comes out of the nurseries in groups.
        if group.split(KeyboardInterrupt)[1] is None:
            raise KeyboardInterrupt from None
        raise


async def _serve_until_drained(config: Config) -> int:
    # Imported late: the other commands start faster without it.
    from .history import HistoryUnavailable
    from .server import Server

    try:
        server = Server(config)
    except HistoryUnavailable as error:
        return _refuse(f"can't open the history {usage.hide_password(config.history)}: {error}")
    failure = ""
    async with trio.open_nursery() as signals:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(server.run, name="server")
            except OSError as error:
                why = error.strerror or error
                failure = f"can't listen on {config.host}:{config.port}: {why}"
            except HistoryUnavailable as error:
                failure = f"can't open the history {usage.hide_password(config.history)}: {error}"
            else:
                await signals.start(_obey_signals, server, name="signals")
                _forget_the_start()
                _print(f"listening on {server.url}")
        # The server has drained; nobody is left to take signals for.
        signals.cancel_scope.cancel(reason="the server has ended")
    return _refuse(failure) if failure else server.exit_code


async def _obey_signals(
    server: "Server", *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
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
    _say("a second signal: ended at once")
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


# --- connect ---


def _connect(command: argparse.Namespace) -> int:
    # Imported late: the other commands start faster without it.
    from .terminal import Form, Notices, Stamps, Terminal, run_terminal

    terminal = Terminal(
        url=command.url,
        name=command.name,
        history=command.history,
        form=Form.JSON if command.form else Form.TEXT,
        stamps=Stamps.TIME if command.stamps else Stamps.NOTHING,
        notices=Notices.ALWAYS if command.notices else Notices.ON_A_TERMINAL,
    )
    try:
        return trio.run(run_terminal, terminal)
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is None:
            raise KeyboardInterrupt from None
        raise


# --- What people read ---


def _refuse(message: str) -> int:
    _say(message)
    return MEND


def _say(message: str) -> None:
    sys.stderr.write(f"trio-chat: {logs.escape(message)}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        # Who read it has gone. What Python still holds must go somewhere when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
