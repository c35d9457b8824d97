"""What bytes go through: a socket, which takes what it can, and a stream, which takes its time."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing
from wires import PATIENCE, Ends, lockstep, memory, tcp

from trio_chat.transport import SocketTransport, StreamTransport, Transport

pytest_plugins = ["wire_fixtures"]

Line = Callable[[], Ends]
Clock = trio.abc.Clock | None

LOTS = b"x" * 1024 * 1024


def fill(transport: Transport) -> int:
    """Send until nothing can go out without waiting; return how many bytes that was."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += transport.send_now(LOTS)
    return sent


async def pour(transport: Transport) -> None:
    while True:
        await transport.send_some(LOTS)


async def test_a_socket_takes_what_it_can_without_waiting() -> None:
    peer, transport = tcp()
    sent = fill(transport)
    assert sent > 0
    await transport.aclose()
    with trio.fail_after(PATIENCE):
        assert sum([len(part) async for part in peer.stream]) == sent
    await peer.aclose()


async def test_a_stream_takes_nothing_without_waiting() -> None:
    peer, transport = memory()
    with pytest.raises(BlockingIOError):
        transport.send_now(b"x")
    await transport.aclose()
    await peer.aclose()


async def test_what_is_sent_arrives_and_the_end_is_seen(line: Line, clock: Clock) -> None:
    peer, transport = line()
    with trio.fail_after(PATIENCE):
        assert await transport.send_some(b"hello") == 5
        await peer.send(b"and hello")
        assert await transport.receive_some() == b"and hello"
        await transport.send_eof()
        assert b"".join([part async for part in peer.stream]) == b"hello"
        await peer.aclose()
        assert await transport.receive_some() == b""
    await transport.aclose()


async def test_who_waits_to_send_goes_on_when_the_peer_reads(narrow: Line, clock: Clock) -> None:
    peer, transport = narrow()

    async def send() -> None:
        rest = memoryview(LOTS)
        while rest:
            rest = rest[await transport.send_some(rest) :]
        await transport.aclose()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert b"".join([part async for part in peer.stream]) == LOTS
    await peer.aclose()


@contextlib.contextmanager
def twins() -> Iterator[tuple[SocketTransport, SocketTransport, socket.socket]]:
    """Two transports over one socket, so that both are woken by one event; and the other end."""
    ours, theirs = socket.socketpair()
    with ours, ours.dup() as twin, theirs:
        for end in (ours, twin, theirs):
            end.setblocking(False)
        yield SocketTransport(ours, "one"), SocketTransport(twin, "two"), theirs


async def test_who_is_woken_and_finds_nothing_to_receive_waits_on() -> None:
    received: list[bytes] = []

    async def receive(transport: Transport) -> None:
        received.append(await transport.receive_some())

    with trio.fail_after(PATIENCE), twins() as (one, two, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, one)
            nursery.start_soon(receive, two)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"for the first")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert received == [b"for the first"]
            theirs.send(b"for the second")
    assert received == [b"for the first", b"for the second"]


async def test_who_is_woken_and_finds_no_room_to_send_waits_on() -> None:
    sent: list[int] = []

    async def send(transport: Transport) -> None:
        sent.append(await transport.send_some(LOTS))

    with trio.fail_after(PATIENCE), twins() as (one, two, theirs):
        taken = fill(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, one)
            nursery.start_soon(send, two)
            await trio.testing.wait_all_tasks_blocked()
            while len(sent) < 2:
                with contextlib.suppress(BlockingIOError):
                    taken -= len(theirs.recv(len(LOTS)))
                await trio.lowlevel.checkpoint()
        theirs.setblocking(True)
        while taken + sum(sent) > 0:
            taken -= len(theirs.recv(len(LOTS)))
    assert taken + sum(sent) == 0


async def test_a_socket_whose_send_was_cancelled_has_sent_nothing() -> None:
    peer, transport = tcp()
    fill(transport)
    with trio.fail_after(PATIENCE):
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.send_some(b"this is not sent")
        await transport.aclose()
        received = b"".join([part async for part in peer.stream])
    assert set(received) == set(b"x")
    await peer.aclose()


async def test_a_stream_whose_send_was_cancelled_is_torn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    peer, transport = lockstep()
    with trio.move_on_after(1) as scope:
        await transport.send_some(b"half of this may be out")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await transport.send_some(b"so nothing may follow")
    await transport.aclose()
    await peer.aclose()


async def test_a_reset_breaks_sending_and_receiving(line: Line, clock: Clock) -> None:
    peer, transport = line()
    with trio.fail_after(PATIENCE):
        await peer.reset()
        with pytest.raises(trio.BrokenResourceError):
            await pour(transport)
        await transport.send_eof()  # Too late to be of use, and no fault.
    await transport.aclose()


async def test_a_reset_is_no_end_but_a_break() -> None:
    peer, transport = tcp()
    with trio.fail_after(PATIENCE):
        await peer.reset()
        with pytest.raises(trio.BrokenResourceError, match="receiving failed"):
            await transport.receive_some()
    await transport.aclose()


async def test_closed_it_is_broken_for_everybody_and_may_be_closed_again(
    line: Line, clock: Clock
) -> None:
    peer, transport = line()
    await transport.aclose()
    await transport.aclose()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match=r"closed|cut off"):
            await transport.send_some(b"x")
        with pytest.raises(trio.BrokenResourceError, match="closed"):
            await transport.receive_some()
    with pytest.raises(OSError, match=r"Bad file descriptor|has to be awaited"):
        transport.send_now(b"x")
    await transport.send_eof()
    await peer.aclose()


async def test_closing_wakes_who_waits(narrow: Line, clock: Clock) -> None:
    peer, transport = narrow()

    async def receive() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await transport.receive_some()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await pour(transport)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            await transport.aclose()
    await peer.aclose()


async def test_it_closes_even_where_it_is_cancelled(line: Line, clock: Clock) -> None:
    peer, transport = line()
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.aclose()
    with trio.fail_after(PATIENCE):
        assert [part async for part in peer.stream] == []
    await peer.aclose()


async def test_a_stream_without_a_half_close_has_no_end_to_say(
    autojump_clock: trio.testing.MockClock,
) -> None:
    context = ssl.create_default_context()
    theirs, ours = trio.testing.memory_stream_pair()
    transport = StreamTransport(trio.SSLStream(ours, context), "tls:1")
    await transport.send_eof()
    await transport.aclose()
    assert [part async for part in theirs] == []
