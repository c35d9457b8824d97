"""A server with a SQLite history, as a process that is killed, stopped, or out of disk.

Clients that know nothing of the server's insides write down what they said, what they were told was
accepted, and what they heard. Afterwards somebody reads the whole history, and the books balance.
"""

from __future__ import annotations

import errno
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trio
from doorstep import KEY, Apart, serving_apart
from lobby import Guest, number

HANG: Final = 60  # seconds: a test that waits for longer has failed
IN_FLIGHT: Final = 16  # messages of one talker that are not accepted yet
PATIENT: Final = ("--outbox", "0", "--stall-timeout", "0")  # No listener is too slow for us.


def keeping(path: Path, *options: str) -> tuple[str, ...]:
    """Options of a server that keeps its history there, and lets everybody talk as they can."""
    history = ("--history", f"sqlite:{path}", "--rate", "0", "--log-level", "warning")
    return (*history, *PATIENT, *options)


async def dial(apart: Apart, nursery: trio.Nursery, room: str, query: str = "") -> Guest:
    """Ask for a place in a room; what comes of it is heard."""
    stream = await trio.open_tcp_stream("127.0.0.1", apart.port)
    lines = [
        f"GET /ws/chat/{room}/{query} HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: trio-chat.v1",
    ]
    await stream.send_all("\r\n".join([*lines, "", ""]).encode())
    return Guest(stream, nursery, check=lambda: None)


# --- The books ------------------------------------------------------------------------------------


@dataclass
class Books:
    """What was said in a room, what was accepted, and what was heard."""

    room: str
    said: dict[str, str] = field(default_factory=dict)  # id → text
    accepted: dict[str, int] = field(default_factory=dict)  # id → number
    heard: dict[int, tuple[object, object]] = field(default_factory=dict)  # number → id, text
    epochs: set[object] = field(default_factory=set)
    news: trio.Event = field(default_factory=trio.Event)

    def note(self, event: dict[str, object]) -> None:
        match event["type"]:
            case "welcome":
                self.epochs.add(event["epoch"])
            case "ack":
                self.accept(str(event["id"]), number(event))
            case "message":
                what = (event["id"], event["message"])
                assert self.heard.setdefault(number(event), what) == what
            case "error":
                assert event["code"] == "history-unavailable"
        self.tell()

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()

    def accept(self, id: str, seq: int) -> None:
        assert self.accepted.setdefault(id, seq) == seq

    async def until_accepted(self, count: int) -> None:
        while len(self.accepted) < count:
            await self.news.wait()

    async def audit(self, apart: Apart, kept: int | None = None) -> None:
        """See that the history is what everybody was told: each message once, no gap."""
        assert len(self.epochs) == 1
        (epoch,) = self.epochs
        async with trio.open_nursery() as nursery:
            query = f"?history=500&since={0 if kept is None else len(self.said) - kept}"
            auditor = await dial(apart, nursery, self.room, f"{query}&epoch={epoch}")
            auditor.resume()
            welcome = await auditor.hear("welcome")
            assert welcome["recovered"] is True
            last = number(welcome)
            await auditor.until(lambda one: number(one.heard[-1]) == last)
            await auditor.close()
        entries = {number(event): event for event in auditor.events("message")}
        assert sorted(entries) == auditor.numbers
        assert auditor.numbers == list(range(last - len(entries) + 1, last + 1))
        assert last == len(self.said) == len(self.accepted)
        assert sorted(self.accepted.values()) == list(range(1, last + 1))
        if kept is None:
            assert {event["id"] for event in entries.values()} == set(self.said)
        for id, seq in self.accepted.items():
            if seq in entries:
                assert (entries[seq]["id"], entries[seq]["message"]) == (id, self.said[id])
        for seq, what in self.heard.items():
            if seq in entries:
                assert (entries[seq]["id"], entries[seq]["message"]) == what


@dataclass
class Talker:
    """Somebody who talks without pause, and says again what was not accepted."""

    name: str
    books: Books
    guest: Guest | None = None
    read: int = 0  # how much of what the guest has heard is in the books
    mine: list[str] = field(default_factory=list)

    async def enter(self, apart: Apart, nursery: trio.Nursery) -> None:
        self.guest = await dial(apart, nursery, self.books.room, f"?name={self.name}&history=0")
        self.guest.check = self.write_down
        self.read = 0
        self.guest.resume()
        await self.guest.hear("welcome")
        nursery.start_soon(self.see_the_end, self.guest)

    async def see_the_end(self, guest: Guest) -> None:
        await guest.gone.wait()
        self.books.tell()

    def write_down(self) -> None:
        assert self.guest is not None
        heard = self.guest.heard
        for event in heard[self.read :]:
            self.books.note(event)
        self.read = len(heard)

    @property
    def pending(self) -> list[str]:
        return [id for id in self.mine[-2 * IN_FLIGHT :] if id not in self.books.accepted]

    async def say_again(self) -> None:
        assert self.guest is not None
        for id in self.pending:
            await self.guest.say(self.books.said[id], id)

    async def talk(self) -> None:
        """Talk until the connection ends."""
        assert self.guest is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.say_again()
            while not self.guest.gone.is_set():
                if len(self.pending) < IN_FLIGHT:
                    id = f"{self.name}-{len(self.mine)}"
                    self.books.said[id] = f"{id} says ☃ {'x' * (len(self.mine) % 300)}"
                    self.mine.append(id)
                    await self.guest.say(self.books.said[id], id)
                else:
                    await self.books.news.wait()

    async def settle(self) -> None:
        """Say what is left again, until it is accepted."""
        await self.say_again()
        while self.pending:
            await self.books.news.wait()
        assert self.guest is not None
        await self.guest.close()


@dataclass
class Town:
    """Two rooms, two talkers in each."""

    rooms: Sequence[Books] = field(default_factory=lambda: [Books("green"), Books("red")])
    talkers: Sequence[Talker] = ()

    def __post_init__(self) -> None:
        names = itertools.product(self.rooms, ("Ada", "Bob"))
        self.talkers = [Talker(name, books) for books, name in names]

    async def talk_and(
        self, apart: Apart, what: signal.Signals, nursery: trio.Nursery, count: int = 150
    ) -> None:
        """Talk until so many messages more are accepted in each room, then send a signal."""
        goals = [(books, len(books.accepted) + count) for books in self.rooms]
        for talker in self.talkers:
            await talker.enter(apart, nursery)
            nursery.start_soon(talker.talk)
        for books, goal in goals:
            await books.until_accepted(goal)
        apart.process.send_signal(what)

    async def settle_and_audit(self, path: Path, kept: int | None = None) -> None:
        async with serving_apart(*keeping(path)) as apart:
            async with trio.open_nursery() as nursery:
                for talker in self.talkers:
                    await talker.enter(apart, nursery)
                for talker in self.talkers:
                    await talker.settle()
            for books in self.rooms:
                await books.audit(apart, kept)
            apart.end()
            assert await apart.log() == ""


async def kill_again_and_again(
    path: Path, what: signal.Signals, rounds: int, *options: str, kept: int | None = None
) -> None:
    town = Town()
    with trio.fail_after(HANG):
        for _ in range(rounds):
            async with serving_apart(*keeping(path, *options)) as apart:
                async with trio.open_nursery() as nursery:
                    await town.talk_and(apart, what, nursery)
                assert await apart.process.wait() == (-what if what == signal.SIGKILL else 0)
        await town.settle_and_audit(path, kept)


# --- Killed, drained, stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_acknowledged_is_there_once_when_it_is_started_again(
    tmp_path: Path, what: signal.Signals
) -> None:
    await kill_again_and_again(tmp_path / "chat.db", what, 2)


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_so_it_is_however_often_it_is_killed(tmp_path: Path, sync: str) -> None:
    await kill_again_and_again(tmp_path / "chat.db", signal.SIGKILL, 12, "--history-sync", sync)


@pytest.mark.slow
async def test_so_it_is_when_it_is_killed_while_it_forgets(tmp_path: Path) -> None:
    options = ("--keep-messages", "100")
    await kill_again_and_again(tmp_path / "chat.db", signal.SIGKILL, 8, *options, kept=100)


@pytest.mark.slow
async def test_a_server_that_stood_still_for_seconds_goes_on_where_it_was(tmp_path: Path) -> None:
    town = Town()
    with trio.fail_after(HANG):
        async with serving_apart(*keeping(tmp_path / "chat.db")) as apart:
            async with trio.open_nursery() as nursery:
                await town.talk_and(apart, signal.SIGSTOP, nursery)
                await trio.sleep(5)  # Nothing is waited for: this is what happens to it.
                apart.process.send_signal(signal.SIGCONT)
                for books in town.rooms:
                    await books.until_accepted(len(books.accepted) + 300)
                apart.end()
            assert await apart.log() == ""
        await town.settle_and_audit(tmp_path / "chat.db")


# --- Out of disk ----------------------------------------------------------------------------------


@contextmanager
def small_disk(directory: Path, *options: str) -> Iterator[Path]:
    """A disk of two megabytes, where this user may mount one."""
    place = directory / "disk"
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=2m", *options)), "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; return the file that does."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as full:
                if full.errno != errno.ENOSPC:
                    raise
    return ballast


async def answer(guest: Guest, id: str, after: int) -> str:
    """Wait for the answer to a message that was said when so much had been heard."""

    def answers() -> list[str]:
        new = guest.heard[after:]
        return [str(event["type"]) for event in new if event.get("id") == id]

    await guest.until(lambda _: any(kind in ("ack", "error") for kind in answers()))
    return next(kind for kind in answers() if kind in ("ack", "error"))


async def say(guest: Guest, books: Books, id: str) -> str:
    """Say something, or say it again; return whether it was an ack or an error."""
    before = len(guest.heard)
    books.said[id] = f"{id} says something of an ordinary length, as people write it"
    await guest.say(books.said[id], id)
    kind = await answer(guest, id, before)
    for event in guest.heard[before:]:
        books.note(event)
    return kind


async def test_a_full_disk_costs_nobody_their_place_and_is_forgotten_when_there_is_room_again(
    tmp_path: Path,
) -> None:
    books = Books("lobby")
    with trio.fail_after(HANG), small_disk(tmp_path) as disk:
        async with serving_apart(*keeping(disk / "chat.db")) as apart:
            async with trio.open_nursery() as nursery:
                ada = await dial(apart, nursery, "lobby", "?name=Ada")
                ada.resume()
                books.note(await ada.hear("welcome"))
                assert await say(ada, books, "0") == "ack"
                bob = await dial(apart, nursery, "lobby", "?name=Bob")
                bob.resume()
                await bob.until_heard(*books.said.values())  # Reading needs files of its own.
                refused, refusals = 1, 0
                while refusals < 2:  # There is some room left in SQLite's own files.
                    ballast = fill(disk)
                    if await say(ada, books, str(refused)) == "error":
                        refusals += 1
                    else:
                        refused, refusals = refused + 1, 0
                # Nobody has lost their place, and nobody new gets one.
                await bob.fence()
                stranger = await dial(apart, nursery, "elsewhere")
                stranger.resume()
                gone = await stranger.wait_closed()
                assert gone is not None
                assert gone.code == 1013
                # It comes back by itself.
                ballast.unlink()
                while await say(ada, books, str(refused)) == "error":
                    pass
                newcomer = await dial(apart, nursery, "elsewhere")
                newcomer.resume()
                await newcomer.hear("welcome")
                await bob.until(lambda one: len(one.numbers) == len(books.accepted))
                assert bob.events("message") == ada.events("message")
                for guest in (ada, bob, newcomer):
                    await guest.close()
            await books.audit(apart)
            apart.end()
            log = await apart.log()
    assert "nothing can be stored: the disk is full; make space on it" in log
    assert "stored again" in log.splitlines()[-1]


# --- At the start ---------------------------------------------------------------------------------


async def refusal(path: Path) -> str:
    """Start a server that does not start; return the one line that says why."""
    with trio.fail_after(HANG):
        process = await trio.run_process(
            [sys.executable, "-m", "trio_chat", "serve", "--port", "0", *keeping(path)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (process.returncode, process.stdout) == (2, b"")
    (line,) = process.stderr.decode().splitlines()
    start = f"trio-chat: can't open the history sqlite:{path}: "
    assert line.startswith(start)
    return line.removeprefix(start)


async def test_a_directory_that_is_not_there_is_one_line_and_code_2(tmp_path: Path) -> None:
    why = await refusal(tmp_path / "no" / "such" / "x.db")
    assert why == f"there is no directory {tmp_path}/no/such; make it"


async def test_the_file_of_another_server_is_one_line_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with serving_apart(*keeping(path)) as apart:
        pid = apart.process.pid
        assert f"process {pid};" in await refusal(path)
        apart.process.kill()
        await apart.process.wait()
    async with serving_apart(*keeping(path)):
        pass  # The kernel has let go of it for the one that was killed.


async def test_a_full_disk_at_the_start_is_one_line_and_code_2(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        fill(disk)
        assert "the disk is full; make space on it" in await refusal(disk / "chat.db")


async def test_a_disk_that_is_full_when_it_is_started_again_is_one_line_and_code_2(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path) as disk:
        path = disk / "chat.db"
        async with serving_apart(*keeping(path)) as apart:
            apart.process.kill()  # What SQLite had still to tidy up is there.
            await apart.process.wait()
        fill(disk)
        assert "the disk is full; make space on it" in await refusal(path)


async def test_a_disk_that_can_only_be_read_is_one_line_and_code_2(tmp_path: Path) -> None:
    with small_disk(tmp_path, "ro") as disk:
        assert "Read-only file system" in await refusal(disk / "chat.db")
