"""The client's pure parts: addresses, decoding, when to come back, and where one stood."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.client import BadAddress, parse_address
from trio_chat.client.comeback import (
    LONGEST_PAUSE,
    SHORTEST_LATER,
    Comeback,
    Gap,
    Place,
    choose_pause,
    comeback_after,
)
from trio_chat.client.events import (
    BadFrame,
    Deleted,
    Frame,
    Joined,
    Left,
    Message,
    Receipt,
    Refusal,
    Typing,
    Welcome,
    decode_frame,
)
from trio_chat.protocol import CloseCode, Entry, encode_ack, encode_entry

# --- Addresses ---


@pytest.mark.parametrize(
    ("text", "authority", "target"),
    [
        ("ws://chat.example/ws/chat/lobby/", "chat.example", "/ws/chat/lobby/"),
        ("ws://chat.example/ws/chat/lobby", "chat.example", "/ws/chat/lobby/"),
        ("http://127.0.0.1:8000/chat/lobby/", "127.0.0.1:8000", "/ws/chat/lobby/"),
        ("https://chat.example/chat/lobby", "chat.example", "/ws/chat/lobby/"),
        ("wss://chat.example:443/ws/chat/x/", "chat.example", "/ws/chat/x/"),
        ("wss://chat.example:80/ws/chat/x/", "chat.example:80", "/ws/chat/x/"),
        ("https://a.example/team/chat/lobby/", "a.example", "/team/ws/chat/lobby/"),
        ("http://a.example/chat/a/chat/b/", "a.example", "/chat/a/ws/chat/b/"),
        ("localhost:8000/lobby", "localhost:8000", "/ws/chat/lobby/"),
        ("localhost:8000/lobby/", "localhost:8000", "/ws/chat/lobby/"),
        ("localhost:8000/chat/lobby/", "localhost:8000", "/ws/chat/lobby/"),
        ("localhost/chat", "localhost", "/ws/chat/chat/"),
        ("[::1]:8000/lobby", "[::1]:8000", "/ws/chat/lobby/"),
        (" LOCALHOST:8000/lobby\n", "localhost:8000", "/ws/chat/lobby/"),
        ("http://bücher.example/chat/größe/", "xn--bcher-kva.example", "/ws/chat/gr%C3%B6%C3%9Fe/"),
        ("http://a.example/chat/gro%CC%88ße/", "a.example", "/ws/chat/gr%C3%B6%C3%9Fe/"),
    ],
)
def test_an_address_is_understood(text: str, authority: str, target: str) -> None:
    address = parse_address(text)
    assert (address.authority, address.target({})) == (authority, target)


def test_an_address_keeps_its_query() -> None:
    assert parse_address("ws://h/ws/chat/a/?token=x%20y&n=").query == (("token", "x y"), ("n", ""))
    assert parse_address("h/a").target({"name": "a b&c"}) == "/ws/chat/a/?name=a%20b%26c"


def test_tls_and_the_port_follow_from_the_scheme() -> None:
    assert [
        (parse_address(text).secure, parse_address(text).port)
        for text in ("h/a", "http://h/chat/a", "https://h/chat/a", "wss://h:9/chat/a")
    ] == [(False, 80), (False, 80), (True, 443), (True, 9)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lobby",
        "/chat/lobby/",
        "http://chat.example/",
        "http://chat.example/chat/",
        "http://chat.example/lobby",
        "ftp://chat.example/chat/lobby/",
        "http://chat.example:port/chat/lobby/",
        "http://chat.example:70000/chat/lobby/",
        "http://[::1/chat/lobby/",
        "http://me:secret@chat.example/chat/lobby/",
        "http://chat.example/chat/two%20words/",
        "http://chat.example/chat/%FF/",
        "http://chat.example/chat/" + "x" * 65,
        "http://" + "x" * 64 + ".example/chat/lobby/",
        "localhost:8000",
        "localhost:8000/a/b",
    ],
)
def test_a_bad_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    assert " " in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_bad_one(text: str) -> None:
    try:
        address = parse_address(text)
    except BadAddress:
        return
    assert address.target({}).isascii()


# --- Decoding ---

WELCOME = {
    "type": "welcome",
    "room": "lobby",
    "name": "alice",
    "epoch": "e",
    "seq": 3,
    "recovered": True,
    "resume": "secret",
}


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (
            WELCOME | {"members": ["alice", "bob"]},
            Welcome("lobby", "alice", "e", 3, True, ("alice", "bob"), 2, "secret"),
        ),
        (
            WELCOME | {"count": 1001},
            Welcome("lobby", "alice", "e", 3, True, None, 1001, "secret"),
        ),
        (
            {"type": "message", "seq": 1, "name": None, "message": "", "time": 2, "more": [1]},
            Message(1, None, "", 2.0),
        ),
        (
            {"type": "message", "seq": 1, "name": "a", "message": "b", "time": 2.5, "id": "c"},
            Message(1, "a", "b", 2.5, "c"),
        ),
        ({"type": "ack", "id": "c", "seq": 1, "duplicate": True}, Receipt("c", 1, True)),
        ({"type": "join", "name": "a"}, Joined("a")),
        ({"type": "leave", "name": "a"}, Left("a")),
        ({"type": "typing", "name": "a"}, Typing("a")),
        ({"type": "deleted", "seq": 7}, Deleted(7)),
        ({"type": "error", "code": "a", "reason": "b"}, Refusal("a", "b", None, None)),
        (
            {"type": "error", "code": "a", "reason": "b", "id": "c", "retry_after": 1},
            Refusal("a", "b", "c", 1.0),
        ),
        ({"type": "applause", "name": 3}, None),
    ],
)
def test_a_frame_is_decoded(frame: dict[str, object], event: Frame | None) -> None:
    assert decode_frame(json.dumps(frame)) == event


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "NaN",
        "{}",
        '{"type": 1}',
        '{"type": "join"}',
        '{"type": "join", "name": null}',
        '{"type": "deleted", "seq": true}',
        '{"type": "deleted", "seq": -1}',
        '{"type": "deleted", "seq": 1.0}',
        '{"type": "ack", "id": "a", "seq": 1, "duplicate": 1}',
        '{"type": "error", "code": "a", "reason": "b", "retry_after": "soon"}',
        json.dumps(WELCOME),
        json.dumps(WELCOME | {"members": "alice"}),
        json.dumps(WELCOME | {"members": ["alice", 1]}),
        '{"type": "message", "seq": 1, "name": "a", "message": "b", "time": true}',
        '{"type": "message", "seq": 1, "name": "a", "message": "b", "time": 1, "id": 2}',
    ],
)
def test_a_frame_of_another_shape_is_refused(frame: str) -> None:
    with pytest.raises(BadFrame):
        decode_frame(frame)


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_decoding_a_frame_is_total(text: str) -> None:
    with suppress(BadFrame):
        decode_frame(text)


@given(
    st.builds(
        Entry,
        seq=st.integers(0, 2**53),
        time=st.floats(0, 1e10),
        name=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        message=st.text(st.characters(exclude_categories=["Cs"])),
        id=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_what_the_server_encodes_the_client_decodes(entry: Entry) -> None:
    expected = Message(entry.seq, entry.name, entry.message, entry.time, entry.id)
    assert decode_frame(encode_entry(entry).decode()) == expected


def test_an_ack_of_the_server_is_a_receipt() -> None:
    assert decode_frame(encode_ack("a", 4, duplicate=False).decode()) == Receipt("a", 4, False)


def test_a_welcome_does_not_show_its_secret() -> None:
    event = decode_frame(json.dumps(WELCOME | {"members": []}))
    assert "secret" not in repr(event)


# --- Coming back ---


def test_every_close_code_of_the_protocol_says_whether_to_come_back() -> None:
    assert {code: comeback_after(code) for code in CloseCode} == {
        1000: Comeback.NEVER,
        1001: Comeback.SOON,
        1002: Comeback.NEVER,
        1003: Comeback.NEVER,
        1007: Comeback.NEVER,
        1008: Comeback.LATER,
        1006: Comeback.SOON,
        1009: Comeback.NEVER,
        1011: Comeback.SOON,
        1013: Comeback.LATER,
        4000: Comeback.SOON,
        4001: Comeback.NEVER,
        4002: Comeback.NEVER,
        4003: Comeback.SOON,
        4004: Comeback.NEVER,
        4005: Comeback.AFRESH,
        4006: Comeback.NEVER,
    }


@pytest.mark.parametrize(
    ("code", "comeback"),
    [
        (1005, Comeback.SOON),
        (1006, Comeback.SOON),
        (1012, Comeback.SOON),
        (1015, Comeback.NEVER),
        (3000, Comeback.NEVER),
        (4999, Comeback.NEVER),
        (200, Comeback.NEVER),
        (301, Comeback.NEVER),
        (400, Comeback.NEVER),
        (404, Comeback.NEVER),
        (429, Comeback.LATER),
        (500, Comeback.SOON),
        (503, Comeback.LATER),
    ],
)
def test_other_codes_say_it_too(code: int, comeback: Comeback) -> None:
    assert comeback_after(code) is comeback


def test_pauses_grow_to_a_bound_and_are_spread_over_all_of_it() -> None:
    for attempt in range(1, 100):
        bound = min(2.0**attempt, LONGEST_PAUSE)
        pauses = [choose_pause(Comeback.SOON, attempt) for _ in range(200)]
        assert 0 <= min(pauses) < bound / 4
        assert bound * 3 / 4 < max(pauses) <= bound


def test_later_is_never_at_once() -> None:
    pauses = [choose_pause(Comeback.LATER, 1) for _ in range(200)]
    assert SHORTEST_LATER <= min(pauses) < max(pauses) <= LONGEST_PAUSE


# --- Where one stood ---


def greeting(seq: int, *, epoch: str = "e", recovered: bool = False) -> Welcome:
    return Welcome("lobby", "alice", epoch, seq, recovered, (), 0, "secret")


def advance(place: Place, seqs: Sequence[int]) -> list[int]:
    return [seq for seq in seqs if place.advance(seq)]


def test_a_fresh_join_begins_where_the_history_does() -> None:
    place = Place()
    assert not place.enter(greeting(10), history=3)
    assert place.seq == 7
    assert advance(place, [8, 9, 10, 11]) == [8, 9, 10, 11]


def test_a_history_may_be_shorter_than_asked_for() -> None:
    place = Place()
    place.enter(greeting(10), history=50)
    assert place.seq == 0
    assert advance(place, [6, 7]) == [6, 7]
    with pytest.raises(Gap):
        place.advance(9)


def test_a_recovered_place_goes_on_without_a_gap_or_a_double() -> None:
    place = Place(5, "e")
    assert place.enter(greeting(8, recovered=True), history=50)
    assert advance(place, [4, 5, 6, 7]) == [6, 7]
    with pytest.raises(Gap, match="message 9 came after 7"):
        place.advance(9)


def test_what_is_trimmed_is_missing_but_nothing_comes_twice() -> None:
    place = Place(5, "e")
    assert not place.enter(greeting(12), history=10)
    assert advance(place, [3, 4, 5, 8, 9]) == [8, 9]
    assert not place.enter(greeting(100), history=10)
    assert advance(place, [91, 92]) == [91, 92]


def test_a_place_at_the_end_misses_nothing() -> None:
    place = Place(5, "e")
    assert place.enter(greeting(5), history=50)
    assert advance(place, [3, 4, 5, 6]) == [6]


@pytest.mark.parametrize("welcome", [greeting(9, epoch="new"), greeting(4)])
def test_a_count_that_began_anew_is_followed(welcome: Welcome) -> None:
    place = Place(5, "e")
    assert not place.enter(welcome, history=50)
    assert (place.epoch, place.seq) == (welcome.epoch, 0)
    assert advance(place, [1, 2]) == [1, 2]


def test_recovering_another_epoch_is_no_recovery() -> None:
    assert not Place(5, "e").enter(greeting(9, epoch="new", recovered=True), history=0)


def test_a_forgotten_place_joins_afresh() -> None:
    place = Place(5, "e")
    place.forget()
    assert (place.seq, place.epoch) == (0, None)


@given(
    st.lists(st.integers(0, 30), min_size=1).map(sorted),
    st.integers(0, 30),
    st.builds(greeting, st.just(30), recovered=st.booleans()),
)
def test_numbers_taken_rise_and_have_no_gap_after_the_first(
    seqs: list[int], start: int, welcome: Welcome
) -> None:
    place = Place(start, "e")
    place.enter(welcome, history=10)
    taken = []
    try:
        for seq in seqs:
            if place.advance(seq):
                taken.append(seq)
    except Gap:
        pass
    assert taken == list(range(taken[0], taken[0] + len(taken))) if taken else True
    assert all(seq > start for seq in taken)
