"""The command ``trio-chat``: argv, environment and file become what one of its commands does.

The outermost layer, and the only one that reads the command line and the environment. Exit codes: 0
for a clean end, 1 where something accepted was lost, 2 for what the caller has to mend (said in one
line), and 128 + N for a second signal N, which ends the process at once.

Each command imports what it needs when it is asked for, so that the others start without it.
"""

import argparse
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from . import __version__, usage
from .config import SETTINGS, ConfigError
from .console import refuse, say, tell
from .settings import Unit, option
from .sources import Settled, SourceError, nearest, settle

# Commands that say themselves which arguments they take; only the one that was asked for is.
LATE: Final = ("tree", "record", "replay", "lab")
SWITCHES: Final = ("--config", "--json", "--help", "--help-all", "--version")


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
        return refuse(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseExceptionGroup as group:  # A Ctrl-C comes out of nurseries in groups.
        if group.split(KeyboardInterrupt)[1] is None:
            return 128 + signal.SIGINT
        raise


def _run(command: argparse.Namespace) -> int:
    match command.command:
        case "serve":
            return _serve(command)
        case "config":
            return _show(_settle(command), command.form)
        case "connect":
            return _connect(command)
        case "tree" | "record" | "replay":
            from .microscope.commands import run as look

            return look(command, _folders())
        case "lab":
            from .lessons.command import run

            return run(command, _program())
        case _:
            return refuse("say what to do: serve, connect, config, tree … (--help tells more)")


def _program() -> str:
    """Return how this command was called, so that one can type it again."""
    path = sys.argv[0]
    if Path(path).name != "trio-chat":
        return "python -m trio_chat"
    return "trio-chat" if shutil.which("trio-chat") == path else path


def _show(settled: Settled, form: str) -> int:
    if form == "json":
        tell(json.dumps(usage.tabulate_config(settled), indent=2))
    else:
        tell(usage.describe_config(settled))
    return 0


# --- The command line ---


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; argparse would put the usage before it."""
        sys.exit(refuse(message))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _new_parser(argv[0] if argv else "")
    command, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0]
        if not word.startswith("-"):
            parser.error(f"{word} is one word too many, or belongs before the options")
        known = SWITCHES if command.command in LATE else (*map(option, SETTINGS), *SWITCHES)
        parser.error(f"{word} is no option of this command{nearest(word, known)}")
    return command


def _new_parser(wanted: str) -> _Parser:
    parser = _Parser(prog="trio-chat", add_help=False, allow_abbrev=False)
    _add_help(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in ("serve", "config"):
        command = commands.add_parser(name, add_help=False, allow_abbrev=False)
        _add_help(command)
        _add_settings(command)
        if name == "serve":
            _add_microscope(command)
        else:
            command.add_argument("--json", dest="form", action="store_const", const="json")
    connect = commands.add_parser("connect", add_help=False, allow_abbrev=False)
    _add_help(connect)
    _add_conversation(connect)
    for name in LATE:
        late = commands.add_parser(name, allow_abbrev=False)
        if name == wanted:
            _add_late(late, name)
    return parser


def _add_late(parser: argparse.ArgumentParser, name: str) -> None:
    match name:
        case "tree" | "record" | "replay":
            from .microscope.commands import add_arguments as add_to

            add_to(parser, name)
        case "lab":
            from .lessons.command import add_arguments

            add_arguments(parser)
        case _:
            raise AssertionError(name)


def _add_microscope(parser: argparse.ArgumentParser) -> None:
    # No settings: a server that shows or even breaks itself must not be one by its environment.
    parser.add_argument("--microscope", nargs="?", const="", metavar="ADDRESS")
    parser.add_argument("--microscope-names", choices=("names", "ids"), default="names")
    parser.add_argument("--lab", action="store_const", const="lab")


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
        say(f"warning: {warning}")
    return settled


# --- serve ---


def _serve(command: argparse.Namespace) -> int:
    config = _settle(command).config
    from .process import serve

    if command.microscope is None:
        return refuse("--lab needs --microscope") if command.lab else serve(config)
    from .microscope.wish import Unservable, wish_for

    try:
        wish = wish_for(
            command.microscope, command.microscope_names, command.lab, config.host, _folders()[0]
        )
    except Unservable as error:
        return refuse(str(error))
    return serve(config, wish)


def _folders() -> list[Path]:
    """Return where a user's sockets may be: a new one below the first, others below any."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    temporary = Path(tempfile.gettempdir())
    # A relative one counts for nothing (so its specification), or it would depend on who asks; and
    # after `su` it may name one that was never made.
    is_one = named and os.path.isabs(named) and os.path.isdir(named)
    return [Path(named), temporary] if named and is_one else [temporary]


# --- connect ---


def _connect(command: argparse.Namespace) -> int:
    import trio

    from .terminal import Form, Notices, Stamps, Terminal, run_terminal

    terminal = Terminal(
        url=command.url,
        name=command.name,
        history=command.history,
        form=Form.JSON if command.form else Form.TEXT,
        stamps=Stamps.TIME if command.stamps else Stamps.NOTHING,
        notices=Notices.ALWAYS if command.notices else Notices.ON_A_TERMINAL,
    )
    return trio.run(run_terminal, terminal)
