"""The inbox: bounded in items and in bytes, in order, at its end when no more can be put in."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.history import Joined, Left
from trio_chat.inbox import Inbox, Item


def name_of(item: Item) -> str:
    assert isinstance(item, Joined)
    return item.name


def is_empty(inbox: Inbox) -> bool:
    return inbox.empty


def news(name: str, size: int = 0) -> Joined:
    return Joined(name, size)


async def test_what_was_put_in_comes_out_in_order() -> None:
    inbox = Inbox(max_items=3, max_bytes=0)
    sender = inbox.sender()
    for name in "abc":
        await sender.send(news(name))

    assert [name_of(await inbox.receive()) for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(trio.WouldBlock):
        inbox.receive_nowait()


async def test_a_full_inbox_makes_its_senders_wait_in_line() -> None:
    inbox = Inbox(max_items=1, max_bytes=0)
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(inbox.sender().send, news(name))
            await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            inbox.sender().send_nowait(news("d"))

        assert [name_of(await inbox.receive()) for _ in range(3)] == ["a", "b", "c"]


async def test_bytes_that_wait_make_senders_wait_until_they_are_below_the_limit() -> None:
    inbox = Inbox(max_items=10, max_bytes=100)
    await inbox.sender().send(news("fits", 60))
    await inbox.sender().send(news("fits, though it goes over", 60))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.sender().send, news("waits", 1))
        await wait_all_tasks_blocked()
        assert name_of(inbox.receive_nowait()) == "fits"
        await wait_all_tasks_blocked()
        assert name_of(inbox.receive_nowait()) == "fits, though it goes over"
        assert name_of(inbox.receive_nowait()) == "waits"


async def test_all_who_wait_for_bytes_are_let_in_when_there_is_room_for_all() -> None:
    inbox = Inbox(max_items=10, max_bytes=100)
    await inbox.sender().send(news("large", 5_000))
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(inbox.sender().send, news(name, 1))
        await wait_all_tasks_blocked()
        inbox.receive_nowait()
        await wait_all_tasks_blocked()

        assert sorted(name_of(inbox.receive_nowait()) for _ in range(2)) == ["a", "b"]


async def test_news_of_no_size_does_not_wait_for_bytes() -> None:
    inbox = Inbox(max_items=10, max_bytes=100)
    await inbox.sender().send(news("large", 5_000))

    await inbox.sender().send(news("small"))

    assert [name_of(await inbox.receive()) for _ in range(2)] == ["large", "small"]


async def test_a_single_item_fits_whatever_its_size() -> None:
    inbox = Inbox(max_items=1, max_bytes=100)
    await inbox.sender().send(news("large", 5_000))

    assert name_of(inbox.receive_nowait()) == "large"


@pytest.mark.parametrize(("max_items", "max_bytes"), [(1, 0), (10, 1)])
async def test_who_waited_and_was_cancelled_has_put_nothing_in(
    max_items: int, max_bytes: int, autojump_clock: MockClock
) -> None:
    inbox = Inbox(max_items=max_items, max_bytes=max_bytes)
    sender = inbox.sender()
    await sender.send(news("first", 1))
    with trio.move_on_after(1) as patience:
        await sender.send(news("second", 1))
    assert patience.cancelled_caught

    assert name_of(inbox.receive_nowait()) == "first"
    assert is_empty(inbox)


async def test_it_is_not_empty_while_somebody_waits_to_put_something_in() -> None:
    inbox = Inbox(max_items=1, max_bytes=0)
    assert is_empty(inbox)
    await inbox.sender().send(news("first", 1))
    assert not is_empty(inbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.sender().send, news("second", 1))
        await wait_all_tasks_blocked()
        inbox.receive_nowait()
        # Whoever takes is quicker than whoever was waiting: it is not lost from sight in between.
        assert not is_empty(inbox)
        await wait_all_tasks_blocked()
        inbox.receive_nowait()
        assert is_empty(inbox)


async def test_it_ends_when_the_last_sender_has_closed_and_everything_is_read() -> None:
    inbox = Inbox(max_items=10, max_bytes=0)
    with inbox.sender() as one, inbox.sender() as another:
        inbox.close()
        await one.send(news("a"))
        one.close()
        await another.send(news("b"))

    assert [name_of(await inbox.receive()) for _ in range(2)] == ["a", "b"]
    with pytest.raises(trio.EndOfChannel):
        await inbox.receive()
    with pytest.raises(trio.EndOfChannel):
        inbox.receive_nowait()


def test_while_the_room_is_open_more_may_come_though_nobody_is_there() -> None:
    inbox = Inbox(max_items=10, max_bytes=0)
    inbox.sender().close()

    with pytest.raises(trio.WouldBlock):
        inbox.receive_nowait()


async def test_an_item_on_its_way_to_a_hub_that_waits_is_still_in_the_inbox(
    nursery: trio.Nursery,
) -> None:
    inbox = Inbox(max_items=10, max_bytes=0)
    taken: list[Item] = []

    async def take() -> None:
        taken.append(await inbox.receive())

    nursery.start_soon(take)
    await wait_all_tasks_blocked()
    with inbox.sender() as sender:
        sender.send_nowait(Left("ada"))
        assert not is_empty(inbox)
    await wait_all_tasks_blocked()
    assert taken == [Left("ada")]
    assert is_empty(inbox)
