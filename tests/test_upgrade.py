"""What becomes a WebSocket and what is refused: the handshake's head, its origin, its query."""

from __future__ import annotations

from typing import Final

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_chat.protocol import Dialect, JoinRequest
from trio_chat.upgrade import Handshake, room_of, shake_hands, wants_websocket
from trio_chat.web import Answer, Refused, Request

# The example of RFC 6455, section 1.3.
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="


def upgrade(
    target: str = "/ws/chat/lobby/", *, method: str = "GET", version: str = "1.1", **headers: str
) -> Request:
    """A handshake that is in order, but for these headers; an empty one is left out."""
    given = {
        "host": "chat.example",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_key": KEY,
        "sec_websocket_version": "13",
    } | headers
    path, _, query = target.partition("?")
    fields = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in given.items()
        if value
    ]
    return Request(method, path, query, fields, version)


def shake(request: Request, *allowed: str, scheme: str | None = None) -> Handshake:
    return shake_hands(request, allowed=allowed, scheme=scheme)


def outcome(request: Request, *allowed: str, scheme: str | None = None) -> Handshake | Answer:
    try:
        return shake(request, *allowed, scheme=scheme)
    except Refused as exc:
        return exc.answer


def refusal(request: Request) -> tuple[int, str]:
    answer = outcome(request)
    assert isinstance(answer, Answer)
    return answer.status, answer.body.decode()


def is_welcome(origin: str, *allowed: str, host: str, scheme: str | None = None) -> bool:
    result = outcome(upgrade(origin=origin, host=host), *allowed, scheme=scheme)
    if isinstance(result, Answer):
        assert result.status == 403
    return isinstance(result, Handshake)


# --- Which requests ask for a WebSocket ----------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "protocol"),
    [
        ("Upgrade", "websocket"),
        ("keep-alive, Upgrade", "websocket"),  # Firefox
        ("UPGRADE", "WebSocket"),
        ("upgrade", "h2c, websocket"),
    ],
)
def test_an_upgrade_is_asked_for_by_two_headers(connection: str, protocol: str) -> None:
    assert wants_websocket(upgrade(connection=connection, upgrade=protocol))


@pytest.mark.parametrize(
    "request_",
    [
        upgrade(connection=""),
        upgrade(connection="keep-alive"),
        upgrade(connection="xupgrade"),
        upgrade(upgrade=""),
        upgrade(upgrade="h2c"),
        upgrade(method="POST"),
        upgrade(method="HEAD"),
    ],
)
def test_whatever_asks_by_halves_is_a_plain_request(request_: Request) -> None:
    assert not wants_websocket(request_)


# --- Where to ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/ws/chat/lobby/", "/ws/chat/lobby", "/ws/chat/lob%62y/"])
def test_a_room_s_address_names_it_with_or_without_the_last_slash(target: str) -> None:
    assert room_of(upgrade(target)) == "lobby"


def test_a_room_s_name_is_percent_decoded_and_composed() -> None:
    assert room_of(upgrade("/ws/chat/e%CC%81t%C3%A9/")) == "été"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/ws",
        "/ws/chat",
        "/ws/chat/",
        "/ws/chat//",
        "/ws/chat/lobby//",
        "/ws/chat/lobby/more",
        "/chat/lobby/",
        "/WS/chat/lobby/",
        "//ws/chat/lobby/",
        "ws/chat/lobby/",
        "*",
    ],
)
def test_nowhere_else_is_a_websocket(target: str) -> None:
    assert refusal(upgrade(target))[0] == 404


def test_a_bad_room_s_name_is_not_found_and_the_answer_says_why() -> None:
    assert refusal(upgrade("/ws/chat/a%2Fb/")) == (
        404,
        "a room's name is letters, marks, digits, '_', '-' and '.'\n",
    )


# --- The handshake's own headers -----------------------------------------------------------------


def test_http_1_0_has_no_websockets() -> None:
    assert refusal(upgrade(version="1.0"))[0] == 400


@pytest.mark.parametrize("version", ["", "8", "14", "13, 8", "013"])
def test_another_version_is_told_which_one_is_spoken(version: str) -> None:
    with pytest.raises(Refused) as caught:
        shake(upgrade(sec_websocket_version=version))
    assert caught.value.answer.status == 426
    assert caught.value.answer.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25j",  # 15 bytes
        "dGhlIHNhbXBsZSBub25jZSE=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25jZQ",  # without its padding
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forged: yes",
        "dGhlIHNhbXBsZSBub25jZQ==é",
    ],
)
def test_a_key_is_sixteen_bytes_in_base64(key: str) -> None:
    status, sentence = refusal(upgrade(sec_websocket_key=key))
    assert status == 400
    assert sentence.startswith("Sec-WebSocket-Key")


@given(st.binary())
def test_whatever_stands_in_the_headers_is_an_answer_or_a_clean_head(value: bytes) -> None:
    text = value.decode("latin-1")
    for header in ("sec_websocket_key", "sec_websocket_version", "sec_websocket_protocol"):
        result = outcome(upgrade(**{header: text}))
        if isinstance(result, Handshake):
            assert result == shake(upgrade(sec_websocket_protocol=result.dialect.value or ""))
        else:
            assert result.status in (400, 426)


# --- What comes of it ----------------------------------------------------------------------------


def test_the_head_is_written_anew_and_is_a_handshake_of_its_own() -> None:
    handshake = shake(
        upgrade("/ws/chat/lobby/?x=1", cookie="secret", sec_websocket_extensions="a", x_odd="\xff")
    )
    http = h11.Connection(h11.SERVER)
    http.receive_data(handshake.opening.request())
    event = http.next_event()
    assert isinstance(event, h11.Request)
    assert dict(event.headers) == {
        b"host": b"trio-chat",
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-key": KEY.encode(),
        b"sec-websocket-version": b"13",
    }
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert http.trailing_data == (b"", False)


@pytest.mark.parametrize(
    ("offered", "dialect"),
    [
        ("", Dialect.PLAIN),
        ("trio-chat.v1", Dialect.V1),
        ("graphql-ws, trio-chat.v1", Dialect.V1),
        ("trio-chat.v2", Dialect.PLAIN),
        ("Trio-Chat.V1", Dialect.PLAIN),
        ("None", Dialect.PLAIN),
    ],
)
def test_the_subprotocol_chooses_the_dialect(offered: str, dialect: Dialect) -> None:
    handshake = shake(upgrade(sec_websocket_protocol=offered))
    assert handshake.dialect is dialect
    assert handshake.opening.subprotocol == dialect.value


def test_a_v1_handshake_carries_what_its_query_asks_for() -> None:
    request = upgrade(
        "/ws/chat/lobby/?name=Ada&since=7&epoch=e", sec_websocket_protocol="trio-chat.v1"
    )
    assert shake(request).join == JoinRequest(name="Ada", since=7, epoch="e")


def test_a_v1_query_that_can_not_be_read_is_refused_by_its_parameter_s_name() -> None:
    request = upgrade("/ws/chat/lobby/?since=-1", sec_websocket_protocol="trio-chat.v1")
    assert refusal(request) == (400, "since: expected a whole number, 0 or more\n")


def test_the_plain_dialect_reads_no_query() -> None:
    assert shake(upgrade("/ws/chat/lobby/?since=-1&name=%ff")).join == JoinRequest()


# --- Origin --------------------------------------------------------------------------------------


def test_who_sends_no_origin_is_no_browser_and_is_let_in() -> None:
    assert shake(upgrade(), scheme="https").room == "lobby"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.example", "chat.example"),
        ("https://chat.example", "chat.example"),
        ("http://chat.example", "chat.example:80"),
        ("https://chat.example", "chat.example:443"),
        ("http://chat.example:80", "chat.example"),
        ("http://localhost:8000", "localhost:8000"),
        ("HTTP://Chat.Example", "CHAT.example"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://[2001:DB8::1]", "[2001:db8::1]"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_the_own_origin_is_welcome(origin: str, host: str) -> None:
    assert is_welcome(origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "chat.example"),
        ("null", "null"),
        ("http://evil.example", "chat.example"),
        ("http://chat.example.evil.example", "chat.example"),
        ("http://evilchat.example", "chat.example"),
        ("http://sub.chat.example", "chat.example"),
        ("http://chat.example:8000", "chat.example"),
        ("http://chat.example", "chat.example:8000"),
        ("http://chat.example:81", "chat.example:80"),
        ("https://chat.example", "chat.example:80"),
        ("http://chat.example", "chat.example:443"),
        ("http://chat.example:0", "chat.example"),
        ("http://[::1]:8000", "[::2]:8000"),
        ("http://[::1]", "::1"),
        ("http://chat.example, http://evil.example", "chat.example"),
    ],
)
def test_a_foreign_origin_is_refused(origin: str, host: str) -> None:
    assert not is_welcome(origin, host=host)


@pytest.mark.parametrize(
    "origin",
    [
        "chat.example",
        "//chat.example",
        "http:chat.example",
        "http://",
        "http://chat.example/",
        "http://chat.example?x",
        "http://chat.example#x",
        "http://user@chat.example",
        "http://user:pass@chat.example",
        "http://@chat.example",
        "http://:80",
        "http://chat.example:port",
        "http://chat.example:99999",
        "http://[chat.example",
        "http://[",
        "file://chat.example",
        "\xff",
    ],
)
@pytest.mark.parametrize("scheme", [None, "http"])
def test_what_is_no_origin_is_refused(origin: str, scheme: str | None) -> None:
    assert not is_welcome(origin, host="chat.example", scheme=scheme)


@pytest.mark.parametrize(
    "host", ["", "chat.example/", "user@chat.example", "chat.example:port", "[", "a, chat.example"]
)
def test_with_a_host_that_is_none_no_origin_is_welcome(host: str) -> None:
    assert not is_welcome("http://chat.example", host=host)


@pytest.mark.parametrize(
    ("origin", "scheme"),
    [
        ("https://chat.example", "https"),
        ("https://chat.example", "HTTPS"),
        ("https://chat.example", "wss"),
        ("http://chat.example", "http"),
        ("http://chat.example", "ws"),
    ],
)
def test_a_scheme_that_is_known_is_the_origin_s(origin: str, scheme: str) -> None:
    assert is_welcome(origin, host="chat.example", scheme=scheme)


@pytest.mark.parametrize(
    ("origin", "scheme"),
    [
        ("http://chat.example:8000", "https"),
        ("http://chat.example:8000", "wss"),
        ("https://chat.example:8000", "http"),
        ("https://chat.example:8000", ""),
        ("https://chat.example:8000", "gopher"),
    ],
)
def test_a_scheme_that_is_known_and_another_is_refused(origin: str, scheme: str) -> None:
    assert is_welcome(origin, host="chat.example:8000")
    assert not is_welcome(origin, host="chat.example:8000", scheme=scheme)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", ("https://app.example",)),
        ("https://APP.example", ("https://app.EXAMPLE",)),
        ("http://localhost:3000", ("https://app.example", "http://localhost:3000")),
        ("app://desktop", ("app://desktop",)),
        ("https://anybody.example", ("*",)),
        ("null", ("https://app.example", "*")),
    ],
)
def test_the_allow_list_lets_in_who_is_on_it(origin: str, allowed: tuple[str, ...]) -> None:
    assert is_welcome(origin, *allowed, host="chat.example", scheme="https")


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil",
        "https://evil.app.example",
        "null",
        "*",
    ],
)
def test_the_allow_list_lets_in_nobody_else(origin: str) -> None:
    assert not is_welcome(origin, "https://app.example", host="chat.example", scheme="https")


def test_an_allow_list_leaves_the_own_origin_welcome() -> None:
    assert is_welcome("http://chat.example", "https://app.example", host="chat.example")


hostile = st.text(st.characters(max_codepoint=255)) | st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "ws", "file", ""]),
    st.sampled_from(["chat.example", "[::1]", "[", "]", "@", "é", ""]),
    st.sampled_from(["", ":80", ":", ":x", "/", "#", "%", "\t", "]"]),
)


@given(origin=hostile, host=hostile, scheme=st.none() | hostile)
@example(origin="http://[", host="[", scheme=None)
def test_whatever_origin_and_host_say_it_is_yes_or_403(
    origin: str, host: str, scheme: str | None
) -> None:
    assert is_welcome(origin, host=host, scheme=scheme) in (True, False)
