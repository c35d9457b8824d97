"""Names of rooms and of members, and the query string that asks for them."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_chat.protocol import (
    DEFAULT_HISTORY,
    MAX_NAME,
    MAX_ROOM_NAME,
    BadName,
    BadQuery,
    JoinRequest,
    fold_name,
    guest_name,
    parse_query,
    parse_room_name,
    unique_name,
)

anything = st.text(st.characters(exclude_categories=()))
letters = st.characters(categories=["L", "M", "Nd"]) | st.sampled_from("_-.")
room_names = (
    st.text(letters, min_size=1, max_size=MAX_ROOM_NAME)
    .map(lambda name: unicodedata.normalize("NFC", name))
    .filter(lambda name: len(name) <= MAX_ROOM_NAME and name not in (".", ".."))
)
wanted_names = (
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=MAX_NAME)
    .map(str.strip)
    .filter(bool)
)


# --- Rooms ---------------------------------------------------------------------------------------


@given(room_names)
def test_a_room_is_found_by_its_percent_encoded_name(name: str) -> None:
    assert parse_room_name(quote(name)) == name


@given(room_names)
def test_a_room_is_found_by_the_decomposed_form_of_its_name(name: str) -> None:
    assert parse_room_name(quote(unicodedata.normalize("NFD", name))) == name


@given(anything | anything.map(lambda text: quote(text, errors="surrogatepass")))
@example("%")
@example("%zz")
@example("\ud800")
@example("%ed%a0%80")
def test_any_segment_is_a_name_or_a_bad_name(segment: str) -> None:
    try:
        name = parse_room_name(segment)
    except BadName:
        return
    assert parse_room_name(quote(name)) == name
    assert 1 <= len(name) <= MAX_ROOM_NAME
    assert all(unicodedata.category(c)[0] in "LM" or c.isdecimal() or c in "_-." for c in name)


@pytest.mark.parametrize(
    "segment",
    [
        "lobby",
        "room_1",
        "a-b.c",
        "...",
        ".a",
        "-",
        "_",
        "0",
        "%E6%97%A5%E6%9C%AC",  # 日本
        "%D9%A3",  # an Arabic digit
        "n%CC%84",  # a letter with a mark that has no composed form of its own
        "x" * 64,
    ],
)
def test_letters_marks_digits_and_three_signs_name_a_room(segment: str) -> None:
    assert parse_room_name(segment)


@pytest.mark.parametrize(
    "segment",
    [
        "",
        ".",
        "..",
        "%2E%2e",
        "x" * 65,
        "a b",
        "a+b",
        "a%2Fb",
        "a%00",
        "a%0D%0A",
        "%3Cscript%3E",
        "a%22",
        "%F0%9F%98%80",  # an emoji is a symbol
        "%C2%BD",  # ½ is a number and no digit
        "%E2%80%AEabc",  # an override of the direction
        "a%E2%80%8B",  # a space without a width
        "%FF",
        "%C0%AE",  # an overlong dot
        "%ED%A0%80",  # a surrogate
        "a%",
    ],
)
def test_nothing_else_names_a_room(segment: str) -> None:
    with pytest.raises(BadName, match="a room's name"):
        parse_room_name(segment)


def test_room_names_are_case_sensitive() -> None:
    assert parse_room_name("Lobby") != parse_room_name("lobby")


def test_a_name_is_measured_after_it_was_composed() -> None:
    assert parse_room_name(quote("e\u0301" * 64)) == "é" * 64


# --- The query -----------------------------------------------------------------------------------


def bad_parameter(query: str) -> str:
    with pytest.raises(BadQuery) as caught:
        parse_query(query)
    assert str(caught.value).startswith(f"{caught.value.parameter}: expected ")
    return caught.value.parameter


def test_an_empty_query_asks_for_the_usual() -> None:
    assert parse_query("") == JoinRequest(None, None, None, DEFAULT_HISTORY, None)


requests = st.builds(
    JoinRequest,
    name=st.none() | wanted_names,
    since=st.none() | st.integers(0, 10**18 - 1),
    epoch=st.none() | st.text(),
    history=st.integers(0, 10**18 - 1),
    resume=st.none() | st.text(),
)


@given(requests)
def test_what_a_client_writes_is_what_the_server_reads(request: JoinRequest) -> None:
    given = {
        "name": request.name,
        "since": request.since,
        "epoch": request.epoch,
        "history": request.history,
        "resume": request.resume,
    }
    query = urlencode({key: value for key, value in given.items() if value is not None})
    assert parse_query(query) == request


@given(anything | st.text("&=;%+nameshitory0198xyf"))
@example("name=\ud800")
@example("&".join(f"p{i}" for i in range(65)))
def test_any_query_is_a_request_or_names_what_is_wrong(query: str) -> None:
    try:
        request = parse_query(query)
    except BadQuery:
        assert bad_parameter(query) in (*JoinRequest.__dataclass_fields__, "query")
    else:
        assert request.name is None or 1 <= len(request.name) <= MAX_NAME
        assert request.history >= 0


def test_a_name_is_trimmed() -> None:
    assert parse_query("name=+%09Ada+Lovelace%0A").name == "Ada Lovelace"


def test_of_a_repeated_parameter_the_last_counts() -> None:
    assert parse_query("name=Ada&name=Bob").name == "Bob"


def test_unknown_parameters_may_be_anything() -> None:
    assert parse_query("x=%FF&%FF=y&token=a&&=&name=Ada").name == "Ada"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "%20%20",
        "x" * 33,
        "a%00b",
        "a%1Bb",
        "a%0Ab",
        "a%C2%85b",  # next line
        "a%E2%80%8Bb",  # a space without a width
        "a%E2%80%AEb",  # an override of the direction
        "a%E2%80%A8b",  # a line separator
        "a%E2%80%A9b",  # a paragraph separator
        "%FF",
    ],
)
def test_a_name_is_one_line_of_1_to_32_visible_characters(name: str) -> None:
    assert bad_parameter(f"name={name}") == "name"


def test_a_name_may_be_in_any_script_and_of_symbols() -> None:
    name = "😀 Ада — 日本" + "𝔸" * 22
    assert len(name) == MAX_NAME
    assert parse_query(urlencode({"name": name})).name == name


@pytest.mark.parametrize("parameter", ["since", "history"])
@pytest.mark.parametrize(
    "value", ["", "-1", "%2B1", "1.0", "1_0", "0x1", "1+", "%D9%A3", "%C2%B2", "9" * 19, "%FF"]
)
def test_a_count_is_ascii_digits(parameter: str, value: str) -> None:
    assert bad_parameter(f"{parameter}={value}") == parameter


@pytest.mark.parametrize("parameter", ["epoch", "resume"])
def test_what_is_not_utf_8_is_named(parameter: str) -> None:
    assert bad_parameter(f"name=Ada&{parameter}=a%FFb") == parameter


def test_a_query_has_at_most_64_parameters() -> None:
    assert parse_query("&".join(f"p{i}=" for i in range(64))) == JoinRequest()
    assert bad_parameter("&".join(f"p{i}=" for i in range(65))) == "query"


# --- Members -------------------------------------------------------------------------------------


@given(anything)
def test_folding_twice_is_folding_once(name: str) -> None:
    assert fold_name(fold_name(name)) == fold_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "ADA"),
        ("straße", "STRASSE"),
        ("é", "e\u0301"),
        ("Ａｄａ", "Ada"),
        ("ﬁn", "FIN"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
    ],
)
def test_names_that_people_take_for_the_same_fold_to_the_same(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


def test_other_names_stay_others() -> None:
    assert len({fold_name(name) for name in ("Ada", "Adah", "Ada-2", "Аda", "Ad a")}) == 5


def test_a_guest_is_called_guest_and_four_letters_or_digits() -> None:
    assert all(re.fullmatch("guest-[a-z0-9]{4}", guest_name()) for _ in range(100))


def test_two_guests_hardly_ever_get_the_same_name() -> None:
    assert len({guest_name() for _ in range(20)}) > 15


@given(wanted_names)
def test_a_free_name_is_given_as_it_is(wanted: str) -> None:
    assert unique_name(wanted, set()) == wanted


@given(st.lists(wanted_names | st.sampled_from(["Ada", "ADA", "ada-2", "x" * 32]), max_size=30))
def test_names_stay_different_within_32_characters_and_readable(wanted: list[str]) -> None:
    taken: dict[str, str] = {}
    for name in wanted:
        given_name = unique_name(name, taken)
        assert fold_name(given_name) not in taken
        assert 1 <= len(given_name) <= MAX_NAME
        assert given_name == name or re.search(r"-\d+$", given_name)
        taken[fold_name(given_name)] = given_name


def test_a_taken_name_gets_the_next_number() -> None:
    assert unique_name("Ada", {"ada"}) == "Ada-2"
    assert unique_name("Ada", {"ada", "ada-2", "ada-4"}) == "Ada-3"


def test_a_long_name_is_cut_to_make_room_for_its_number() -> None:
    taken = {"x" * 32} | {"x" * 30 + f"-{number}" for number in range(2, 10)}
    assert unique_name("x" * 32, taken) == "x" * 29 + "-10"


def test_no_space_is_left_before_the_number() -> None:
    wanted = "x" * 29 + " yz"
    assert unique_name(wanted, {wanted}) == "x" * 29 + "-2"
