"""The configuration: what it allows, what it refuses and how it says so, what follows from what."""

import dataclasses
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.config import LARGEST_FRAME, RETENTION, SETTINGS, Config, ConfigError
from trio_chat.settings import Value

KiB = 1024


def changed(name: str, value: Value) -> Config:
    """Make a configuration in which one field is not the default, whatever its type."""
    return replace(Config(), **{name: value})  # type: ignore[arg-type]


def test_every_field_is_described() -> None:
    assert list(SETTINGS) == [field.name for field in dataclasses.fields(Config)]
    for about in SETTINGS.values():
        assert about.help


def test_the_defaults_are_those_of_the_contract() -> None:
    config = Config()
    assert (config.host, config.port, config.history) == ("127.0.0.1", 8000, "memory")
    assert (config.rate, config.burst, config.max_message) == (10, 20, 4096)
    assert (config.max_connections, config.max_per_address, config.max_members) == (0, 0, 0)
    assert (config.max_history, config.max_head, config.max_errors) == (500, 16 * KiB, 20)
    assert (config.outbox, config.outboxes) == (KiB**2, 256 * KiB**2)
    assert (config.handshake_timeout, config.message_timeout, config.close_timeout) == (10, 30, 5)
    assert (config.ping_interval, config.ping_timeout) == (20, 20)
    assert (config.drain_delay, config.drain_timeout) == (0, 8)


def test_a_config_never_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", [n for n, about in SETTINGS.items() if about.endless])
def test_a_time_without_end_is_inf(name: str) -> None:
    assert getattr(changed(name, 0), name) == math.inf
    assert getattr(changed(name, 0.0), name) == math.inf
    assert changed(name, math.inf) == changed(name, 0)


@pytest.mark.parametrize("name", ["drain_delay", "linger_timeout"])
def test_a_time_that_may_be_none_at_all_stays_zero(name: str) -> None:
    assert getattr(changed(name, 0), name) == 0
    with pytest.raises(ConfigError):
        changed(name, math.inf)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "8000"),
        ("port", True),
        ("port", None),
        ("host", ""),
        ("host", "a..b"),
        ("host", "nul\0"),
        ("rate", -0.5),
        ("rate", math.nan),
        ("rate", math.inf),
        ("max_message", 1.5),
        ("inbox_frames", 0),  # A channel without a bound, or without room, is no inbox.
        ("outbox_blobs", 0),
        ("arrivals", 0),
        ("ping_interval", -1),
        ("ping_interval", math.nan),
        ("fast_lane", 1),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("keep_messages", -1),
        ("history", "sqlite:"),
        ("history", "redis://"),
        ("history", "redis://["),
        ("history", "postgres://host"),
        ("allow_origin", "https://a"),
        ("allow_origin", ("",)),
        ("allow_origin", ("chat.example",)),
        ("allow_origin", ("https://chat.example/",)),
        ("allow_origin", ("https://chat.example/path",)),
        ("allow_origin", ("https://chat.example:port",)),
        ("allow_origin", ("https://:80",)),
        ("allow_origin", ("https://user@chat.example",)),
        ("allow_origin", ("https://chat.example\n",)),
        ("allow_origin", ("https://[::1",)),
        ("allow_origin", ("https://chat.example:99999",)),
        ("allow_origin", ("https://bücher.example",)),  # Browsers send another spelling.
        ("allow_origin", ("null",)),
        ("trust_proxy", ("proxy.example",)),
        ("trust_proxy", ("10.0.0.0/33",)),
    ],
)
def test_what_will_not_do_is_refused_by_name(name: str, value: Value) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(name, value)
    assert caught.value.name == name
    said = str(caught.value)
    assert said.startswith("--" + name.replace("_", "-") + ": ")
    assert " won't do; it takes " in said


def test_the_error_says_what_was_given_and_what_would_do() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(port=99999)
    assert str(caught.value) == (
        "--port: 99999 won't do; it takes a whole number from 0 to 65535; 0 means a free one"
    )


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("*", "*"),
        ("https://chat.example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://chat.example:80", "http://chat.example"),
        ("http://chat.example:443", "http://chat.example:443"),
        ("https://chat.example:80", "https://chat.example:80"),
        ("https://chat.example:", "https://chat.example"),
        ("https://chat.example:08443", "https://chat.example:8443"),
        ("HTTPS://Chat.Example:8443", "https://chat.example:8443"),
        ("http://[2001:DB8::1]:80", "http://[2001:db8::1]"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("app://Desktop", "app://desktop"),
        ("app://desktop:443", "app://desktop:443"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, sent: str) -> None:
    assert Config(allow_origin=("https://first.example", given)).allow_origin == (
        "https://first.example",
        sent,
    )
    assert Config(allow_origin=(sent,)).allow_origin == (sent,)


@pytest.mark.parametrize(
    ("history", "kind"),
    [
        ("memory", "memory"),
        ("sqlite:chat.db", "sqlite"),
        ("sqlite:/var/lib/chat.db", "sqlite"),
        ("redis://localhost", "redis"),
        ("rediss://user:secret@cache.example:6380/1", "redis"),
    ],
)
def test_the_kind_of_history_is_read_from_its_name(history: str, kind: str) -> None:
    assert Config(history=history).history_kind == kind


def test_a_room_keeps_what_its_history_can_afford() -> None:
    assert (Config().retention.messages, Config().retention.bytes) == (1000, KiB**2)
    assert Config().retention.age == 24 * 3600
    redis = Config(history="redis://localhost").retention
    assert (redis.messages, redis.bytes, redis.age) == (10_000, 0, math.inf)
    sqlite = Config(history="sqlite:chat.db").retention
    assert (sqlite.messages, sqlite.bytes, sqlite.age) == (1_000_000, 0, math.inf)


def test_what_a_room_keeps_can_be_said() -> None:
    config = Config(keep_messages=7, keep_bytes=0, keep_age=0, history="redis://localhost")
    assert (config.retention.messages, config.retention.bytes) == (7, 0)
    assert config.retention.age == math.inf
    assert config.in_force("keep_messages") == 7
    assert Config(keep_bytes=5).retention == replace(RETENTION["memory"], bytes=5)


@given(st.integers(min_value=1, max_value=10**6))
def test_by_default_every_message_fits_into_a_frame(length: int) -> None:
    worst = '{"type": "message", "message": "' + "\\ud83d\\ude00" * length + '"}'
    assert len(worst) <= Config(max_message=length).frame_limit


def test_the_frame_limit_can_be_said_or_lifted() -> None:
    assert Config().frame_limit == 64 * KiB
    assert Config(max_frame=100).frame_limit == 100
    assert Config(max_frame=0).frame_limit == LARGEST_FRAME
    assert Config(max_frame=0).in_force("max_frame") == 0
    assert Config().in_force("max_frame") == 64 * KiB


def test_proxies_are_trusted_by_address_and_network() -> None:
    config = Config(trust_proxy=("127.0.0.1", "10.0.0.0/8", "::1"))
    assert config.trusts("127.0.0.1")
    assert config.trusts("10.200.3.4")
    assert config.trusts("::1")
    assert not config.trusts("192.168.0.1")
    assert not config.trusts("memory stream")
    assert not Config().trusts("127.0.0.1")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.text(), max_size=3).map(tuple),
)


@given(st.sampled_from(list(SETTINGS)), values)
def test_a_value_either_will_do_or_is_a_config_error(name: str, value: Value) -> None:
    try:
        config = changed(name, value)
    except ConfigError:
        return
    # What was accepted is accepted again, and in force or worked out.
    assert replace(config) == config
    assert config.in_force(name) is not None


def test_no_closing_outlasts_a_drain() -> None:
    assert Config().closing_time == Config().close_timeout
    assert Config(close_timeout=60, drain_timeout=10).closing_time == 9
    assert Config(close_timeout=0, drain_timeout=10).closing_time == 9
    assert Config(close_timeout=60, drain_timeout=0).closing_time == 60
