"""What lessons read from a recording, and the small chat in asyncio that their twins play on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from trio_chat.lessons.asyncio_chat import careful, naive, taskgroup
from trio_chat.lessons.asyncio_chat.peers import Peer, peers, settle
from trio_chat.lessons.l03_raise_in_one_connection.overheard import overheard
from trio_chat.lessons.lives import Life, ended
from trio_chat.microscope.events import Event, Exited, How, Marked, Moved, Named, Opened, Spawned

# --- Lives ---------------------------------------------------------------------------------------


def test_lives_are_told_in_the_order_of_their_ends_with_the_last_name() -> None:
    events: list[Event] = [
        Spawned(0.0, 1, "server"),
        Opened(0.0, 2, 1),
        Spawned(0.0, 3, "member 127.0.0.1", 2),
        Spawned(0.0, 4, "hub", 2),
        Marked(0.1, "cancel"),
        Named(0.2, 3, "member ada"),
        Exited(0.3, 4, How.RETURNED),
        Exited(0.4, 3, How.CANCELLED, reason="a test"),
        Exited(0.5, 1, How.RETURNED),
    ]
    assert ended(events) == [
        Life("hub", How.RETURNED, None, ()),
        Life("member ada", How.CANCELLED, "a test", ()),
        Life("server", How.RETURNED, None, ()),
    ]


def test_who_is_left_behind_is_a_survivor_of_the_parent_they_had_last() -> None:
    events: list[Event] = [
        Spawned(0.0, 1, "server"),
        Opened(0.0, 2, 1),
        Spawned(0.0, 3, "room", 2),
        Opened(0.0, 4, 3),
        Spawned(0.0, 5, "hub", 4),
        Spawned(0.0, 6, "member", 4),
        Moved(0.1, 6, 2),
        Exited(0.2, 3, How.RETURNED),
        Exited(0.3, 1, How.RETURNED),
    ]
    assert [life.survivors for life in ended(events)] == [("hub",), ("member",)]


# --- The chat in asyncio -------------------------------------------------------------------------

Chat = naive.Chat | careful.Chat | taskgroup.Chat
CHATS: list[Callable[[], Chat]] = [naive.Chat, careful.Chat, taskgroup.Chat]


def play(chat_of: Callable[[], Chat], program: Callable[[Chat], Awaitable[None]]) -> None:
    """Run a program on a chat, beside its server where it has one."""

    async def main() -> None:
        chat = chat_of()
        server = asyncio.create_task(chat.run()) if isinstance(chat, taskgroup.Chat) else None
        await program(chat)
        if server is not None:
            server.cancel()
            with suppress(asyncio.CancelledError):
                await server

    asyncio.run(main())


async def let_in(chat: Chat) -> list[Peer]:
    everybody = peers(["blue", "green"], 3)
    for peer in everybody:
        chat.accept(peer)
    await settle()
    return everybody


@pytest.mark.parametrize("chat_of", CHATS)
def test_what_is_said_in_a_room_is_heard_there_in_order_and_nowhere_else(
    chat_of: Callable[[], Chat],
) -> None:
    async def program(chat: Chat) -> None:
        blue, *others = await let_in(chat)
        blue.say("one")
        blue.say("two")
        await settle()
        assert [peer.heard for peer in (blue, *others)] == [["one", "two"]] * 3 + [[]] * 3

    play(chat_of, program)


@pytest.mark.parametrize("chat_of", CHATS)
def test_a_room_that_all_have_left_opens_again(chat_of: Callable[[], Chat]) -> None:
    async def program(chat: Chat) -> None:
        for peer in await let_in(chat):
            peer.leave()
        await settle()
        assert not chat.rooms
        again = Peer("again", "blue")
        chat.accept(again)
        again.say("is anybody there?")
        await settle()
        assert again.heard == ["is anybody there?"]

    play(chat_of, program)


@pytest.mark.parametrize("chat_of", CHATS[1:])
def test_who_leaves_a_good_chat_leaves_no_task_behind(chat_of: Callable[[], Chat]) -> None:
    async def program(chat: Chat) -> None:
        before = len(asyncio.all_tasks())
        for peer in await let_in(chat):
            peer.leave()
        await settle()
        assert len(asyncio.all_tasks()) == before

    play(chat_of, program)


# --- Log lines -----------------------------------------------------------------------------------


def test_errors_are_overheard_whatever_was_silenced_and_only_in_the_block() -> None:
    log = logging.getLogger("trio_chat.a.test")
    log.setLevel(logging.CRITICAL)
    with overheard("trio_chat.a.test") as lines:
        log.error("one %d", 1)
        log.warning("no error")
    log.error("two")
    assert lines == ["one 1"]
    assert log.level == logging.CRITICAL
    assert log.propagate
