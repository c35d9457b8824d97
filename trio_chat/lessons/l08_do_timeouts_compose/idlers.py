"""Those who do nothing, and what becomes of them: clients by hand, and who notes their ends.

The task of a client's door lives in the nursery that is given, which is one of the server's own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

import trio
import trio.testing

from ...server import Server
from ...transport import StreamTransport


def connect(server: Server, doors: trio.Nursery, name: str) -> trio.abc.Stream:
    """Connect somebody, who has not said a word yet, over a line that holds no byte.

    So what is not read stays with the server, and it is the server who waits.
    """
    theirs, ours = trio.testing.lockstep_stream_pair()
    doors.start_soon(server.meet, StreamTransport(ours, f"{name}:0"), name=f"door {name}")
    return theirs


def connect_patiently(server: Server, doors: trio.Nursery, name: str) -> trio.abc.Stream:
    """Connect somebody over a line that holds everything: nobody waits for who does not read."""
    theirs, ours = trio.testing.memory_stream_pair()
    doors.start_soon(server.meet, StreamTransport(ours, f"{name}:0"), name=f"door {name}")
    return theirs


async def ask(stream: trio.abc.Stream, name: str, *, room: str, history: int) -> None:
    """Ask for the way into a room and for its history, and read how one is welcomed."""
    await stream.send_all(
        f"GET /ws/chat/{room}/?name={name}&history={history} HTTP/1.1\r\nHost: lab\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: trio-chat.v1\r\n\r\n".encode()
    )
    read = b""
    while b'"welcome"' not in read:
        read += await stream.receive_some()


class Exits(trio.abc.Instrument):
    """Notes at what time each task ends, by its name."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Note it. Trio calls this."""
        self._at[task.name] = trio.current_time()

    @property
    def at(self) -> Mapping[str, float]:
        """The times, by the names of the tasks that have ended."""
        return self._at


@contextlib.contextmanager
def noted_exits() -> Iterator[Exits]:
    """Note the ends of tasks in the block."""
    exits = Exits()
    trio.lowlevel.add_instrument(exits)
    try:
        yield exits
    finally:
        trio.lowlevel.remove_instrument(exits)


class Goodbyes(logging.Handler):
    """Keeps why each session ended, by the member's name: the server logs a line for each."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.reasons: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, if that is what the line is about. `logging` calls this."""
        head, _, rest = record.getMessage().partition(" in room ")
        if head.startswith("end: "):
            name = head.removeprefix("end: ").partition(" ")[0]
            self.reasons[name] = rest.partition(": ")[2]


@contextlib.contextmanager
def noted_goodbyes() -> Iterator[Goodbyes]:
    """Listen to what the server logs in the block, and print none of it."""
    log, goodbyes = logging.getLogger("trio_chat.session"), Goodbyes()
    level, propagate = log.level, log.propagate
    log.addHandler(goodbyes)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield goodbyes
    finally:
        log.removeHandler(goodbyes)
        log.setLevel(level)
        log.propagate = propagate
