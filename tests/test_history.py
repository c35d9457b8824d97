"""What every history promises, whatever it is kept in: one suite over all of them.

A kind of history gets its tests by adding its shelf to `SHELVES`. What needs a clock that can be
turned, or a history that counts bytes, asks for a `local_shelf`; Redis has neither.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer

from trio_chat.config import Retention
from trio_chat.history import Accepted, Conflict, Draft, Duplicate, History, Receipt, RoomLog
from trio_chat.history.memory import MemoryHistory
from trio_chat.history.redis import RedisHistory
from trio_chat.history.sqlite import SqliteHistory
from trio_chat.protocol import MAX_EPOCH, Entry

pytest_plugins = ["redis_fixtures"]

KEEP_ALL: Final = Retention(messages=0, bytes=0, age=math.inf)
ALL: Final = 10**6


class Shelf(Protocol):
    """Where a test gets histories of one kind from."""

    async def open(self, retention: Retention = KEEP_ALL) -> History:
        """Return a history that runs and in which nothing was said yet."""


class LocalShelf(Shelf, Protocol):
    """Where it turns their clock as well."""

    now: float  # what the clock shows

    async def pass_time(self, seconds: float) -> None:
        """Let it be later, and the histories notice."""


class MemoryShelf:
    """Histories in this process."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    async def open(self, retention: Retention = KEEP_ALL) -> History:
        return MemoryHistory(retention, clock=lambda: self.now)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds


class SqliteShelf:
    """Histories in files of their own, in a directory that is there for one test."""

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        self.now = 1_000_000.0
        self._nursery = nursery
        self._directory = directory
        self._histories: list[SqliteHistory] = []

    async def open(self, retention: Retention = KEEP_ALL) -> History:
        path = self._directory / f"{len(self._histories)}.db"
        history = SqliteHistory(str(path), retention, clock=lambda: self.now)
        await history.open()
        self._histories.append(history)
        self._nursery.start_soon(history.run)
        return history

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for history in self._histories:  # With whatever it does it looks at the clock.
            await (await history.open_room("elsewhere")).aclose()

    async def aclose(self) -> None:
        for history in self._histories:
            await history.aclose()


class RedisShelf:
    """Histories in databases of their own, of one real Redis."""

    def __init__(self, nursery: trio.Nursery, server: RedisServer) -> None:
        self._nursery = nursery
        self._server = server

    async def open(self, retention: Retention = KEEP_ALL) -> History:
        history = RedisHistory(self._server.new_url(), retention, patience=5)
        await history.open()
        self._nursery.start_soon(history.run)
        return history


@asynccontextmanager
async def memory_shelf() -> AsyncIterator[LocalShelf]:
    yield MemoryShelf()


@asynccontextmanager
async def sqlite_shelf() -> AsyncIterator[LocalShelf]:
    with TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            shelf = SqliteShelf(nursery, Path(directory))
            yield shelf
            nursery.cancel_scope.cancel(reason="the test is over")
        await shelf.aclose()


@asynccontextmanager
async def redis_shelf(server: RedisServer) -> AsyncIterator[Shelf]:
    async with trio.open_nursery() as nursery:
        yield RedisShelf(nursery, server)
        nursery.cancel_scope.cancel(reason="the test is over")


LOCAL_SHELVES: Final[dict[str, Callable[[], AbstractAsyncContextManager[LocalShelf]]]] = {
    "memory": memory_shelf,
    "sqlite": sqlite_shelf,
}
SHELVES: Final = [*LOCAL_SHELVES, pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=SHELVES)
def new_shelf(
    request: pytest.FixtureRequest,
) -> Callable[[], AbstractAsyncContextManager[Shelf]]:
    if request.param == "redis":
        return partial(redis_shelf, request.getfixturevalue("shared_redis"))
    return LOCAL_SHELVES[request.param]


@pytest.fixture
async def shelf(
    new_shelf: Callable[[], AbstractAsyncContextManager[Shelf]],
) -> AsyncIterator[Shelf]:
    async with new_shelf() as shelf:
        yield shelf


@pytest.fixture(params=LOCAL_SHELVES)
async def local_shelf(request: pytest.FixtureRequest) -> AsyncIterator[LocalShelf]:
    kind: str = request.param
    async with LOCAL_SHELVES[kind]() as shelf:
        yield shelf


async def open_log(shelf: Shelf, retention: Retention = KEEP_ALL) -> RoomLog:
    """A room of a history of its own."""
    history = await shelf.open(retention)
    return await history.open_room("lobby")


def draft(message: str, id: str | None = None, name: str | None = "Ada") -> Draft:
    return Draft(name, message, id)


def drafts(*messages: str) -> list[Draft]:
    return [draft(message) for message in messages]


def accepted(receipts: Sequence[Receipt]) -> list[Entry]:
    """The entries of a batch of which nothing was refused."""
    entries = [receipt.entry for receipt in receipts if isinstance(receipt, Accepted)]
    assert len(entries) == len(receipts)
    return entries


async def kept(log: RoomLog) -> list[Entry]:
    return list(await log.read(0, log.last, ALL))


def timeless(entries: Sequence[Entry]) -> list[Entry]:
    """Entries without their times, which a test may not know."""
    return [entry._replace(time=0) for entry in entries]


async def kept_texts(log: RoomLog) -> list[str]:
    return [entry.message for entry in await kept(log)]


# --- Numbering -----------------------------------------------------------------------------------


async def test_a_new_room_has_said_nothing(shelf: Shelf) -> None:
    log = await open_log(shelf)
    assert (log.first, log.last) == (1, 0)
    assert await kept(log) == []


async def test_an_epoch_is_a_short_word_that_can_stand_in_a_url(shelf: Shelf) -> None:
    log = await open_log(shelf)
    assert 1 <= len(log.epoch) <= MAX_EPOCH
    assert log.epoch.isascii()
    assert log.epoch.replace("-", "").replace("_", "").isalnum()


async def test_numbers_count_from_one_without_gaps_over_all_batches(shelf: Shelf) -> None:
    log = await open_log(shelf)
    entries = [
        *accepted(await log.append(drafts("a"))),
        *accepted(await log.append(drafts("b", "c", "d"))),
        *accepted(await log.append(drafts("e"))),
    ]
    assert [(entry.seq, entry.message) for entry in entries] == list(enumerate("abcde", 1))
    assert (log.first, log.last) == (1, 5)


async def test_an_entry_carries_everything_that_its_draft_had(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append([Draft("Ada", "hello", "x"), Draft(None, "plain", None)])
    assert timeless(await kept(log)) == [
        Entry(1, 0, "Ada", "hello", "x"),
        Entry(2, 0, None, "plain", None),
    ]


async def test_what_the_receipts_say_is_what_is_read(shelf: Shelf) -> None:
    log = await open_log(shelf)
    entries = accepted(await log.append(drafts("a", "b")))
    assert await kept(log) == entries


@pytest.mark.parametrize("text", ["", "\0", "é😀\u202e", "x" * 100_000, "'; --", "\r\n", "%s {}"])
async def test_any_text_is_kept_as_it_is(shelf: Shelf, text: str) -> None:
    log = await open_log(shelf)
    await log.append([Draft(text or None, text, text or None)])
    (entry,) = await kept(log)
    assert (entry.name, entry.message, entry.id) == (text or None, text, text or None)


async def test_an_empty_batch_changes_nothing(shelf: Shelf) -> None:
    log = await open_log(shelf)
    assert list(await log.append([])) == []
    assert log.last == 0


async def test_rooms_count_for_themselves(shelf: Shelf) -> None:
    history = await shelf.open()
    green, red = await history.open_room("green"), await history.open_room("Green")
    await green.append(drafts("a", "b"))
    await red.append(drafts("c"))
    assert (await kept_texts(green), await kept_texts(red)) == (["a", "b"], ["c"])
    assert (green.last, red.last) == (2, 1)


async def test_histories_do_not_know_each_other(shelf: Shelf) -> None:
    one, other = await open_log(shelf), await open_log(shelf)
    await one.append(drafts("a"))
    assert other.last == 0
    assert one.epoch != other.epoch


# --- From one life of a room to the next ---------------------------------------------------------


async def test_numbering_goes_on_in_the_room_s_next_life(shelf: Shelf) -> None:
    history = await shelf.open()
    log = await history.open_room("lobby")
    await log.append([draft("a", id="x")])
    epoch = log.epoch
    await log.aclose()
    log = await history.open_room("lobby")
    assert (log.epoch, log.last) == (epoch, 1)
    assert list(await log.append([draft("a", id="x")])) == [Duplicate("x", 1)]
    assert accepted(await log.append(drafts("b")))[0].seq == 2
    assert await kept_texts(log) == ["a", "b"]


async def test_a_room_may_open_while_the_one_that_failed_still_holds_its_log(shelf: Shelf) -> None:
    history = await shelf.open()
    failed = await history.open_room("lobby")
    await failed.append(drafts("a"))
    log = await history.open_room("lobby")
    await failed.aclose()
    await log.append(drafts("b"))
    await log.aclose()
    again = await history.open_room("lobby")
    assert (again.epoch, await kept_texts(again)) == (log.epoch, ["a", "b"])


# --- Time ----------------------------------------------------------------------------------------


async def test_time_is_the_clock_s(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf)
    await log.append(drafts("a"))
    await local_shelf.pass_time(1.5)
    await log.append(drafts("b"))
    assert [entry.time for entry in await kept(log)] == [local_shelf.now - 1.5, local_shelf.now]


async def test_time_never_falls_within_a_room_when_the_clock_is_set_back(
    local_shelf: LocalShelf,
) -> None:
    history = await local_shelf.open()
    log = await history.open_room("lobby")
    await log.append(drafts("a"))
    local_shelf.now -= 3600
    await log.append(drafts("b"))
    await log.aclose()
    log = await history.open_room("lobby")
    await log.append(drafts("c"))
    assert [entry.time for entry in await kept(log)] == [local_shelf.now + 3600] * 3


# --- Ids -----------------------------------------------------------------------------------------


async def test_an_id_is_accepted_once(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append([draft("a", id="x"), draft("b")])
    assert list(await log.append([draft("a", id="x")])) == [Duplicate("x", 1)]
    assert log.last == 2


async def test_an_id_is_accepted_once_within_a_batch(shelf: Shelf) -> None:
    log = await open_log(shelf)
    first, second, third = await log.append([draft("a", id="x"), draft("a", id="x"), draft("b")])
    assert isinstance(first, Accepted)
    assert second == Duplicate("x", 1)
    assert isinstance(third, Accepted)
    assert third.entry.seq == 2


async def test_the_same_id_with_another_text_is_a_conflict(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append(drafts("a", "b"))
    await log.append([draft("c", id="x")])
    assert list(await log.append([draft("C", id="x")])) == [Conflict("x", 3)]
    assert log.last == 3


async def test_an_id_is_the_room_s_and_not_its_sender_s(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append([draft("a", id="x", name="Ada")])
    assert list(await log.append([draft("a", id="x", name="Bob")])) == [Duplicate("x", 1)]


async def test_another_room_may_use_the_same_id(shelf: Shelf) -> None:
    history = await shelf.open()
    for name in ("green", "red"):
        log = await history.open_room(name)
        assert accepted(await log.append([draft(name, id="x")]))[0].seq == 1


async def test_messages_without_an_id_are_never_duplicates(shelf: Shelf) -> None:
    log = await open_log(shelf)
    assert len(accepted(await log.append(drafts("a", "a")))) == 2


async def test_an_id_is_free_again_when_its_message_was_forgotten(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=2, bytes=0, age=math.inf))
    await log.append([draft("a", id="x"), draft("b"), draft("c")])
    assert accepted(await log.append([draft("new", id="x")]))[0].seq == 4
    assert list(await log.append([draft("new", id="x")])) == [Duplicate("x", 4)]


async def test_an_id_is_free_again_when_its_message_is_too_old(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=0, age=60))
    await log.append([draft("a", id="x")])
    await local_shelf.pass_time(61)
    assert accepted(await log.append([draft("new", id="x")]))[0].seq == 2


# --- Reading -------------------------------------------------------------------------------------


async def read_seqs(log: RoomLog, after: int, upto: int, limit: int) -> list[int]:
    return [entry.seq for entry in await log.read(after, upto, limit)]


async def test_reading_begins_after_a_number_and_goes_up_to_one(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append(drafts(*"abcdefghij"))
    assert await read_seqs(log, 0, 10, ALL) == list(range(1, 11))
    assert await read_seqs(log, 3, 7, ALL) == [4, 5, 6, 7]
    assert await read_seqs(log, 9, 10, ALL) == [10]
    assert await read_seqs(log, 10, 10, ALL) == []
    assert await read_seqs(log, 7, 3, ALL) == []


async def test_a_page_is_the_oldest_part_of_what_was_asked_for(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append(drafts(*"abcdefghij"))
    assert await read_seqs(log, 2, 9, 3) == [3, 4, 5]
    assert await read_seqs(log, 8, 9, 3) == [9]


async def test_what_was_not_said_yet_is_not_read(shelf: Shelf) -> None:
    log = await open_log(shelf)
    await log.append(drafts("a"))
    assert await read_seqs(log, 0, 100, ALL) == [1]
    assert await read_seqs(log, 50, 100, ALL) == []


async def test_what_was_forgotten_is_missing_at_the_front(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=4, bytes=0, age=math.inf))
    await log.append(drafts(*"abcdefghij"))
    assert await read_seqs(log, 0, 10, ALL) == [7, 8, 9, 10]
    assert await read_seqs(log, 0, 8, ALL) == [7, 8]
    assert await read_seqs(log, 0, 10, 2) == [7, 8]
    assert await read_seqs(log, 0, 6, ALL) == []
    assert await read_seqs(log, 7, 10, ALL) == [8, 9, 10]


async def test_what_was_read_does_not_change_when_more_is_said(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=2, bytes=0, age=math.inf))
    await log.append(drafts("a", "b"))
    page = await log.read(0, 2, ALL)
    await log.append(drafts("c", "d"))
    assert [entry.message for entry in page] == ["a", "b"]


# --- Bounds --------------------------------------------------------------------------------------


async def test_a_room_keeps_its_newest_messages(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=3, bytes=0, age=math.inf))
    for text in "abcdef":
        await log.append(drafts(text))
    assert await kept_texts(log) == ["d", "e", "f"]
    assert (log.first, log.last) == (4, 6)


async def test_a_batch_larger_than_what_is_kept_is_accepted_all_the_same(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=3, bytes=0, age=math.inf))
    assert len(accepted(await log.append(drafts(*"abcdefghij")))) == 10
    assert await kept_texts(log) == ["h", "i", "j"]


async def test_a_room_keeps_what_fits_into_its_bytes(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=100_000, age=math.inf))
    for number in range(50):
        await log.append(drafts(f"{number}:".ljust(10_000)))
    numbers = [int(text.partition(":")[0]) for text in await kept_texts(log)]
    assert 5 <= len(numbers) <= 10
    assert numbers == list(range(50 - len(numbers), 50))


async def test_bytes_are_counted_and_not_characters(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=100_000, age=math.inf))
    for _ in range(20):
        await log.append(drafts("😀" * 10_000))
    assert 1 <= len(await kept(log)) <= 2


async def test_a_message_too_large_to_be_kept_is_accepted_and_numbered(
    local_shelf: LocalShelf,
) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=10_000, age=math.inf))
    accepted(await log.append(drafts("a", "x" * 20_000)))
    assert await kept(log) == []
    assert (log.first, log.last) == (3, 2)
    assert accepted(await log.append(drafts("b")))[0].seq == 3
    assert await kept_texts(log) == ["b"]


async def test_a_room_keeps_what_is_not_too_old(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=0, age=60))
    for text in "abc":
        await log.append(drafts(text))
        await local_shelf.pass_time(30)
    assert await kept_texts(log) == ["b", "c"]
    await log.append(drafts("d"))
    assert await kept_texts(log) == ["b", "c", "d"]


async def test_a_message_grows_old_while_nobody_speaks(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=0, age=60))
    await log.append(drafts("a"))
    await local_shelf.pass_time(60)
    assert log.first == 1
    await local_shelf.pass_time(1)
    assert (log.first, log.last) == (2, 1)
    assert await kept(log) == []


async def test_what_first_names_can_be_read_at_that_moment(local_shelf: LocalShelf) -> None:
    log = await open_log(local_shelf, Retention(messages=3, bytes=0, age=60))
    for _ in range(8):
        await log.append(drafts("a", "b"))
        await local_shelf.pass_time(25)
        first = log.first
        assert [entry.seq for entry in await kept(log)] == list(range(first, log.last + 1))


async def test_an_age_of_zero_is_no_limit_and_neither_are_zero_messages_or_bytes(
    local_shelf: LocalShelf,
) -> None:
    log = await open_log(local_shelf, Retention(messages=0, bytes=0, age=0))
    await log.append(drafts(*["x" * 1000] * 2000))
    await local_shelf.pass_time(1e9)
    await log.append(drafts("last"))
    assert len(await kept(log)) == 2001


# --- Against a model -----------------------------------------------------------------------------


@dataclass
class Model:
    """What a room should remember."""

    entries: list[Entry] = field(default_factory=list)
    last: int = 0

    def append(self, draft: Draft) -> Receipt:
        remembered = {entry.id: entry for entry in self.entries if entry.id is not None}
        earlier = remembered.get(draft.id or "")
        if earlier is not None and earlier.id is not None:
            kind = Duplicate if earlier.message == draft.message else Conflict
            return kind(earlier.id, earlier.seq)
        self.last += 1
        entry = Entry(self.last, 0, *draft)
        self.entries.append(entry)
        return Accepted(entry)


def timeless_receipt(receipt: Receipt) -> Receipt:
    match receipt:
        case Accepted(entry):
            return Accepted(entry._replace(time=0))
        case _:
            return receipt


room_names = st.sampled_from(["green", "red"])
batches = st.lists(
    st.builds(
        Draft,
        st.none() | st.just("Ada"),
        st.sampled_from(["a", "b"]),
        st.none() | st.sampled_from(["1", "2", "3", "4"]),
    ),
    max_size=5,
)
Say = tuple[str, list[Draft]]
Look = tuple[str, int, int, int]
numbers = st.integers(0, 12)
steps = st.lists(
    st.tuples(room_names, batches)  # say
    | st.tuples(room_names, numbers, numbers, numbers)  # look
    | room_names,  # close, and open again
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, keep=st.integers(0, 6))
async def test_whatever_is_said_read_and_closed_a_list_would_remember_the_same(
    shelf: Shelf, steps: list[Say | Look | str], keep: int
) -> None:
    history = await shelf.open(Retention(messages=keep, bytes=0, age=math.inf))
    models = {"green": Model(), "red": Model()}
    logs = {name: await history.open_room(name) for name in models}
    for step in steps:
        match step:
            case (name, drafts):
                model = models[name]
                expected = [model.append(draft) for draft in drafts]
                receipts = await logs[name].append(drafts)
                assert [timeless_receipt(receipt) for receipt in receipts] == expected
                model.entries = model.entries[-keep or None :] if keep else model.entries
            case (name, after, upto, limit):
                wanted = [e for e in models[name].entries if after < e.seq <= upto][:limit]
                assert timeless(await logs[name].read(after, upto, limit)) == wanted
            case str(name):
                await logs[name].aclose()
                logs[name] = await history.open_room(name)
        log, model = logs[name], models[name]
        assert (log.last, log.first) == (model.last, model.last + 1 - len(model.entries))


async def test_a_long_conversation_in_a_short_history_stays_in_order(shelf: Shelf) -> None:
    log = await open_log(shelf, Retention(messages=100, bytes=0, age=math.inf))
    for start in range(1, 1000, 17):
        await log.append([draft(str(seq), id=str(seq)) for seq in range(start, start + 17)])
        entries = await kept(log)
        assert [entry.message for entry in entries] == [str(entry.seq) for entry in entries]
        assert len(entries) == min(100, log.last)
