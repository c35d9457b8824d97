"""What the tests of the pages drive: a server, a browser with windows, a cable that can be cut.

Each is a context manager, and nothing outlives its block: not the server's process, not Chromium,
not a thread. Everything here is synchronous, as Selenium is. Nothing waits for time; `Window.until`
waits for a condition and says which one did not come true.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

START_TIMEOUT = 20  # s until a server says that it listens
STOP_TIMEOUT = 12  # s: the server promises 10
CONDITION_TIMEOUT = 10  # s for what a page should do at once, on a busy machine

# Chromium as root, in a container, and without a word to anybody but the page's own server.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-search-engine-choice-screen",
    # A window behind another one is still somebody's window: its timers must run.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]


class Server:
    """`trio_chat serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url.removesuffix("/chat/")
        self.port = int(self.url.rpartition(":")[2])

    def socket_address(self, room: str, **query: object) -> str:
        """Return the address of a room's WebSocket."""
        parameters = "&".join(f"{key}={quote(str(value))}" for key, value in query.items())
        return f"ws://127.0.0.1:{self.port}/ws/chat/{quote(room)}/?{parameters}"


@contextlib.contextmanager
def serving(*options: str, port: int = 0, stderr: IO[bytes] | None = None) -> Iterator[Server]:
    """Serve on `port`, or on a free one; the block begins when the server says that it listens."""
    command = [sys.executable, "-m", "trio_chat", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        too_late = threading.Timer(START_TIMEOUT, process.kill)
        too_late.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            too_late.cancel()
            assert line.startswith("listening on "), f"the server did not start: {line!r}"
            yield Server(process, line.removeprefix("listening on ").strip())
        finally:
            too_late.cancel()
            too_late.join()
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            finally:
                process.kill()


class Cable:
    """A TCP connection to a server that one can cut and mend: what a phone in a tunnel has."""

    def __init__(self, listener: socket.socket, server_port: int) -> None:
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._listener = listener
        self._server_port = server_port
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._is_cut = False
        self._may_tell = threading.Event()  # Whether the server hears of connections that broke.
        self._may_tell.set()
        self._threads: list[threading.Thread] = []

    def cut(self) -> None:
        """Break every connection, and let none be made."""
        with self._lock:
            self._is_cut = True
            ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def move(self) -> None:
        """Break every connection on the browser's side: the server hears of it at the end only.

        So it is when a phone changes networks. New connections can be made at once.
        """
        self._may_tell.clear()
        self.cut()
        self.mend()

    def mend(self) -> None:
        """Let connections be made again."""
        with self._lock:
            self._is_cut = False

    def run(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                break
            with self._lock:
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._server_port))
                self._ends.append(near)
            thread = threading.Thread(target=self._connect, args=(near, far))
            thread.start()
            self._threads.append(thread)
        self.cut()
        self._may_tell.set()
        for thread in self._threads:
            thread.join()

    def _connect(self, near: socket.socket, far: socket.socket) -> None:
        # Whoever ends first shuts both down, which ends the other; then nobody uses them any more.
        with near, far:
            back = threading.Thread(target=self._carry, args=(far, near))
            back.start()
            self._carry(near, far)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._may_tell.wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cable_to(server: Server) -> Iterator[Cable]:
    """Lay a cable to a server; its `url` is then the server's address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cable = Cable(listener, server.port)
        thread = threading.Thread(target=cable.run)
        thread.start()
        try:
            yield cable
        finally:
            # Closing alone does not wake a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class Window:
    """One window of a browser. Each method first makes it the one that is driven."""

    def __init__(self, driver: Chrome, handle: str, url: str) -> None:
        self.driver = driver
        self.handle = handle
        self.url = url

    def switch(self) -> Window:
        """Make this window the one that is driven and looked at."""
        if self.driver.current_window_handle != self.handle:
            self.driver.switch_to.window(self.handle)
        return self

    def get(self, path: str) -> None:
        """Load a page of the server."""
        self.switch().driver.get(self.url + path)

    def enter(self, room: str, *, name: str | None = None) -> None:
        """Load a room's page and wait until it is connected; `name` is as if chosen earlier."""
        if name is not None:
            self.get("/chat/")
            self.script(
                "localStorage.setItem('trio-chat:browser:name', JSON.stringify(arguments[0]))", name
            )
        self.get(f"/chat/{quote(room, safe='')}/")
        self.until_connected()

    def find(self, selector: str) -> WebElement:
        """Return the first element."""
        return self.switch().driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements."""
        return self.switch().driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element, all of one moment."""
        code = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())"
        return [str(text) for text in self.script(code, selector)]

    def script(self, code: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self.switch().driver.execute_script(code, *arguments)

    def module(self, name: str, code: str, *arguments: object) -> Any:
        """Import one of the page's modules as `it`, run `code`, return what it returns."""
        wrapped = f"""
            const done = arguments[arguments.length - 1];
            import("/static/{name}")
                .then(async (it) => {{ {code} }})
                .then((result) => done({{ result }}), (error) => done({{ error: String(error) }}));
        """
        outcome = self.switch().driver.execute_async_script(wrapped, *arguments)
        assert "error" not in outcome, outcome["error"]
        return outcome.get("result")

    def press(self, *keys: str) -> None:
        """Type into whatever has the focus."""
        self.switch()
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_with_shift(self, key: str) -> None:
        """Press a key while Shift is down."""
        self.switch()
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()

    def say(self, text: str) -> None:
        """Type a message and Enter, as a user does in a page just opened."""
        self.press(text, Keys.ENTER)

    @property
    def log(self) -> str:
        """The messages, as the tutorial's tests read them."""
        value = self.find("#chat-log").get_property("value")
        assert isinstance(value, str)
        return value

    @property
    def connection(self) -> str | None:
        """The state of the connection that the page shows."""
        return self.find("#connection").get_attribute("data-state")

    def until(
        self, condition: Callable[[], object], what: str, within: float = CONDITION_TIMEOUT
    ) -> None:
        """Wait for a condition, in this window; `what` it is, is said where it does not come."""
        self.switch()
        waiting = WebDriverWait(
            self.driver,
            within,
            poll_frequency=0.05,
            ignored_exceptions=[StaleElementReferenceException],
        )
        try:
            waiting.until(lambda _: condition())
        except TimeoutException:
            raise AssertionError(f"not within {within} s: {what}") from None

    def until_connected(self) -> None:
        """Wait until the page says that it is connected."""
        self.until(lambda: self.connection == "open", "the page is connected")

    def until_said(self, text: str, within: float = CONDITION_TIMEOUT) -> None:
        """Wait until the log holds a text."""
        self.until(lambda: text in self.log, f"{text!r} is in the log", within)

    def emulate(self, *, width: int, height: int = 740, scheme: str = "light") -> None:
        """Give the window a size and the system a colour scheme."""
        self.switch()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


class Browser:
    """A Chromium with a profile of its own."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.console: list[str] = []

    def window(self, url: str) -> Window:
        """Open an empty window, as on a desk, for pages of the server at `url`."""
        self.driver.switch_to.new_window("window")
        window = Window(self.driver, self.driver.current_window_handle, url)
        window.emulate(width=1280)
        # Without a screen no window is in front, and none would show where its focus is.
        self.driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        return window

    def close_windows(self) -> None:
        """Close every window but the first one, which is kept so that the browser stays."""
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(first)

    def read_console(self) -> list[str]:
        """Return what the pages have written to the console since this was last asked."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def screenshot(self, folder: Path, name: str) -> None:
        """Write a picture of each window to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, handle in enumerate(self.driver.window_handles):
            self.driver.switch_to.window(handle)
            self.driver.save_screenshot(str(folder / f"{name}-{number}.png"))


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Start a headless Chromium, and end it with the block."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    assert chromium, "the browser tests need chromium"
    assert chromedriver, "the browser tests need chromedriver"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium
        for argument in [*ARGUMENTS, f"--user-data-dir={profile}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = Chrome(options, Service(chromedriver))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
