"""The log's last line of defence: whatever is in a record, it stays one record."""

import json
import logging
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from trio_chat.logs import JsonFormatter, TextFormatter, escape

hostile = st.text(st.characters(exclude_categories=())) | st.just(
    "x\r\n2026-01-01T00:00:00.000Z ok"
)


def record(message: str, *, failing: str | None = None) -> logging.LogRecord:
    """Make a record as a logger would, with a traceback where something is `failing`."""
    caught = None
    if failing is not None:
        try:
            raise ValueError(failing)
        except ValueError:
            caught = sys.exc_info()
    return logging.LogRecord("trio_chat.test", logging.WARNING, "", 0, "%s", (message,), caught)


@given(hostile)
@example("\x1b[2J")
@example("\u202e\u2066\u2028\x85\ud800")
def test_text_is_one_line_that_a_terminal_survives(message: str) -> None:
    line = TextFormatter().format(record(message))
    assert len(line.splitlines()) == 1
    assert line.encode("utf-8").isascii() or line.isprintable() or " " in line
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)
    assert " warning trio_chat.test: " in line


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_is_harmless_is_left_as_it_is(text: str) -> None:
    assert escape(text) == text


def test_control_characters_are_spelled_out() -> None:
    assert escape("a\r\n\t\x1b[0m\u2028é\U0001f600") == "a\\r\\n\\t\\x1b[0m\\u2028é\U0001f600"


@given(hostile)
def test_a_traceback_is_indented_and_can_not_forge_a_record(message: str) -> None:
    first, *below = TextFormatter().format(record("failed", failing=message)).splitlines()
    assert first.endswith(" warning trio_chat.test: failed")
    assert all(line.startswith("  | ") for line in below)
    assert any("ValueError" in line for line in below)


@given(hostile)
def test_json_is_one_ascii_line_that_gives_the_message_back(message: str) -> None:
    line = JsonFormatter().format(record(message, failing="cause"))
    assert line.isascii()
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"].encode("utf-16", "surrogatepass") == message.encode(
        "utf-16", "surrogatepass"
    )
    assert (entry["level"], entry["logger"]) == ("warning", "trio_chat.test")
    assert entry["cause"].endswith("ValueError: cause")


def test_json_has_no_cause_where_nothing_failed() -> None:
    entry = json.loads(JsonFormatter().format(record("fine")))
    assert entry.keys() == {"time", "level", "logger", "message"}
    assert entry["time"].endswith("Z")
