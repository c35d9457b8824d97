"""The pages, in headless Chromium: what people see and do, and what a hostile one can't.

Each test has a server of its own, and so an origin of its own: nothing kept in the browser reaches
the next test. Where one fails, a picture of each window is written to `build/screenshots/`. A page
that writes to the console, as for a breach of its content security policy, fails its test.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from browser import Browser, Server, Window, cable_to, serving
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from trio_chat.protocol import BadName, parse_room_name

pytest_plugins = ["browser_fixtures"]
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("tidy")]

HOSTILE = "<img src=x onerror=alert(1)>"
RIGHT_TO_LEFT = "\u202e"

# Where a server goes away, the browser says so by itself.
EXPECTED_IN_CONSOLE = re.compile(r"WebSocket connection to .* failed|ERR_CONNECTION_REFUSED")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def _server_of_modules() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def modules(browser: Browser, _server_of_modules: Server) -> Window:
    """Return a window in which to import the page's modules. They need no server of their own."""
    window = browser.window(_server_of_modules.url)
    window.get("/chat/")
    return window


@pytest.fixture
def window(browser: Browser, server: Server) -> Window:
    return browser.window(server.url)


def member(server: Server, room: str, name: str) -> AbstractContextManager[ClientConnection]:
    """Join a room with a client that is none of ours."""
    return connect(
        server.socket_address(room, name=name),
        subprotocols=[Subprotocol("trio-chat.v1")],
        max_queue=None,  # It need not read what it is not asked about.
    )


def say(client: ClientConnection, *texts: str) -> None:
    for text in texts:
        client.send(json.dumps({"message": text}))


def next_of(client: ClientConnection, type: str) -> dict[str, Any]:
    """Return the next event of a type, and let the others go by."""
    while True:
        event = json.loads(client.recv(timeout=10))
        if event["type"] == type:
            return dict(event)


def history_of(server: Server, room: str) -> list[str]:
    """Return everything said in a room."""
    address = server.socket_address(room, name="historian", history=500)
    with connect(address, subprotocols=[Subprotocol("trio-chat.v1")], max_queue=None) as client:
        welcome = next_of(client, "welcome")
        return [next_of(client, "message")["message"] for _ in range(welcome["seq"])]


# --- The tutorial's own tests, part 4 ------------------------------------------------------------


class TestTutorial:
    """The words of the Channels tutorial, on this server: same selectors, same waits."""

    @pytest.fixture(autouse=True)
    def _live_server(self, browser: Browser, server: Server) -> None:
        self.driver = browser.driver
        self.live_server_url = server.url
        browser.window(server.url)
        self.handles = len(self.driver.window_handles) - 1

    def test_when_chat_message_posted_then_seen_by_everyone_in_same_room(self) -> None:
        self.enter_chat_room("room_1")
        self.open_new_window()
        self.enter_chat_room("room_1")

        self.switch_to_window(0)
        self.post_message("hello")
        self.wait_for("hello")
        self.switch_to_window(1)
        self.wait_for("hello")

    def test_when_chat_message_posted_then_not_seen_by_anyone_in_different_room(self) -> None:
        self.enter_chat_room("room_1")
        self.open_new_window()
        self.enter_chat_room("room_2")

        self.switch_to_window(0)
        self.post_message("hello")
        self.wait_for("hello")
        self.switch_to_window(1)
        self.post_message("world")
        self.wait_for("world")
        assert "hello" not in self.chat_log_value

    def enter_chat_room(self, room_name: str) -> None:
        self.driver.get(self.live_server_url + "/chat/")
        assert self.driver.title == "Chat Rooms"
        ActionChains(self.driver).send_keys(room_name, Keys.ENTER).perform()
        WebDriverWait(self.driver, 2).until(lambda _: room_name in self.driver.current_url)
        assert self.driver.title == "Chat Room"

    def open_new_window(self) -> None:
        self.driver.execute_script('window.open("about:blank", "_blank");')
        self.driver.switch_to.window(self.driver.window_handles[-1])

    def switch_to_window(self, number: int) -> None:
        self.driver.switch_to.window(self.driver.window_handles[self.handles + number])

    def post_message(self, message: str) -> None:
        ActionChains(self.driver).send_keys(message, Keys.ENTER).perform()

    def wait_for(self, text: str) -> None:
        WebDriverWait(self.driver, 2).until(lambda _: text in self.chat_log_value)

    @property
    def chat_log_value(self) -> str:
        log = self.driver.find_element(By.CSS_SELECTOR, "#chat-log")
        return str(log.get_property("value"))


def test_the_tutorials_buttons_do_what_enter_does(window: Window) -> None:
    window.get("/chat/")
    window.find("#room-name-input").send_keys("lobby")
    window.find("#room-name-submit").click()
    window.until_connected()
    assert window.driver.current_url.endswith("/chat/lobby/")
    window.find("#chat-message-input").send_keys("by button")
    window.find("#chat-message-submit").click()
    window.until_said("by button")
    assert window.find("#chat-message-input").get_property("value") == ""


# --- Going away and coming back ------------------------------------------------------------------


def test_what_is_typed_while_the_server_restarts_arrives_once(browser: Browser) -> None:
    with serving() as server:
        window = browser.window(server.url)
        window.enter("lobby", name="Ada")
        window.say("before")
        window.until_said("before")
        port = server.port
    window.until(lambda: window.connection != "open", "the page sees that the server is gone")
    window.say("meanwhile")
    window.until(lambda: "meanwhile" in window.find("#outbox").text, "it is kept and shown")
    with serving(port=port) as server:
        window.until_said("meanwhile", within=30)
        window.until_connected()
        window.say("after")
        window.until_said("after")
        assert window.log.splitlines() == ["Ada: before", "Ada: meanwhile", "Ada: after"]
        assert window.texts("#outbox li") == []
        assert "began anew" in window.find("#chat-log .note").text
        assert history_of(server, "lobby") == ["meanwhile", "after"]


def test_a_page_behind_a_cut_cable_resumes_without_a_gap_or_a_double(browser: Browser) -> None:
    # More than a fresh join would get.
    missed = [f"missed {number}" for number in range(70)]
    with (
        serving("--rate", "0") as server,
        cable_to(server) as cable,
        member(server, "lobby", "Grace") as grace,
    ):
        window = browser.window(cable.url)
        window.enter("lobby", name="Ada")
        say(grace, "one")
        window.until_said("one")

        cable.cut()
        window.until(lambda: window.connection != "open", "the page sees that the cable is cut")
        say(grace, *missed)
        window.say("from Ada")
        window.say("and more")
        window.until(lambda: len(window.all("#outbox li")) == 2, "both are kept")
        cable.mend()
        window.until_said("and more", within=30)

        everything = ["one", *missed, "from Ada", "and more"]
        assert [line.split(": ")[1] for line in window.log.splitlines()] == everything
        assert window.all("#chat-log .note") == []
        assert history_of(server, "lobby") == everything


def test_a_phone_that_changes_networks_comes_back_unnoticed(
    browser: Browser, server: Server
) -> None:
    with cable_to(server) as cable, member(server, "lobby", "Grace") as grace:
        window = browser.window(cable.url)
        window.enter("lobby", name="Ada")
        assert next_of(grace, "join")["name"] == "Ada"
        cable.move()
        window.until(lambda: window.connection != "open", "the page sees that its network is gone")
        window.until_connected()
        assert window.find("#name").text == "Ada"
        paste(window, "back")
        window.press(Keys.ENTER)
        # No leave and no join came before.
        assert json.loads(grace.recv(timeout=10))["type"] == "message"


def test_what_was_typed_offline_outlives_a_reload(browser: Browser, server: Server) -> None:
    with cable_to(server) as cable:
        window = browser.window(cable.url)
        window.enter("lobby", name="Ada")
        cable.cut()
        window.until(lambda: window.connection != "open", "the page sees that the cable is cut")
        window.say("first")
        window.say("second")
        cable.mend()
        window.enter("lobby")
        window.until_said("second")
        window.until(lambda: window.texts("#outbox li") == [], "nothing waits any longer")
        assert window.log.splitlines() == ["Ada: first", "Ada: second"]
        assert history_of(server, "lobby") == ["first", "second"]


def test_thirty_messages_typed_offline_arrive_in_order_and_none_is_refused(
    browser: Browser, server: Server
) -> None:
    texts = [f"message {number}" for number in range(30)]
    with cable_to(server) as cable:
        window = browser.window(cable.url)
        window.enter("lobby")
        # The page's own socket, looked at from outside: what the server says to it.
        window.script("""
            window.errors = [];
            const parse = JSON.parse;
            JSON.parse = (text) => {
                const value = parse(text);
                if (value?.type === "error") window.errors.push(value);
                return value;
            };
        """)
        cable.cut()
        window.until(lambda: window.connection != "open", "the page sees that the cable is cut")
        for text in texts:
            window.say(text)
        cable.mend()
        window.until_said(texts[-1], within=30)
        assert history_of(server, "lobby") == texts
        assert window.script("return window.errors") == []


def test_the_network_coming_back_ends_the_pause_at_once(browser: Browser, server: Server) -> None:
    with cable_to(server) as cable:
        window = browser.window(cable.url)
        window.enter("lobby")
        window.script("Math.random = () => 0.999; document.title = 'Chat Room'")
        cable.cut()
        # Half a second, one, two, four: by then there is time to see that it is not waited for.
        window.until(lambda: "in 4 s" in window.find("#connection").text, "the pauses grow")
        cable.mend()
        window.script("dispatchEvent(new Event('online'))")
        window.until(lambda: window.connection == "open", "connected without the pause", within=2)


def test_a_reload_keeps_the_name_that_the_server_gave(window: Window) -> None:
    window.enter("lobby")
    name = window.find("#name").text
    assert name.startswith("guest-")
    window.enter("lobby")
    window.until(lambda: window.find("#name").text == name, "the name is the same")


def test_a_place_taken_over_says_so_and_can_be_used_again(server: Server, window: Window) -> None:
    window.enter("lobby", name="Ada")
    window.script("dispatchEvent(new Event('pagehide'))")
    secret = window.script("return JSON.parse(sessionStorage['trio-chat:lobby:place']).resume")
    with connect(
        server.socket_address("lobby", resume=secret), subprotocols=[Subprotocol("trio-chat.v1")]
    ) as thief:
        assert next_of(thief, "welcome")["name"] == "Ada"
        window.until(lambda: window.connection == "ended", "the page stays away")
        assert "another window" in window.find("#notice").text
        assert window.find("#connection").text == "Disconnected"
    window.find("#notice button").click()
    window.until_connected()
    assert not window.find("#notice").is_displayed()


# --- What comes from others ----------------------------------------------------------------------


def test_names_messages_and_typing_of_others_are_shown(server: Server, window: Window) -> None:
    with member(server, "lobby", "Grace") as grace:
        say(grace, "from before")
        next_of(grace, "message")
        window.enter("lobby", name="Ada")
        assert window.log == "Grace: from before"
        window.until(lambda: window.texts("#people-list bdi") == ["Ada", "Grace"], "both are here")
        grace.send(json.dumps({"type": "typing"}))
        window.until(lambda: window.find("#activity").text == "Grace is typing", "she types")
        say(grace, "and now")
        window.until_said("Grace: and now")
        assert window.find("#activity").text == ""
        with member(server, "lobby", "Linus"):
            window.until(lambda: window.find("#activity").text == "Linus joined", "he came")
        window.until(lambda: window.find("#activity").text == "Linus left", "he went")
        window.until(lambda: window.texts("#people-list bdi") == ["Ada", "Grace"], "he is off")


def test_the_others_hear_that_one_types_but_not_each_key(server: Server, window: Window) -> None:
    with member(server, "lobby", "Grace") as grace:
        window.enter("lobby", name="Ada")
        window.press("a word and another")
        assert next_of(grace, "typing")["name"] == "Ada"
        window.press(Keys.ENTER)
        # Had a second one gone out, it would come before the message.
        assert json.loads(grace.recv(timeout=10))["type"] == "message"


def test_a_member_of_the_plain_dialect_is_somebody(server: Server, window: Window) -> None:
    window.enter("lobby", name="Ada")
    with connect(server.socket_address("lobby")) as plain:
        plain.send(json.dumps({"message": "no name"}))
        window.until_said("somebody: no name")
        window.say("hello, somebody")
        window.until_said("hello, somebody")
        assert json.loads(plain.recv(timeout=10)) == {"message": "no name"}
        assert json.loads(plain.recv(timeout=10)) == {"message": "hello, somebody"}


def test_hostile_names_and_messages_are_only_text(server: Server, window: Window) -> None:
    messages = [
        HOSTILE,
        "<script>alert(1)</script>",
        "javascript:alert(1) and data:text/html,<script>alert(1)</script>",
        f"{RIGHT_TO_LEFT}gpj.exe https://example.org/{RIGHT_TO_LEFT}moc.elgoog",
        'https://example.org/"onmouseover="alert(1)',
        "\0 nul, \u2028 and \u2029",
    ]
    with member(server, "lobby", HOSTILE) as hostile:
        window.enter("lobby", name="Ada")
        say(hostile, *messages)
        window.until_said("nul")
        # The list is drawn a moment later, for all who came by then.
        window.until(lambda: window.texts("#people-list bdi") == ["Ada", HOSTILE], "both are here")
        shown = window.script(
            "return [...document.querySelectorAll('#chat-log .text')].map((e) => e.textContent)"
        )
        assert shown == messages
        inside = "#chat-log :is(img, script, iframe, style, [onerror], [onmouseover])"
        assert window.all(inside) == []
        links = window.all("#chat-log a")
        assert [link.get_dom_attribute("href") for link in links] == ["https://example.org/"] * 2
        assert {link.get_dom_attribute("rel") for link in links} == {"noopener noreferrer nofollow"}
        # An override that is not closed ends with its message.
        heading = window.find("#chat-log .name")
        assert heading.value_of_css_property("unicode-bidi") == "isolate"
        assert window.find("#chat-log .text").value_of_css_property("unicode-bidi") == "isolate"
        assert window.driver.title == "Chat Room"


def test_a_breach_of_the_policy_would_be_noticed(browser: Browser, window: Window) -> None:
    window.enter("lobby")
    window.script("document.querySelector('#activity').innerHTML = '<p style=color:red>no</p>'")
    window.until(
        lambda: any("Content Security Policy" in line for line in browser.read_console()),
        "the console tells of it",
    )


# --- Who one is ----------------------------------------------------------------------------------


def test_a_name_is_changed_in_place_and_kept(server: Server, window: Window) -> None:
    with member(server, "lobby", "Grace") as grace:
        window.enter("lobby")
        guest = window.find("#name").text
        window.say("as a guest")
        window.until_said(f"{guest}: as a guest")
        window.find("#name-button").click()
        window.press("Ada", Keys.ENTER)
        window.until(lambda: window.find("#name").text == "Ada", "the name is changed")
        window.say("as Ada")
        window.until_said("Ada: as Ada")
        assert window.log.splitlines() == [f"{guest}: as a guest", "Ada: as Ada"]
        assert next_of(grace, "leave")["name"] == guest
        assert next_of(grace, "join")["name"] == "Ada"
    window.enter("another-room")
    assert window.find("#name").text == "Ada"


def test_a_taken_name_is_made_another_one_and_the_page_says_so(
    server: Server, window: Window
) -> None:
    with member(server, "lobby", "ada"):
        window.enter("lobby", name="Ada")
        assert window.find("#name").text == "Ada-2"
        assert "“Ada” is taken" in window.find("#chat-log .note").text


def test_a_name_that_cannot_be_is_told_beside_the_field(window: Window) -> None:
    window.enter("lobby", name="Ada")
    window.find("#name-button").click()
    window.press("x" * 33, Keys.ENTER)
    assert "32 characters at most" in window.script(
        "return document.querySelector('#name-input').validationMessage"
    )
    window.press(Keys.ESCAPE)
    assert window.find("#name").text == "Ada"
    assert window.connection == "open"


# --- What is refused -----------------------------------------------------------------------------


def test_a_message_that_is_too_long_can_be_edited_or_discarded(window: Window) -> None:
    window.enter("lobby")
    paste(window, "x" * 4097)
    window.press(Keys.ENTER)
    window.until(lambda: window.all("#outbox .refused"), "it is refused")
    assert "Too long" in window.find("#outbox .remark").text
    window.say("what comes after it is not held up")
    window.until_said("what comes after it")

    window.find("#outbox .refused button").click()
    window.press(Keys.BACKSPACE, Keys.ENTER)
    window.until_said("x" * 4096)
    assert window.texts("#outbox li") == []


def test_a_message_that_would_end_the_connection_is_not_even_sent(window: Window) -> None:
    window.enter("lobby")
    paste(window, "x" * 100_000)
    window.press(Keys.ENTER)
    window.until(lambda: window.all("#outbox .refused"), "it is refused")
    window.find("#outbox .refused button:last-child").click()
    assert window.texts("#outbox li") == []
    window.say("still here")
    window.until_said("still here")


def test_what_was_refused_for_its_rate_is_sent_again(browser: Browser) -> None:
    with serving("--rate", "2", "--burst", "2") as server:
        window = browser.window(server.url)
        window.enter("lobby", name="Ada")
        texts = [f"quick {number}" for number in range(6)]
        for text in texts:
            window.say(text)
        window.until_said(texts[-1], within=30)
        window.until(lambda: window.texts("#outbox li") == [], "nothing waits any longer")
        assert history_of(server, "lobby") == texts


def paste(window: Window, text: str) -> None:
    """Put a text into the field at once. Typing it would take a minute."""
    field = window.find("#chat-message-input")
    window.script("arguments[0].value = arguments[1]", field, text)


# --- The shape of the page -----------------------------------------------------------------------


def test_500_messages_and_a_long_word_do_not_widen_the_page(browser: Browser) -> None:
    with serving("--rate", "0") as server, member(server, "lobby", "W" * 32) as grace:
        window = browser.window(server.url)
        window.emulate(width=360)
        window.enter("lobby", name="M" * 32)
        say(grace, *(f"message {number}" for number in range(500)))
        say(grace, "x" * 2000, "https://example.org/" + "y" * 2000, "last")
        window.until_said("last", within=30)
        assert window.script("return document.querySelectorAll('.message').length") == 503
        paste(window, "and mine is long too: " + "z" * 300)
        window.press(Keys.ENTER)
        window.until_said("and mine")
        fits = "return [document.documentElement, document.querySelector('#scroller')]" + (
            ".map((e) => [e.scrollWidth, e.clientWidth])"
        )
        assert window.script(fits) == [[360, 360], [360, 360]]
        at_end = "const s = document.querySelector('#scroller');" + (
            "return s.scrollHeight - s.scrollTop - s.clientHeight < 2"
        )
        window.until(lambda: window.script(at_end), "the newest message is in view")
        window.find("#people-button").click()
        window.until(lambda: window.find("#people").is_displayed(), "the people are shown")
        assert window.script(fits) == [[360, 360], [360, 360]]


def test_whoever_reads_further_up_keeps_their_place(browser: Browser) -> None:
    with serving("--rate", "0") as server, member(server, "lobby", "Grace") as grace:
        window = browser.window(server.url)
        window.enter("lobby", name="Ada")
        say(grace, *(f"message {number}." for number in range(900)))
        window.until_said("message 899.", within=30)
        # Look at one message, and remember where on the screen it is.
        where = "return arguments[0].getBoundingClientRect().top"
        read = window.script("""
            return [...document.querySelectorAll(".message")]
                .find((message) => message.textContent.includes("message 700."));
        """)
        window.script("arguments[0].scrollIntoView()", read)
        window.until(lambda: window.find("#newer").is_displayed(), "a way to the newest is there")
        before = window.script(where, read)

        say(grace, *(f"message {number}." for number in range(900, 1100)))
        window.until(
            lambda: window.find("#newer").text == "200 new messages ↓", "the new ones are counted"
        )
        assert window.script("return document.querySelector('#chat-log').children.length") <= 1001
        assert abs(window.script(where, read) - before) < 2

        window.find("#newer").click()
        window.until(lambda: not window.find("#newer").is_displayed(), "the end is reached")
        assert window.script("return document.querySelector('#scroller').scrollTop") > 0


def test_colours_follow_the_system_until_told_otherwise(window: Window) -> None:
    window.emulate(width=1280, scheme="dark")
    window.enter("lobby")
    assert luminance(window, "html", "background-color") < 0.05
    window.find("#theme").click()
    assert luminance(window, "html", "background-color") > 0.8
    window.enter("lobby")
    assert luminance(window, "html", "background-color") > 0.8
    window.find("#theme").click()
    assert luminance(window, "html", "background-color") < 0.05
    # That is what the system says, so the page follows it again.
    window.emulate(width=1280, scheme="light")
    assert luminance(window, "html", "background-color") > 0.8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_both_schemes(
    server: Server, window: Window, scheme: str
) -> None:
    window.emulate(width=1280, scheme=scheme)
    with member(server, "lobby", "Grace") as grace:
        window.enter("lobby", name="Ada")
        say(grace, "a link https://example.org/ and words")
        window.say("mine")
        window.until_said("mine")
        window.until_said("words")
        pairs = [
            ("html", "html"),
            ("#room-name", ".bar"),
            ("#connection", ".bar"),
            ("#chat-log .heading time", "html"),
            ("#chat-log .message:not(.mine) .text", "#chat-log .message:not(.mine) .text"),
            ("#chat-log a", "#chat-log .message:not(.mine) .text"),
            ("#chat-log .mine .text", "#chat-log .mine .text"),
            ("#chat-message-submit", "#chat-message-submit"),
            ("#name-button .faint", "html"),
            ("#people-list bdi", "#people"),
        ]
        for text, ground in pairs:
            assert contrast(window, text, ground) >= 4.5, (text, ground)
        # Names have any hue. Each of them must do, on the page and on the disc.
        name, message = window.find("#chat-log .name"), window.find("#chat-log .message")
        for hue in range(0, 360, 15):
            window.script("arguments[0].style.setProperty('--hue', arguments[1])", message, hue)
            assert contrast(window, name, "html") >= 4.5, hue
            assert contrast(window, name, message, pseudo="::before") >= 4.5, hue


CONTRAST = """
    const [of, on, pseudo] = arguments;
    const element = (what) => typeof what === "string" ? document.querySelector(what) : what;
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((byte) => {
            const c = byte / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return [
        luminance(getComputedStyle(element(of)).color),
        luminance(getComputedStyle(element(on), pseudo).backgroundColor),
    ];
"""


def contrast(window: Window, text: object, ground: object, pseudo: str | None = None) -> float:
    """Return the contrast ratio of WCAG 2 between a text and what is behind it."""
    darker, lighter = sorted(window.script(CONTRAST, text, ground, pseudo))
    return float((lighter + 0.05) / (darker + 0.05))


def luminance(window: Window, selector: str, what: str) -> float:
    assert what == "background-color"
    return float(window.script(CONTRAST, selector, selector, None)[1])


# --- Without a mouse, without sight --------------------------------------------------------------


def test_everything_can_be_done_with_the_keyboard(window: Window) -> None:
    window.emulate(width=360)
    window.get("/chat/")
    window.press("lobby", Keys.ENTER)
    window.until_connected()
    window.press("two")
    window.press_with_shift(Keys.ENTER)
    window.press("lines", Keys.ENTER)
    window.until_said("two\nlines")

    focused = "return document.activeElement"
    ring = "return getComputedStyle(document.activeElement).outlineStyle"
    reached = []
    for _ in range(9):
        window.press(Keys.TAB)
        if window.script("return document.activeElement !== document.body"):
            reached.append(window.script(focused).get_dom_attribute("id"))
            assert window.script(ring) != "none", reached
    wanted = {"people-button", "theme", "scroller", "name-button", "chat-message-input"}
    assert wanted <= {*reached}

    while window.script(focused).get_dom_attribute("id") != "name-button":
        window.press(Keys.TAB)
    window.press(Keys.ENTER)
    window.press("Ada", Keys.ENTER)
    window.until(lambda: window.find("#name").text == "Ada", "the name is changed")
    window.until_connected()
    window.say("the focus is back where one writes")
    window.until_said("Ada: the focus is back")


def test_a_screen_reader_hears_what_is_new_and_not_the_past(server: Server, window: Window) -> None:
    with member(server, "lobby", "Grace") as grace:
        say(grace, "past")
        next_of(grace, "message")
        window.get("/chat/")
        # What the log was when each message was put into it.
        window.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument",
            {
                "source": """
                    window.heard = [];
                    addEventListener("DOMContentLoaded", () => {
                        const log = document.querySelector("#chat-log");
                        if (!log) return;
                        new MutationObserver((changes) => {
                            for (const { addedNodes } of changes) {
                                for (const { textContent } of addedNodes) {
                                    heard.push([log.getAttribute("aria-live"), textContent]);
                                }
                            }
                        }).observe(log, { childList: true });
                    });
                """
            },
        )
        window.enter("lobby", name="Ada")
        live = "return document.querySelector('#chat-log').getAttribute('aria-live')"
        window.until(lambda: window.script(live) == "polite", "the log is live")
        say(grace, "present")
        window.until_said("present")
        heard = window.script("return window.heard")
        assert [live for live, text in heard if "past" in text] == ["off"]
        assert [live for live, text in heard if "present" in text] == ["polite"]
        # Also the second message of one heading says who speaks.
        assert all("Grace" in text for live, text in heard if "present" in text)


def test_every_field_and_button_has_a_name(window: Window) -> None:
    window.get("/chat/")
    operable = "a, button, input, textarea, [tabindex]"
    assert {e.accessible_name for e in window.all(operable)} == {
        "Name of the room",
        "Enter",
        "Switch to dark colours",
    }
    window.emulate(width=360)
    window.enter("lobby", name="Ada")
    window.find("#name-button").click()
    names = [e.accessible_name for e in window.all(operable) if e.is_displayed()]
    assert names == [
        "All rooms",
        "1 here. Show who",
        "Switch to dark colours",
        "Conversation",
        "Your name",
        "Save",
        "Cancel",
        "Message",
        "Send",
    ]
    for element in window.all("button, input, textarea"):
        if element.is_displayed():
            assert element.rect["height"] >= 44, element.accessible_name
    assert window.find("#connection").aria_role == "status"
    assert window.find("#chat-log").aria_role == "log"


def test_nothing_moves_for_those_who_asked_for_that(window: Window) -> None:
    window.enter("lobby")
    media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    window.script("document.querySelector('#activity').classList.add('typing')")
    moving = (
        "return getComputedStyle(document.querySelector('#activity'), '::before').animationName"
    )
    assert window.script(moving) == "none"


def test_without_scripts_the_pages_say_what_is_missing(window: Window) -> None:
    window.get("/chat/")
    window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    for path in ["/chat/", "/chat/lobby/"]:
        window.get(path)
        assert "needs JavaScript" in window.find("main").text


# --- The index -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "said", "offered"),
    [
        ("two words", "letters, digits", "two-words"),
        (HOSTILE, "letters, digits", "img-src-x-onerror-alert-1"),
        ("..", "Dots alone", None),
        ("x" * 65, "64 characters", "x" * 64),
        ("", "Type a name", None),
        ("a/b", "letters, digits", "a-b"),
    ],
)
def test_a_bad_room_name_is_explained(
    window: Window, typed: str, said: str, offered: str | None
) -> None:
    window.get("/chat/")
    window.press(typed, Keys.ENTER)
    assert said in window.find("#room-name-problem").text
    assert window.texts("#room-name-problem a") == ([] if offered is None else [offered])
    assert window.driver.current_url.endswith("/chat/")
    if offered is not None:
        window.find("#room-name-problem a").click()
        window.until_connected()


def test_a_room_name_may_be_in_any_script(server: Server, window: Window) -> None:
    decomposed = unicodedata.normalize("NFD", "Café-日本")
    window.get("/chat/")
    window.find("#room-name-input").send_keys(decomposed)
    window.press(Keys.ENTER)
    window.until_connected()
    assert window.find("#room-name").text == "Café-日本"
    window.say("bonjour")
    window.until_said("bonjour")
    assert history_of(server, "Café-日本") == ["bonjour"]


def test_the_index_lists_who_is_where_and_keeps_it_fresh(server: Server, window: Window) -> None:
    refresh = "document.dispatchEvent(new Event('visibilitychange'))"
    window.get("/chat/")
    assert "No room is open" in window.find("main").text
    with member(server, "green", "Ada") as ada, member(server, "green", "Grace") as grace:
        next_of(ada, "welcome")
        next_of(grace, "welcome")
        window.script(refresh)
        window.until(lambda: window.texts("#rooms a") == ["green"], "the room is listed")
        assert window.texts("#rooms .count") == ["2"]
        assert "No room is open" not in window.find("main").text
        with member(server, "a-b.c_d", "Linus") as linus:
            next_of(linus, "welcome")
            window.script(refresh)
            window.until(
                lambda: window.texts("#rooms a") == ["green", "a-b.c_d"], "the fuller one is first"
            )
        window.find("#rooms a").click()
        window.until_connected()
        assert window.find("#room-name").text == "green"


# --- The modules by themselves -------------------------------------------------------------------


def test_the_page_and_the_server_agree_on_room_names(modules: Window) -> None:
    # Each assigned character, and what is not one alone. Of the newest, each side knows others.
    characters = [
        chr(point)
        for point in range(0x30000)
        if unicodedata.category(chr(point)) not in {"Cn", "Cs", "Co"}
    ]
    names = [*characters, "..", "...", "", "x" * 64, "x" * 65, "𝒳" * 64, "𝒳" * 65, "a b"]
    names = [unicodedata.normalize("NFC", name) for name in names]
    good = modules.module(
        "address.js", "return arguments[0].map((name) => it.roomNameProblem(name) === null)", names
    )
    assert [name for name, is_good in zip(names, good, strict=True) if is_good] == [
        name for name in names if is_room_name(name)
    ]


def is_room_name(name: str) -> bool:
    try:
        parse_room_name("".join(f"%{byte:02X}" for byte in name.encode()))
    except BadName:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("https://example.org", ["https://example.org"]),
        ("see http://example.org/a, or (https://example.org/b).", ["/a", "/b"]),
        ("https://example.org/a_(b)_c (https://example.org/d_(e))", ["/a_(b)_c", "/d_(e)"]),
        ("HTTPS://EXAMPLE.ORG/x?y=1&z=2#f!", ["HTTPS://EXAMPLE.ORG/x?y=1&z=2#f"]),
        ("<https://example.org/q>", ["/q"]),
        ("https://example.org/\u202egnp.exe", ["https://example.org/"]),
        ("javascript:alert(1) data:x ftp://example.org //example.org", []),
        ("https:// http://? https://... http://)", []),
        ("xhttps://user:pass@example.org", ["https://user:pass@example.org"]),
        ("no link at all", []),
        ("", []),
        ("https://例え.jp/ä…", ["https://例え.jp/ä"]),
    ],
)
def test_links_are_found_and_no_character_is_lost(
    modules: Window, text: str, links: list[str]
) -> None:
    parts = modules.module("prose.js", "return it.findLinks(arguments[0])", text)
    found = [part["href"] for part in parts if isinstance(part, dict)]
    assert len(found) == len(links)
    assert all(one.endswith(end) for one, end in zip(found, links, strict=True))
    assert "".join(part if isinstance(part, str) else part["text"] for part in parts) == text


def test_pauses_are_random_under_a_ceiling_that_doubles_up_to_half_a_minute(
    modules: Window,
) -> None:
    ceilings = modules.module(
        "link.js", "return [...Array(12).keys()].map((n) => it.pauseBefore(n, () => 1))"
    )
    assert ceilings[:7] == [500, 1000, 2000, 4000, 8000, 16_000, 30_000]
    assert ceilings[-1] == 30_000
    assert modules.module("link.js", "return it.pauseBefore(5, () => 0)") == 0


FAKE_SOCKET = """
    const sockets = [];
    globalThis.WebSocket = class extends EventTarget {
        constructor(address, protocol) {
            super();
            Object.assign(this, { address, protocol });
            sockets.push(this);
        }
        send(text) { this.sent = text; }
        close(code) { this.closedWith = code; }
        says(frame) {
            this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(frame) }));
        }
        ends(code) { this.dispatchEvent(new CloseEvent("close", { code })); }
    };
    Math.random = () => 0.5;
    const states = [];
    const frames = [];
    const link = new it.Link(() => `ws://example.org/${sockets.length}`, {
        onFrame: (frame) => frames.push(frame),
        onState: (state) => states.push(state),
    });
"""


@pytest.mark.parametrize(
    ("code", "state", "soonest", "latest"),
    [
        (1000, "waiting", 0, 500),
        (1001, "waiting", 1, 4_000),
        (1002, "ended", 0, 0),
        (1003, "ended", 0, 0),
        (1006, "waiting", 0, 500),
        (1007, "ended", 0, 0),
        (1008, "waiting", 10_000, 30_000),
        (1009, "ended", 0, 0),
        (1011, "waiting", 0, 500),
        (1013, "waiting", 10_000, 30_000),
        (4000, "waiting", 0, 500),
        (4001, "ended", 0, 0),
        (4002, "ended", 0, 0),
        (4003, "waiting", 0, 500),
        (4004, "ended", 0, 0),
        (4005, "waiting", 0, 500),
        (4006, "ended", 0, 0),
        (4999, "waiting", 0, 500),
    ],
)
def test_each_close_code_is_honoured(
    modules: Window, code: int, state: str, soonest: int, latest: int
) -> None:
    last = modules.module(
        "link.js",
        FAKE_SOCKET
        + """
        link.open();
        sockets[0].says({ type: "welcome" });
        const before = Date.now();
        sockets[0].ends(arguments[0]);
        const last = states.at(-1);
        return { ...last, pause: last.until - before, were: states.map((state) => state.is) };
        """,
        code,
    )
    assert last["were"] == ["connecting", "open", state]
    if state == "waiting":
        assert soonest <= last["pause"] <= latest + 50
        assert last["fresh"] is (code == 4005)
        # The server that asks for distance gets it, whatever the network does.
        assert last["mayHurry"] is (code not in {1008, 1013})
    else:
        assert last["text"]
        assert ("button" in last and last["button"] is not None) is (code in {1009, 4002, 4006})


def test_an_abandoned_connection_is_not_heard_any_more(modules: Window) -> None:
    outcome = modules.module(
        "link.js",
        FAKE_SOCKET
        + """
        link.open();
        sockets[0].says({ type: "welcome", number: 0 });
        link.reopen();
        const meanwhile = sockets.length;  // It waits for the old one's end,
        sockets[0].says({ type: "message", number: 1 });
        sockets[0].ends(1000);             // … which is no news, but the signal to go on.
        sockets[1].says({ type: "welcome", number: 2 });
        const sent = link.send({ type: "typing" });
        return {
            meanwhile,
            sent,
            closedWith: sockets[0].closedWith,
            text: sockets[1].sent,
            heard: frames.map((frame) => frame.number),
            were: states.map((state) => state.is),
            addresses: sockets.map((socket) => socket.address),
            protocol: sockets[0].protocol,
        };
        """,
    )
    assert outcome == {
        "meanwhile": 1,
        "sent": True,
        "closedWith": 1000,
        "text": '{"type":"typing"}',
        "heard": [0, 2],
        "were": ["connecting", "open", "connecting", "connecting", "open"],
        "addresses": ["ws://example.org/0", "ws://example.org/1"],
        "protocol": "trio-chat.v1",
    }


OUTBOX = """
    const kept = {};
    const store = {
        load: (key) => kept[key] ?? null,
        save: (key, value) => { kept[key] = value; },
    };
    const sent = [];
    const outbox = new it.Outbox(store, {
        send: (frame) => { sent.push(frame); return true; },
        changed: () => {},
        stalled: () => {},
    });
    const states = () => outbox.entries.map(({ text, state }) => `${text}: ${state}`);
    const texts = () => sent.map((frame) => frame.message);
"""


def test_one_message_is_under_way_at_a_time_and_the_rest_waits_its_turn(modules: Window) -> None:
    outcome = modules.module(
        "outbox.js",
        OUTBOX
        + """
        outbox.add("a");
        outbox.add("b");
        outbox.connected();
        const first = [texts(), states()];
        outbox.acknowledged({ id: sent[0].id, seq: 7, duplicate: false });
        const second = [texts(), states()];
        outbox.arrived(7, sent[0].id);
        outbox.disconnected();
        outbox.connected();
        outbox.arrived(8, sent[1].id);  // One's own message can come before its ack.
        outbox.acknowledged({ id: sent[1].id, seq: 8, duplicate: true });
        const isMine = outbox.isMine(sent[0].id) && !outbox.isMine("another");
        const same = sent[1].id === sent[2].id;
        return { first, second, last: [texts(), states()], isMine, same };
        """,
    )
    assert outcome == {
        "first": [["a"], ["a: under way", "b: waiting"]],
        "second": [["a", "b"], ["a: accepted", "b: under way"]],
        "last": [["a", "b", "b"], []],
        "isMine": True,
        "same": True,
    }


def test_a_refusal_for_now_keeps_the_order_and_one_for_good_lets_the_next_go(
    modules: Window,
) -> None:
    outcome = modules.module(
        "outbox.js",
        OUTBOX
        + """
        outbox.add("a");
        outbox.add("b");
        outbox.connected();
        const start = performance.now();
        outbox.failed({ code: "rate-limited", retry_after: 0.2 });  // The id may be unknown.
        const refused = [texts(), states()];
        while (sent.length < 2) await new Promise((wake) => setTimeout(wake, 10));
        const waited = performance.now() - start;
        outbox.failed({ code: "bad-message", reason: "no", id: sent[1].id });
        return { refused, waited, last: [texts(), states()] };
        """,
    )
    assert outcome["refused"] == [["a"], ["a: waiting", "b: waiting"]]
    assert outcome["waited"] >= 200
    assert outcome["last"] == [["a", "a", "b"], ["a: refused", "b: under way"]]


def test_the_pace_is_below_the_servers_rate(modules: Window) -> None:
    # A server's bucket of 20, refilled with 10 a second, for a minute of sending at will.
    refused = modules.module(
        "outbox.js",
        """
        const pace = new it.Pace();
        let [now, tokens, last, refused, sent] = [0, 20, 0, 0, 0];
        while (now < 60_000) {
            const delay = pace.delay(now);
            if (delay > 0) { now += delay; continue; }
            tokens = Math.min(20, tokens + (now - last) / 100);
            last = now;
            if (tokens < 1) refused += 1; else tokens -= 1;
            sent += 1;
        }
        return [refused, sent];
        """,
    )
    assert refused[0] == 0
    assert 450 <= refused[1] <= 520


def test_ids_are_uuids_also_where_the_browser_makes_none(modules: Window) -> None:
    ids = modules.module(
        "outbox.js",
        """
        const made = [it.randomId()];
        Object.defineProperty(crypto, "randomUUID", { value: undefined });
        return [...made, it.randomId(), it.randomId()];
        """,
    )
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert len({*ids}) == 3
    assert all(re.fullmatch(pattern, id) for id in ids)


LOG = """
    const make = (name) => document.body.appendChild(document.createElement(name));
    const list = make("output");
    const log = new it.Log({ list, scroller: make("div"), newer: make("button") });
    const message = (seq, text, name = "Ada", time = 1_700_000_000) =>
        ({ type: "message", seq, name, message: text, time });
    const notes = () => [...list.querySelectorAll(".note")].map((note) => note.textContent);
"""


def test_the_log_shows_each_number_once_and_says_what_is_missing(modules: Window) -> None:
    outcome = modules.module(
        "log.js",
        LOG
        + """
        log.welcome({ epoch: "e", seq: 2, recovered: false });
        const nowhere = log.position;
        for (const seq of [1, 2, 2, 1, 3]) log.add(message(seq, `m${seq}`), false);
        log.welcome({ epoch: "e", seq: 6, recovered: true });
        for (const seq of [2, 3, 4]) log.add(message(seq, `m${seq}`), false);
        log.add(message(7, "m7"), false);
        const [position, missing] = [log.position, notes()];
        log.welcome({ epoch: "f", seq: 1, recovered: false });
        log.add(message(1, "anew"), false);
        const then = [log.position, notes().at(-1)];
        return { nowhere, position, missing, value: list.value, then };
        """,
    )
    assert outcome == {
        "nowhere": {},
        "position": {"since": 7, "epoch": "e"},
        "missing": ["2 messages are missing here."],
        "value": "\n".join(f"Ada: {text}" for text in ["m1", "m2", "m3", "m4", "m7", "anew"]),
        "then": [
            {"since": 1, "epoch": "f"},
            "The room began anew. The server no longer has what is above.",
        ],
    }


def test_the_log_is_live_only_for_what_is_new(modules: Window) -> None:
    outcome = modules.module(
        "log.js",
        LOG
        + """
        const live = () => list.getAttribute("aria-live");
        const until = async (wanted) => {
            while (live() !== wanted) await new Promise((wake) => setTimeout(wake, 10));
        };
        log.welcome({ epoch: "e", seq: 1, recovered: false });
        const past = live();
        log.add(message(1, "past"), false);
        await until("polite");
        log.welcome({ epoch: "e", seq: 3, recovered: true });  // What was missed is new.
        const missed = live();
        log.add(message(2, "missed"), false);
        log.welcome({ epoch: "f", seq: 2, recovered: false });
        log.add(message(1, "past"), false);
        const anew = live();
        log.add(message(2, "past"), false);
        log.add(message(3, "new"), false);
        return { past, missed, anew, last: live() };
        """,
    )
    assert outcome == {"past": "off", "missed": "polite", "anew": "off", "last": "polite"}


def test_a_removed_message_loses_its_words_in_place_and_in_history_is_a_mark(
    modules: Window,
) -> None:
    outcome = modules.module(
        "log.js",
        LOG
        + """
        log.welcome({ epoch: "e", seq: 3, recovered: false });
        log.add(message(1, "secret https://example.org/"), true);
        log.remove({ type: "deleted", seq: 2 });
        log.add(message(3, "three"), false);
        log.remove({ type: "deleted", seq: 1 });
        return [list.value.split("\\n"), list.querySelectorAll("a").length, log.position.since];
        """,
    )
    assert outcome == [["Ada: message deleted", "message deleted", "Ada: three"], 0, 3]


def test_days_have_names(modules: Window) -> None:
    names = modules.module(
        "log.js",
        """
        const now = new Date(2024, 2, 10, 0, 30);
        const days = [[2024, 2, 10, 0, 1], [2024, 2, 9, 23, 59], [2024, 2, 8], [2023, 11, 31]];
        return days.map((day) => it.dayName(new Date(...day), now));
        """,
    )
    assert names[:2] == ["Today", "Yesterday"]
    assert "Friday" in names[2]
    assert "8" in names[2]
    assert "2023" in names[3]


def test_messages_of_one_person_share_a_heading_for_a_while(modules: Window) -> None:
    outcome = modules.module(
        "log.js",
        LOG
        + """
        log.welcome({ epoch: "e", seq: 0, recovered: false });
        const said = [
            ["Ada", 0], ["Ada", 60], ["Grace", 70], ["Ada", 80], ["Ada", 500],
            [null, 501], [null, 502],
        ];
        said.forEach(([name, after], index) =>
            log.add(message(index + 1, "x", name, 1_700_000_000 + after), false));
        const goesOn = [...list.querySelectorAll(".message")].map((e) => e.matches(".goes-on"));
        return [goesOn, list.querySelectorAll(".day").length];
        """,
    )
    assert outcome == [[False, True, False, False, False, False, False], 1]
