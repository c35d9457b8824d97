"""The words of both dialects. Decoding is total: any text is a command or an error, never a fault.

Python's own json module, made strict, is the second opinion on what JSON is.
"""

from __future__ import annotations

import json
import string
from typing import Final, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_chat.protocol import (
    ENCODERS,
    MAX_ANNOUNCED,
    MAX_ID,
    BadInput,
    Command,
    Dialect,
    Ended,
    Ending,
    Entry,
    ErrorCode,
    Say,
    Typing,
    Welcome,
    choose_dialect,
    decode,
    encode_ack,
    encode_entry,
    encode_error,
    encode_join,
    encode_leave,
    encode_plain,
    encode_typing,
    encode_welcome,
)

PLAIN, V1 = Dialect.PLAIN, Dialect.V1
LIMIT: Final = 4096

dialects = st.sampled_from(Dialect)
texts = st.text()  # Hypothesis leaves lone surrogates out: no UTF-8 holds one.
ids = st.text(min_size=1, max_size=MAX_ID)
any_text = st.text(st.characters(exclude_categories=()))

numbers = (
    st.integers()
    | st.floats()
    | st.just(float("inf"))
    | st.just(float("nan"))
    | st.integers(10**19, 10**400)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=10,
)
known_keys = st.sampled_from(["type", "message", "id"])
known_values = st.sampled_from(["message", "typing", ""]) | values
objects = st.dictionaries(known_keys | any_text, known_values)
any_json = st.builds(json.dumps, values | objects, ensure_ascii=st.booleans())
hostile_pieces = st.sampled_from(
    ["\\ud800", "\\udc00", "\\u0000", "NaN", "-Infinity", "1e9999", "[" * 40, '{"a":', "\x00", "é"]
) | st.characters(exclude_categories=())


@st.composite
def mutated_json(draw: st.DrawFn) -> str:
    """JSON with something cut out and something put in."""
    text = draw(any_json)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 5, len(text))))
        text = text[:start] + draw(hostile_pieces | st.just("")) + text[end:]
    return text


def outcome(dialect: Dialect, text: str, max_message: int = LIMIT) -> Command | BadInput:
    try:
        return decode(dialect, text, max_message)
    except BadInput as error:
        return error


def error(dialect: Dialect, text: str, max_message: int = LIMIT) -> BadInput:
    result = outcome(dialect, text, max_message)
    assert isinstance(result, BadInput)
    return result


def is_json(text: str) -> bool:
    """Whether a strict reader takes the text; only for what is not nested deeply."""
    try:
        text.encode()
        json.loads(text, parse_constant=refuse, object_pairs_hook=check_all)
        check(json.loads(text))
    except (ValueError, OverflowError):
        return False
    return True


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def check_all(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for key, value in pairs:
        check(key)
        check(value)
    return dict(pairs)


def check(value: object) -> None:
    match value:
        case str():
            value.encode()
        case int() | float():
            if float(value) in (float("inf"), float("-inf")):
                raise OverflowError
        case list():
            for item in value:
                check(item)


# --- Decoding is total ---------------------------------------------------------------------------


@given(dialects, any_text | any_json | mutated_json())
@example(PLAIN, "\ud800")
@example(V1, "\ufeff{}")
def test_any_text_is_a_command_or_an_error(dialect: Dialect, text: str) -> None:
    result = outcome(dialect, text)
    assert isinstance(result, Say | Typing | BadInput)
    # And whatever it is, it can be told: to the room, or to the sender.
    match result:
        case Say(message, id):
            assert json.loads(encode_entry(Entry(1, 0.0, None, message, id)))["message"] == message
        case BadInput():
            told = json.loads(encode_error(dialect, result))
            assert (told["error"] if dialect is PLAIN else told)["code"] == result.code


@given(any_text | any_json | mutated_json())
@example('{"message":"a","x":"\\ud800","x":1}')
def test_not_json_is_exactly_what_a_strict_reader_refuses(text: str) -> None:
    result = outcome(PLAIN, text)
    refused = isinstance(result, BadInput) and result.code is ErrorCode.NOT_JSON
    assert refused is not is_json(text)


HOSTILE: Final = {
    "NaN": "NaN",
    "infinity": "-Infinity",
    "infinity by its exponent": "1e9999",
    "a number of 5,000 digits": "9" * 5000,
    "a lone high surrogate": '"\\ud800"',
    "a lone low surrogate": '"\\udc00"',
    "a pair the wrong way round": '"\\udc00\\ud800"',
    "a lone surrogate in a key": '{"\\ud800":1}',
    "deep arrays": "[" * 60_000 + "]" * 60_000,
    "deep objects": '{"a":' * 60_000 + "1" + "}" * 60_000,
    "a control character": '"\n"',
    "an octal number": "01",
    "a comma too many": "[1,]",
    "single quotes": "'a'",
    "a comment": "1/**/",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize(
    "frame",
    [
        "%s",
        '{"message":"hello","ignored":%s}',
        '{"ignored":{"deeper":[%s]},"message":"hello"}',
        '{"message":"hello"}%s{',
    ],
)
@pytest.mark.parametrize("dialect", Dialect)
def test_what_is_wrong_anywhere_is_wrong(dialect: Dialect, frame: str, value: str) -> None:
    assert error(dialect, frame % value).code is ErrorCode.NOT_JSON


@pytest.mark.parametrize("text", ["", " ", "hello", "{", '{"message"}', "\x00"])
def test_text_that_is_no_json_is_told_so(text: str) -> None:
    assert error(PLAIN, text).reason.startswith("not JSON: ")


@pytest.mark.parametrize(
    "value",
    ["1" * 300, "-0.0", "1e-9999", "0." + "3" * 5000, '"\\ud83d\\ude00"', "[" * 500 + "]" * 500],
)
def test_what_is_odd_and_can_be_read_is_ignored(value: str) -> None:
    assert decode(PLAIN, f'{{"message":"hello","ignored":{value}}}', LIMIT) == Say("hello", None)


# --- Shapes --------------------------------------------------------------------------------------


@given(texts, st.dictionaries(any_text.filter(lambda key: key.isascii()), texts))
def test_a_plain_message_is_the_text_under_its_key(message: str, others: dict[str, str]) -> None:
    frame = json.dumps(others | {"message": message})
    assert decode(PLAIN, frame, 0) == Say(message, None)


@given(message=texts, id=st.none() | ids, typed=st.booleans())
def test_a_v1_message_may_leave_out_its_type_and_its_id(
    message: str, id: str | None, *, typed: bool
) -> None:
    frame = {"message": message}
    if typed:
        frame["type"] = "message"
    if id is not None:
        frame["id"] = id
    assert decode(V1, json.dumps(frame), 0) == Say(message, id)


def test_an_empty_message_is_a_message() -> None:
    assert decode(PLAIN, '{"message":""}', LIMIT) == Say("", None)


def test_nul_is_text() -> None:
    assert decode(PLAIN, '{"message":"\\u0000"}', LIMIT) == Say("\0", None)


def test_of_a_repeated_key_the_last_counts() -> None:
    assert decode(V1, '{"message":"a","id":0,"message":"b","id":"x"}', LIMIT) == Say("b", "x")


def test_space_around_the_object_is_none_of_its_business() -> None:
    assert decode(PLAIN, ' \r\n\t{ "message" : "a" } \n', LIMIT) == Say("a", None)


def test_typing_needs_nothing_else() -> None:
    assert decode(V1, '{"type":"typing","message":7,"id":7}', LIMIT) == Typing()


def test_the_plain_dialect_knows_no_types_and_no_ids() -> None:
    frame = '{"type":"typing","id":7,"message":"a"}'
    assert decode(PLAIN, frame, LIMIT) == Say("a", None)


KINDS: Final = [
    ("null", "null"),
    ("true", "a boolean"),
    ("7", "a number"),
    ("0.5", "a number"),
    ('"text"', "a string"),
    ("[]", "an array"),
    ("{}", "an object"),
]


@pytest.mark.parametrize(("text", "kind"), [pair for pair in KINDS if pair[0] != "{}"])
@pytest.mark.parametrize("dialect", Dialect)
def test_json_that_is_no_object_is_told_what_it_is(dialect: Dialect, text: str, kind: str) -> None:
    refused = error(dialect, text)
    assert refused.code is ErrorCode.NOT_AN_OBJECT
    assert refused.reason == f"expected a JSON object, got {kind}"


@pytest.mark.parametrize(("text", "kind"), [pair for pair in KINDS if pair[0] != '"text"'])
@pytest.mark.parametrize("dialect", Dialect)
def test_a_message_that_is_no_string_is_told_what_it_is(
    dialect: Dialect, text: str, kind: str
) -> None:
    refused = error(dialect, f'{{"message":{text}}}')
    assert refused.code is ErrorCode.BAD_MESSAGE
    assert refused.reason == f'expected "message" to be a string, got {kind}'


@pytest.mark.parametrize("dialect", Dialect)
def test_an_object_without_a_message_is_told_so(dialect: Dialect) -> None:
    refused = error(dialect, "{}")
    assert refused.code is ErrorCode.BAD_MESSAGE
    assert refused.reason == 'expected "message" to be a string, got nothing'


@pytest.mark.parametrize("kind", ["null", "7", '"Message"', '["message"]', "{}"])
def test_an_unknown_type_is_a_bad_type_and_its_id_comes_back(kind: str) -> None:
    refused = error(V1, f'{{"type":{kind},"message":"a","id":"x"}}')
    assert (refused.code, refused.id) == (ErrorCode.BAD_TYPE, "x")


@pytest.mark.parametrize("id", ["null", "7", '""', '["x"]', json.dumps("x" * 65)])
def test_an_id_is_one_to_64_characters(id: str) -> None:
    refused = error(V1, f'{{"message":"a","id":{id}}}')
    assert (refused.code, refused.id) == (ErrorCode.BAD_ID, None)


def test_an_id_is_counted_in_characters() -> None:
    assert decode(V1, json.dumps({"message": "", "id": "😀" * 64}), LIMIT) == Say("", "😀" * 64)


def test_what_is_wrong_with_a_message_comes_before_its_bad_id() -> None:
    assert error(V1, '{"message":7,"id":7}').code is ErrorCode.BAD_MESSAGE


@given(dialects, texts, st.integers(1, 8))
def test_a_message_may_have_as_many_characters_as_the_limit(
    dialect: Dialect, message: str, limit: int
) -> None:
    result = outcome(dialect, json.dumps({"message": message, "id": "x"}), limit)
    if len(message) <= limit:
        assert result == Say(message, "x" if dialect is V1 else None)
    else:
        assert isinstance(result, BadInput)
        assert result.code is ErrorCode.TOO_LONG
        assert result.id == ("x" if dialect is V1 else None)
        assert f"{len(message)} characters; at most {limit}" in result.reason


def test_a_limit_of_zero_is_none() -> None:
    long = "x" * 100_000
    assert decode(PLAIN, json.dumps({"message": long}), 0) == Say(long, None)


# --- What the server says ------------------------------------------------------------------------

names = st.text(min_size=1, max_size=32)
entries = st.builds(
    Entry,
    seq=st.integers(1, 2**53),
    time=st.floats(0, 2**40),
    name=st.none() | names,
    message=texts,
    id=st.none() | ids,
)


@given(entries)
def test_the_plain_dialect_has_one_key_and_no_other(entry: Entry) -> None:
    assert json.loads(encode_plain(entry)) == {"message": entry.message}


@given(entries)
def test_a_v1_message_carries_its_whole_entry(entry: Entry) -> None:
    expected = {"type": "message"} | entry._asdict()
    if entry.id is None:
        del expected["id"]
    assert json.loads(encode_entry(entry)) == expected


def test_each_dialect_has_its_encoder() -> None:
    entry = Entry(1, 2.5, "Ada", "hello", None)
    assert {dialect: encode(entry) for dialect, encode in ENCODERS.items()} == {
        PLAIN: b'{"message":"hello"}',
        V1: b'{"type":"message","seq":1,"name":"Ada","message":"hello","time":2.5}',
    }


@given(dialects, texts, st.none() | ids)
def test_what_is_encoded_is_decoded_as_it_was(
    dialect: Dialect, message: str, id: str | None
) -> None:
    known = id if dialect is V1 else None
    frame = ENCODERS[dialect](Entry(1, 0.0, "Ada", message, id)).decode()
    assert decode(dialect, frame, 0) == Say(message, known)


@given(name=names, id=ids, seq=st.integers(0, 2**53), duplicate=st.booleans())
def test_the_other_events_are_what_the_contract_says(
    name: str, id: str, seq: int, *, duplicate: bool
) -> None:
    assert json.loads(encode_join(name)) == {"type": "join", "name": name}
    assert json.loads(encode_leave(name)) == {"type": "leave", "name": name}
    assert json.loads(encode_typing(name)) == {"type": "typing", "name": name}
    ack = {"type": "ack", "id": id, "seq": seq, "duplicate": duplicate}
    assert json.loads(encode_ack(id, seq, duplicate=duplicate)) == ack


def greeting(members: list[str]) -> dict[str, object]:
    welcome = Welcome("lobby", "Ada", "e1", 7, True, "secret", members)
    event: dict[str, object] = json.loads(encode_welcome(welcome))
    return event


def test_a_welcome_names_the_members() -> None:
    assert greeting(["Ada", "Bob"]) == {
        "type": "welcome",
        "room": "lobby",
        "name": "Ada",
        "epoch": "e1",
        "seq": 7,
        "recovered": True,
        "resume": "secret",
        "members": ["Ada", "Bob"],
    }


def test_up_to_1000_members_are_named() -> None:
    members = [f"m{i}" for i in range(MAX_ANNOUNCED)]
    assert greeting(members)["members"] == members
    assert "count" not in greeting(members)


def test_above_1000_members_they_are_counted() -> None:
    members = [f"m{i}" for i in range(MAX_ANNOUNCED + 1)]
    assert greeting(members)["count"] == MAX_ANNOUNCED + 1
    assert "members" not in greeting(members)


def test_a_plain_error_is_an_object_of_its_own() -> None:
    refused = BadInput(ErrorCode.BAD_ID, "why", "x")
    assert json.loads(encode_error(PLAIN, refused)) == {
        "error": {"code": "bad-id", "reason": "why"}
    }


def test_a_v1_error_carries_the_id_where_it_is_known() -> None:
    refused = BadInput(ErrorCode.TOO_LONG, "why", "x")
    expected = {"type": "error", "code": "too-long", "reason": "why", "id": "x"}
    assert json.loads(encode_error(V1, refused)) == expected


def test_a_v1_error_without_an_id_has_no_such_key() -> None:
    refused = BadInput(ErrorCode.NOT_JSON, "why")
    assert json.loads(encode_error(V1, refused)) == {
        "type": "error",
        "code": "not-json",
        "reason": "why",
    }


@pytest.mark.parametrize("dialect", Dialect)
def test_who_is_too_fast_is_told_when_to_come_back(dialect: Dialect) -> None:
    told = json.loads(encode_error(dialect, BadInput(ErrorCode.RATE_LIMITED, "why"), 1.23456))
    assert (told["error"] if dialect is PLAIN else told)["retry_after"] == 1.235


# --- Dialects and endings ------------------------------------------------------------------------


@given(st.lists(st.text(string.ascii_letters + ".-", max_size=12)))
def test_only_who_offers_v1_gets_it(offered: list[str]) -> None:
    assert choose_dialect(offered) is PLAIN
    assert choose_dialect([*offered, "trio-chat.v1"]) is V1


def test_an_expected_end_reads_as_its_code_and_reason() -> None:
    end = Ended(Ending(4000, "too slow"))
    assert str(end) == "4000: too slow"
    assert end.ending == (4000, "too slow")
