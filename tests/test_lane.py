"""The lane: one portion at a time, in order, nothing lost to a cancellation."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_chat.lane import Lane, Portion


async def test_portions_arrive_in_order(nursery: trio.Nursery) -> None:
    lane = Lane()
    portions: list[Portion] = [[str(number)] for number in range(10)]

    async def put_all() -> None:
        for portion in portions:
            await lane.put(portion)
        lane.close()

    nursery.start_soon(put_all)
    assert [await lane.take() for _ in range(10)] == portions
    with pytest.raises(trio.EndOfChannel):
        await lane.take()


async def test_a_second_portion_waits_until_the_first_is_taken(nursery: trio.Nursery) -> None:
    lane = Lane()
    done = trio.Event()

    async def put_two() -> None:
        await lane.put(["one"])
        await lane.put(["two"])
        done.set()

    nursery.start_soon(put_two)
    await wait_all_tasks_blocked()
    assert not done.is_set()
    assert await lane.take() == ["one"]
    await done.wait()
    assert await lane.take() == ["two"]


async def test_what_was_handed_over_can_be_taken_after_the_end() -> None:
    lane = Lane()
    await lane.put(["last"])
    lane.close()
    lane.close()
    assert await lane.take() == ["last"]
    with pytest.raises(trio.EndOfChannel):
        await lane.take()


async def test_who_waits_learns_of_the_end(nursery: trio.Nursery) -> None:
    lane = Lane()
    ended = trio.Event()

    async def take() -> None:
        with pytest.raises(trio.EndOfChannel):
            await lane.take()
        ended.set()

    nursery.start_soon(take)
    await wait_all_tasks_blocked()
    lane.close()
    await ended.wait()


async def test_a_cancelled_take_takes_nothing_and_a_cancelled_put_puts_nothing() -> None:
    lane = Lane()
    with trio.move_on_after(0):
        await lane.take()
    await lane.put(["one"])
    with trio.move_on_after(0):
        await lane.put(["two"])
    assert await lane.take() == ["one"]
    lane.close()
    with pytest.raises(trio.EndOfChannel):
        await lane.take()
