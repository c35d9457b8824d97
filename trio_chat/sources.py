"""Where settings come from: the command line, the environment, a TOML file, else the default.

The first that names a setting counts, and each value remembers who that was. Pure: argv, the
environment and the file are handed in by ``cli``.

A key of the file that nobody knows is an error: the file is ours alone, so it is a slip. Such a
variable is a warning: Kubernetes, for one, puts ``TRIO_CHAT_SERVICE_HOST`` and more like it into
every container beside a service named ``trio-chat``, and that must not keep the server from
starting.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .config import SETTINGS, Config, ConfigError
from .settings import Unit, Value, option

PREFIX: Final = "TRIO_CHAT_"
DEFAULT: Final = "default"
COMMAND_LINE: Final = "command line"
FILE_VARIABLE: Final = PREFIX + "CONFIG"


class SourceError(Exception):
    """A source that can't be read, or that names what doesn't exist."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A checked configuration, and for every field of it who set it."""

    config: Config
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Given:
    value: Value
    origin: str


def settle(options: Mapping[str, str], environ: Mapping[str, str], file: Path | None) -> Settled:
    """Merge the sources into one configuration.

    `options` maps a setting's name to the text that the command line gave for it. Where `file` is
    None, the environment may name one.

    Raises:
        ConfigError: a value won't do; the error says which source it is from.
        SourceError: the file can't be read, or holds an unknown key.
    """
    given = {name: _Given(_read(name, text, ""), COMMAND_LINE) for name, text in options.items()}
    # Only what counts is read: a variable that can't be does no harm once an option overrides it.
    given |= _from_environment(environ, SETTINGS.keys() - given.keys())
    if path := file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None):
        given |= _from_file(path, SETTINGS.keys() - given.keys())
    return Settled(
        config=_make(given),
        origins={name: given[name].origin if name in given else DEFAULT for name in SETTINGS},
        warnings=tuple(_unknown_variables(environ)),
    )


def _make(given: Mapping[str, _Given]) -> Config:
    values = {name: one.value for name, one in given.items()}
    try:
        # Config checks the types itself, which is what it is for.
        return Config(**values)  # type: ignore[arg-type]
    except ConfigError as error:
        # A default never fails, and the option's name is enough of an origin for the command line.
        origin = given[error.name].origin.removeprefix(COMMAND_LINE)
        raise ConfigError(error.name, error.value, error.wanted, source=origin) from None


def _read(name: str, text: str, origin: str) -> Value:
    about = SETTINGS[name]
    try:
        return about.read(text)
    except ValueError:
        raise ConfigError(name, text, about.wanted, source=origin) from None


def _from_environment(environ: Mapping[str, str], wanted: Set[str]) -> dict[str, _Given]:
    variables = {name: PREFIX + name.upper() for name in wanted}
    # An empty variable is one that somebody meant to leave out: `PORT= docker run …`.
    return {
        name: _Given(_read(name, environ[variable], variable), variable)
        for name, variable in variables.items()
        if environ.get(variable)
    }


def _unknown_variables(environ: Mapping[str, str]) -> Iterable[str]:
    known = {PREFIX + name.upper() for name in SETTINGS} | {FILE_VARIABLE}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            yield f"{variable} is no setting, so it is ignored{nearest(variable, known)}"


def _from_file(path: Path, wanted: Set[str]) -> dict[str, _Given]:
    seen: set[str] = set()
    given: dict[str, _Given] = {}
    for key, value in _load(path).items():
        name = key.replace("-", "_")
        if name not in SETTINGS:
            known = [option(one).removeprefix("--") for one in SETTINGS]
            raise SourceError(f"{path}: {key!r} is no setting{nearest(key, known)}")
        if name in seen:
            raise SourceError(f"{path}: {key!r} is there twice, with - and with _")
        seen.add(name)
        if name in wanted:
            given[name] = _Given(_from_toml(name, value, str(path)), str(path))
    return given


def _load(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SourceError(f"{path}: is not TOML: {error}") from None


def _from_toml(name: str, value: object, origin: str) -> Value:
    about = SETTINGS[name]
    match value:
        case str() if about.unit is not Unit.TEXT:
            return _read(name, value, origin)
        case bool() | int() | float() | str():
            return value
        case list() if all(isinstance(part, str) for part in value):
            return tuple(value)
        case _:
            raise ConfigError(name, str(value), about.wanted, source=origin)


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the one of `known` that `word` may have meant, as the end of a sentence."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
