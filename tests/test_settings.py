"""Reading and writing one value, and merging the sources, each value knowing which it is from."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat import usage
from trio_chat.config import SETTINGS, Config, ConfigError
from trio_chat.settings import Group, Setting, Unit, Value
from trio_chat.sources import SourceError, nearest, settle

ANY = {unit: Setting(unit, "for the test", Group.RUN, zero="none") for unit in Unit}


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (Unit.BYTES, "65536", 65536),
        (Unit.BYTES, "64KiB", 65536),
        (Unit.BYTES, "64 kib", 65536),
        (Unit.BYTES, "1.5MiB", 1536 * 1024),
        (Unit.BYTES, "1GiB", 2**30),
        (Unit.BYTES, "5kB", 5000),
        (Unit.BYTES, "2MB", 2_000_000),
        (Unit.BYTES, "7B", 7),
        (Unit.SECONDS, "30", 30),
        (Unit.SECONDS, "30s", 30),
        (Unit.SECONDS, "500ms", 0.5),
        (Unit.SECONDS, "1.5m", 90),
        (Unit.SECONDS, " 24H ", 86400),
        (Unit.SECONDS, "1d", 86400),
        (Unit.RATE, "2.5", 2.5),
        (Unit.RATE, "10/s", 10),
        (Unit.NUMBER, "12", 12),
        (Unit.NUMBER, "1_000", 1000),
        (Unit.SWITCH, "On", True),
        (Unit.SWITCH, "yes", True),
        (Unit.SWITCH, "1", True),
        (Unit.SWITCH, "true", True),
        (Unit.SWITCH, "off", False),
        (Unit.SWITCH, "no", False),
        (Unit.SWITCH, "0", False),
        (Unit.SWITCH, "FALSE", False),
        (Unit.LIST, "a, b,,c", ("a", "b", "c")),
        (Unit.LIST, "", ()),
        (Unit.TEXT, " as it is ", " as it is "),
    ],
)
def test_a_value_is_read_in_its_unit(unit: Unit, text: str, value: Value) -> None:
    assert ANY[unit].read(text) == value


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Unit.BYTES, "0.5"),
        (Unit.BYTES, "64 stones"),
        (Unit.BYTES, "-1"),
        (Unit.BYTES, "9" * 5000),
        (Unit.SECONDS, "soon"),
        (Unit.SECONDS, "1e999"),
        (Unit.SECONDS, "nan"),
        (Unit.SECONDS, "1KiB"),
        (Unit.RATE, "10s"),
        (Unit.NUMBER, "ten"),
        (Unit.NUMBER, "9" * 5000),
        (Unit.SWITCH, "perhaps"),
    ],
)
def test_what_can_not_be_read_is_a_value_error(unit: Unit, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ANY[unit].read(text)


@given(st.sampled_from(Unit), st.text())
def test_reading_is_total(unit: Unit, text: str) -> None:
    about = ANY[unit]
    try:
        value = about.read(text)
    except ValueError:
        return
    assert about.allows(value) or value in ("", math.inf) or (isinstance(value, int) and value < 0)


def some(about: Setting) -> st.SearchStrategy[Value]:
    """Draw values that the setting allows."""
    most = None if about.most == math.inf else int(about.most)
    match about.unit:
        case Unit.TEXT:
            return st.sampled_from(about.choices) if about.choices else st.text(min_size=1)
        case Unit.LIST:
            return st.just(())
        case Unit.SWITCH:
            return st.booleans()
        case Unit.NUMBER | Unit.CHARACTERS | Unit.BYTES:
            return st.integers(int(about.least), most or 10**17)
        case Unit.RATE | Unit.SECONDS:
            return st.floats(0, 1e12).filter(lambda number: number == 0 or number > 1e-9)
        case _:
            assert_never(about.unit)


@given(st.sampled_from([unit for unit in Unit if unit is not Unit.LIST]), st.data())
def test_what_is_written_is_what_is_read(unit: Unit, data: st.DataObject) -> None:
    value = data.draw(some(ANY[unit]))
    assert ANY[unit].read(ANY[unit].write(value)) == value


def test_values_are_written_in_the_largest_unit_that_keeps_them_whole() -> None:
    assert ANY[Unit.BYTES].write(65536) == "64KiB"
    assert ANY[Unit.BYTES].write(65537) == "65537"
    assert ANY[Unit.SECONDS].write(86400.0) == "24h"
    assert ANY[Unit.SECONDS].write(0.5) == "0.5"
    assert ANY[Unit.SECONDS].write(math.inf) == "0"
    assert ANY[Unit.RATE].write(10.0) == "10"
    assert ANY[Unit.LIST].write(("a", "b")) == "a,b"
    assert replace(ANY[Unit.BYTES], auto="by the weather").write(None) == "by the weather"


# --- The sources ---


def write(folder: Path, text: str) -> Path:
    path = folder / "chat.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_sources_everything_is_the_default() -> None:
    settled = settle({}, {}, None)
    assert settled.config == Config()
    assert set(settled.origins.values()) == {"default"}
    assert settled.warnings == ()


def test_an_option_counts_more_than_a_variable_and_that_more_than_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'port = 1\nrate = 1\nburst = 1\nmax-frame = "64KiB"')
    environ = {"TRIO_CHAT_PORT": "2", "TRIO_CHAT_RATE": "2"}
    settled = settle({"port": "3"}, environ, path)
    config = settled.config
    assert (config.port, config.rate, config.burst, config.max_frame) == (3, 2, 1, 65536)
    assert settled.origins["port"] == "command line"
    assert settled.origins["rate"] == "TRIO_CHAT_RATE"
    assert settled.origins["burst"] == str(path)
    assert settled.origins["host"] == "default"


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_setting_has_its_variable(field: "object") -> None:
    name = str(getattr(field, "name", ""))
    text = {"allow_origin": "*", "trust_proxy": "::1"}.get(name)
    text = text or SETTINGS[name].write(Config().in_force(name))
    settled = settle({}, {"TRIO_CHAT_" + name.upper(): text}, None)
    assert settled.origins[name] == "TRIO_CHAT_" + name.upper()


def test_the_file_takes_keys_with_either_line(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'max-message = 7\nmax_head = "1KiB"\nping-timeout = 5\nfast-lane = false'
    )
    config = settle({}, {}, path).config
    assert (config.max_message, config.max_head, config.ping_timeout) == (7, 1024, 5)
    assert not config.fast_lane


def test_lists_are_lists_in_the_file_and_have_commas_elsewhere(tmp_path: Path) -> None:
    both = ("https://a.example", "http://b.example:8080")
    path = write(tmp_path, f"allow-origin = {json.dumps(both)}")
    assert settle({}, {}, path).config.allow_origin == both
    assert settle({}, {"TRIO_CHAT_ALLOW_ORIGIN": ", ".join(both)}, None).config.allow_origin == both
    assert settle({"allow_origin": ",".join(both)}, {}, None).config.allow_origin == both


def test_a_variable_may_name_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "port = 1")
    assert settle({}, {"TRIO_CHAT_CONFIG": str(path)}, None).config.port == 1


def test_an_empty_variable_is_none() -> None:
    assert settle({}, {"TRIO_CHAT_PORT": ""}, None).origins["port"] == "default"


def test_an_unknown_variable_is_a_warning_with_a_suggestion() -> None:
    settled = settle({}, {"TRIO_CHAT_MAX_MESAGE": "1", "OTHER": "2"}, None)
    assert settled.warnings == (
        "TRIO_CHAT_MAX_MESAGE is no setting, so it is ignored; did you mean TRIO_CHAT_MAX_MESSAGE?",
    )


def test_a_variable_that_will_not_do_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        settle({}, {"TRIO_CHAT_PORT": "tcp://10.0.0.1:8000"}, None)
    assert "--port: 'tcp://10.0.0.1:8000' (from TRIO_CHAT_PORT) won't do" in str(caught.value)


def test_a_variable_out_of_bounds_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        settle({}, {"TRIO_CHAT_PORT": "99999"}, None)
    assert "99999 (from TRIO_CHAT_PORT)" in str(caught.value)


def test_a_variable_that_an_option_overrides_does_no_harm() -> None:
    # Kubernetes sets this one beside a service named trio-chat.
    environ = {"TRIO_CHAT_PORT": "tcp://10.0.0.1:8000"}
    assert settle({"port": "8000"}, environ, None).config.port == 8000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-mesage = 1", "'max-mesage' is no setting; did you mean max-message?"),
        ("weather = 1", "'weather' is no setting"),
        ("max-head = 300\nmax_head = 300", "is there twice"),
        ("port = ", "is not TOML"),
        ("[" * 10_000, "is not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_a_source_error(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SourceError) as caught:
        settle({}, {}, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'port = "many"',
        "port = 1.5",
        "port = true",
        "port = 2020-01-01",
        "port = [1]",
        "port = {a = 1}",
        "host = 1",
        'rate = "1 fish"',
        "allow-origin = [1]",
        "ping-timeout = nan",
    ],
)
def test_a_value_of_the_file_that_will_not_do_is_named_with_the_file(
    tmp_path: Path, text: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settle({}, {}, path)
    assert f"(from {path}) won't do" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        settle({}, {}, tmp_path / "none.toml")
    with pytest.raises(SourceError, match="directory"):
        settle({}, {}, tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'host = "\xe4"')
    with pytest.raises(SourceError, match="UTF-8"):
        settle({}, {}, path)


def test_nearest_is_silent_where_nothing_is_near() -> None:
    assert nearest("weather", ["port"]) == ""


# --- What is shown ---


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Value]:
    names = [name for name in SETTINGS if name not in {"host", "history"}]
    chosen = draw(st.sets(st.sampled_from(names), max_size=8))
    return {name: draw(some(SETTINGS[name])) for name in chosen}


@given(values=configs())
def test_the_printed_configuration_is_a_file_that_gives_it_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Value]
) -> None:
    options = {name: SETTINGS[name].write(value) for name, value in values.items()}
    settled = settle(options, {}, None)
    path = write(tmp_path_factory.mktemp("printed"), usage.describe_config(settled))
    again = settle({}, {}, path).config
    for name in SETTINGS:
        assert again.in_force(name) == settled.config.in_force(name)


def test_odd_characters_survive_the_printed_configuration(tmp_path: Path) -> None:
    history = 'sqlite:a"b\\c\x1b\u2028\U0001f600.db'
    printed = usage.describe_config(settle({"history": history}, {}, None))
    assert "\x1b" not in printed
    assert settle({}, {}, write(tmp_path, printed)).config.history == history


def test_the_configuration_is_printed_without_passwords() -> None:
    settled = settle({"history": "redis://user:secret@cache.example:6380/1"}, {}, None)
    assert "secret" not in usage.describe_config(settled)
    assert usage.tabulate_config(settled)["history"]["value"] == "redis://***@cache.example:6380/1"


def test_the_tabulated_configuration_is_json_in_base_units() -> None:
    settled = settle({"ping_interval": "0", "outbox": "1MiB"}, {}, None)
    table = usage.tabulate_config(settled)
    assert table["ping-interval"] == {"value": 0, "from": "command line"}
    assert table["outbox"]["value"] == 1024 * 1024
    assert table["max-frame"] == {"value": 65536, "from": "default, by --max-message"}
    assert json.loads(json.dumps(table, allow_nan=False)).keys() == table.keys()


def test_the_short_help_fits_a_screen() -> None:
    lines = usage.short_help().splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80


def test_the_long_help_shows_every_option_once() -> None:
    lines = usage.long_help().splitlines()
    assert max(map(len, lines)) <= 100
    # The options of `connect` come behind the settings, and one of them is called alike.
    lines = lines[: lines.index(next(line for line in lines if line.startswith("options of")))]
    for name in SETTINGS:
        option = "  --" + name.replace("_", "-") + " "
        assert sum(line.startswith(option) for line in lines) == 1
