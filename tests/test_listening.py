"""Listening sockets, and the loop that accepts: families, floods, and nothing left to accept with.

The loop is given real sockets; out of file descriptors is this very process, for a moment.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from trio_chat.listening import (
    BACK_OFF,
    OVER_BEFORE_IT_BEGAN,
    accept_forever,
    close_listeners,
    name_peer,
    open_listeners,
)
from trio_chat.listening import log as listening_log

PATIENCE = 10
ANY_ADDRESS = ""  # Of every family that there is.


@contextlib.contextmanager
def listening(kind: type[socket.socket] = socket.socket) -> Iterator[socket.socket]:
    with kind(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield listener


class Hall:
    """Where those who were accepted end up; `wait_for` says when so many have."""

    def __init__(self) -> None:
        self.guests: list[tuple[socket.socket, str]] = []
        self._come = trio.Event()

    def welcome(self, sock: socket.socket, peer: str) -> None:
        self.guests.append((sock, peer))
        self._come.set()

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(PATIENCE):
            while len(self.guests) < count:
                self._come = trio.Event()
                await self._come.wait()

    @property
    def peers(self) -> list[str]:
        return [peer for _, peer in self.guests]

    def close(self) -> None:
        for sock, _ in self.guests:
            sock.close()


@pytest.fixture
def hall() -> Iterator[Hall]:
    with contextlib.closing(Hall()) as hall:
        yield hall


# --- Opening and closing -------------------------------------------------------------------------


async def test_all_families_are_listened_on_at_one_free_port_each_for_itself() -> None:
    listeners = await open_listeners(ANY_ADDRESS, 0, 16)
    try:
        assert {listener.family for listener in listeners} == {socket.AF_INET, socket.AF_INET6}
        (port,) = {listener.getsockname()[1] for listener in listeners}
        assert port
        assert not any(listener.getblocking() for listener in listeners)
    finally:
        close_listeners(listeners)


async def test_where_one_family_is_taken_the_other_is_given_back() -> None:
    listeners = await open_listeners(ANY_ADDRESS, 0, 16)
    first, last = listeners
    host, port = first.getsockname()[:2]
    close_listeners([first])
    with last:
        with pytest.raises(OSError, match="in use"):
            await open_listeners(ANY_ADDRESS, port, 16)
        with socket.socket(first.family) as again:
            again.bind((host, port))
            again.listen()


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, and the addresses that it was given for it."""

    def __init__(self, *addresses: tuple[int, str]) -> None:
        self.addresses = addresses

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        await trio.lowlevel.checkpoint()
        return [(family, type, proto, "", (host, port)) for family, host in self.addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


HERE = (socket.AF_INET, "127.0.0.1")
ELSEWHERE = (socket.AF_INET, "192.0.2.1")  # For examples, and nobody's (RFC 5737).
OF_NO_FAMILY = (255, "::1")


@pytest.mark.parametrize(
    "addresses", [(HERE, ELSEWHERE, OF_NO_FAMILY), (OF_NO_FAMILY, ELSEWHERE, HERE)]
)
async def test_an_address_that_is_missing_here_is_left_out_and_said_once(
    addresses: list[tuple[int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(*addresses))
    (listener,) = await open_listeners("chat.example", 0, 16)
    with listener, socket.create_connection(listener.getsockname()):
        assert listener.getsockname()[0] == "127.0.0.1"
    (said,) = caplog.messages
    assert said.startswith("not listening on ")
    assert f"192.0.2.1 ({os.strerror(errno.EADDRNOTAVAIL)})" in said
    assert f"::1 ({os.strerror(errno.EAFNOSUPPORT)})" in said


async def test_where_all_addresses_are_missing_the_first_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(ELSEWHERE, OF_NO_FAMILY))
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        await open_listeners("chat.example", 0, 16)
    assert not caplog.records


@pytest.mark.parametrize("missing_first", [True, False])
async def test_a_port_that_is_taken_is_an_error_whatever_is_missing(missing_first: bool) -> None:
    addresses = [ELSEWHERE, HERE] if missing_first else [HERE, ELSEWHERE]
    trio.socket.set_custom_hostname_resolver(Resolver(*addresses))
    with listening() as other, pytest.raises(OSError, match="in use"):
        await open_listeners("chat.example", other.getsockname()[1], 16)


async def test_what_can_not_be_opened_for_want_of_descriptors_is_not_left_out() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(HERE))
    with without_file_descriptors(), pytest.raises(OSError, match="open files"):
        await open_listeners("chat.example", 0, 16)


async def test_closing_is_told_to_who_accepts_and_may_be_done_twice(hall: Hall) -> None:
    with listening() as listener:

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await accept_forever(listener, hall.welcome)

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            close_listeners([listener])
            close_listeners([listener])
        assert not nursery.cancel_scope.cancelled_caught
    assert not hall.guests


@pytest.mark.parametrize(
    ("address", "name"),
    [(("127.0.0.1", 80), "127.0.0.1:80"), (("::1", 8000, 0, 0), "[::1]:8000")],
)
def test_a_peer_is_named_as_people_write_it(address: Any, name: str) -> None:
    assert name_peer(address) == name


# --- Accepting -----------------------------------------------------------------------------------


async def test_a_crowd_that_came_at_once_is_let_in_in_its_order(hall: Hall) -> None:
    with listening() as listener, contextlib.ExitStack() as clients:
        names = []
        for _ in range(100):
            client = clients.enter_context(socket.create_connection(listener.getsockname()))
            names.append(name_peer(client.getsockname()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await hall.wait_for(100)
            nursery.cancel_scope.cancel()
        assert hall.peers == names


async def test_between_the_portions_of_a_crowd_others_may_run(hall: Hall) -> None:
    seen: list[int] = []
    with listening() as listener, contextlib.ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(socket.create_connection(listener.getsockname()))

        async def look() -> None:
            while len(hall.guests) < 100:
                seen.append(len(hall.guests))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            nursery.start_soon(look)
            await hall.wait_for(100)
            nursery.cancel_scope.cancel()
    # Whoever runs in between sees a part at least once, whichever order Trio takes them in.
    assert any(0 < count < 100 for count in seen)


async def test_what_is_accepted_never_waits_and_delays_nothing(hall: Hall) -> None:
    with listening() as listener, socket.create_connection(listener.getsockname()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await hall.wait_for(1)
            nursery.cancel_scope.cancel()
        ((accepted, _),) = hall.guests
        assert not accepted.getblocking()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Fickle(socket.socket):
    """A listener on which a connection ends before it begins, as some kernels report it."""

    ends_with = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if error := self.ends_with:
            self.ends_with = 0
            raise OSError(error, os.strerror(error))
        return super().accept()


@pytest.mark.parametrize("error", sorted(OVER_BEFORE_IT_BEGAN), ids=errno.errorcode.get)
async def test_one_that_was_over_before_it_began_hinders_nobody(
    error: int, hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(Fickle) as listener, socket.create_connection(listener.getsockname()):
        assert isinstance(listener, Fickle)
        listener.ends_with = error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await hall.wait_for(1)
            nursery.cancel_scope.cancel()
    assert not caplog.records


class Gone(socket.socket):
    """What is accepted from a kernel that allows nothing on a connection whose peer has gone."""

    def setsockopt(self, *args: Any) -> None:
        raise OSError(errno.EINVAL, "invalid argument")


class FullOfGone(socket.socket):
    """A listener of such a kernel."""

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        return Gone(fileno=accepted.detach()), address


async def test_one_that_has_gone_already_is_met_like_the_others(hall: Hall) -> None:
    with listening(FullOfGone) as listener, socket.create_connection(listener.getsockname()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await hall.wait_for(1)
            nursery.cancel_scope.cancel()


async def test_a_listener_that_is_none_any_more_is_an_error(hall: Hall) -> None:
    with listening() as listener:
        listener.shutdown(socket.SHUT_RDWR)
        with trio.fail_after(PATIENCE), pytest.raises(OSError, match="Invalid argument"):
            await accept_forever(listener, hall.welcome)


@pytest.mark.parametrize("error", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
async def test_what_is_no_connection_s_fault_is_an_error(error: int, hall: Hall) -> None:
    with listening(Scarcity) as listener, socket.create_connection(listener.getsockname()):
        assert isinstance(listener, Scarcity)
        listener.lacks = error
        with trio.fail_after(PATIENCE), pytest.raises(OSError, match=os.strerror(error)):
            await accept_forever(listener, hall.welcome)
    assert listener.asked == 1


# --- Nothing left to accept with -----------------------------------------------------------------


class Scarcity(socket.socket):
    """A listener that is out of something, as kernels say it, until it `has_plenty`."""

    lacks = errno.ENOMEM
    asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.lacks:
            raise OSError(self.lacks, os.strerror(self.lacks))
        return super().accept()

    def has_plenty(self) -> None:
        self.lacks = 0


class Complaints(logging.Handler):
    """What is said in the log, when, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []
        self._news = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((trio.current_time(), record.getMessage()))
        self._news.set()

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(PATIENCE):
            while len(self.said) < count:
                self._news = trio.Event()
                await self._news.wait()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    handler = Complaints()
    listening_log.addHandler(handler)
    yield handler
    listening_log.removeHandler(handler)


@contextlib.contextmanager
def without_file_descriptors() -> Iterator[None]:
    """Take them from this process: those that are open stay, a new one can't be had."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_out_of_file_descriptors_they_wait_and_are_let_in_when_there_are_some(
    hall: Hall, complaints: Complaints
) -> None:
    with (
        listening() as listener,
        socket.create_connection(listener.getsockname()),
        socket.create_connection(listener.getsockname()),
    ):
        async with trio.open_nursery() as nursery:
            with without_file_descriptors():
                nursery.start_soon(accept_forever, listener, hall.welcome)
                await complaints.wait_for(1)
                assert not hall.guests
            await hall.wait_for(2)
            nursery.cancel_scope.cancel()
    ((_, said),) = complaints.said
    assert said == "can't accept connections: Too many open files"


@pytest.mark.parametrize("lacks", [errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_of_whatever_else_there_is_none_it_is_the_same(
    lacks: int, hall: Hall, complaints: Complaints
) -> None:
    with listening(Scarcity) as listener, socket.create_connection(listener.getsockname()):
        assert isinstance(listener, Scarcity)
        listener.lacks = lacks
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await complaints.wait_for(1)
            listener.has_plenty()
            await hall.wait_for(1)
            nursery.cancel_scope.cancel()


async def test_want_is_said_once_a_second_at_most_and_asked_about_ten_times(
    hall: Hall, complaints: Complaints
) -> None:
    with listening(Scarcity) as listener, socket.create_connection(listener.getsockname()):
        assert isinstance(listener, Scarcity)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, hall.welcome)
            await complaints.wait_for(2)
            nursery.cancel_scope.cancel()
        (first, _), (second, _) = complaints.said
        assert second - first >= 1.0
        # The first came with the first question; between any two there is a pause.
        assert 2 <= listener.asked <= 2 + (second - first) / BACK_OFF
