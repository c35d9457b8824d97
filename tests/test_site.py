"""Each row of the contract's table of addresses, as values; pages that nobody can write into."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib import resources
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.protocol import parse_room_name
from trio_chat.site import MAX_LISTED, Site
from trio_chat.web import Answer, Request, say

PAGES = resources.files("trio_chat") / "pages"


class Rooms(dict[str, int]):
    """The open rooms, and whether the server is ready for more."""

    ready = True


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


@pytest.fixture
def site(rooms: Rooms) -> Site:
    return make_site(rooms)


def make_site(rooms: Rooms) -> Site:
    return Site(
        counts=lambda: rooms,
        metrics=lambda: say(200, "trio_chat_rooms 0"),
        ready=lambda: rooms.ready,
    )


def get(site: Site, target: str, method: str = "GET", **headers: str) -> Answer:
    path, _, query = target.partition("?")
    fields = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return site.answer(Request(method, path, query, fields, "1.1"))


def title(answer: Answer) -> str:
    return answer.body.decode().partition("<title>")[2].partition("</title>")[0]


# --- Addresses -----------------------------------------------------------------------------------


def test_the_root_leads_to_the_chat(site: Site) -> None:
    answer = get(site, "/")
    assert (answer.status, answer.headers["Location"]) == (302, "/chat/")


def test_the_index_asks_for_a_room(site: Site) -> None:
    answer = get(site, "/chat/")
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert title(answer) == "Chat Rooms"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("room", ["lobby", "room_1", "%C3%A9t%C3%A9", "..."])
def test_a_room_has_a_page(site: Site, room: str) -> None:
    answer = get(site, f"/chat/{room}/")
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert title(answer) == "Chat Room"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/chat", "/chat/"),
        ("/chat?a=b&c", "/chat/?a=b&c"),
        ("/chat/lobby", "/chat/lobby/"),
        ("/chat/lobby?name=Ada", "/chat/lobby/?name=Ada"),
        ("/chat/%C3%A9t%C3%A9", "/chat/%C3%A9t%C3%A9/"),
    ],
)
def test_a_slash_is_added_and_the_query_kept(site: Site, target: str, location: str) -> None:
    answer = get(site, target)
    assert (answer.status, answer.headers["Location"]) == (301, location)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("chat.css", "text/css; charset=utf-8"),
        ("room.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_static_file_is_served_as_what_it_is_and_may_be_cached(
    site: Site, name: str, kind: str
) -> None:
    answer = get(site, f"/static/{name}")
    assert (answer.status, answer.content_type) == (200, kind)
    assert answer.body == (PAGES / name).read_bytes()
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Cache-Control"] == "public, no-cache"


def test_every_file_of_the_pages_is_served(site: Site) -> None:
    names = [file.name for file in PAGES.iterdir() if file.is_file()]
    statuses = {name: get(site, f"/static/{name}").status for name in names}
    assert statuses == {name: 404 if name.endswith(".html") else 200 for name in names}


def test_the_favicon_is_where_browsers_look_for_it(site: Site) -> None:
    answer = get(site, "/favicon.ico")
    assert (answer.status, answer.content_type) == (200, "image/x-icon")
    assert "ETag" in answer.headers


@pytest.mark.parametrize("target", ["/ws/chat/lobby/", "/ws/chat/lobby"])
def test_a_websocket_s_address_asks_for_an_upgrade(site: Site, target: str) -> None:
    answer = get(site, target)
    assert answer.status == 426
    assert answer.headers == {"Upgrade": "websocket", "Connection": "Upgrade"}


def test_the_server_lives(site: Site) -> None:
    answer = get(site, "/livez")
    assert (answer.status, answer.body, answer.headers["Cache-Control"]) == (
        200,
        b"ok\n",
        "no-store",
    )


def test_the_server_is_ready_until_it_drains(site: Site, rooms: Rooms) -> None:
    assert (get(site, "/readyz").status, get(site, "/readyz").body) == (200, b"ok\n")
    rooms.ready = False
    assert get(site, "/readyz").status == 503
    assert get(site, "/livez").status == 200


def test_the_metrics_are_somebody_else_s(site: Site) -> None:
    assert get(site, "/metrics").body == b"trio_chat_rooms 0\n"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "//",
        "//evil.example/",
        "/chat//",
        "/chat/lobby//",
        "/chat/lobby/more",
        "/Chat/",
        "/livez/",
        "/metrics/",
        "/static",
        "/static/",
        "/static/nothing.js",
        "/static/room.html",
        "/static/../site.py",
        "/static/..%2Fsite.py",
        "/static/pages/room.js",
        "/ws/",
        "/ws/chat/",
        "/favicon.ico/",
        "/index.html",
        "/.git/config",
    ],
)
def test_anything_else_is_not_found(site: Site, target: str) -> None:
    assert get(site, target).status == 404


@pytest.mark.parametrize("room", ["..", "%2e", "a%20b", "a%2Fb", "%FF", "%3Cb%3E", "x" * 65])
@pytest.mark.parametrize("address", ["/chat/{}/", "/chat/{}", "/ws/chat/{}/", "/ws/chat/{}"])
def test_a_bad_room_s_name_is_not_found_on_the_page_and_on_the_socket(
    site: Site, address: str, room: str
) -> None:
    assert get(site, address.format(room)).status == 404


# --- Methods and caches --------------------------------------------------------------------------

ADDRESSES = [
    "/",
    "/chat",
    "/chat/",
    "/chat/lobby",
    "/chat/lobby/",
    "/static/chat.css",
    "/favicon.ico",
    "/ws/chat/lobby/",
    "/livez",
    "/readyz",
    "/metrics",
    "/nothing",
]


@pytest.mark.parametrize("target", ADDRESSES)
def test_head_is_answered_as_get_is(site: Site, target: str) -> None:
    assert get(site, target, "HEAD") == get(site, target)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "BREW"])
@pytest.mark.parametrize("target", ADDRESSES[:-1])
def test_another_method_is_told_which_ones_there_are(site: Site, target: str, method: str) -> None:
    answer = get(site, target, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_another_method_where_there_is_nothing_finds_nothing(site: Site) -> None:
    assert get(site, "/nothing", "POST").status == 404


@pytest.mark.parametrize("target", ["/static/chat.css", "/favicon.ico", "/chat/lobby/"])
@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', 'W/"x",{} , "y"'])
def test_a_file_that_is_known_is_not_sent_again(site: Site, target: str, known: str) -> None:
    first = get(site, target)
    answer = get(site, target, if_none_match=known.format(first.headers["ETag"]))
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers == first.headers


@pytest.mark.parametrize("known", ['"other"', "*nothing*", ""])
def test_a_file_that_changed_is_sent(site: Site, known: str) -> None:
    assert get(site, "/static/chat.css", if_none_match=known).status == 200


def test_each_file_has_a_tag_of_its_own(site: Site) -> None:
    names = ["chat.css", "room.js", "index.js", "icon.svg"]
    assert len({get(site, f"/static/{name}").headers["ETag"] for name in names}) == len(names)


# --- The list of open rooms ----------------------------------------------------------------------


class RoomList(HTMLParser):
    """Reads the index as a browser does: every element, and the rooms that are listed."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.listed: list[tuple[str, str]] = []  # the address, and what it reads
        self._inside = False
        self._address: str | None = None
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "ul":
            self._inside = given.get("id") == "rooms"
        if tag == "a" and self._inside:
            self._address = given["href"] or ""
            self.listed.append((self._address, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "ul"
        if tag == "li":
            self._address = None

    def handle_data(self, data: str) -> None:
        if self._address is not None:
            address, text = self.listed.pop()
            self.listed.append((address, text + data))


def listed(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return RoomList(get(make_site(Rooms(counts)), "/chat/").body).listed


def test_open_rooms_are_listed_with_how_many_are_in_each_the_fullest_first() -> None:
    assert listed({"b": 1, "lobby": 12, "a": 1, "été": 3}) == [
        ("/chat/lobby/", "lobby 12"),
        ("/chat/%C3%A9t%C3%A9/", "été 3"),
        ("/chat/a/", "a 1"),
        ("/chat/b/", "b 1"),
    ]


def test_no_room_is_listed_where_none_is_open() -> None:
    assert listed({}) == []


def test_a_room_that_nobody_has_entered_yet_is_not_listed() -> None:
    assert listed({"lobby": 1, "opening": 0}) == [("/chat/lobby/", "lobby 1")]


def test_the_fullest_rooms_are_listed_where_there_are_many() -> None:
    addresses = listed({f"room-{number}": number for number in range(1, MAX_LISTED + 50)})
    assert len(addresses) == MAX_LISTED
    assert addresses[0][0] == f"/chat/room-{MAX_LISTED + 49}/"


def test_the_list_is_the_one_of_this_moment(site: Site, rooms: Rooms) -> None:
    assert RoomList(get(site, "/chat/").body).listed == []
    rooms["lobby"] = 1
    assert RoomList(get(site, "/chat/").body).listed == [("/chat/lobby/", "lobby 1")]


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


hostile = st.text(min_size=1, max_size=64) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</a></li></ul><img src=x onerror=alert(1)>",
        '" onmouseover="alert(1)',
        "' autofocus='",
        "javascript:alert(1)",
        "//evil.example",
        "&lt;b&gt;",
        "<!-- rooms -->",
        "<!--",
    ]
)


@given(hostile)
def test_a_room_s_name_is_text_whatever_it_looks_like(name: str) -> None:
    page = RoomList(get(make_site(Rooms({name: 1})), "/chat/").body)
    usual = RoomList(get(make_site(Rooms({"lobby": 1})), "/chat/").body)
    assert page.tags == usual.tags
    ((address, text),) = page.listed
    assert text == f"{name} 1"
    segments = address.split("/")
    assert segments[:2] + segments[3:] == ["", "chat", ""]
    assert unquote(segments[2]) == name


@given(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=20).map(composed))
def test_a_room_that_is_listed_can_be_entered(name: str) -> None:
    site = make_site(Rooms({name: 1}))
    ((address, _),) = RoomList(get(site, "/chat/").body).listed
    assert get(site, address).status == 200
    assert parse_room_name(address.split("/")[2]) == name


segments = st.sampled_from(
    [
        "",
        "chat",
        "ws",
        "static",
        "lobby",
        "chat.css",
        "favicon.ico",
        "readyz",
        "metrics",
        "..",
        "%2F",
    ]
) | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#"))


@given(
    st.lists(segments, max_size=5).map("/".join),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.text(st.characters(max_codepoint=0x7F), max_size=9),
)
def test_whatever_is_asked_for_is_answered_and_never_sent_elsewhere(
    path: str, method: str, known: str
) -> None:
    answer = get(make_site(Rooms()), path, method, if_none_match=known)
    assert answer.status in {200, 301, 302, 304, 404, 405, 426}
    assert answer.headers.get("Location", "/chat/").startswith("/chat/")
