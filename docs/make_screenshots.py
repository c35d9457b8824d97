"""Make `docs/screenshots` anew: the pages of the chat and of the microscope, each in two widths.

Needs what the tests need, Chromium included. Run it in a checkout:

    .venv/bin/python docs/make_screenshots.py            # or only `chat`, or only `microscope`

It starts a server, lets some people talk in it, and looks at the pages as one who has joined them.
The microscope's page shows what lessons have recorded.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver import Keys
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browser import Browser, Cable, Server, Window, browsing, cable_to, serving  # noqa: E402

PICTURES = HERE / "screenshots"
SIZES = {360: 740, 1280: 800}
SCHEMES = ["light", "dark"]

ROOM = "harbour"
ME = "Robin"
OTHERS = ["Ada", "Grace", "Linus", "مريم"]
OTHER_ROOMS = {"lobby": 7, "structured-concurrency": 3, "café": 2, "release-1.0": 1}

# Who says what. Those who come in while the rest talks see it as history, as anybody would.
BEFORE = [
    ("Grace", "Morning! The forecast for Saturday is four knots of wind, all day."),
    ("Grace", "So we’ll be rowing."),
    ("Linus", "I can bring the small boat. It takes four, or three and the dog."),
    ("مريم", "صباح الخير! سأحضر القهوة"),
    (
        "Ada",
        "Tide table, so that we don’t walk home: https://example.org/tides?port=harbour&day=sat",
    ),
]
AFTER = [
    (ME, "High water at 11:40 then. Meet at ten by the crane?"),
    ("Ada", "Ten is good"),
    ("Grace", "Ten. The dog votes for nine."),
    (ME, "The dog may start without us"),
]


@contextlib.contextmanager
def member(server: Server, room: str, name: str) -> Iterator[ClientConnection]:
    """Join a room under a name."""
    address = server.socket_address(room, name=name)
    with connect(address, subprotocols=[Subprotocol("trio-chat.v1")], max_queue=None) as client:
        yield client


def say(client: ClientConnection, text: str) -> None:
    """Say something, and wait until the room has heard it: the order is what the picture is of."""
    client.send(json.dumps({"message": text}))
    while json.loads(client.recv()).get("message") != text:
        pass


def save(window: Window, name: str) -> None:
    """Save a picture of what is in the window."""
    PICTURES.mkdir(exist_ok=True)
    window.until(lambda: window.script("return document.fonts.status") == "loaded", "fonts")
    path = PICTURES / f"{name}.png"
    assert window.driver.save_screenshot(str(path))
    print(f"{path.relative_to(HERE.parent)}: {path.stat().st_size // 1024} KiB")


def photograph_index(window: Window) -> None:
    """Take the index in each size and scheme."""
    window.get("/chat/")
    for width, height in SIZES.items():
        for scheme in SCHEMES:
            window.emulate(width=width, height=height, scheme=scheme)
            save(window, f"index-{width}-{scheme}")


def photograph_room(window: Window, others: dict[str, ClientConnection]) -> None:
    """Talk, and take the room in each size and scheme."""
    for name, text in BEFORE:
        say(others[name], text)
    window.enter(ROOM, name=ME)
    for name, text in AFTER:
        if name == ME:
            window.say(text)
        else:
            say(others[name], text)
        window.until_said(text)
    for width, height in SIZES.items():
        for scheme in SCHEMES:
            window.emulate(width=width, height=height, scheme=scheme)
            window.until(lambda: is_at_end(window), "the newest message is in view")
            while "typing" not in window.find("#activity").text:
                others["Linus"].send(json.dumps({"type": "typing"}))
                window.until(lambda: window.find("#activity").text, "somebody types")
            save(window, f"room-{width}-{scheme}")


def is_at_end(window: Window) -> bool:
    """Tell whether the conversation is scrolled to its end."""
    code = "const s = document.querySelector('#scroller');"
    return bool(window.script(code + "return s.scrollHeight - s.scrollTop - s.clientHeight < 2"))


def photograph_trouble(window: Window, cable: Cable) -> None:
    """Take a phone in a tunnel."""
    window.emulate(width=360, height=SIZES[360])
    window.script("Math.random = () => 0.999")  # No luck: each pause is as long as it may be.
    cable.cut()
    window.until(lambda: window.connection == "waiting", "the page sees that the cable is cut")
    window.say("And I’ll bring the rope you lent me")
    # The pauses grow: half a second, one, two, and in the fourth there is time for a picture.
    window.until(lambda: "in 3 s" in window.find("#connection").text, "it says when it tries again")
    window.until(lambda: is_at_end(window), "the newest message is in view")
    save(window, "offline-360-light")
    cable.mend()
    window.until_said("the rope", within=30)


# --- The microscope ------------------------------------------------------------------------------

NARROW = {"cancel": "light", "prediction": "dark", "orphans": "light"}  # the scheme on a phone


def replay(folder: Path, *lesson: str) -> str:
    """Run a lesson and return the name of its replay."""
    name = "-".join(lesson).replace("--", "") + ".html"
    command = [sys.executable, "-m", "trio_chat", "lab", *lesson, "--replay", str(folder / name)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return name


def scrub(window: Window, part: float) -> None:
    """Put the slider at a part of its way, and wait until that is drawn."""
    window.script(
        "const slider = document.getElementById('slider');"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))",
        round(part * 10_000),
    )
    window.driver.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"
    )


def choose(window: Window, name: str) -> None:
    """Click a task in the map."""
    window.script(
        "[...document.querySelectorAll('#map [data-task]')].find("
        "(e) => e.ariaLabel.split(',')[0] === arguments[0]).click()",
        name,
    )


def predict(window: Window) -> None:
    """Predict that the room dies, but for three of its members, and the listener with it."""
    window.find("#call-yes").click()
    for name in ("room green", "member green-3", "member green-7", "listener 127.0.0.1"):
        choose(window, name)
    window.find("#call-yes").click()
    window.until(lambda: "right" in window.find("#call-text").text, "the prediction is scored")


def cancel_half(window: Window) -> None:
    """Go to where half of the room's members have ended."""
    scrub(window, 1.0)
    window.press(*[Keys.LEFT] * 10)


def photograph_microscope(browser: Browser) -> None:
    """Take a room while it is cancelled, a prediction of that, and orphans."""
    with tempfile.TemporaryDirectory() as folder:
        window = browser.window(Path(folder).as_uri())
        cancel, twin = replay(Path(folder), "2"), replay(Path(folder), "1", "--twin", "naive")
        pictures = {
            "cancel": (cancel, cancel_half),
            "prediction": (cancel, predict),
            "orphans": (twin, lambda window: scrub(window, 0.6)),
        }
        for name, (file, act) in pictures.items():
            for width, scheme in [*((1280, scheme) for scheme in SCHEMES), (400, NARROW[name])]:
                window.emulate(width=width, height=1000, scheme=scheme)
                window.get(f"/{file}")
                act(window)
                save(window, f"microscope-{name}-{width}-{scheme}")


def photograph_chat(browser: Browser) -> None:
    """Start a server and people, take the pictures, end them."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving("--log-level", "warning"))
        cable = stack.enter_context(cable_to(server))
        for room, count in OTHER_ROOMS.items():
            for number in range(count):
                stack.enter_context(member(server, room, f"member {number}"))
        others = {name: stack.enter_context(member(server, ROOM, name)) for name in OTHERS}
        window = browser.window(cable.url)
        photograph_room(window, others)
        photograph_trouble(window, cable)
        photograph_index(window)


def main() -> None:
    """Take the pictures that were asked for, or all."""
    parts = {"chat": photograph_chat, "microscope": photograph_microscope}
    with browsing() as browser:
        for name in sys.argv[1:] or parts:
            parts[name](browser)


if __name__ == "__main__":
    main()
