"""What a setting is: its meaning, its unit, its bounds, and how its text is read and written.

The vocabulary in which ``config`` states the server's limits. It knows no setting by name and no
source of values; everything here is a pure function of what it is given.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Final, Literal, TypeVar, assert_never

Value = str | int | float | bool | tuple[str, ...] | None
Default = TypeVar("Default", bound=Value)
Use = Literal["common", "rare"]

NO_LIMIT: Final = "no limit"
COMMON: Final[Use] = "common"


class Unit(Enum):
    """What a setting is counted in, in the words of an error message."""

    TEXT = "text"
    LIST = "a list of texts"
    SWITCH = "on or off"
    NUMBER = "a whole number"
    CHARACTERS = "a whole number of characters"
    BYTES = "a size such as 65536, 64KiB or 1MiB"
    RATE = "a number per second"
    SECONDS = "a time such as 10, 1.5s, 500ms, 5m or 24h"


class Group(Enum):
    """The heading under which the long help shows a setting."""

    LISTEN = "where to listen, and whom to trust"
    TALK = "what one connection may send"
    CROWD = "how many there may be"
    KEEP = "what a room remembers"
    QUEUE = "what may wait in memory"
    WAIT = "how long to wait for a peer"
    RUN = "how to run, and how to stop"


class ConfigError(Exception):
    """A setting that won't do: which one, what was given, where, and what would do."""

    def __init__(self, name: str, value: Value, wanted: str, *, source: str = "") -> None:
        self.name = name
        self.value = value
        self.wanted = wanted
        self.source = source
        given = ",".join(value) if isinstance(value, tuple) else value
        where = f" (from {source})" if source else ""
        super().__init__(f"{option(name)}: {given!r}{where} won't do; it takes {wanted}")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting besides its value: enough to read it, check it and explain it."""

    unit: Unit
    help: str
    group: Group
    use: Use = "rare"  # The short help shows the common ones.
    zero: str = ""  # What 0 means, where that is not simply none.
    auto: str = ""  # What stands in for None, where the default follows from other settings.
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = math.inf

    @property
    def wanted(self) -> str:
        """Say in words what would do."""
        if self.choices:
            return " or ".join(self.choices)
        words = self.unit.value
        if self.most != math.inf:
            words += f" from {self.least:g} to {self.most:g}"
        elif self.least > 0:
            words += f", at least {self.least:g}"
        return f"{words}; 0 means {self.zero}" if self.zero else words

    @property
    def endless(self) -> bool:
        """Tell whether 0 stands for a time that never ends."""
        return self.unit is Unit.SECONDS and bool(self.zero)

    def allows(self, value: Value) -> bool:
        """Tell whether `value` has the right type and lies within the bounds."""
        if value is None:
            return bool(self.auto)
        match self.unit:
            case Unit.TEXT:
                return isinstance(value, str) and value != "" and self._is_a_choice(value)
            case Unit.LIST:
                return isinstance(value, tuple) and all(value)
            case Unit.SWITCH:
                return isinstance(value, bool)
            case Unit.RATE | Unit.SECONDS:
                return isinstance(value, int | float) and self._in_bounds(value)
            case Unit.NUMBER | Unit.CHARACTERS | Unit.BYTES:
                return isinstance(value, int) and self._in_bounds(value)
            case _:
                assert_never(self.unit)

    def _is_a_choice(self, value: str) -> bool:
        return not self.choices or value in self.choices

    def _in_bounds(self, number: float) -> bool:
        if isinstance(number, bool):  # To Python True is 1, but `max-message = true` is a slip.
            return False
        # NaN is within no bounds, and only a time can be without end.
        return self.least <= number <= self.most and (number != math.inf or self.endless)

    def read(self, text: str) -> Value:
        """Read the text of an option, a variable or a file.

        Raises:
            ValueError: it can't be read. What can be read may still be out of bounds.
        """
        match self.unit:
            case Unit.TEXT:
                return text
            case Unit.LIST:
                return tuple(part.strip() for part in text.split(",") if part.strip())
            case Unit.SWITCH:
                return _switch(text)
            case Unit.NUMBER | Unit.CHARACTERS:
                return int(text)
            case Unit.BYTES:
                return _whole(_quantity(text, _SIZES))
            case Unit.RATE:
                return _real(_quantity(text, _RATES))
            case Unit.SECONDS:
                return _real(_quantity(text, _TIMES))
            case _:
                assert_never(self.unit)

    def write(self, value: Value) -> str:
        """Write `value` so that `read` gives it back, in the largest unit that keeps it whole."""
        match value:
            case None:
                return self.auto
            case bool():
                return "on" if value else "off"
            case tuple():
                return ",".join(value)
            case float() if value == math.inf:
                return "0"
            case int() if value and self.unit is Unit.BYTES:
                return _largest_unit(value, {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10})
            case int() | float() if value and self.unit is Unit.SECONDS:
                return _largest_unit(value, {"h": 3600, "m": 60, "s": 1})
            case int():
                return str(value)
            case float():
                return _plain(value)
            case str():
                return value
            case _:
                assert_never(value)


def setting(
    default: Default,
    unit: Unit,
    help: str,
    group: Group,
    use: Use = "rare",
    *,
    zero: str = "",
    auto: str = "",
    choices: tuple[str, ...] = (),
    least: float = 0,
    most: float = math.inf,
) -> Default:
    """Declare a field of a dataclass as a setting.

    To the type checker it is its default, as `dataclasses.field` is.
    """
    about = Setting(unit, help, group, use, zero, auto, choices, least, most)
    return field(default=default, metadata={"setting": about})


def option(name: str) -> str:
    """Spell a setting's name as an option: ``max_message`` is ``--max-message``."""
    return "--" + name.replace("_", "-")


def _switch(text: str) -> bool:
    match text.strip().lower():
        case "on" | "yes" | "true" | "1":
            return True
        case "off" | "no" | "false" | "0":
            return False
    raise ValueError(text)


_SIZES: Final[Mapping[str, int]] = (
    {"": 1, "b": 1}
    | {"kb": 10**3, "mb": 10**6, "gb": 10**9}
    | {"kib": 2**10, "mib": 2**20, "gib": 2**30}
)
_TIMES: Final[Mapping[str, int | Fraction]] = {
    "": 1,
    "ms": Fraction(1, 1000),
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
}
_RATES: Final[Mapping[str, int]] = {"": 1, "/s": 1}
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,30})?(?:e[-+]?[0-9]{1,3})?) *([a-z/]*)")


def _quantity(text: str, units: Mapping[str, int | Fraction]) -> Fraction:
    # Exact, so that what `write` says is what `read` finds.
    found = _QUANTITY.fullmatch(text.strip().lower())
    if found is None or found[2] not in units:
        raise ValueError(text)
    return Fraction(found[1]) * units[found[2]]


def _whole(quantity: Fraction) -> int:
    if quantity.denominator != 1:
        raise ValueError(str(quantity))
    return quantity.numerator


def _real(quantity: Fraction) -> float:
    try:
        return float(quantity)
    except OverflowError:
        raise ValueError(str(quantity)) from None


def _largest_unit(number: float, units: Mapping[str, int]) -> str:
    for unit, size in units.items():
        if number % size == 0:
            return f"{_plain(number // size)}{unit}"
    return _plain(number)


def _plain(number: float) -> str:
    # 10 rather than 10.0, as long as that loses nothing.
    return str(int(number)) if number == int(number) and number < 2**53 else str(number)
