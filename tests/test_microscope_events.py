"""The lines of a recording: each event survives them, and nothing else passes for one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.microscope.events import (
    KINDS,
    BadRecording,
    Event,
    Exited,
    Hello,
    How,
    Marked,
    ScopeChanged,
    Spawned,
    decode,
    encode,
)
from trio_chat.microscope.recording import Recording, to_html

times = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(0, 2**53)
texts = st.text()
maybe = st.none() | texts

FIELDS: dict[str, st.SearchStrategy[object]] = {
    "t": times,
    "id": ids,
    "of": ids,
    "within": ids,
    "name": texts,
    "text": texts,
    "cancelled": st.booleans(),
    "shield": st.booleans(),
    "deadline": st.none() | times,
    "reason": maybe,
    "source": maybe,
    "outbox": st.lists(ids).map(tuple),
    "how": st.sampled_from(How),
    "exc": maybe,
    "by": st.none() | ids | texts,
    "at": maybe,
    "v": st.just(1),
    "python": texts,
    "trio": texts,
    "pid": ids,
    "title": maybe,
    "lab": st.none() | st.booleans(),
}


def fields_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(kind, **{key: FIELDS[key] for key in kind.__dataclass_fields__})


events = st.one_of([fields_of(kind) for kind in KINDS])


@given(events)
def test_an_event_survives_its_line(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert decode(line) == event


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_whatever_is_no_line_of_a_recording_is_refused_as_such(line: str) -> None:
    with pytest.raises(BadRecording):
        decode(line)


@given(events, st.data())
def test_a_line_with_a_wrong_value_is_refused_or_an_event(
    event: Event, data: st.DataObject
) -> None:
    line = json.loads(encode(event))
    key = data.draw(st.sampled_from(sorted(line)))
    line[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
    )
    try:
        again = decode(json.dumps(line))
    except BadRecording:
        return
    assert decode(encode(again)) == again


def test_the_line_reads_as_it_is_written_down() -> None:
    spawned = '{"t":0.25,"e":"spawn","id":118,"name":"room green","within":50}'
    assert encode(Spawned(0.25, 118, "room green", 50)) == spawned
    scope = '{"t":1.0,"e":"scope","id":61,"cancelled":false,"deadline":null,"shield":false}'
    assert encode(ScopeChanged(1.0, 61, cancelled=False, deadline=None, shield=False)) == scope
    exited = '{"t":2.0,"e":"exit","id":131,"how":"cancelled","reason":"enough","by":5}'
    assert encode(Exited(2.0, 131, How.CANCELLED, reason="enough", by=5)) == exited


def test_a_name_that_is_no_unicode_is_written_all_the_same() -> None:
    assert decode(encode(Marked(0.0, "half \ud83d"))) == Marked(0.0, "half \\ud83d")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"t":0,"e":"hello","v":2,"python":"","trio":"","pid":1}', "version 2"),
        ('{"t":0,"e":"mark"}', "'text'"),
        ('{"t":true,"e":"mark","text":""}', "'t'"),
        ('{"t":0,"e":"exit","id":1,"how":"vanished"}', "'how'"),
        ('{"t":0,"e":"open","id":-1,"of":1}', "'id'"),
        ('{"t":0,"e":"gauge","id":1,"outbox":[1,"2"]}', "'outbox'"),
        ('{"t":0,"e":"party"}', "no event"),
        ('{"t":0,"e":["mark"],"text":""}', "no event"),
        ("[]", "no JSON object"),
        ('{"t":NaN,"e":"mark","text":""}', "no JSON"),
    ],
)
def test_what_is_wrong_is_said(line: str, word: str) -> None:
    with pytest.raises(BadRecording, match=word):
        decode(line)


# --- A recording as a file, and as a page ---------------------------------------------------------

HELLO = Hello(0.0, 1, "3.11.7", "0.35.0", 1)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    recording = Recording([HELLO, Spawned(0.0, 1, "zoë")])
    recording.append(Marked(0.5, "two\nlines\u2028or three"))
    recording.write(path)
    assert list(Recording.read(path)) == list(recording)
    assert len(path.read_bytes().splitlines()) == len(recording) == 3


def test_the_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(encode(HELLO).encode() + b'\n\n{"t": \xff}\n')
    with pytest.raises(BadRecording, match="line 3: no JSON") as caught:
        Recording.read(path)
    assert caught.value.number == 3


def test_a_recording_that_was_cut_off_in_a_line_is_read_up_to_that(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(encode(HELLO) + "\n" + encode(Marked(0.1, "what follows is torn"))[:20])
    assert list(Recording.read(path)) == [HELLO]


def test_the_page_holds_the_recording_and_names_nothing_outside() -> None:
    mark = Marked(0.1, "</script><script>alert(1)</script>")
    page = to_html(Recording([HELLO, mark]), title="Who <dies>?")
    assert "<title>Who &lt;dies&gt;?</title>" in page
    assert "<script>alert" not in page
    data = page.partition('id="recording">')[2].partition("</script>")[0]
    assert [decode(line) for line in data.strip().splitlines()] == [HELLO, mark]
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
