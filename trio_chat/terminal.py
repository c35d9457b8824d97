"""A chat in the terminal, or in a pipe: lines in are said, lines out are what the room heard.

    echo hello | trio-chat connect http://127.0.0.1:8000/chat/lobby/
    trio-chat connect http://127.0.0.1:8000/chat/lobby/ | tee log

Two tasks beside the client's own: one reads lines and says them, one writes what comes. At the end
of the input the first has all its receipts, waits until the second has shown what was said, and
leaves. Reading and writing block in threads, so a Ctrl-C needn't wait for them; the terminal itself
stays as it is (a non-blocking one would be that for the shell behind it, too).

What others say is shown with its control characters spelled out: a terminal obeys them.
"""

from __future__ import annotations

import codecs
import enum
import json
import os
import select
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import trio

from .client import (
    BadAddress,
    Chat,
    Deleted,
    Disconnected,
    Event,
    Joined,
    Left,
    Message,
    Overrun,
    Reconnected,
    Reconnecting,
    Refused,
    Typing,
    Welcome,
    connect,
)
from .client.nursery import open_service_nursery

CHUNK: Final = 64 * 1024  # bytes
LONGEST_LINE: Final = 1024 * 1024  # characters; what is longer is cut, for the server to refuse
LAST_WORDS: Final = 5.0  # seconds that the last lines may take to come back

# Zero-width joiners are a part of emoji and of Persian words, and a tab is only a tab.
HARMLESS: Final = frozenset("\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Form(enum.Enum):
    """How events are written."""

    TEXT = enum.auto()  # messages to standard output, what else happens to standard error
    JSON = enum.auto()  # everything to standard output, an object a line


class Stamps(enum.Enum):
    """What stands before a message."""

    NOTHING = enum.auto()
    TIME = enum.auto()


class Notices(enum.Enum):
    """Whether joins, leaves and the state of the connection are told."""

    ON_A_TERMINAL = enum.auto()  # where standard error is one
    ALWAYS = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What was asked for, and the file descriptors to use."""

    url: str
    name: str | None = None
    history: int | None = None
    form: Form = Form.TEXT
    stamps: Stamps = Stamps.NOTHING
    notices: Notices = Notices.ON_A_TERMINAL
    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


async def run_terminal(terminal: Terminal) -> int:
    """Chat until the input ends, and return the exit code.

    It is 0 if everything that was read was accepted, and also if nobody reads the output any more;
    1 if not, or if the server does not want this client any more; 2 for a bad address.

    If cancelled, the client leaves at once. A thread that waits for input stays behind.
    """
    try:
        async with connect(terminal.url, name=terminal.name, history=terminal.history) as chat:
            return await _Conversation(terminal, chat).run()
    except BadAddress as exc:
        await _complain(terminal, str(exc))
        return 2
    except Disconnected as exc:
        code = "" if exc.code == 1006 else f" ({exc.code})"
        await _complain(terminal, f"{exc.reason}{code}")
        return 1
    except BrokenPipeError:
        return 0  # As with `| head`.
    except OSError as exc:
        await _complain(terminal, f"can't write: {exc.strerror}")
        return 1


class _Conversation:
    def __init__(self, terminal: Terminal, chat: Chat) -> None:
        self._terminal = terminal
        self._chat = chat
        self._tells = terminal.notices is Notices.ALWAYS or os.isatty(terminal.stderr)
        self._due = 0  # The number of the last message that will have been worth waiting for.
        self._shown = -1
        self._progress = trio.Event()
        self._writing = False
        self._refused = 0

    async def run(self) -> int:
        async with open_service_nursery() as nursery:
            nursery.start_soon(self._listen, name="listener")
            await self._talk()
            await self._wait_for_last_words()
        return 1 if self._refused else 0

    async def _wait_for_last_words(self) -> None:
        while self._shown < self._due:
            with trio.move_on_after(LAST_WORDS) as patience:
                await self._progress.wait()
            # Whoever reads the output may take as long as they like.
            if patience.cancelled_caught and not self._writing:
                return

    # --- Lines in ---

    async def _talk(self) -> None:
        source, splitter, chunk = self._terminal.stdin, LineSplitter(), b"?"
        interactive = os.isatty(source)
        while chunk:
            chunk = await trio.to_thread.run_sync(_read, source, abandon_on_cancel=True)
            for line in splitter.feed(chunk):
                if line or not interactive:  # Enter alone is for looking, not for saying nothing.
                    await self._say(line)

    async def _say(self, line: str) -> None:
        id: str | None = None
        while True:
            try:
                receipt = await self._chat.say(line, id=id)
            except Overrun as exc:
                # Standard output is far behind.
                id = exc.id
                await self._progress.wait()
            except Refused as exc:
                self._refused += 1
                await _complain(self._terminal, f"not sent: {exc.reason}: {line:.60}")
                return
            except Disconnected:
                # The listener tells, behind all that came before.
                await trio.sleep_forever()
            else:
                self._due = max(self._due, receipt.seq)
                return

    # --- Lines out ---

    async def _listen(self) -> None:
        async for event in self._chat:
            self._writing = True
            await self._show(event)
            self._writing = False
            self._note(event)

    async def _show(self, event: Event) -> None:
        if self._terminal.form is Form.JSON:
            await _write_all(self._terminal.stdout, f"{json.dumps(tabulate(event))}\n")
        elif isinstance(event, Message):
            name = "*" if event.name is None else event.name
            stamp = f"{_clock(event.time)} " if self._terminal.stamps is Stamps.TIME else ""
            line = f"{stamp}{escape(name)}: {escape(event.text)}\n"
            await _write_all(self._terminal.stdout, line)
        elif self._tells and (notice := _notice(event)):
            await _tell(self._terminal, f"* {escape(notice)}\n")

    def _note(self, event: Event) -> None:
        match event:
            case Welcome(seq=seq):
                self._due = max(self._due, 0 if self._terminal.history == 0 else seq)
                self._shown = max(self._shown, 0)
            case Message(seq=seq) | Deleted(seq=seq):
                self._shown = max(self._shown, seq)
            case Reconnected(recovered=False):
                # What was due may never come, or under another number.
                self._due = 0
            case _:
                pass
        self._progress.set()
        self._progress = trio.Event()


def _notice(event: Event) -> str:
    match event:
        case Welcome():
            with_whom = "" if event.members is None else f": {', '.join(event.members)}"
            return f"you are {event.name} in {event.room}, {event.count} here{with_whom}"
        case Joined(name):
            return f"{name} came"
        case Left(name):
            return f"{name} left"
        case Deleted(seq):
            return f"message {seq} was removed"
        case Reconnecting():
            return f"{event.reason} ({event.code}); trying again in {event.pause:.1f} s"
        case Reconnected():
            return "connected again" + ("" if event.recovered else "; messages may be missing")
        case Typing() | Message():
            return ""
        case _:
            assert_never(event)


def tabulate(event: Event) -> dict[str, object]:
    """Return an event in the protocol's words; the client's own events in similar ones."""
    match event:
        case Message(seq, name, text, time_, id):
            body = _object("message", seq=seq, name=name, message=text, time=time_)
            return body if id is None else body | {"id": id}
        case Joined(name):
            return _object("join", name=name)
        case Left(name):
            return _object("leave", name=name)
        case Typing(name):
            return _object("typing", name=name)
        case Deleted(seq):
            return _object("deleted", seq=seq)
        case Welcome():
            return _greeting("welcome", event) | {"recovered": event.recovered}
        case Reconnected(recovered, welcome):
            return _greeting("reconnected", welcome) | {"recovered": recovered}
        case Reconnecting(code, reason, attempt, pause):
            return _object("reconnecting", code=code, reason=reason, attempt=attempt, pause=pause)
        case _:
            assert_never(event)


def _greeting(kind: str, welcome: Welcome) -> dict[str, object]:
    # Without its secret: whoever reads a log could take this member's place.
    return _object(
        kind,
        room=welcome.room,
        name=welcome.name,
        epoch=welcome.epoch,
        seq=welcome.seq,
        members=welcome.members,
        count=welcome.count,
    )


def _object(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind} | fields


def escape(text: str) -> str:
    r"""Spell out what a terminal would obey, or what would begin another line: ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in UNSAFE and char not in HARMLESS
        else char
        for char in text
    )


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"  # A time that no calendar has.


# --- File descriptors that block, in threads ---


class LineSplitter:
    """Puts bytes together to lines, without their ends."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that a chunk completes; none is the end of the input, and of a line."""
        text = self._rest + self._decoder.decode(chunk, final=not chunk)
        *lines, self._rest = text.split("\n")
        if self._rest and (not chunk or len(self._rest) > LONGEST_LINE):
            lines.append(self._rest)
            self._rest = ""
        return [line.removesuffix("\r") for line in lines]


def _read(source: int) -> bytes:
    while True:
        try:
            return os.read(source, CHUNK)
        except BlockingIOError:
            # Somebody else made it non-blocking.
            select.select([source], [], [])
        except OSError:
            return b""  # Closed, or a terminal that hung up.


async def _write_all(target: int, text: str) -> None:
    """Write a text. If cancelled, some of it may be written later, by a thread left behind.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    write = partial(_write, target, text.encode(errors="backslashreplace"))
    await trio.to_thread.run_sync(write, abandon_on_cancel=True)


def _write(target: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            select.select([], [target], [])


async def _complain(terminal: Terminal, sentence: str) -> None:
    await _tell(terminal, f"trio-chat: {escape(sentence)}\n")


async def _tell(terminal: Terminal, line: str) -> None:
    with suppress(OSError):  # Where standard error is gone, there is nobody to tell.
        await _write_all(terminal.stderr, line)
