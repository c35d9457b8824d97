"""The server's life: listening, faults that stay where they are, running out of files, draining."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from doorstep import serving_apart
from lobby import MoodyHistory, failing

from trio_chat.client import Chat, Disconnected, Message, Plain, PlainError, connect, connect_plain
from trio_chat.config import Config
from trio_chat.connection import Connection
from trio_chat.history import HistoryUnavailable
from trio_chat.history.memory import MemoryHistory
from trio_chat.server import Server
from trio_chat.session import Session, Visit
from trio_chat.testing import open_server
from trio_chat.wire import Wire

PATIENCE = 20  # seconds: a test that hangs fails


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """Run a server during the block, and drain it behind it."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield server
            server.drain()


def address(server: Server, room: str = "lobby") -> str:
    return f"ws://127.0.0.1:{server.port}/ws/chat/{room}/"


def moody() -> MoodyHistory:
    config = Config()
    return MoodyHistory(MemoryHistory(config.retention, config.keep_total))


# --- Listening -----------------------------------------------------------------------------------


async def test_every_address_of_a_name_is_listened_on_at_one_port() -> None:
    async with running(Server(Config(host="localhost", port=0))) as server:
        assert server.url == f"http://localhost:{server.port}/chat/"
        for family, *_, where in await trio.socket.getaddrinfo("localhost", server.port, type=1):
            with trio.socket.socket(family) as probe:
                await probe.connect(where)


async def test_an_ipv6_address_stands_in_brackets() -> None:
    async with running(Server(Config(host="::1", port=0))) as server:
        assert server.url == f"http://[::1]:{server.port}/chat/"
        async with connect(f"ws://[::1]:{server.port}/ws/chat/lobby/", name="six") as six:
            await six.say("hello")


async def test_a_busy_port_is_said_before_anything_has_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = Server(Config(port=other.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            await server.run()


# --- Faults stay where they are ------------------------------------------------------------------


class Broken:
    """A transport with a fault of its own."""

    peer = "nobody:0"
    closed = False

    def send_now(self, data: bytes | memoryview, /) -> int:
        raise BlockingIOError

    async def send_some(self, data: bytes | memoryview) -> int:
        raise ZeroDivisionError

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def send_eof(self) -> None:
        raise ZeroDivisionError

    async def aclose(self) -> None:
        self.closed = True


async def test_a_fault_at_one_door_is_logged_once_and_closes_one_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = Broken()
    server = Server(Config(port=0))
    await server.meet(transport)
    assert transport.closed
    (record,) = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
    assert server.house.tally.faults == 1


async def test_without_file_descriptors_members_chat_on_and_the_server_recovers() -> None:
    async with serving_apart() as apart:
        process, port, url = apart.process, apart.port, apart.url
        assert process.stderr
        log = b""
        async with connect(url, name="ada") as ada, connect(url, name="bob") as bob:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_files(process.pid), 4096))
            strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            begin, used = trio.current_time(), cpu_seconds(process.pid)
            while log.count(b"can't accept") < 3:
                log += await process.stderr.receive_some()
            elapsed, used = trio.current_time() - begin, cpu_seconds(process.pid) - used
            receipt = await ada.say("still here")
            assert receipt.seq == 1
            assert await first_message(bob) == "still here"
            for stranger in strangers:
                stranger.close()
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
            async with connect(url, name="eve") as eve:
                await eve.say("so am I")
        apart.end()
        log += (await apart.log()).encode()
    # A line a second at most, and no busy loop: that would take all of a core.
    assert log.count(b"can't accept") <= elapsed + 4
    assert used < elapsed / 2


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        Config(port=0, max_connections=1),
        Config(port=0, max_per_address=1),
        Config(port=0, max_members=1),
    ],
    ids=["connections", "per address", "members"],
)
async def test_where_it_is_full_one_is_told_so_and_let_in_once_somebody_has_left(
    config: Config,
) -> None:
    async with running(Server(config)) as server:
        async with connect_plain(address(server)) as first:
            await first.send("I am here")
            assert await anext(first) == "I am here"
            with pytest.raises(Disconnected) as caught:
                async with connect(address(server)):
                    pass
            assert caught.value.code == 1013
        while server.house.crowd.size:
            await trio.testing.wait_all_tasks_blocked()
        async with connect(address(server)) as second:
            await second.say("now I am")


# --- Draining ------------------------------------------------------------------------------------


async def test_readyz_says_no_while_the_server_still_listens() -> None:
    async with running(Server(Config(port=0, drain_delay=0.5))) as server:
        server.drain()
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 503")


async def test_what_was_accepted_is_delivered_before_the_goodbye() -> None:
    history = moody()
    hold = trio.Event()
    history.before_appending = hold.wait
    server = Server(Config(port=0), history)
    heard: list[str] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            async with connect_plain(address(server)) as ada, connect_plain(address(server)) as bob:
                for number in range(20):
                    await ada.send(f"{number}")
                while server.house.tally.sessions < 2:
                    await trio.testing.wait_all_tasks_blocked()
                await trio.testing.wait_all_tasks_blocked()
                server.drain()
                await trio.testing.wait_all_tasks_blocked()
                hold.set()
                assert await listen(bob, heard) == 1001
    assert heard == [str(number) for number in range(len(heard))]
    assert heard
    assert server.house.tally.messages == len(heard)
    assert server.exit_code == 0
    assert server.house.ledger.balances


async def test_a_message_that_can_not_be_stored_at_the_end_is_exit_code_1(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = moody()
    hold = trio.Event()

    async def refuse() -> None:
        await hold.wait()
        raise HistoryUnavailable("no disk")

    history.before_appending = refuse
    server = Server(Config(port=0), history)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            async with connect_plain(address(server)) as ada:
                await ada.send("precious")
                await trio.testing.wait_all_tasks_blocked()
                await settle(server)
                server.drain()
                await trio.testing.wait_all_tasks_blocked()
                hold.set()
                with pytest.raises(PlainError, match="history-unavailable"):
                    await anext(ada)
    assert server.exit_code == 1
    assert "could not be stored" in caplog.text


async def listen(plain: Plain, heard: list[str]) -> int:
    """Collect what comes until the end; return its code."""
    try:
        async for text in plain:
            heard.append(text)
    except Disconnected as end:
        return end.code
    return 1000


async def first_message(chat: Chat) -> str:
    async for event in chat:
        if isinstance(event, Message):
            return event.text
    raise AssertionError("the chat ended")


async def settle(server: Server) -> None:
    """Wait until the session has begun to record: the append is what everything waits for."""
    while server.house.tally.sessions < 1:
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked(0.05)


async def test_a_task_that_does_not_end_in_time_is_cancelled_and_exit_code_1(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = moody()
    history.before_appending = trio.sleep_forever
    server = Server(Config(port=0, drain_timeout=0.5), history)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            async with connect_plain(address(server)) as ada:
                await ada.send("stuck")
                await settle(server)
                server.drain()
                with contextlib.suppress(Disconnected):
                    await anext(ada)
    assert server.exit_code == 1
    assert "not drained within 0.5 s" in caplog.text


async def test_a_server_that_is_cancelled_tells_its_members() -> None:
    server = Server(Config(port=0))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
            await inner.start(server.run)

            async def listen() -> int:
                async with connect_plain(address(server)) as ada:
                    await ada.send("hello")
                    await anext(ada)
                    inner.cancel_scope.cancel(reason="the test pulls the plug")
                    with pytest.raises(Disconnected) as caught:
                        await anext(ada)
                    codes.append(caught.value.code)
                    return caught.value.code

            codes: list[int] = []
            nursery.start_soon(listen)
    assert codes == [1001]
    assert server.house.ledger.balances


async def test_the_books_are_in_the_log_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_chat")
    async with open_server(Config(port=0)) as venue:
        alice = await venue.join("alice")
        await alice.say("hello")
    assert "1 owed, 1 handed over, 0 waiting; balances" in caplog.text


async def test_a_hub_s_fault_costs_one_room_and_the_next_join_finds_its_history(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = moody()
    async with running(Server(Config(port=0), history)) as server:
        async with connect(address(server), name="ada") as ada:
            await ada.say("before")
        history.before_appending = failing(ZeroDivisionError("boom"))
        async with connect_plain(address(server, "other")) as bystander:
            async with connect_plain(address(server)) as bob:
                await bob.send("this breaks it")
                with pytest.raises(Disconnected) as caught:
                    await anext(bob)
            assert caught.value.code == 1011
            history.before_appending = trio.lowlevel.checkpoint
            await bystander.send("unharmed")
            assert await anext(bystander) == "unharmed"
        async with connect(address(server), name="eve") as eve:
            assert await first_message(eve) == "before"
        assert server.house.tally.faults == 1


async def test_connections_that_are_over_leave_no_cycles_for_the_collector() -> None:
    server = Server(Config(port=0))
    async with running(server):
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with connect_plain(address(server)) as ada:
                    await ada.send("hello")
                    await anext(ada)
            while server.house.crowd.size:
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked(0.01)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(thing) for thing in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not left & {Wire, Connection, Session, Visit}
