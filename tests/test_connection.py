"""One WebSocket's whole life, over memory and TCP: handshake, conversation, why it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from wires import (
    FIN,
    PATIENCE,
    PONG,
    TEXT,
    Ends,
    Frame,
    Served,
    close,
    echo,
    listen,
    lockstep,
    make,
    masked,
    memory,
    ping,
    said,
    serve,
    tcp,
    text,
)

from trio_chat.config import Config
from trio_chat.connection import Connection, open_connection
from trio_chat.frames import text_frame
from trio_chat.heartbeat import Heartbeat
from trio_chat.ledger import Ledger
from trio_chat.opening import Opening
from trio_chat.outbox import Outboxes
from trio_chat.protocol import CloseCode, Ended, Ending
from trio_chat.wire import Wire

pytest_plugins = ["wire_fixtures"]

Line = Callable[[], Ends]
Clock = trio.abc.Clock | None

MiB = 1024 * 1024


async def test_what_is_said_comes_back(line: Line, clock: Clock, fast_lane: bool) -> None:
    async with serve(line, echo, fast_lane=fast_lane) as served:
        await served.peer.send(text("hello"), masked(FIN | 2, b"\0\1"), text(""))
        assert await served.peer.frame() == said("hello")
        assert await served.peer.frame() == Frame(FIN | 2, b"\0\1")
        assert await served.peer.frame() == said("")
        assert (await served.peer.goodbye())[-1].code == 1000
    assert served.ending == Ending(1000, "the peer closed")
    assert served.connection is not None
    assert served.connection.received == 3
    assert served.connection.peer == served.wire.peer


async def test_a_large_message_comes_and_goes_with_back_pressure(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, echo, fast_lane=fast_lane, max_frame=2 * MiB) as served:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.peer.send, text("x" * MiB))
            assert await served.peer.frame() == said("x" * MiB)
        await served.peer.goodbye()


async def test_a_sender_waits_for_a_slow_reader_and_is_not_evicted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def pour(connection: Connection) -> None:
        for _ in range(100):
            await connection.send("x" * 1000)

    async with serve(lockstep, pour, outbox=2000) as served:
        for _ in range(100):
            await trio.sleep(1)
            assert await served.peer.frame() == said("x" * 1000)
        assert (await served.peer.frame()).code == 1000


async def test_many_who_send_at_once_wait_for_each_other_and_are_not_evicted(
    narrow: Line, clock: Clock
) -> None:
    async def pour(connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(connection.send, "x" * 20_000)

    async with serve(narrow, pour, outbox=50_000) as served:
        for _ in range(20):
            assert await served.peer.frame() == said("x" * 20_000)
        assert [frame.code for frame in await served.peer.rest()] == [1000]


async def test_what_came_with_the_request_is_heard_after_the_handshake(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    early = text("too early")
    async with serve(line, echo, early=early, fast_lane=fast_lane) as served:
        assert await served.peer.frame() == said("too early")
        await served.peer.goodbye()


async def test_the_answer_to_a_handshake_is_the_same_with_the_engine_and_without(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers = []
    for fast_lane in (True, False):
        config, ends = Config(fast_lane=fast_lane), memory()
        wire = Wire(
            ends[1],
            config,
            Ledger(),
            Outboxes(0),
            Opening("dGhlIHNhbXBsZSBub25jZQ==", "trio-chat.v1"),
        )
        async with open_connection(wire, close_timeout=0):
            answers.append(await ends[0].stream.receive_some())
    assert answers[0] == answers[1]
    assert (
        b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answers[0]
    )  # RFC 6455, 1.3


async def test_no_engine_is_called_before_there_is_something_for_it_to_judge(
    line: Line, clock: Clock
) -> None:
    async with serve(line, echo) as served:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for frames in (text("one"), text("two") + text("three"), masked(FIN | PONG, b"?")):
            await served.peer.send(frames)
        for message in ("one", "two", "three"):
            assert await served.peer.frame() == said(message)
        assert trio.lowlevel.current_statistics().tasks_living == tasks

        await served.peer.send(ping(b"?"))
        assert await served.peer.frame() == (FIN | PONG, b"?")
        await served.peer.send(text("four"))
        assert await served.peer.frame() == said("four")
        assert trio.lowlevel.current_statistics().tasks_living == tasks + 1
        await served.peer.goodbye()


async def test_who_gives_up_waiting_does_not_listen_and_so_is_not_silent(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def look_up_once_a_minute(connection: Connection) -> None:
        while True:
            with trio.move_on_after(1):
                await connection.receive()
            await trio.sleep(60)

    async with serve(memory, look_up_once_a_minute) as served:
        beating(nursery, served, ping_interval=20, ping_timeout=5)
        await trio.sleep(300)
        assert served.connection is not None
        assert served.connection.ending is None
        await served.peer.goodbye()


async def test_a_peer_that_goes_without_a_word_is_1006_and_nothing_is_sent(
    line: Line, clock: Clock
) -> None:
    async with serve(line, listen) as served:
        await served.peer.stream.send_eof()
        await served.over.wait()
        assert await served.peer.rest() == []
    assert served.ending.code == CloseCode.ABNORMAL


async def test_a_handler_that_returns_says_goodbye(line: Line, clock: Clock) -> None:
    async def hello(connection: Connection) -> None:
        await connection.send("hello")

    async with serve(line, hello) as served:
        frames = await served.peer.goodbye()
        assert frames[0] == said("hello")
        assert frames[1].code == 1000


async def test_an_end_that_has_a_reason_is_told(line: Line, clock: Clock) -> None:
    async def enough(connection: Connection) -> None:
        await connection.receive()
        raise Ended(Ending(CloseCode.POLICY, "enough"))

    async with serve(line, enough) as served:
        await served.peer.send(text("and another thing"))
        (frame,) = await served.peer.goodbye()
        assert frame.payload == b"\x03\xf0enough"


async def test_the_first_reason_counts(line: Line, clock: Clock) -> None:
    async with serve(line, listen) as served:
        assert served.connection is not None
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        served.connection.end(Ending(CloseCode.ROOM_CLOSED, "closed"))
        (frame,) = await served.peer.goodbye()
        assert frame.code == CloseCode.REMOVED


async def test_a_receive_that_is_cancelled_loses_nothing(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    received: list[str | bytes] = []

    async def receive(connection: Connection) -> None:
        received.append(await connection.receive())

    async def be_impatient(connection: Connection) -> None:
        while len(received) < 3:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, connection)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        await connection.receive()

    async with serve(line, be_impatient, fast_lane=fast_lane) as served:
        for piece in (text("one") + text("two")[:4], text("two")[4:], text("three")):
            await trio.testing.wait_all_tasks_blocked()
            await served.peer.send(piece)
        await served.peer.goodbye()
    assert received == ["one", "two", "three"]


async def test_who_gave_up_waiting_may_wait_again(line: Line, clock: Clock) -> None:
    async def wait_twice(connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        gave_up.set()
        await connection.send(await connection.receive())

    gave_up = trio.Event()
    async with serve(line, wait_twice) as served:
        await gave_up.wait()
        await trio.testing.wait_all_tasks_blocked()
        await served.peer.send(text("now"))
        assert await served.peer.frame() == said("now")
        await served.peer.goodbye()


async def test_a_violation_ends_the_iteration_with_its_reason(line: Line, clock: Clock) -> None:
    async with serve(line, listen) as served:
        await served.peer.send(masked(0x83))
        assert (await served.peer.frame()).code == CloseCode.PROTOCOL_ERROR
    assert served.ending.code == CloseCode.PROTOCOL_ERROR


async def test_an_error_in_the_handler_is_1011_and_comes_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    served = make(memory(), Config())

    async def converse() -> None:
        with pytest.RaisesGroup(ZeroDivisionError):
            async with open_connection(served.wire, close_timeout=5):
                raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse)
        await served.peer.shaken()
        (frame,) = await served.peer.rest()
    assert frame.code == CloseCode.INTERNAL_ERROR


async def test_who_is_cancelled_from_outside_still_says_that_the_server_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    served = make(memory(), Config())
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def converse() -> None:
            with scope:
                await served.run(listen, Config())

        nursery.start_soon(converse)
        await served.peer.shaken()
        await served.opened.wait()
        scope.cancel(reason="the test ends the server")
        (frame,) = await served.peer.rest()
    assert frame.code == CloseCode.GOING_AWAY


async def fall_behind(served: Served, nursery: trio.Nursery, scope: trio.CancelScope) -> None:
    """Serve a peer in a scope, until something waits for it that it does not read."""

    async def converse() -> None:
        with scope:
            await served.run(listen, Config())

    nursery.start_soon(converse)
    await served.peer.shaken()
    await served.opened.wait()
    served.offer(text_frame(b"x" * MiB))
    await trio.testing.wait_all_tasks_blocked()


async def test_who_is_behind_and_cancelled_from_outside_is_told_behind_what_waits() -> None:
    served, scope = make(tcp(), Config()), trio.CancelScope()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await fall_behind(served, nursery, scope)
            scope.cancel(reason="the test ends the server")
            *frames, last = await served.peer.rest()
    assert frames == [said("x" * MiB)]
    assert last.code == CloseCode.GOING_AWAY


async def test_nobody_waits_for_a_writer_that_was_cancelled_in_the_middle_of_a_frame(
    autojump_clock: trio.testing.MockClock,
) -> None:
    served, scope = make(lockstep(), Config()), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await fall_behind(served, nursery, scope)
        start = trio.current_time()
        scope.cancel(reason="the test ends the server")
        await served.over.wait()  # A stream is torn then: nothing may follow.
        assert trio.current_time() == start
    assert served.ledger.balances
    assert served.outboxes.size == 0


async def test_a_peer_that_vanishes_in_the_handshake_is_no_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    served = make(memory(), Config())
    await served.peer.reset()
    await served.run(listen, Config())
    assert served.connection is None
    assert served.ledger.balances


async def test_closing_is_over_by_the_time_that_was_set_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(memory, listen, close_timeout=5) as served:
        assert served.connection is not None
        start = trio.current_time()
        served.connection.close_by = start + 2
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        await served.over.wait()
        assert trio.current_time() - start == 2


async def test_a_peer_that_ignores_the_goodbye_is_dropped_after_the_close_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(memory, listen, close_timeout=5) as served:
        assert served.connection is not None
        start = trio.current_time()
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        await served.over.wait()
        assert trio.current_time() - start == 5


# --- Cancelled at every step ---------------------------------------------------------------------


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after a task, or one that lives in it, has made so many steps."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._left = step
        self.watched: set[trio.lowlevel.Task] = set()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self.watched:
            self.watched.add(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self.watched:
            self._left -= 1
            if not self._left:
                self._scope.cancel(reason="the test cancels at this step")


@pytest.mark.parametrize("line", [memory, lockstep, tcp], ids=["memory", "lockstep", "tcp"])
async def test_cancelled_after_any_step_it_closes_its_transport_and_its_books(
    line: Line, clock: Clock
) -> None:
    step, finished = 0, False
    while not finished:
        step += 1
        finished = await cancelled_after(step, line)
    assert step > 20


async def cancelled_after(step: int, line: Line) -> bool:
    """Converse, cancelled after so many steps; return whether it came to its end before that."""
    config = Config(close_timeout=5)
    ends = line()
    served = make(ends, config, ledger=Ledger())
    scope = trio.CancelScope()
    instrument = CancelAtStep(scope, step)

    async def converse() -> None:
        instrument.watched.add(trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(instrument)
        try:
            with scope:
                await served.run(echo, config)
        finally:
            trio.lowlevel.remove_instrument(instrument)

    async def talk() -> None:
        try:
            await served.peer.shaken()
            await served.peer.send(text("one"), ping())
            served.offer(b"\x81\x01x")
            await served.peer.send(masked(TEXT, b"t"), masked(FIN, b"wo"), close())
            await served.peer.rest()
        except (trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
            pass  # It was cut off, as it should be when the other side is cancelled.
        finally:
            await trio.aclose_forcefully(served.peer.stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse)
        nursery.start_soon(talk)
    assert served.ledger.balances
    assert served.ledger.waiting == 0
    assert served.outboxes.size == 0
    with pytest.raises(trio.BrokenResourceError, match="closed"):
        await ends[1].receive_some()
    return not scope.cancelled_caught and not scope.cancel_called


# --- The heartbeat -------------------------------------------------------------------------------


def beating(nursery: trio.Nursery, served: Served, **settings: Any) -> Heartbeat:
    heartbeat = Heartbeat(Config(**settings))
    assert served.connection is not None
    heartbeat.watch(served.connection)
    nursery.start_soon(heartbeat.run)
    return heartbeat


async def test_the_silent_are_asked_and_those_who_answer_stay(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve(memory, listen) as served:
        heartbeat = beating(nursery, served, ping_interval=20, ping_timeout=20)
        for _ in range(5):
            asked = await served.peer.frame()
            assert asked.first == 0x89
            await served.peer.send(masked(0x8A, asked.payload))
        assert trio.current_time() >= 100
        assert len(heartbeat) == 1
        assert served.connection is not None
        heartbeat.forget(served.connection)
        assert len(heartbeat) == 0
        await served.peer.goodbye()


async def test_who_does_not_answer_is_gone_within_45_seconds(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve(memory, listen, close_timeout=5) as served:
        start = trio.current_time()
        beating(nursery, served, ping_interval=20, ping_timeout=20)
        await served.over.wait()
        assert 40 <= trio.current_time() - start - 5 <= 42
    assert served.ending.code == CloseCode.NO_HEARTBEAT


async def test_who_talks_is_not_asked(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve(memory, listen) as served:
        beating(nursery, served, ping_interval=20, ping_timeout=20)
        for _ in range(10):
            await trio.sleep(15)
            await served.peer.send(text("still here"))
        assert [frame.code for frame in await served.peer.goodbye()] == [1000]


async def test_who_is_not_listened_to_can_not_be_blamed(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def busy(connection: Connection) -> None:
        await connection.receive()
        await trio.sleep(300)

    async with serve(memory, busy) as served:
        beating(nursery, served, ping_interval=20, ping_timeout=20)
        await served.peer.send(text("one"))
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            await served.peer.send(text("more"))
        await served.over.wait()
        assert trio.current_time() >= 300
    assert served.connection is not None
    assert served.connection.ending is None


async def test_a_message_that_is_begun_and_not_finished_is_the_end_in_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async with serve(memory, listen, fast_lane=fast_lane) as served:
        start = trio.current_time()
        beating(nursery, served, message_timeout=30, ping_interval=math.inf)
        await served.peer.send(masked(TEXT, b"to be contin"))
        assert (await served.peer.frame()).code == CloseCode.POLICY
        assert 30 <= trio.current_time() - start <= 32


async def test_a_message_that_trickles_has_no_more_time_than_any_other(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async with serve(memory, listen, fast_lane=fast_lane) as served:
        start = trio.current_time()
        beating(nursery, served, message_timeout=30)
        frame = text("to be continued")
        await served.peer.send(frame[:6])
        for index in range(6, 13):
            await served.peer.send(frame[index : index + 1])
            await trio.sleep(5)
        assert [frame.code for frame in await served.peer.rest()] == [CloseCode.POLICY]
        assert trio.current_time() - start == 31 + 5


async def test_who_finishes_one_message_after_the_other_may_take_for_ever(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    # Whenever somebody looks, there is half a message; but it is never the same.
    async with serve(memory, listen, fast_lane=fast_lane) as served:
        beating(nursery, served, message_timeout=30)
        half = len(text("message")) // 2
        await served.peer.send(text("message")[:half])
        for _ in range(10):
            await trio.sleep(19)
            await served.peer.send(text("message")[half:], text("message")[:half])
        await served.peer.send(text("message")[half:])
        assert [frame.code for frame in await served.peer.goodbye()] == [1000]


async def test_what_waits_half_read_at_our_end_is_not_the_peer_s_fault(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async def busy_first(connection: Connection) -> None:
        await trio.sleep(300)
        await listen(connection)

    # Fragmented, so that trio-websocket holds them, and stops reading at the second.
    message = masked(TEXT, b"mess") + masked(0x80, b"age")
    async with serve(memory, busy_first, fast_lane=fast_lane) as served:
        beating(nursery, served, message_timeout=30)
        await served.peer.send(message * 3, message[:-1])
        await trio.testing.wait_all_tasks_blocked()
        await served.peer.send(message[-1:])
        assert [frame.code for frame in await served.peer.goodbye()] == [1000]
        assert trio.current_time() >= 300
    assert served.connection is not None
    assert served.connection.received == 4


async def test_a_thousand_connections_are_looked_at_in_turns(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    heartbeat = Heartbeat(Config(ping_interval=20))
    served = [make(memory(), Config()) for _ in range(1000)]
    connections = [Connection(one.wire) for one in served]
    for connection in connections:
        heartbeat.watch(connection)
    nursery.start_soon(heartbeat.run)
    async with trio.open_nursery() as listeners:
        for one in served:
            listeners.start_soon(one.wire.listen)
        await trio.sleep(20.5)
        listeners.cancel_scope.cancel()
    assert all(connection.pinged > 0 for connection in connections)
    for one in served:
        await one.wire.hang_up(Ending(CloseCode.ABNORMAL, ""))
