"""The chat in a terminal: with pipes in this process, and as a process in a pipe of the shell."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from stage import welcome
from trio_websocket import wrap_server_stream

from trio_chat.client import (
    Chat,
    Deleted,
    Event,
    Joined,
    Left,
    Message,
    Reconnected,
    Reconnecting,
    Typing,
    Welcome,
    connect,
    connect_plain,
)
from trio_chat.config import Config
from trio_chat.server import Server
from trio_chat.terminal import (
    LONGEST_LINE,
    Form,
    LineSplitter,
    Notices,
    Stamps,
    Terminal,
    escape,
    run_terminal,
    tabulate,
)
from trio_chat.testing import Venue

PATIENCE = 30  # seconds; nothing below waits for time
COMMAND = (sys.executable, "-m", "trio_chat", "connect")


@pytest.fixture
def chat_config() -> Config:
    return Config(port=0, rate=0)


@pytest.fixture
async def server(chat_server: Venue) -> AsyncIterator[Server]:
    with trio.fail_after(PATIENCE):
        yield chat_server.server


@dataclass
class Desk:
    """Somebody at a terminal: what they type, and what they see."""

    keyboard: int
    screen: int
    margin: int  # standard error
    terminal: Terminal
    code: int | None = None
    finished: trio.Event = field(default_factory=trio.Event)
    _seen: bytes = b""

    async def type(self, text: str) -> None:
        write = partial(os.write, self.keyboard, text.encode())
        await trio.to_thread.run_sync(write, abandon_on_cancel=True)

    def end(self) -> None:
        """Press Ctrl-D."""
        os.close(self.keyboard)
        self.keyboard = -1

    async def line(self) -> str:
        """Wait for the next line on the screen."""
        while b"\n" not in self._seen:
            data = await trio.to_thread.run_sync(os.read, self.screen, 65536)
            assert data, f"the output ended with {self._seen!r}"
            self._seen += data
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode()

    async def margin_lines(self, count: int) -> list[str]:
        text = b""
        while text.count(b"\n") < count:
            data = await trio.to_thread.run_sync(os.read, self.margin, 65536)
            assert data, f"standard error ended with {text!r}"
            text += data
        return text.decode().splitlines()


@asynccontextmanager
async def sitting_down(
    url: str,
    *,
    name: str | None = None,
    history: int | None = None,
    form: Form = Form.TEXT,
    stamps: Stamps = Stamps.NOTHING,
    notices: Notices = Notices.ON_A_TERMINAL,
) -> AsyncIterator[Desk]:
    stdin, keyboard = os.pipe()
    screen, stdout = os.pipe()
    margin, stderr = os.pipe()
    terminal = Terminal(
        url=url,
        name=name,
        history=history,
        form=form,
        stamps=stamps,
        notices=notices,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )
    desk = Desk(keyboard, screen, margin, terminal)

    async def sit() -> None:
        desk.code = await run_terminal(terminal)
        os.close(stdout)
        os.close(stderr)
        desk.finished.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sit)
            yield desk
            if desk.keyboard != -1:
                desk.end()
            await desk.finished.wait()
    finally:
        for end in (stdin, screen, margin):
            os.close(end)


# --- Lines in, lines out ---


async def test_lines_go_in_and_come_out(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="alice") as desk:
        await desk.type("hello\nhow are")
        assert await desk.line() == "alice: hello"
        await desk.type(" you?\r\n\nbye")
        assert await desk.line() == "alice: how are you?"
        assert await desk.line() == "alice: "
        desk.end()
        assert await desk.line() == "alice: bye"
    assert desk.code == 0


async def test_what_others_say_comes_out(server: Server) -> None:
    async with (
        sitting_down(f"{server.url}lobby/") as desk,
        connect(f"{server.url}lobby/", name="bob") as bob,
        connect_plain(f"{server.url}lobby/") as plain,
    ):
        await bob.say("hi\nthere\x1b[2J\x9b31m\u202e")
        assert await desk.line() == r"bob: hi\nthere\x1b[2J\x9b31m\u202e"
        await plain.send("from nobody")
        assert await desk.line() == "*: from nobody"
    assert desk.code == 0


async def test_at_the_end_of_the_input_all_is_said_and_shown(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="alice", history=0) as desk:
        await desk.type("".join(f"{number}\n" for number in range(300)))
        desk.end()
        assert [await desk.line() for _ in range(300)] == [
            f"alice: {number}" for number in range(300)
        ]
    assert desk.code == 0


async def test_without_input_it_shows_the_history_and_leaves(server: Server) -> None:
    async with connect(f"{server.url}lobby/", name="bob") as bob:
        for number in range(5):
            await bob.say(str(number))
        async with sitting_down(f"{server.url}lobby/", history=3) as desk:
            desk.end()
            assert [await desk.line() for _ in range(3)] == ["bob: 2", "bob: 3", "bob: 4"]
        assert desk.code == 0
        async with sitting_down(f"{server.url}lobby/", history=0) as desk:
            desk.end()
        assert desk.code == 0


async def test_times_stand_before_the_name(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="a", stamps=Stamps.TIME) as desk:
        await desk.type("hello\n")
        date, clock, rest = (await desk.line()).split(" ", 2)
        assert (len(date), len(clock), rest) == (10, 8, "a: hello")


async def test_everything_is_an_object_a_line(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="é", form=Form.JSON) as desk:
        await desk.type("h\u202eello\n")
        greeting, message = [await desk.line() for _ in range(2)]
        assert greeting.isascii()
        assert message.isascii()
        assert json.loads(greeting) == {
            "type": "welcome",
            "room": "lobby",
            "name": "é",
            "epoch": json.loads(greeting)["epoch"],
            "seq": 0,
            "recovered": False,
            "members": ["é"],
            "count": 1,
        }
        heard = json.loads(message)
        assert heard == {
            "type": "message",
            "seq": 1,
            "name": "é",
            "message": "h\u202eello",
            "time": heard["time"],
            "id": heard["id"],
        }


# --- What else happens ---


async def test_who_comes_and_goes_is_told_on_standard_error(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="al", notices=Notices.ALWAYS) as desk:
        assert await desk.margin_lines(1) == ["* you are al in lobby, 1 here: al"]
        async with connect(f"{server.url}lobby/", name="bob"):
            assert await desk.margin_lines(1) == ["* bob came"]
        assert await desk.margin_lines(1) == ["* bob left"]


async def test_a_lost_connection_is_told_and_made_again() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            before = Server(Config(port=0))
            await nursery.start(before.run)
            async with sitting_down(
                f"{before.url}lobby/", name="al", notices=Notices.ALWAYS
            ) as desk:
                await desk.margin_lines(1)
                before.drain()
                (lost,) = await desk.margin_lines(1)
                assert lost.startswith("* the server is shutting down (1001); trying again in ")
                await desk.type("meanwhile\n")
                after = Server(Config(port=before.port))
                await nursery.start(after.run)
                assert await desk.line() == "al: meanwhile"
                assert (await desk.margin_lines(1))[-1] == (
                    "* connected again; messages may be missing"
                )
            after.drain()
    assert desk.code == 0


async def test_what_is_refused_is_told_and_the_next_line_is_said(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="al") as desk:
        await desk.type("x" * 5000 + "\nhello\n")
        (complaint,) = await desk.margin_lines(1)
        assert complaint.startswith("trio-chat: not sent: the message has 5000 characters")
        assert len(complaint) < 200
        assert await desk.line() == "al: hello"
    assert desk.code == 1


async def test_a_line_without_end_is_not_kept(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/", name="al") as desk:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.type, "x" * 2 * LONGEST_LINE)
            await desk.finished.wait()
            nursery.cancel_scope.cancel()
        assert (await desk.margin_lines(1))[0].endswith("(1009)")
    assert desk.code == 1


async def test_who_is_removed_is_told_why_and_the_end_is_one() -> None:
    async def remove(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            websocket = await request.accept(subprotocol="trio-chat.v1")
            await websocket.send_message(json.dumps(welcome().frames[0]))
            await websocket.get_message()
            await websocket.aclose(4001, "removed\x1b[H")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, remove, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            async with sitting_down(f"127.0.0.1:{port}/lobby") as desk:
                await desk.type("hello\n")
                await desk.finished.wait()
                assert await desk.margin_lines(1) == [r"trio-chat: removed\x1b[H (4001)"]
            nursery.cancel_scope.cancel()
    assert desk.code == 1


async def test_nobody_reads_the_output(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/") as desk:
        os.dup2(desk.keyboard, desk.screen)  # Closes the pipe that the output goes to.
        await desk.type("hello\n")
        await desk.finished.wait()
    assert desk.code == 0


async def test_a_full_disk_is_told(server: Server) -> None:
    async with sitting_down(f"{server.url}lobby/") as desk:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, desk.terminal.stdout)
        os.close(full)
        await desk.type("hello\n")
        assert await desk.margin_lines(1) == ["trio-chat: can't write: No space left on device"]
    assert desk.code == 1


async def test_a_bad_address_is_two() -> None:
    async with sitting_down("nowhere") as desk:
        assert (await desk.margin_lines(1))[0].startswith("trio-chat: 'nowhere' names no room")
    assert desk.code == 2


# --- Pure ---


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 9))
def test_lines_are_the_same_however_they_come(text: str, size: int) -> None:
    data, splitter = text.encode(), LineSplitter()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    lines = [line for chunk in [*chunks, b""] for line in splitter.feed(chunk)]
    assert (
        lines
        == [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")][
            : None if text else 0
        ]
    )


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a\xc3") == []
    assert splitter.feed(b"") == ["a\ufffd"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🎉", "plain é 漢 🎉"),
        ("👩\u200d🚀 a\tb", "👩\u200d🚀 a\tb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x7f\x80\x9b", r"\x7f\x80\x9b"),
        ("a\nb\r\u2028c", r"a\nb\r\u2028c"),
        ("\u202edrowssap\u2066", r"\u202edrowssap\u2066"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
        ("a\xa0b\ue000", "a\xa0b\ue000"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_is_shown_controls_a_terminal(text: str) -> None:
    shown = escape(text)
    controls = {*range(32), *range(127, 160)} - {ord("\t")}
    assert controls.isdisjoint(map(ord, shown))
    assert len(shown.splitlines()) <= 1
    shown.encode()


WELCOME = Welcome("lobby", "al", "e", 3, True, None, 2000, "secret")


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (
            Message(1, None, "a", 2.0),
            {"type": "message", "seq": 1, "name": None, "message": "a", "time": 2.0},
        ),
        (Joined("a"), {"type": "join", "name": "a"}),
        (Left("a"), {"type": "leave", "name": "a"}),
        (Typing("a"), {"type": "typing", "name": "a"}),
        (Deleted(4), {"type": "deleted", "seq": 4}),
        (
            Reconnecting(1001, "bye", 2, 0.5),
            {"type": "reconnecting", "code": 1001, "reason": "bye", "attempt": 2, "pause": 0.5},
        ),
        (
            Reconnected(True, WELCOME),
            {
                "type": "reconnected",
                "room": "lobby",
                "name": "al",
                "epoch": "e",
                "seq": 3,
                "members": None,
                "count": 2000,
                "recovered": True,
            },
        ),
    ],
)
def test_events_are_written_in_the_words_of_the_protocol(
    event: Event, body: dict[str, object]
) -> None:
    assert tabulate(event) == body


# --- As a process ---


async def run(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell, in which CONNECT is the command."""
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            ["sh", "-c", script.replace("CONNECT", " ".join(COMMAND))],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def test_in_a_pipe(server: Server) -> None:
    done = await run(f"printf 'hello\\nbye' | CONNECT {server.url}lobby/ --name al | cat")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"al: hello\nal: bye\n", b"")


async def test_a_reader_that_has_enough(server: Server) -> None:
    done = await run(f"seq 200 | CONNECT {server.url}lobby/ --name al --history 0 | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"al: 1\n", b"")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ("nowhere", 2, "trio-chat: 'nowhere' names no room"),
        ("ftp://127.0.0.1/chat/lobby/", 2, "trio-chat: an address begins with ws, wss, http"),
        ("127.0.0.1:1/lobby", 1, "trio-chat: can't connect to 127.0.0.1, port 1: Connection ref"),
        ("127.0.0.1:1/lobby --history -1", 2, "trio-chat: "),
        ("127.0.0.1:1/lobby --history some", 2, "trio-chat: argument --history: expected a whole"),
    ],
)
async def test_what_is_wrong_is_one_line(arguments: str, code: int, complaint: str) -> None:
    done = await run(f"CONNECT {arguments} </dev/null")
    assert done.returncode == code
    assert done.stderr.decode().startswith(complaint)
    assert done.stderr.count(b"\n") == 1


async def test_a_name_that_the_server_does_not_allow(server: Server) -> None:
    done = await run(f"CONNECT {server.url}lobby/ --name {'x' * 33} </dev/null")
    assert done.returncode == 1
    assert done.stderr.startswith(b"trio-chat: name: expected 1 to 32 characters")


async def test_ctrl_c_ends_it_at_once_and_quietly(server: Server) -> None:
    ours, theirs = pty.openpty()
    options = [f"{server.url}lobby/", "--name", "al", "--json", "--time", "-v"]
    start = partial(
        trio.run_process,
        [*COMMAND, *options],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"welcome" in await process.stdout.receive_some()
        os.write(ours, b"hello\n\n")
        assert b"hello" in await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        assert await process.stderr.receive_some() == b""
        await process.wait()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 128 + signal.SIGINT


async def wait_for(chat: Chat, text: str) -> None:
    async for event in chat:
        if isinstance(event, Message) and event.text == text:
            return


async def test_at_a_real_terminal_enter_alone_says_nothing(server: Server) -> None:
    ours, theirs = pty.openpty()
    terminal = Terminal(
        url=f"{server.url}lobby/", name="al", stdin=theirs, stdout=theirs, stderr=theirs
    )
    async with (
        connect(f"{server.url}lobby/", name="bob") as bob,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run_terminal, terminal)
        os.write(ours, b"\n\nhello\n")
        await wait_for(bob, "hello")
        assert (await bob.say("second")).seq == 2
        os.write(ours, b"\x04")  # Ctrl-D
    screen = os.read(ours, 65536).decode().replace("\r\n", "\n")
    assert "* you are al in lobby, 2 here: al, bob\n" in screen
    assert "al: hello\n" in screen
    os.close(ours)
    os.close(theirs)
