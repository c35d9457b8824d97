"""What only the SQLite history promises: the file outlives it, is nobody else's, and may fail."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

from trio_chat.config import Config, Retention
from trio_chat.history import Accepted, Draft, Duplicate, HistoryUnavailable, RoomLog
from trio_chat.history.choose import choose_history
from trio_chat.history.sqlite import SqliteHistory
from trio_chat.history.sqlite_file import VERSION, HistoryFile, Sync
from trio_chat.history.sqlite_store import PORTION_MESSAGES, SECOND, Append, RoomRow, Store

PATIENCE: Final = 20  # seconds: a test that hangs fails
KEEP_ALL: Final = Retention(messages=0, bytes=0, age=math.inf)
ALL: Final = 10**6
NOW: Final = 1_000_000.0
UNSTORABLE: Final = Draft("Eve", "\ud800", None)  # Half a character: nothing can encode it.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


@asynccontextmanager
async def running(
    path: Path, retention: Retention = KEEP_ALL, clock: Callable[[], float] = lambda: NOW
) -> AsyncIterator[SqliteHistory]:
    """A history from its opening to its end."""
    history = SqliteHistory(str(path), retention, clock=clock)
    with trio.fail_after(PATIENCE):
        await history.open()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(history.run)
                yield history
                nursery.cancel_scope.cancel(reason="the test is over")
        finally:
            with trio.move_on_after(5, shield=True):
                await history.aclose()


@contextmanager
def looking_into(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Another program is writing into the file, and not done yet."""
    with looking_into(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def look(path: Path, sql: str) -> list[object]:
    """What another program sees: the first column of every row."""
    with looking_into(path) as db:
        return [row[0] for row in db.execute(sql)]


def put(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    return data


def bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def take_away(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def put_back(path: Path) -> None:
    path.with_suffix(".away").rename(path)


def is_available(history: SqliteHistory) -> bool:
    return history.available


def drafts(*texts: str) -> list[Draft]:
    return [Draft("Ada", text, None) for text in texts]


async def texts(log: RoomLog) -> list[str]:
    return [entry.message for entry in await log.read(0, log.last, ALL)]


async def expect_gapless(log: RoomLog) -> None:
    entries = await log.read(0, log.last, ALL)
    assert [entry.seq for entry in entries] == list(range(log.first, log.last + 1))


# --- The file outlives the process ----------------------------------------------------------------


async def test_everything_is_there_when_it_is_opened_again(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append([Draft("Ada", "a", "x"), Draft(None, "b", None)])
        epoch, entries = log.epoch, await log.read(0, 2, ALL)
    async with running(path, clock=lambda: NOW - 60) as history:
        log = await history.open_room("lobby")
        assert (log.epoch, log.first, log.last) == (epoch, 1, 2)
        assert await log.read(0, 2, ALL) == entries
        assert await log.append([Draft("Ada", "a", "x")]) == [Duplicate("x", 1)]
        (receipt,) = await log.append(drafts("c"))
        assert isinstance(receipt, Accepted)
        assert (receipt.entry.seq, receipt.entry.time) == (3, NOW)


async def test_a_new_room_takes_nothing_from_those_that_were_there_before(path: Path) -> None:
    async with running(path) as history:
        await (await history.open_room("green")).append(drafts("a"))
    async with running(path) as history:
        red, green = await history.open_room("red"), await history.open_room("green")
        await red.append(drafts("b"))
        assert (await texts(red), await texts(green)) == (["b"], ["a"])


async def test_what_has_a_receipt_is_in_the_file_for_everybody_to_see(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a", "b"))
        assert look(path, "SELECT message FROM messages ORDER BY seq") == ["a", "b"]


async def test_a_room_in_which_nothing_was_said_leaves_nothing_behind(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        epoch = log.epoch
        await log.aclose()
        assert look(path, "SELECT name FROM rooms") == []
        assert (await history.open_room("lobby")).epoch != epoch


async def test_a_room_of_which_nothing_is_kept_still_counts_on(path: Path) -> None:
    nothing = Retention(messages=0, bytes=1, age=math.inf)
    async with running(path, nothing) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a", "b"))
        epoch = log.epoch
    async with running(path, nothing) as history:
        log = await history.open_room("lobby")
        assert (log.epoch, log.first, log.last) == (epoch, 3, 2)


async def test_less_is_kept_from_the_day_on_on_which_less_is_asked_for(path: Path) -> None:
    async with running(path) as history:
        for room in ("green", "red"):
            await (await history.open_room(room)).append(drafts(*"abcdef"))
    async with running(path, Retention(messages=2, bytes=0, age=math.inf)) as history:
        log = await history.open_room("green")
        assert (log.first, await texts(log)) == (5, ["e", "f"])
        while look(path, "SELECT message FROM messages ORDER BY room, seq") != [*"efef"]:
            await history.open_room("elsewhere")  # The forgetter has not had its turn yet.


@pytest.mark.parametrize(("sync", "number"), [("full", 2), ("normal", 1)])
def test_a_commit_waits_for_the_disk_or_for_the_kernel(path: Path, sync: Sync, number: int) -> None:
    file = HistoryFile(str(path), sync)
    file.hold()
    with closing(file.open_writer()) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (number,)
    file.release()


# --- One writer -----------------------------------------------------------------------------------


def commits(path: Path) -> int:
    """How many transactions are in SQLite's log: https://sqlite.org/fileformat.html#walformat."""
    data = Path(f"{path}-wal").read_bytes()
    (size,) = struct.unpack_from(">I", data, 8) if data else (0,)
    salt = data[16:24]  # Frames with another one are of an earlier life of the log.
    frames = [data[at : at + 24] for at in range(32, len(data), 24 + size)]
    return sum(frame[4:8] != bytes(4) and frame[8:16] == salt for frame in frames)


async def test_what_all_rooms_have_waiting_goes_into_one_transaction(path: Path) -> None:
    async with running(path) as history:
        logs = [await history.open_room(f"{number}") for number in range(100)]
        before = commits(path)
        async with trio.open_nursery() as nursery:
            for log in logs:
                nursery.start_soon(log.append, drafts("a", "b"))
        assert look(path, "SELECT count(*) FROM messages") == [200]
        assert 1 <= commits(path) - before <= 3


async def test_a_cancelled_append_costs_nobody_else_a_receipt(path: Path) -> None:
    async with running(path) as history:
        logs = [await history.open_room(name) for name in ("green", "red", "blue")]
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                await logs[0].append(drafts("nobody waits for this"))

        async with trio.open_nursery() as nursery:
            with holding(path):
                for log in logs[1:]:
                    nursery.start_soon(log.append, drafts("a"))
                nursery.start_soon(give_up)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
            assert scope.cancelled_caught
        assert [await texts(log) for log in logs[1:]] == [["a"], ["a"]]
        await logs[0].append(drafts("b"))
        await expect_gapless(logs[0])


async def test_a_room_knows_what_its_predecessor_s_last_append_has_stored(path: Path) -> None:
    async with running(path) as history:
        log, other = await history.open_room("lobby"), await history.open_room("other")
        await log.append(drafts("a"))
        opened: list[RoomLog] = []
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                await log.append(drafts("b"))
            await log.aclose()
            opened.append(await history.open_room("lobby"))

        async with trio.open_nursery() as nursery:
            with holding(path):
                nursery.start_soon(other.append, drafts("this one makes the next two wait"))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(give_up)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
        (successor,) = opened
        assert len(await texts(successor)) == successor.last
        await successor.append(drafts("c"))
        await expect_gapless(successor)
        assert (await texts(successor))[-1] == "c"


async def test_reading_does_not_wait_for_who_writes(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        async with trio.open_nursery() as nursery:
            with holding(path):
                nursery.start_soon(log.append, drafts("b"))
                await trio.testing.wait_all_tasks_blocked()
                assert await texts(log) == ["a"]
        assert await texts(log) == ["a", "b"]


async def test_many_read_at_once(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts(*"abcdef"))
        read: list[str] = []

        async def read_one(number: int) -> None:
            (entry,) = await log.read(number, number + 1, 1)
            read.append(entry.message)

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(read_one, number % 6)
        assert sorted(read) == sorted("abcdef" * 10)


async def test_who_asks_when_it_is_over_is_told_so(path: Path) -> None:
    history = SqliteHistory(str(path), KEEP_ALL)
    await history.open()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(history.run)
            log = await history.open_room("lobby")
            nursery.cancel_scope.cancel()
        with pytest.raises(HistoryUnavailable, match="closed"):
            await log.append(drafts("a"))
    await history.aclose()


async def test_who_waits_when_it_ends_has_an_answer_or_is_told_that_none_will_come(
    path: Path,
) -> None:
    history = SqliteHistory(str(path), KEEP_ALL)
    await history.open()
    outcomes: list[str] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as outside, trio.open_nursery() as nursery:
            nursery.start_soon(history.run)
            logs = [await history.open_room(f"{number}") for number in range(20)]

            async def say(log: RoomLog) -> None:
                try:
                    await log.append(drafts("a"))
                except HistoryUnavailable:
                    outcomes.append("refused")
                else:
                    outcomes.append("stored")

            with holding(path):
                for log in logs:
                    outside.start_soon(say, log)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
    await history.aclose()
    assert len(outcomes) == 20
    assert look(path, "SELECT count(*) FROM messages") == [outcomes.count("stored")]


async def test_who_waits_for_a_turn_that_was_never_begun_is_told_that_none_will_come(
    path: Path,
) -> None:
    history = SqliteHistory(str(path), KEEP_ALL)
    await history.open()

    async def ask() -> None:
        with pytest.raises(HistoryUnavailable, match="closed"):
            await history.open_room("lobby")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as outside, trio.open_nursery() as nursery:
            with holding(path):
                nursery.start_soon(history.run)  # The forgetter has the first turn.
                await trio.testing.wait_all_tasks_blocked()
                outside.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
    await history.aclose()


# --- Forgetting -----------------------------------------------------------------------------------


def count(path: Path) -> int:
    with looking_into(path) as db:
        (messages,) = db.execute("SELECT count(*) FROM messages").fetchone()
        assert isinstance(messages, int)
        return messages


@contextmanager
def opened(path: Path, retention: Retention) -> Iterator[Store]:
    """The half of a history that blocks, without the other."""
    store = Store(HistoryFile(str(path), "normal"), retention)
    store.open()
    try:
        yield store
    finally:
        store.close()


def say(store: Store, row: RoomRow | str, *said: Draft, at: float = NOW) -> RoomRow:
    now = int(at * SECOND)
    if isinstance(row, str):
        (row,) = store.take_turn([], [row], now).opened
    return store.take_turn([Append(row, said)], [], now).changed[row.name]


def test_what_is_too_much_is_deleted_in_small_portions(path: Path) -> None:
    size = 2 * PORTION_MESSAGES + 7
    with opened(path, Retention(messages=5, bytes=0, age=math.inf)) as store:
        say(store, "lobby", *drafts("a") * size)
        left = [count(path)]
        more = True
        while more:
            more = store.forget(int(NOW)).more
            left.append(count(path))
    assert left == [size, size - PORTION_MESSAGES, size - 2 * PORTION_MESSAGES, 5]


def test_a_portion_is_shared_by_many_small_rooms(path: Path) -> None:
    with opened(path, Retention(messages=1, bytes=0, age=math.inf)) as store:
        for number in range(120):
            say(store, f"{number}", *drafts("a", "b"))
        portions = 1
        while store.forget(int(NOW)).more:
            portions += 1
        assert look(path, "SELECT DISTINCT message FROM messages") == ["b"]
        assert portions <= 3


def test_an_id_is_free_when_its_message_is_forgotten_and_not_yet_deleted(path: Path) -> None:
    with opened(path, Retention(messages=1, bytes=0, age=math.inf)) as store:
        row = say(store, "lobby", Draft("Ada", "a", "x"), *drafts("b"))
        row = say(store, row, Draft("Ada", "new", "x"))
        assert look(path, "SELECT seq FROM messages WHERE id = 'x'") == [3]
        assert row.last == 3


def test_what_is_too_old_goes_even_where_nobody_opens_the_room(path: Path) -> None:
    with opened(path, Retention(messages=0, bytes=0, age=60)) as store:
        say(store, "green", *drafts("old"), at=NOW)
        row = say(store, "red", *drafts("old"), at=NOW)
        say(store, row, *drafts("new"), at=NOW + 50)
        assert not store.forget(int((NOW + 60) * SECOND)).changed
        portion = store.forget(int((NOW + 61) * SECOND))
        assert {row.name: row.first for row in portion.changed.values()} == {"green": 2, "red": 2}
        assert look(path, "SELECT message FROM messages") == ["new"]


async def test_what_was_found_to_be_too_old_is_deleted_soon(path: Path) -> None:
    now = NOW
    async with running(path, Retention(messages=0, bytes=0, age=60), lambda: now) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        now += 59
        await history.open_room("elsewhere")
        assert log.first == 1
        now += 2
        await (await history.open_room("red")).append(drafts("b"))
        assert log.first == 2
        while look(path, "SELECT message FROM messages") != ["b"]:
            await history.open_room("elsewhere")


async def test_a_message_grows_too_old_while_nobody_says_anything_anywhere(path: Path) -> None:
    async with running(path, Retention(messages=0, bytes=0, age=0.01), time.time) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        while log.first == 1:
            await texts(log)  # The forgetter has not looked yet.
        assert (log.first, log.last) == (2, 1)
        assert count(path) == 0


# --- Whose the file is ----------------------------------------------------------------------------


async def expect_refusal(path: Path, match: str) -> None:
    """It is not opened, for a reason in one line, and held by nobody afterwards."""
    history = SqliteHistory(str(path), KEEP_ALL)
    with pytest.raises(HistoryUnavailable, match=match) as refused:
        await history.open()
    assert "\n" not in str(refused.value)


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    await expect_refusal(tmp_path / "no" / "chat.db", f"no directory {tmp_path}/no;")


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    await expect_refusal(tmp_path, "can't be opened")


async def test_two_servers_never_have_one_file(path: Path) -> None:
    async with running(path):
        await expect_refusal(path, f"another server .* process {os.getpid()};")
    async with running(path):
        pass


async def test_what_is_no_database_is_left_as_it_is(path: Path) -> None:
    before = put(path, b"Dear diary, today I wrote a chat server. " * 100)
    await expect_refusal(path, "no SQLite database")
    assert bytes_of(path) == before


async def test_another_program_s_database_is_left_as_it_is(path: Path) -> None:
    with looking_into(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    before = bytes_of(path)
    await expect_refusal(path, "another program's")
    assert bytes_of(path) == before


async def test_a_newer_program_s_file_is_left_as_it_is(path: Path) -> None:
    async with running(path):
        pass
    with looking_into(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = bytes_of(path)
    await expect_refusal(path, f"version {VERSION + 1}.* knows {VERSION}; use a newer program")
    assert bytes_of(path) == before


async def test_a_file_that_another_program_holds_is_refused_after_a_while(path: Path) -> None:
    async with running(path):
        pass
    with holding(path):
        await expect_refusal(path, "another program holds the file")


async def test_a_file_that_was_refused_is_held_by_nobody(path: Path) -> None:
    put(path, b"x" * 5000)
    await expect_refusal(path, "no SQLite database")
    put(path, b"")
    async with running(path) as history:
        assert (await history.open_room("lobby")).last == 0


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(HistoryUnavailable, match=r"SQLite 3\.38\.0 is needed"):
        HistoryFile(str(path), "full").hold()


async def test_any_path_is_a_path(tmp_path: Path) -> None:
    for name in ("a?mode=memory.db", "50%25.db", "é #1.db", ":memory:"):
        async with running(tmp_path / name) as history:
            await (await history.open_room("lobby")).append(drafts("a"))
        assert (tmp_path / name).stat().st_size > 0


async def test_the_configuration_names_the_file(path: Path) -> None:
    history = choose_history(Config(history=f"sqlite:{path}"))
    await history.open()
    await history.aclose()
    assert bytes_of(path)


# --- From version to version ----------------------------------------------------------------------

# As version 1 made it, word for word: what is out there does not change when the code does.
VERSION_1: Final = """
    CREATE TABLE rooms (
        key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, time INTEGER NOT NULL,
        size INTEGER NOT NULL, lowest INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE messages (
        room INTEGER NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL, name TEXT,
        message TEXT NOT NULL, id TEXT, start INTEGER NOT NULL, PRIMARY KEY (room, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX ids ON messages (room, id) WHERE id IS NOT NULL;
    CREATE INDEX untrimmed ON rooms (key) WHERE lowest < first;
    PRAGMA application_id = 1953653608;
    PRAGMA user_version = 1;
    INSERT INTO rooms VALUES (7, 'lobby', 'e1', 2, 3, 1000000000000, 200, 1),
        (8, 'gone', 'e2', 5, 4, 900000000000, 300, 5);
    INSERT INTO messages VALUES (7, 1, 800000000000, 'Ada', 'forgotten', 'x', 0),
        (7, 2, 900000000000, 'Ada', 'old', 'y', 70), (7, 3, 1000000000000, NULL, 'new', NULL, 140);
"""


@pytest.fixture
def old_file(path: Path) -> Path:
    with looking_into(path) as db:
        db.executescript(VERSION_1)
    return path


async def test_a_file_of_version_1_is_brought_up_to_date_with_all_that_is_in_it(
    old_file: Path,
) -> None:
    async with running(old_file) as history:
        log = await history.open_room("lobby")
        assert (log.epoch, log.first, log.last) == ("e1", 2, 3)
        assert await texts(log) == ["old", "new"]
        assert await log.append([Draft("Ada", "old", "y")]) == [Duplicate("y", 2)]
        gone = await history.open_room("gone")
        assert (gone.epoch, gone.first, gone.last) == ("e2", 5, 4)
    assert look(old_file, "PRAGMA user_version") == [VERSION]


async def test_what_version_1_did_not_note_is_noted(old_file: Path) -> None:
    async with running(old_file, Retention(messages=0, bytes=0, age=60)) as history:
        assert await texts(await history.open_room("lobby")) == ["new"]


async def test_a_step_that_fails_half_way_has_changed_nothing(old_file: Path) -> None:
    with looking_into(old_file) as db:
        db.execute("CREATE TABLE oldest (in_the_way TEXT)")
    await expect_refusal(old_file, "SQLite says: .*oldest")
    assert look(old_file, "PRAGMA user_version") == [1]
    assert "oldest" not in look(old_file, "SELECT name FROM pragma_table_info('rooms')")
    with looking_into(old_file) as db:
        db.execute("DROP TABLE oldest")
    async with running(old_file) as history:
        assert await texts(await history.open_room("lobby")) == ["old", "new"]


# --- Copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["backup", "VACUUM INTO"])
async def test_a_copy_that_is_made_while_it_runs_is_whole(path: Path, way: str) -> None:
    copy = path.with_name("copy.db")
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append([Draft("Ada", "a", "x"), *drafts("b")])
        with looking_into(path) as db:
            if way == "backup":
                with looking_into(copy) as target:
                    db.backup(target)
            else:
                db.execute("VACUUM INTO ?", (str(copy),))
        await log.append(drafts("said after that"))
        epoch = log.epoch
    async with running(copy) as history:
        log = await history.open_room("lobby")
        assert (log.epoch, await texts(log)) == (epoch, ["a", "b"])
        assert await log.append([Draft("Ada", "a", "x")]) == [Duplicate("x", 1)]


# --- When it fails --------------------------------------------------------------------------------


async def test_what_can_not_be_stored_is_refused_and_the_next_is_stored(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        with pytest.raises(HistoryUnavailable):
            await log.append([*drafts("b"), UNSTORABLE])
        assert (log.last, await texts(log)) == (1, ["a"])
        await log.append(drafts("c"))
        assert await texts(log) == ["a", "c"]
        await expect_gapless(log)
    assert "UnicodeEncodeError" in caplog.text


async def test_everybody_in_a_transaction_that_failed_is_told(path: Path) -> None:
    async with running(path) as history:
        logs = [await history.open_room(name) for name in ("green", "red", "blue")]

        async def fail(log: RoomLog, *said: Draft) -> None:
            with pytest.raises(HistoryUnavailable, match="surrogates"):
                await log.append(said)

        async with trio.open_nursery() as nursery:
            with holding(path):
                nursery.start_soon(logs[0].append, drafts("this one makes the next two wait"))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(fail, logs[1], *drafts("a"))
                nursery.start_soon(fail, logs[2], UNSTORABLE)
                await trio.testing.wait_all_tasks_blocked()
        for log in logs[1:]:
            await log.append(drafts("b"))
            assert await texts(log) == ["b"]


async def test_while_another_program_holds_the_file_nothing_is_stored_and_then_it_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(path) as history:
        log = await history.open_room("lobby")
        with holding(path):
            with pytest.raises(HistoryUnavailable, match="another program holds the file"):
                await log.append(drafts("a"))
            assert is_available(history) is False
        while not is_available(history):
            await trio.to_thread.run_sync(look, path, "PRAGMA data_version")  # It tries by itself.
        await log.append(drafts("b"))
        assert await texts(log) == ["b"]
    (failed, again) = [record.message for record in caplog.records]
    assert "nothing can be stored: another program holds the file" in failed
    assert "stored again" in again


async def test_what_a_failed_commit_has_left_in_the_file_is_taken_back(path: Path) -> None:
    async with running(path) as history:
        lobby, new = await history.open_room("lobby"), await history.open_room("new")
        await lobby.append(drafts("a"))
        with pytest.raises(HistoryUnavailable):
            await lobby.append([UNSTORABLE])
        with pytest.raises(HistoryUnavailable):
            await new.append([UNSTORABLE])
        # It failed, and was written all the same: nobody can tell, and nobody was told.
        with looking_into(path) as db:
            db.executescript("""
                INSERT INTO messages SELECT key, 2, time, 'Eve', 'x', 'x', size FROM rooms;
                INSERT INTO messages SELECT key, 3, time, 'Eve', 'y', 'y', size FROM rooms;
                UPDATE rooms SET last = 3;
            """)
        assert len(await new.append([Draft("Ada", "x", "x")])) == 1
        await lobby.append([Draft("Ada", "b", "x")])
        assert (await texts(lobby), await texts(new)) == (["a", "b"], ["x"])
        await expect_gapless(lobby)
    assert look(path, "SELECT last FROM rooms ORDER BY name") == [2, 1]


async def test_a_file_that_was_taken_away_is_not_made_anew(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        take_away(path)
        with pytest.raises(HistoryUnavailable):
            await log.append([UNSTORABLE])
        with pytest.raises(HistoryUnavailable, match="taken away or replaced"):
            await log.append(drafts("b"))
        assert bytes_of(path) == b""
        put_back(path)
        await log.append(drafts("c"))
        assert await texts(log) == ["a", "c"]


async def test_what_can_not_be_read_now_is_read_later(path: Path) -> None:
    async with running(path) as history:
        log = await history.open_room("lobby")
        await log.append(drafts("a"))
        take_away(path)
        with pytest.raises(HistoryUnavailable, match="can't be opened"):
            await log.read(0, 1, 1)
        put_back(path)
        assert await texts(log) == ["a"]
