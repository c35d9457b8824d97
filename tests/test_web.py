"""HTTP as values: headers are read as HTTP says, answers carry what they must."""

from __future__ import annotations

from trio_chat.web import (
    CONTENT_SECURITY_POLICY,
    REASONS,
    SECURITY_HEADERS,
    Answer,
    Request,
    redirect,
    say,
)


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request("GET", "/", "", headers, "1.1")


def test_a_header_is_found_by_its_name() -> None:
    assert request((b"host", b"a"), (b"x-host", b"b")).get(b"host") == "a"


def test_a_header_that_is_not_there_is_none() -> None:
    assert request((b"x-host", b"b")).get(b"host") is None


def test_a_header_that_is_empty_is_there() -> None:
    assert request((b"origin", b"")).get(b"origin") == ""


def test_several_headers_of_one_name_are_one_with_commas() -> None:
    assert request((b"a", b"1"), (b"b", b"x"), (b"a", b"2")).get(b"a") == "1, 2"


def test_any_byte_in_a_header_can_be_read() -> None:
    assert request((b"a", bytes(range(256)))).get(b"a") == "".join(map(chr, range(256)))


def test_the_items_of_a_header_have_no_space_around_them_and_are_not_empty() -> None:
    assert request((b"a", b"x ,, y"), (b"a", b" ,z")).tokens(b"a") == ["x", "y", "z"]


def test_a_header_that_is_not_there_has_no_items() -> None:
    assert request().tokens(b"a") == []


def test_a_sentence_is_a_line_of_plain_text() -> None:
    assert say(400, "Ünlesbar") == Answer(
        400, "Ünlesbar\n".encode(), "text/plain; charset=utf-8", {}
    )


def test_without_a_sentence_the_reason_is_one() -> None:
    assert {say(status).body for status in REASONS} == {
        f"{reason.lower()}\n".encode() for reason in REASONS.values()
    }


def test_a_sentence_may_come_with_headers() -> None:
    assert say(503, Retry_After="5", Connection="close").headers == {
        "Retry-After": "5",
        "Connection": "close",
    }


def test_a_redirection_keeps_the_query_if_there_is_one() -> None:
    assert redirect(302, "/chat/").headers == {"Location": "/chat/"}
    assert redirect(301, "/chat/", "a=b").headers == {"Location": "/chat/?a=b"}


def test_a_page_may_load_and_reach_this_server_only_and_runs_nothing_inline() -> None:
    policy = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_no_page_is_sniffed_framed_or_told_of_elsewhere() -> None:
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert SECURITY_HEADERS["X-Frame-Options"] == "DENY"
    assert SECURITY_HEADERS["Referrer-Policy"] == "same-origin"
