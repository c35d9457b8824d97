"""What the command says about settings: the short help, the long one, and what is in force.

All of it is made from the declarations in ``config``, so none of it can go out of date.
"""

import math
import textwrap
from typing import Final

from .config import SETTINGS, Config
from .settings import COMMON, NO_LIMIT, Group, Setting, Unit, Value, option
from .sources import DEFAULT, Settled

USAGE: Final = "usage: trio-chat COMMAND [OPTION]..."
COMMANDS: Final = """\
  serve         run the server (--microscope: one may look into it)
  connect URL   chat in a terminal or pipe (--name --history --json --time -v)
  config        print the settings in force and where each came from (--json)
  tree          what runs in a server; also: record FILE, replay FILE
  lab [N]       lessons: what lives and what dies, tried on the server"""
CONNECT: Final = """\
options of connect, to ws://HOST/ws/chat/ROOM/, http://HOST/chat/ROOM/ or HOST:PORT/ROOM:
  --name TEXT              what to be called (the server chooses)
  --history N              past messages to show first (50)
  --json                   everything that happens, an object a line
  --time                   the time before each message
  --verbose, -v            tell on standard error who comes and goes, in a pipe too"""
MICROSCOPE: Final = """\
looking into a running server:
  serve --microscope [AT]  open a Unix socket; AT 127.0.0.1:PORT, a page as well
  --microscope-names WORD  what others see of names: names, ids (names)
  --lab                    the page may also cancel, raise, stall and set deadlines
  tree [PID|PATH]          print its tasks as a tree (--watch --lines --json)
  record FILE [PID|PATH]   write down what happens, until Ctrl-C (--seconds N)
  replay FILE              make a page of that, FILE.html (--to FILE.html)"""
OTHERS: Final = """\
  --config FILE            settings as TOML; options and variables go before
  --version, --help, --help-all"""
_PLACEHOLDERS: Final = {
    Unit.TEXT: "TEXT",
    Unit.LIST: "TEXT",
    Unit.SWITCH: "on|off",
    Unit.NUMBER: "N",
    Unit.CHARACTERS: "N",
    Unit.BYTES: "SIZE",
    Unit.RATE: "N",
    Unit.SECONDS: "TIME",
}


_DEFAULTS: Final = Config()


def short_help() -> str:
    """Fit what most people need on a screen of 24 lines of 80 characters."""
    common = [_line(name) for name, about in SETTINGS.items() if about.use == COMMON]
    return "\n".join(
        [USAGE, "", COMMANDS, "", "common options of serve and config:", *common, OTHERS]
    )


def long_help() -> str:
    """Show every setting under its heading."""
    parts = [USAGE, "", COMMANDS]
    for group in Group:
        parts += ["", f"{group.value}:"]
        parts += [_line(name) for name, about in SETTINGS.items() if about.group is group]
    closing = (
        "A time is in seconds or as in 500ms, 10s, 5m, 24h; a size in bytes or as in 64KiB, 1MiB; "
        "0 means no limit unless something else is said. Each option is also a variable "
        "(TRIO_CHAT_MAX_MESSAGE) and a key of the file (max-message)."
    )
    return "\n".join(
        [*parts, "", CONNECT, "", MICROSCOPE, "", "more:", OTHERS, "", textwrap.fill(closing, 79)]
    )


def _line(name: str) -> str:
    about = SETTINGS[name]
    placeholder = "WORD" if about.choices else _PLACEHOLDERS[about.unit]
    left = f"  {option(name)} {placeholder}"
    choices = ": " + ", ".join(about.choices) if about.choices else ""
    return f"{left:<26} {about.help}{choices} ({_usual(name, about)})"


def _usual(name: str, about: Setting) -> str:
    value: Value = getattr(_DEFAULTS, name)
    if value == 0 and about.zero:
        return about.zero
    text = about.write(value) or "none"
    return f"{text}; 0: {about.zero}" if about.zero not in {"", NO_LIMIT} else text


def describe_config(settled: Settled) -> str:
    """Write the configuration as a TOML file that says behind each line where it is from."""
    lines = []
    for name, about in SETTINGS.items():
        left = f"{option(name).removeprefix('--')} = {_toml(about, _shown(settled, name))}"
        lines.append(f"{left:<34}  # {_origin(settled, name, about)}")
    return "\n".join(lines)


def tabulate_config(settled: Settled) -> dict[str, dict[str, Value]]:
    """Give the configuration as plain data, in base units; a time without end is 0."""
    return {
        option(name).removeprefix("--"): {
            "value": 0 if (value := _shown(settled, name)) == math.inf else value,
            "from": _origin(settled, name, about),
        }
        for name, about in SETTINGS.items()
    }


def _origin(settled: Settled, name: str, about: Setting) -> str:
    origin = settled.origins[name]
    return f"{origin}, {about.auto}" if about.auto and origin == DEFAULT else origin


def _shown(settled: Settled, name: str) -> Value:
    value = settled.config.in_force(name)
    return hide_password(value) if name == "history" and isinstance(value, str) else value


def hide_password(address: str) -> str:
    """Return it without what stands before an @: that has no business on a screen or in a log."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else address


def _toml(about: Setting, value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return "[" + ", ".join(_quoted(part) for part in value) + "]"
        case _:
            text = about.write(value)
            return text if text.isdecimal() and about.unit is not Unit.TEXT else _quoted(text)


def _quoted(text: str) -> str:
    # A basic string of TOML: JSON's escapes are a part of its own, but for characters past U+FFFF.
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{escaped}"'
