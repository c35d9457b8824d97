"""The microscope's page, in headless Chromium: what it shows, and when; what one can do to it.

Most tests open a page that was made of a recording, from a file, with no server and no network. The
last ones drive a real server that is watched. A page that writes to the console fails its test.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recordings
from browser import Browser, Server, Window, serving
from selenium.webdriver import Keys
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from trio_chat.microscope.events import (
    Event,
    Exited,
    Gauged,
    Hello,
    How,
    Marked,
    Opened,
    ScopeChanged,
    Spawned,
)
from trio_chat.microscope.excerpts import Excerpt
from trio_chat.microscope.recording import Recording, to_html

pytest_plugins = ["browser_fixtures"]
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("tidy")]

MOST_ELEMENTS = 2_000  # however many tasks there are
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'

# What the browser itself says where a server turns somebody away, or is gone.
EXPECTED_IN_CONSOLE = re.compile(r"status of (403|404|409)|ERR_(CONNECTION_REFUSED|INCOMPLETE)")

Open = Callable[[Recording], Window]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Open:
    """Return a function that opens a recording's page from a file, as somebody would."""

    def open_it(recording: Recording) -> Window:
        (tmp_path / "replay.html").write_text(to_html(recording, title="Replay"), "utf-8")
        return load(browser.window(tmp_path.as_uri()))

    return open_it


def load(window: Window) -> Window:
    window.get("/replay.html")
    window.until(lambda: window.find("#now").text, "the page has been drawn")
    return window


def settle(window: Window) -> None:
    """Wait until what was asked for has been drawn: a frame, and the one after it."""
    window.driver.execute_async_script(
        "const done = arguments[0];"
        "requestAnimationFrame(() => requestAnimationFrame(() => done()));"
    )


def seek(window: Window, part: float) -> None:
    """Put the slider at a part of its way."""
    window.script(
        "const slider = document.getElementById('slider');"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))",
        round(part * 10_000),
    )
    settle(window)


def click(window: Window, selector: str) -> None:
    window.find(selector).click()
    settle(window)


def states(window: Window) -> dict[str, str]:
    """Return what the map shows: the state of each task, by its name."""
    pairs = window.script(
        "return [...document.querySelectorAll('#map [data-task]')].map("
        "(e) => [e.ariaLabel.split(',')[0], e.dataset.state])"
    )
    return {str(name): str(state) for name, state in pairs}


def choose(window: Window, name: str) -> None:
    """Click a task in the map."""
    found = window.script(
        "return [...document.querySelectorAll('#map [data-task]')].find("
        "(e) => e.ariaLabel.split(',')[0] === arguments[0])",
        name,
    )
    found.click()
    settle(window)


def facts(window: Window) -> dict[str, str]:
    """Return what the inspector says of a task."""
    pairs = window.script(
        "return [...document.querySelectorAll('#task dd')].map("
        "(e) => [e.dataset.fact, e.textContent])"
    )
    return dict(pairs)


def picture(window: Window) -> str:
    """Return all that is drawn of the recording, as HTML."""
    parts = ["#map", "#news", "#order", "#task", ".rows", "header"]
    code = "return arguments[0].map((part) => document.querySelector(part).outerHTML).join('\\n')"
    return str(window.script(code, parts))


def names_in_room(room: str) -> set[str]:
    members = {f"member {room[0]}{number}" for number in range(recordings.MEMBERS)}
    parts = {
        f"{part} {room[0]}{number}"
        for part in ("heartbeat", "writer")
        for number in range(recordings.MEMBERS)
    }
    return members | parts | {f"hub {room}"}


# --- The picture ---------------------------------------------------------------------------------


def test_cancelling_a_room_turns_exactly_what_is_below_it(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    assert set(states(window).values()) == {"alive"}

    window.press(Keys.END)
    settle(window)

    found = states(window)
    cancelled = {name for name, state in found.items() if state == "cancelled"}
    assert cancelled == names_in_room("green")
    assert found["room green"] == "returned"
    living = {name for name, state in found.items() if state == "alive"}
    assert {"server", "room blue", "room red"} | names_in_room("blue") <= living
    assert window.texts(".scope") == ["cancelled: “lesson 2”"]


def test_the_picture_is_a_function_of_the_recording_and_the_time(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    parts = [0.1, 0.35, 0.6, 0.85, 1.0]
    there = []
    for part in parts:
        seek(window, part)
        there.append(picture(window))
    back = []
    for part in reversed(parts):
        seek(window, part)
        back.append(picture(window))
    assert there == list(reversed(back))
    assert len(set(there)) == len(parts)

    # One that looks at that time only, and has never seen another, sees the same.
    load(window)
    seek(window, parts[2])
    assert picture(window) == there[2]


def test_the_inspector_says_in_which_order_and_why(open_page: Open) -> None:
    window = open_page(recordings.one_raises())
    seek(window, 1.0)
    order = [line.split("\n") for line in window.texts("#order li")]
    assert [parts[0] for parts in order] == ["hub", "writer", "heartbeat", "member"]
    assert order[0][1:] == ["×1 raised", "0.7 ms"]
    assert order[1][1].startswith("×16 cancelled")

    choose(window, "hub green")
    assert window.texts("#task h2") == ["Chosen task"]
    assert window.texts("#task .path li") == ["server", "room green", "hub green"]
    assert facts(window)["error"] == "RuntimeError: boom in the hub"
    assert facts(window)["raised at"] == "hub.py:88 _gather"

    choose(window, "writer g3")
    assert facts(window)["by"] == "hub green"
    assert facts(window)["source"] == "nursery"
    assert facts(window)["reason"].startswith("“child task raised exception")
    assert facts(window)["waited at"] == "session.py:130 writer"


def test_scopes_with_a_deadline_or_a_shield_are_said_to_be_so(open_page: Open) -> None:
    recording = recordings.deep_chain(3)
    nursery = next(event.id for event in recording if isinstance(event, Opened))
    for t, deadline, shield in ((1.0, 3.0, False), (2.0, 3.0, True)):
        recording.append(ScopeChanged(t, nursery, False, deadline, shield))
    window = open_page(recording)
    assert window.texts(".scope") == ["deadline +1.00 s · shielded"]
    assert len(window.all(".hall[data-shield]")) == 1
    window.press(Keys.LEFT)
    settle(window)
    assert window.texts(".scope") == ["deadline +2.00 s"]


def test_what_waits_for_a_member_is_said_with_the_member(open_page: Open) -> None:
    recording = recordings.deep_chain(2)
    task = next(event.id for event in recording if isinstance(event, Spawned))
    recording.append(Gauged(1.0, task, (3, 16, 9)))
    recording.append(Gauged(2.0, task, (1, 4, 0)))
    window = open_page(recording)
    choose(window, "level 0")
    assert facts(window)["outbox"] == "1 frame, 4 KiB"
    window.press(Keys.LEFT)
    settle(window)
    assert facts(window)["outbox"] == "3 frames, 16 KiB"


def test_orphans_are_counted_and_red_and_so_are_their_bars(open_page: Open) -> None:
    window = open_page(recordings.twin_with_orphans())
    assert not window.find("#orphans").is_displayed()

    window.press(Keys.END)
    settle(window)

    said = "96 orphans: still running, though the code that started them is gone"
    assert window.find("#orphans").text == said
    assert Counter(states(window).values())["orphan"] == 96
    assert window.find("#moral").text.startswith("A bar is red")
    leaks = window.all(".row .leak")
    shown = [leak for leak in leaks if leak.is_displayed()]
    assert len(shown) == 6  # Of the three members that are not folded.
    red = window.find("#orphans").value_of_css_property("color")
    parts = [int(part) for part in re.findall(r"\d+", red)[:3]]
    assert parts[0] > 2 * max(parts[1:])
    assert max(leak.rect["x"] + leak.rect["width"] for leak in shown) <= 1280


def test_nobody_is_an_orphan_where_tasks_end_in_their_order(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    window.press(Keys.END)
    settle(window)
    assert not window.find("#orphans").is_displayed()
    assert [leak for leak in window.all(".leak") if leak.is_displayed()] == []


def test_what_nobody_has_seen_yet_is_hidden(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())

    def hidden_from() -> tuple[float, float]:
        code = """return [".playhead", ".veil"].map(
            (one) => document.querySelector(one).getBoundingClientRect().left)"""
        now, veil = window.script(code)
        return now, veil

    now, veil = hidden_from()
    assert veil == pytest.approx(now, abs=1.5)
    seek(window, 0.8)
    seek(window, 0.3)
    now, veil = hidden_from()
    assert veil > now + 100  # What was seen stays, more faintly.


# --- Time ----------------------------------------------------------------------------------------


def test_a_mark_has_a_window_of_its_own(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    assert window.find("#around").get_attribute("aria-pressed") == "true"
    seek(window, 1.0)
    assert window.find("#now").text == "+5.4 ms"

    click(window, "#whole")
    seek(window, 1.0)
    assert window.find("#now").text == "0.0 ms"  # Counted from the last mark, which is the end.
    click(window, "#around")
    assert "before" not in window.find("#now").text


def test_playing_stops_at_the_end_of_the_window(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    click(window, "#play")
    assert window.find("#play").get_attribute("aria-label") == "Pause"
    window.until(
        lambda: window.find("#play").get_attribute("aria-label") == "Play", "it has played"
    )
    assert window.find("#now").text == "+5.4 ms"
    assert window.find("#alive").text == "103 tasks alive"


def test_steps_go_from_event_to_event_and_from_mark_to_mark(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    assert window.texts("#news li")[-1].endswith("writer r15 began")
    window.press(Keys.RIGHT)  # The mark,
    window.press(Keys.RIGHT)  # the scope,
    window.press(Keys.RIGHT)  # the first death.
    settle(window)
    assert window.texts("#news li")[-1] == "+0.7 ms\nhub green was cancelled"
    window.press(Keys.LEFT)
    settle(window)
    assert "hub green" not in window.texts("#news li")[-1]

    window.press(Keys.HOME)
    settle(window)
    assert window.find("#alive").text == "0 tasks alive"
    window.press_with_shift(Keys.RIGHT)
    window.press_with_shift(Keys.RIGHT)
    settle(window)
    assert window.find("#now").text == "0.0 ms"
    assert window.find("#call-text").text == "Next: cancel room green"
    window.press_with_shift(Keys.LEFT)
    settle(window)
    assert window.texts("#news li") != []


def test_the_speed_can_be_chosen(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    speeds = ["1/1", "1/10", "1/50", "1/200"]
    assert window.texts("#speed option") == speeds
    for speed in speeds:
        window.script(
            "const speed = document.getElementById('speed');"
            "speed.selectedIndex = arguments[0]; speed.dispatchEvent(new Event('change'))",
            speeds.index(speed),
        )
        settle(window)
        chosen = window.script("return document.getElementById('speed').selectedOptions[0].text")
        assert chosen == speed


# --- Predictions ---------------------------------------------------------------------------------


def score(window: Window) -> list[int]:
    window.until(lambda: "right" in window.find("#call-text").text, "there is a score")
    return [int(number) for number in re.findall(r"\d+", window.find("#call-text").text)]


def guesses(window: Window) -> Counter[str]:
    code = """return [...document.querySelectorAll('#map [data-guess]')].map(
        (e) => e.dataset.guess)"""
    return Counter(window.script(code))


def test_a_prediction_is_scored(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    assert window.find("#call-text").text == "Next: cancel room green"
    click(window, "#call-yes")
    choose(window, "room green")  # With all 50 that are in it,
    choose(window, "member g3")  # less three;
    choose(window, "listener 127.0.0.1")  # and one that is not.
    assert "48 tasks chosen" in window.find("#call-text").text
    assert guesses(window) == {"chosen": 48}
    click(window, "#call-yes")

    right, missed, wrong = 47, 3, 1
    assert score(window) == [92, right, missed, wrong]
    assert guesses(window) == {"right": right, "missed": missed, "wrong": wrong}
    assert window.find("#call-text").get_attribute("aria-live") == "polite"

    click(window, "#call-no")
    assert guesses(window) == {}


def test_a_prediction_can_be_taken_back_and_made_again(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    click(window, "#call-yes")
    choose(window, "room blue")
    choose(window, "room blue")
    assert guesses(window) == {}
    choose(window, "room green")
    click(window, "#call-yes")
    assert score(window) == [100, 50, 0, 0]
    click(window, "#call-yes")
    assert "0 tasks chosen" in window.find("#call-text").text
    click(window, "#call-yes")
    assert score(window) == [0, 0, 50, 0]


def test_what_dies_long_after_a_mark_dies_of_it_too_up_to_the_next(open_page: Open) -> None:
    story = recordings.Story("late")
    for name in ("server", "early", "late", "other"):
        story.spawn(name, None if name == "server" else "server")
    story.wait(0.1)
    story.mark("both are told to go")
    story.wait(0.001)
    story.exit("early", How.RETURNED)
    story.wait(3)
    story.exit("late", How.RETURNED)
    story.wait(0.1)
    story.mark("the other is told, too")
    story.wait(0.1)
    story.exit("other", How.RETURNED)
    window = open_page(story.finish())
    click(window, "#call-yes")
    choose(window, "early")
    choose(window, "other")
    click(window, "#call-yes")
    assert score(window) == [33, 1, 1, 1]


def test_with_little_motion_a_prediction_is_shown_at_once(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    click(window, "#call-yes")
    click(window, "#call-yes")
    assert window.find("#call-text").text.startswith("0 %")  # Without waiting for anything.
    assert window.script("return document.getAnimations().length") == 0


def test_a_whole_prediction_by_keyboard(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())

    def focused() -> str:
        return str(window.script("return document.activeElement.ariaLabel ?? ''"))

    window.press("p")
    settle(window)

    def press_until(key: str, name: str) -> None:
        for _ in range(60):
            if focused().startswith(name):
                return
            window.press(key)
        pytest.fail(f"{name!r} can't be reached")

    press_until(Keys.TAB, "server")
    press_until(Keys.DOWN, "room green")
    window.press(Keys.ENTER)
    settle(window)
    assert guesses(window) == {"chosen": 50}
    window.press_with_shift(Keys.TAB)  # Back out of the map, over "Leave it".
    window.press_with_shift(Keys.TAB)
    assert window.script("return document.activeElement.textContent") == "Show me"
    window.press(Keys.SPACE)
    assert score(window) == [100, 50, 0, 0]
    window.press(Keys.ESCAPE)
    settle(window)
    assert guesses(window) == {}
    window.press("?")
    assert window.find("#keys").is_displayed()
    window.press(Keys.ESCAPE)
    assert not window.find("#keys").is_displayed()


def test_every_control_has_a_name_and_can_be_reached(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    nameless = window.script(
        "return [...document.querySelectorAll('button, select, input')].filter((e) =>"
        " !e.hidden && !(e.ariaLabel || e.textContent.trim() || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    # One stop for Tab in the map and one in the lifelines, however many tasks there are.
    assert len(window.all("#map [data-task][tabindex='0']")) == 1
    assert len(window.all(".rows [data-task][tabindex='0']")) == 1


# --- Many tasks, deep ones, odd ones -------------------------------------------------------------


def test_ten_thousand_tasks_are_folded_and_a_step_changes_little(open_page: Open) -> None:
    window = open_page(recordings.ten_thousand_tasks())
    assert window.find("#alive").text == "10,103 tasks alive"
    window.script(
        "window.changes = 0;"
        "new MutationObserver((all) => { window.changes += all.length; }).observe(document.body,"
        " { subtree: true, childList: true, attributes: true, characterData: true })"
    )
    for part in (0.2, 0.5, 0.8, 1.0, 0.4):
        window.script("window.changes = 0")
        seek(window, part)
        assert window.script("return window.changes") < 400
        assert len(window.all("*")) <= MOST_ELEMENTS

    before = len(states(window))
    click(window, "#map .fold")
    assert before < len(states(window)) <= before + 70 * 3


def test_a_fold_says_how_many_are_behind_it_and_unfolds(open_page: Open) -> None:
    window = open_page(recordings.twin_with_orphans(400))
    fold = window.find("#map .fold")
    before = len(states(window))
    behind = int(re.match(r"\+([\d,]+) members", fold.text)[1])  # type: ignore[index]
    assert before + 3 * behind == 1 + 3 * 400
    fold.click()
    settle(window)
    assert len(states(window)) > before

    rows = len(window.all(".row"))
    click(window, ".rows .fold")
    assert len(window.all(".row")) > rows


def test_who_is_behind_a_fold_can_be_predicted_to_die(open_page: Open) -> None:
    window = open_page(recordings.twin_with_orphans(400))
    click(window, "#call-yes")
    click(window, "#map .fold")
    assert window.find("#map .fold").get_attribute("data-guess") == "chosen"
    number = re.search(r"([\d,]+) tasks chosen", window.find("#call-text").text)
    assert number is not None
    assert int(number[1].replace(",", "")) > 600


def test_a_tree_of_500_levels_can_be_stepped_into(open_page: Open) -> None:
    window = open_page(recordings.deep_chain(500))
    assert window.find("#alive").text == "500 tasks alive"
    assert "level 20" not in states(window)
    click(window, "#map .fold[data-top]")
    click(window, "#map .fold[data-top]:not(:first-child)")
    assert "level 20" in states(window)
    choose(window, "level 20")
    assert "levels" in window.find("#task .path").text
    click(window, "#map .fold[data-top]")
    assert "level 0" in states(window)


def test_nurseries_within_nurseries_without_end_do_no_harm(open_page: Open) -> None:
    events: list[Event] = [Hello(0.0, 1, "3.13", "0.35", 1), Spawned(0.0, 1, "one")]
    nurseries = [Opened(0.001, number, 1) for number in range(2, 3_000)]
    inner = Spawned(0.002, 5_000, "innermost", 2_999)
    window = open_page(Recording([*events, *nurseries, inner]))
    assert states(window) == {"one": "alive", "innermost": "alive"}


def test_who_came_and_went_keeps_no_place_but_who_lived_at_a_mark_does(open_page: Open) -> None:
    story = recordings.Story("fleeting")
    story.spawn("server")
    story.wait(1)
    story.spawn("witness", "server")
    story.mark("so it was")
    for number in range(200):
        story.wait(0.001)
        story.spawn(f"writer {number}", "server")
        story.wait(0.001)
        story.exit(f"writer {number}", How.RETURNED)
    story.exit("witness", How.RETURNED)
    window = open_page(story.finish())
    window.press(Keys.END)
    settle(window)
    assert states(window) == {"server": "alive", "witness": "returned"}
    assert window.texts("#order li")[0].startswith("writer\n×200 returned")
    window.press(Keys.LEFT)  # While it lives, one of them is there as anybody is.
    window.press(Keys.LEFT)
    settle(window)
    assert states(window)["writer 199"] == "alive"


# --- What is untrusted ---------------------------------------------------------------------------


def test_names_are_text_and_nothing_else(open_page: Open) -> None:
    story = recordings.Story(HOSTILE)
    story.spawn(HOSTILE)
    for number in range(5):
        story.spawn(f"member {HOSTILE}{number}", HOSTILE)
    story.mark(HOSTILE)
    story.cancel(HOSTILE, HOSTILE)
    story.exit(f"member {HOSTILE}0", exc=HOSTILE, reason=HOSTILE, at=HOSTILE, by=HOSTILE)
    story.mark(HOSTILE)
    window = open_page(story.finish())
    window.press(Keys.END)
    choose(window, f"member {HOSTILE}0")
    assert window.all("img") == []
    assert window.find("h1").text == HOSTILE
    assert facts(window)["by"] == HOSTILE
    assert len(window.all("script")) == 2  # The recording, and the page's own.


def test_lines_that_can_not_be_read_are_counted_and_the_rest_is_shown(
    browser: Browser, tmp_path: Path
) -> None:
    bad = [
        "garbage",
        "{",
        "[]",
        "null",
        '"text"',
        '{"t":0.1,"e":"spawn","id":"7","name":"x"}',
        '{"t":"now","e":"mark","text":"x"}',
        '{"t":1e999,"e":"mark","text":"x"}',
        '{"t":0.1,"e":"toString","id":1}',
        '{"t":0.1,"e":"spawn","id":1,"name":"twice"}',
        '{"t":0.1,"e":"exit","id":1,"how":"vanished"}',
    ]
    good = ['{"t":0.2,"e":"spawn","id":9099,"name":"stray","within":9098}']
    text = to_html(recordings.cancelled_room(), title="Replay")
    text = text.replace("\n</script>", "\n" + "\n".join(bad + good) + "\n</script>", 1)
    (tmp_path / "replay.html").write_text(text, "utf-8")
    window = load(browser.window(tmp_path.as_uri()))
    assert window.find("#unread").text == f"{len(bad)} lines could not be read"
    window.press(Keys.END)
    settle(window)
    assert states(window)["stray"] == "alive"
    assert window.find("#alive").text == "104 tasks alive"


def test_the_lines_where_a_task_ended_stand_beside_its_end(
    browser: Browser, tmp_path: Path
) -> None:
    place = "session.py:130 writer"
    excerpt = Excerpt(129, ("while True:", "    await send()", f"    {HOSTILE}"))
    recording = recordings.one_raises()
    text = to_html(recording, title="Replay", excerpts={place: excerpt})
    (tmp_path / "replay.html").write_text(text, "utf-8")
    window = load(browser.window(tmp_path.as_uri()))
    seek(window, 1.0)
    choose(window, "writer g3")
    assert facts(window)["waited at"] == place
    assert window.find(".excerpt").get_property("textContent") == "\n".join([*excerpt.lines, ""])
    (marked,) = window.all(".excerpt mark")
    assert marked.get_attribute("data-line") == "130"
    choose(window, "hub green")
    assert window.all(".excerpt") == []


def test_a_reason_that_is_long_is_whole_only_where_there_is_room(open_page: Open) -> None:
    reason = "because " * 60
    recording = recordings.cancelled_room()
    recording.events = [
        replace(event, reason=reason) if isinstance(event, ScopeChanged | Exited) else event
        for event in recording
    ]
    window = open_page(recording)
    window.press(Keys.END)
    settle(window)
    words = window.find("#map").text
    assert "cancelled: “because because" in words
    assert reason not in words
    choose(window, "hub green")
    assert facts(window)["reason"] == f"“{reason}”"


def test_a_circle_of_tasks_is_no_tree_and_does_no_harm(browser: Browser, tmp_path: Path) -> None:
    lines = [
        {"t": 0, "e": "hello", "v": 1, "python": "3", "trio": "0", "pid": 1},
        {"t": 0, "e": "spawn", "id": 1, "name": "one", "within": 12},
        {"t": 0, "e": "spawn", "id": 2, "name": "two", "within": 11},
        {"t": 0, "e": "open", "id": 11, "of": 1},
        {"t": 0, "e": "open", "id": 12, "of": 2},
        {"t": 0, "e": "move", "id": 1, "within": 11},
        {"t": 1, "e": "exit", "id": 1, "how": "returned"},
    ]
    text = to_html(Recording(), title="Replay")
    data = "\n".join(map(json.dumps, lines))
    text = text.replace("\n</script>", f"\n{data}\n</script>", 1)
    (tmp_path / "replay.html").write_text(text, "utf-8")
    window = load(browser.window(tmp_path.as_uri()))
    assert states(window) == {"one": "returned", "two": "orphan"}
    assert window.find("#unread").text == "2 lines could not be read"


def test_a_recording_of_nothing_is_said_to_be_one(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "replay.html").write_text(to_html(Recording(), title="Nothing"), "utf-8")
    window = browser.window(tmp_path.as_uri())
    window.get("/replay.html")
    said = "There is no task in this recording."
    window.until(lambda: window.find("#empty").text == said, "it says that it is empty")


def test_what_came_before_another_hello_is_void(open_page: Open) -> None:
    first = recordings.twin_with_orphans(3)
    again: list[Event] = [
        Hello(0.0, 1, "3.13", "0.35", 1, "Anew"),
        Spawned(0.0, 1, "main"),
        Marked(0.1, "so"),
    ]
    window = open_page(Recording([*first, *again]))
    assert states(window) == {"main": "alive"}
    assert window.find("h1").text == "Anew"


def test_the_page_of_a_recording_needs_no_network(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    assert window.script("return location.protocol") == "file:"
    assert window.script("return performance.getEntriesByType('resource').length") == 0
    # Nor could a script in it reach anybody.
    refused = window.driver.execute_async_script(
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));"
        "fetch('https://example.org/').catch(() => 0)"
    )
    assert refused == "connect-src"
    window.driver.get_log("browser")  # type: ignore[no-untyped-call]


# --- The look ------------------------------------------------------------------------------------

LONG = "member " + "W" * 60


@pytest.mark.parametrize("width", [400, 320, 899])
def test_a_narrow_window_has_one_column_and_nothing_beside_it(open_page: Open, width: int) -> None:
    recording = recordings.cancelled_room()
    for number in range(3):
        recording.append(Spawned(9.0, 9_000 + number, LONG + str(number), None))
    recording.append(Marked(9.5, LONG))
    window = open_page(recording)
    window.emulate(width=width, height=800)
    window.press(Keys.END)
    settle(window)
    choose(window, LONG + "0")
    assert window.script("return document.documentElement.scrollWidth") <= width
    lefts = {window.find(part).rect["x"] for part in (".panel.map", ".inspector", ".panel.lives")}
    assert len(lefts) == 1


def test_on_a_phone_what_one_taps_is_large_enough(open_page: Open) -> None:
    window = open_page(recordings.cancelled_room())
    window.emulate(width=400, height=800)
    settle(window)
    sizes = window.script(
        "return [...document.querySelectorAll('button, select')].map((e) => e.getClientRects()[0])"
        ".filter(Boolean).map((r) => Math.min(r.width, r.height))"
    )
    assert min(sizes) >= 24
    controls = window.script(
        "return [...document.querySelectorAll('.time button:not([hidden]), .call button')]"
        ".map((e) => e.getClientRects()[0]).filter(Boolean).map((r) => r.height)"
    )
    assert min(controls) >= 44


# The contrast of two colours as WCAG defines it, of what is drawn where.
CONTRAST = """
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const pixel = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => {
      const [r, g, b] = pixel(colour).map((part) => {
        const value = part / 255;
        return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      for (let one = element; one; one = one.parentElement) {
        const colour = getComputedStyle(one).backgroundColor;
        if (pixel(colour)[3] === 255) return colour;
      }
    };
    const ratio = (one, other) => {
      const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    const texts = [...document.querySelectorAll("body *")].filter((e) =>
      e.checkVisibility() && !e.disabled && e.closest("svg") === null
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim() !== ""));
    return texts.map((e) => [ratio(getComputedStyle(e).color, behind(e)), e.outerHTML.slice(0, 90)])
      .filter(([contrast]) => contrast < 4.5);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(open_page: Open, scheme: str) -> None:
    window = open_page(recordings.one_raises())
    window.emulate(width=1280, height=900, scheme=scheme)
    for part in (0.1, 0.6, 1.0):
        seek(window, part)
        assert window.script(CONTRAST) == []
    click(window, "#call-yes")
    choose(window, "room blue")
    assert window.script(CONTRAST) == []
    click(window, "#call-yes")
    score(window)
    assert window.script(CONTRAST) == []


SHAPES = """return ["alive", "cancelled", "raised", "returned", "orphan"].map((state) => {
    const style = getComputedStyle(document.querySelector(`.legend [data-state=${state}]`));
    return [style.borderRadius, style.borderWidth, style.height, style.transform].join();
})"""


def test_the_two_schemes_differ_and_a_state_is_a_shape_in_both(open_page: Open) -> None:
    window = open_page(recordings.one_raises())
    seek(window, 0.6)
    backgrounds = set()
    for scheme in ("light", "dark"):
        window.emulate(width=1280, scheme=scheme)
        settle(window)
        backgrounds.add(
            window.script("return getComputedStyle(document.body.parentElement).backgroundColor")
        )
        assert len(set(window.script(SHAPES))) == 5
    assert len(backgrounds) == 2


def test_within_another_page_the_header_is_smaller(
    browser: Browser, open_page: Open, tmp_path: Path
) -> None:
    window = open_page(recordings.cancelled_room())
    assert window.find(".legend").is_displayed()
    (tmp_path / "outer.html").write_text('<iframe src="replay.html" width=900 height=600></iframe>')
    window.get("/outer.html")
    window.driver.switch_to.frame(0)
    window.until(lambda: window.find("#now").text, "it is drawn within the other page")
    assert not window.find(".legend").is_displayed()
    window.driver.switch_to.default_content()


# --- Live, with a real server --------------------------------------------------------------------


@contextlib.contextmanager
def watched(*options: str) -> Iterator[tuple[Server, str]]:
    """Serve with a microscope; yield the server, and the address of the microscope's page."""
    with tempfile.NamedTemporaryFile() as said:
        options = ("--microscope", "127.0.0.1:0", *options)
        with serving(*options, stderr=said.file) as server:
            lines = Path(said.name).read_text().splitlines()  # It was printed before the readiness.
            yield server, next(line.split()[-1] for line in lines if "?token=" in line)


@contextlib.contextmanager
def talking(server: Server, *rooms: str, members: int = 4) -> Iterator[dict[str, ClientConnection]]:
    """Have members in rooms, by name: g0, g1 … in green."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name, room in ((f"{room[0]}{n}", room) for room in rooms for n in range(members)):
            address = server.socket_address(room, name=name)
            protocols = [Subprotocol("trio-chat.v1")]
            client = connect(address, subprotocols=protocols, max_queue=None)
            found[name] = stack.enter_context(client)
        yield found


def open_live(browser: Browser, page: str) -> Window:
    window = browser.window(page.partition("/?")[0])
    window.get("/?" + page.partition("?")[2])
    window.until(lambda: window.find("#state").text == "live", "the page is live")
    return window


def heard(client: ClientConnection, text: str) -> bool:
    while True:
        event: dict[str, Any] = json.loads(client.recv(timeout=10))
        if event.get("message") == text:
            return True


def test_cancelling_a_room_in_the_lab_turns_exactly_that_room(browser: Browser) -> None:
    with watched("--lab") as (server, page), talking(server, "blue", "green") as members:
        window = open_live(browser, page)
        window.until(lambda: "member g3" in states(window), "the members are there")
        assert "token" not in window.script("return location.href")
        choose(window, "room green")
        window.find("[data-act='cancel']").click()
        window.until(
            lambda: window.find("#lab-status").text == "done: cancel room green", "it is done"
        )
        window.until(lambda: states(window)["room green"] == "returned", "the room is gone")
        found = states(window)
        gone = {name for name, state in found.items() if state == "cancelled"}
        assert gone == {"hub green", "member g0", "member g1", "member g2", "member g3"}
        assert {found[name] for name in ("room blue", "hub blue", "member b2", "server")} == {
            "alive"
        }
        assert "cancelled: “lab: cancel room green”" in window.texts(".scope")

        # The others talk on.
        members["b0"].send(json.dumps({"message": "are you there?"}))
        assert heard(members["b1"], "are you there?")

        # And one may go back, and predict what has been done.
        click(window, "#call-yes")
        assert states(window)["room green"] == "alive"
        choose(window, "room green")
        click(window, "#call-yes")
        assert score(window) == [100, 6, 0, 0]


def test_scrubbing_back_ends_following_until_one_asks_for_it(browser: Browser) -> None:
    with watched() as (server, page), talking(server, "blue"):
        window = open_live(browser, page)
        window.until(lambda: "member b3" in states(window), "the members are there")
        assert not window.find("#lab").is_displayed()
        seek(window, 0.5)
        assert window.find("#follow").get_attribute("aria-pressed") == "false"
        with talking(server, "late", members=1):
            window.until(
                lambda: window.find("#slider").get_attribute("aria-valuetext"), "time stands"
            )
            click(window, "#follow")
            window.until(lambda: "member l0" in states(window), "who came meanwhile is there")


def test_what_the_lab_can_not_do_is_said(browser: Browser) -> None:
    with watched("--lab") as (server, page), talking(server, "blue"):
        window = open_live(browser, page)
        window.until(lambda: "hub blue" in states(window), "the hub is there")
        choose(window, "hub blue")
        window.find("[data-act='raise']").click()
        window.until(lambda: "has no nursery" in window.find("#lab-status").text, "it says why not")
        window.find("[data-act='stall']").click()
        window.until(
            lambda: window.find("#lab-status").text == "done: stall for 200 ms", "it has stalled"
        )


def test_a_deadline_set_in_the_lab_is_seen_to_end_its_room(browser: Browser) -> None:
    with watched("--lab") as (server, page), talking(server, "blue"):
        window = open_live(browser, page)
        window.until(lambda: "member b3" in states(window), "the members are there")
        choose(window, "room blue")
        window.find("[data-act='deadline']").click()
        window.until(lambda: window.texts(".scope") != [], "the scope has a deadline")
        assert window.texts(".scope")[0].startswith("deadline +")
        window.until(lambda: states(window)["room blue"] == "returned", "it is over")
        choose(window, "member b1")
        assert facts(window)["source"] == "deadline"


def test_without_the_token_nothing_is_shown_and_it_says_so(browser: Browser) -> None:
    with watched() as (_, page):
        window = browser.window(page.partition("/?")[0])
        window.get("/?token=wrong")
        window.until(lambda: "Not let in" in window.find("#state").text, "it says so")
        assert states(window) == {}


FOR_LONG = """
    const done = arguments[0];
    import("/recording.js").then(({ Recording }) => {
        const recording = new Recording();
        const tell = (event) => recording.take(JSON.stringify(event));
        tell({ t: 0, e: "spawn", id: 1, name: "server" });
        tell({ t: 0, e: "open", id: 2, of: 1 });
        for (let id = 3; id < 150_003; id += 1) {
            tell({ t: id, e: "spawn", id, name: `door ${id}`, within: 2 });
            tell({ t: id, e: "exit", id, how: "returned" });
        }
        const { start, end, tasks, deaths, times } = recording;
        const alive = [start, (start + end) / 2, end].map((t) => recording.aliveAt(t));
        done([tasks.size, deaths.length, times.length, alive, recording.unread]);
    });
"""


def test_a_page_that_is_left_open_forgets_who_died_long_ago(browser: Browser) -> None:
    with watched() as (_, page):
        window = open_live(browser, page)
        tasks, deaths, times, alive, unread = window.driver.execute_async_script(FOR_LONG)
        assert tasks == deaths + 1  # The server itself.
        assert 50_000 <= deaths <= 100_000
        assert times < 4 * 100_000
        assert alive[0] <= 2
        assert alive[2] == 1
        assert unread == 0


def test_when_the_server_ends_what_it_told_stays(browser: Browser) -> None:
    with watched() as (server, page), talking(server, "blue"):
        window = open_live(browser, page)
        window.until(lambda: "member b3" in states(window), "the members are there")
        server.process.terminate()
        window.until(lambda: "The server is gone" in window.find("#state").text, "it says so")
        assert "server" in states(window)
