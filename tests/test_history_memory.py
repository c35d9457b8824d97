"""What only the history in memory promises: one bound over all rooms, and what it forgets first."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.config import Retention
from trio_chat.history import Draft
from trio_chat.history.memory import LOG_OVERHEAD, MemoryHistory, MemoryLog

KEEP_ALL = Retention(messages=0, bytes=0, age=math.inf)
KB = 1000


@dataclass
class House:
    """A history, its clock, and rooms that open only to say something."""

    retention: Retention = KEEP_ALL
    limit: int = 0
    now: float = 1_000_000.0
    history: MemoryHistory = field(init=False)

    def __post_init__(self) -> None:
        self.history = MemoryHistory(self.retention, self.limit, clock=lambda: self.now)

    async def visit(self, room: str, size: int = 10) -> str:
        """Open a room, say so many bytes in it, close it; return its epoch."""
        log = await self.history.open_room(room)
        if size:
            await log.append([Draft("Ada", "x" * size, None)])
        await log.aclose()
        return log.epoch

    async def remembers(self, room: str) -> bool:
        """Whether numbers were given in a room's earlier life. Leaves it as it was."""
        log = await self.history.open_room(room)
        last = log.last
        await log.aclose()
        return last > 0


async def test_a_room_in_which_nothing_was_said_leaves_nothing_behind() -> None:
    house = House()
    epochs = {await house.visit("lobby", size=0) for _ in range(3)}
    assert len(epochs) == 3
    assert house.history.size == 0


async def test_over_the_limit_the_room_closed_for_longest_is_forgotten() -> None:
    house = House(limit=40 * KB)
    epochs = {room: await house.visit(room, 10 * KB) for room in ("a", "b", "c")}
    await house.visit("a", 1)  # So now b has been closed for longest.
    await house.visit("d", 10 * KB)
    assert house.history.size <= 40 * KB
    assert await house.visit("a") == epochs["a"]
    assert await house.visit("c") == epochs["c"]
    assert await house.visit("b") != epochs["b"]


async def test_a_room_that_was_forgotten_counts_from_one() -> None:
    house = House(limit=15 * KB)
    await house.visit("a", 10 * KB)
    await house.visit("b", 10 * KB)
    log = await house.history.open_room("a")
    assert (log.first, log.last, list(await log.read(0, 100, 100))) == (1, 0, [])


async def test_no_more_rooms_are_forgotten_than_need_be() -> None:
    house = House(limit=60 * KB)
    for room in "abcde":
        await house.visit(room, 10 * KB)
    await house.visit("f", 20 * KB)
    assert [await house.remembers(room) for room in "abcdef"] == [False, False, *[True] * 4]


async def test_an_open_room_is_never_forgotten_for_another() -> None:
    house = House(limit=25 * KB)
    log = await house.history.open_room("open")
    await log.append([Draft("Ada", "x" * 10 * KB, None)])
    for room in "abc":
        await house.visit(room, 10 * KB)
    assert [entry.seq for entry in await log.read(0, log.last, 10)] == [1]


async def test_where_nothing_is_closed_a_room_forgets_its_own_oldest() -> None:
    house = House(limit=35 * KB)
    log = await house.history.open_room("lobby")
    for _ in range(5):
        await log.append([Draft("Ada", "x" * 10 * KB, None)])
    assert (log.first, log.last) == (3, 5)
    assert house.history.size <= 35 * KB


async def test_where_others_hold_everything_a_room_keeps_nothing_and_numbers_go_on() -> None:
    house = House(limit=25 * KB)
    greedy, modest = await house.history.open_room("a"), await house.history.open_room("b")
    await greedy.append([Draft("Ada", "x" * 24 * KB, None)])
    for _ in range(2):
        await modest.append([Draft("Bob", "x" * 1 * KB, None)])
    assert (modest.first, modest.last) == (3, 2)
    assert greedy.first == 1


async def test_rooms_whose_messages_were_too_large_to_keep_are_forgotten_too() -> None:
    house = House(Retention(messages=0, bytes=1 * KB, age=math.inf), limit=10 * LOG_OVERHEAD)
    for number in range(30):
        await house.visit(f"room-{number}", 2 * KB)
    assert house.history.size == 0
    remembered = [await house.remembers(f"room-{number}") for number in range(30)]
    assert 5 <= sum(remembered) <= 11
    assert remembered == sorted(remembered)


# --- Age -----------------------------------------------------------------------------------------

A_MINUTE = Retention(messages=0, bytes=0, age=60)


async def test_a_closed_room_is_forgotten_when_its_newest_message_is_too_old() -> None:
    house = House(A_MINUTE)
    epoch = await house.visit("lobby")
    house.now += 60
    assert await house.visit("lobby") == epoch
    house.now += 61
    assert await house.visit("lobby") != epoch


async def test_what_is_too_old_is_given_back_when_any_room_opens_or_closes() -> None:
    house = House(A_MINUTE)
    for room in "abc":
        await house.visit(room)
        house.now += 25
    assert await house.remembers("c")
    sizes = [house.history.size]
    for _ in range(3):
        house.now += 25
        await house.visit("", size=0)
        sizes.append(house.history.size)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0


async def test_what_grew_too_old_while_its_room_was_open_goes_with_the_room() -> None:
    house = House(A_MINUTE)
    log = await house.history.open_room("lobby")
    await log.append([Draft("Ada", "hello", None)])
    house.now += 61
    await log.aclose()
    assert house.history.size == 0
    assert not await house.remembers("lobby")


async def test_a_younger_room_that_closed_earlier_only_delays_the_forgetting() -> None:
    house = House(A_MINUTE)
    quiet = await house.history.open_room("quiet")
    await quiet.append([Draft("Ada", "early", None)])
    house.now += 30
    await house.visit("lively")
    await quiet.aclose()
    house.now += 31  # quiet's message is too old, lively's is not.
    await house.visit("", size=0)
    assert await house.remembers("lively")
    house.now += 30
    await house.visit("", size=0)
    assert house.history.size == 0


async def test_a_clock_set_back_forgets_nothing() -> None:
    house = House(A_MINUTE)
    epoch = await house.visit("lobby")
    house.now -= 1e6
    assert await house.visit("lobby") == epoch


@pytest.mark.parametrize("age", [0.0, math.inf])
async def test_without_an_age_closed_rooms_stay(age: float) -> None:
    house = House(Retention(messages=0, bytes=0, age=age))
    epoch = await house.visit("lobby")
    house.now += 1e9
    assert await house.visit("lobby") == epoch


# --- The books -----------------------------------------------------------------------------------

rooms = st.sampled_from("abcd")


@given(
    st.lists(st.tuples(rooms, st.sampled_from(["say", "toggle"]), st.integers(0, 3 * KB))),
    st.sampled_from([A_MINUTE, Retention(3, 0, 60), Retention(0, 2 * KB, 60)]),
    st.integers(1 * KB, 10 * KB),
)
async def test_the_size_is_bounded_and_comes_back_to_nothing(
    steps: list[tuple[str, str, int]], retention: Retention, limit: int
) -> None:
    house = House(retention, limit)
    logs: dict[str, MemoryLog] = {}
    for room, act, size in steps:
        house.now += 10
        if act == "toggle" and room in logs:
            await logs.pop(room).aclose()
        else:
            log = logs[room] = logs.get(room) or await house.history.open_room(room)
            await log.append([Draft("Ada", "x" * size, str(size))])
        assert 0 <= house.history.size <= limit
    for log in logs.values():
        await log.aclose()
    house.now += 1e6
    await house.visit("", size=0)
    assert house.history.size == 0


async def test_the_size_is_what_python_takes_within_a_factor_of_two() -> None:
    house = House()
    tracemalloc.start()
    try:
        log = await house.history.open_room("lobby")
        for number in range(2000):
            text = f"{number}: a message of usual length, as people write them"
            await log.append([Draft("Ada", text, f"{number}-5f2b6c1e-aa05-4f0c-a7f1-{number}")])
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 2 <= house.history.size <= taken * 2
