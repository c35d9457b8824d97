"""Who comes to a listener of the microscope and then does nothing: how long that is borne.

Streams of memory and virtual time, so the times are exact.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_chat.microscope import unix
from trio_chat.microscope.visitors import (
    MAX_CHATTER,
    PATIENCE,
    PIECE,
    STALLED,
    notice_leaving,
    send,
)
from trio_chat.microscope.watch import Microscope
from trio_chat.microscope.web import LINGER, Desk


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n", b"POST /acts HTTP/1.1\r\n"])
async def test_a_request_has_to_be_whole_in_time(
    said: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    desk = Desk(Microscope(trio.lowlevel.current_task()), None, "127.0.0.1:1")
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(said)
    begin = trio.current_time()
    await desk.answer_one(theirs)
    assert trio.current_time() - begin == PATIENCE


@pytest.mark.parametrize("said", [b"", b"tre"])
async def test_a_question_has_to_be_whole_in_time(
    said: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(said)
    begin = trio.current_time()
    await unix.answer_one(theirs, Microscope(trio.lowlevel.current_task()))
    assert trio.current_time() - begin == PATIENCE


async def test_who_never_hangs_up_after_an_answer_is_hung_up_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk(Microscope(trio.lowlevel.current_task()), None, "127.0.0.1:1")
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
    begin = trio.current_time()
    await desk.answer_one(theirs)
    assert trio.current_time() - begin == LINGER
    assert bytes(await ours.receive_some()).startswith(b"HTTP/1.1 404 ")


async def test_who_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    _, theirs = trio.testing.lockstep_stream_pair()
    begin = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await send(theirs, b"a line\n")
    assert trio.current_time() - begin == STALLED


async def test_who_takes_a_large_tree_slowly_is_borne(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    tree = b"x" * (4 * PIECE)
    taken = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, theirs, tree, name="send")
        while taken < len(tree):
            await trio.sleep(STALLED / 2)
            taken += len(await ours.receive_some(PIECE))


async def test_a_browser_leaves_out_the_port_of_http() -> None:
    desk = Desk(Microscope(trio.lowlevel.current_task()), None, "127.0.0.1:80")
    for host in (b"127.0.0.1", b"127.0.0.1:80", b"localhost", b"[::1]"):
        head = b"Host: " + host + b"\r\nOrigin: http://" + host + b"\r\n\r\n"
        assert b" 404 " in await get(desk, b"GET /nothing HTTP/1.1\r\n" + head)
    assert b" 403 " in await get(desk, b"GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n")


async def get(desk: Desk, request: bytes) -> bytes:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(request)
    await ours.send_eof()
    await desk.answer_one(theirs)
    return bytes(await ours.receive_some())


async def test_somebody_who_has_gone_or_chatters_is_noticed() -> None:
    for end in (b"", b"x" * (MAX_CHATTER + 1)):
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(notice_leaving, theirs, scope, name="leaving")
                await ours.send_all(b"a little")
                await trio.testing.wait_all_tasks_blocked()
                assert not scope.cancel_called
                if end:
                    await ours.send_all(end)
                else:
                    await ours.aclose()
                await trio.sleep_forever()
        assert scope.cancelled_caught
