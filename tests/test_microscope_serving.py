"""The microscope's two listeners beside a running server, over real sockets.

Whoever comes and whatever is sent: the chat goes on. Who may look, and who may touch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from processes import HANDSHAKE, HANG, read_until

from trio_chat.config import Config
from trio_chat.microscope import visitors
from trio_chat.microscope.discovery import (
    NoPlace,
    NoServer,
    choose_socket,
    find_sockets,
    folder_in,
    listen_at,
)
from trio_chat.microscope.recorder import Names
from trio_chat.microscope.serving import Doors
from trio_chat.microscope.wish import (
    Unservable,
    WebAddress,
    Wish,
    is_loopback,
    parse_address,
    wish_for,
)
from trio_chat.venue import Guest, Venue, open_server

LOOPBACK = WebAddress("127.0.0.1", 0)
Line = dict[str, Any]


class Looking:
    """A running server with a microscope, and ways to ask it."""

    def __init__(self, venue: Venue, doors: Doors) -> None:
        self.venue = venue
        self.doors = doors
        assert doors.url is not None
        self.own, _, self.token = doors.url.removeprefix("http://").partition("/?token=")
        host, _, port = self.own.rpartition(":")
        self.address = (host, int(port))

    async def open_unix(self) -> trio.SocketStream:
        return await trio.open_unix_socket(str(self.doors.path))

    async def ask(self, request: bytes) -> bytes:
        """Ask over the Unix socket, and read to the end."""
        async with await self.open_unix() as stream:
            await stream.send_all(request)
            return await read_all(stream)

    async def open_web(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(*self.address)

    async def fetch(self, request: bytes) -> bytes:
        """Ask over HTTP, and read to the end."""
        async with await self.open_web() as stream:
            await stream.send_all(request)
            return await read_all(stream)

    async def get(self, path: str, *headers: str, method: str = "GET") -> bytes:
        return await self.fetch(self.request(path, *headers, method=method))

    def request(self, path: str, *headers: str, method: str = "GET", body: str = "") -> bytes:
        named = {header.partition(":")[0].lower() for header in headers}
        lines = [f"{method} {path} HTTP/1.1", *headers]
        if "host" not in named:
            lines.append(f"Host: {self.own}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", body]).encode()

    async def act(self, act: object) -> tuple[int, str]:
        """Do an act; return the status and the sentence."""
        token = f"X-Microscope-Token: {self.token}"
        body = json.dumps(act)
        answer = await self.fetch(self.request("/acts", token, method="POST", body=body))
        return status(answer), answer.partition(b"\r\n\r\n")[2].decode().strip()

    async def tree(self) -> str:
        text = json.loads(await self.ask(b"tree\n"))
        assert isinstance(text, str)
        return text


@asynccontextmanager
async def looking(
    folder: Path,
    *,
    lab: bool = False,
    names: Names = Names.SHOWN,
    web: WebAddress = LOOPBACK,
    config: Config | None = None,
    faults: int = 0,
) -> AsyncIterator[Looking]:
    """Run a server with a microscope beside it, which logs so many faults and no more."""
    wish = Wish(folder_in(folder) / "1.sock", web, names, lab)
    handler = BufferingHandler(1_000)
    handler.setLevel(logging.WARNING)
    logging.getLogger("trio_chat.microscope").addHandler(handler)
    async with open_server(config) as venue, trio.open_nursery() as beside:
        gauges = venue.server.house.outboxes.waiting
        doors = Doors(wish, trio.lowlevel.current_task(), gauges)
        await doors.open()
        await beside.start(doors.serve, name="microscope")
        yield Looking(venue, doors)
        doors.close()
    logging.getLogger("trio_chat.microscope").removeHandler(handler)
    assert len(handler.buffer) == faults, handler.buffer


async def read_all(stream: trio.SocketStream) -> bytes:
    read = b""
    with trio.fail_after(HANG):
        try:
            async for part in stream:
                read += part
        except trio.BrokenResourceError:
            pass  # Some that are refused are cut off.
    return read


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


async def still_chatting(alice: Guest, bob: Guest, text: str) -> None:
    """Show that the chat goes on."""
    await alice.say(text)
    await bob.expect(text)


async def has_ended(guest: Guest) -> None:
    """Wait for the end of a guest's connection: then it expects in vain."""
    with pytest.raises(AssertionError, match="the end: "):
        await guest.expect("what nobody says")


# --- The Unix socket ---


async def test_the_tree_is_told_as_text_and_as_values(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        await here.venue.join("alice", room="green")
        text = await here.tree()
        assert "room green" in text
        assert "hub green" in text
        assert isinstance(json.loads(await here.ask(b"tree json\n")), dict)


async def test_the_line_that_a_task_waits_at_is_told(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        await here.venue.join("alice", room="green")
        await trio.testing.wait_all_tasks_blocked()
        text = json.loads(await here.ask(b"tree lines\n"))
        assert re.search(r"hub green  inbox\.py:\d+ \w+\n", text)
        assert re.search(r"listener 127\.0\.0\.1  listening\.py:\d+ accept_forever", text)


async def test_a_tree_is_folded_until_it_fits(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        for number in range(12):
            await here.venue.join(f"guest{number}")
        whole = json.loads(await here.ask(b"tree\n"))
        folded = json.loads(await here.ask(b"tree 40\n"))
        assert whole.count("member") == 12
        assert whole.count("\n") >= 40 > folded.count("\n")
        assert "more: member ×" in folded


async def test_who_watches_is_told_of_a_member_who_comes(tmp_path: Path) -> None:
    async with looking(tmp_path) as here, await here.open_unix() as stream:
        await stream.send_all(b"watch\n")
        await read_until(stream, b'"e":"hello"')
        await here.venue.join("alice", room="green")
        await read_until(stream, b"room green")


async def test_the_tree_is_told_again_when_it_has_changed(tmp_path: Path) -> None:
    async with looking(tmp_path) as here, await here.open_unix() as stream:
        await stream.send_all(b"trees\n")
        await read_until(stream, b"\n")
        await here.venue.join("alice", room="green")
        await read_until(stream, b"hub green")


async def test_names_are_hidden_from_all_who_ask(tmp_path: Path) -> None:
    async with looking(tmp_path, names=Names.IDS) as here, await here.open_unix() as stream:
        await here.venue.join("alice", room="green")
        await stream.send_all(b"watch\n")
        told = await read_until(stream, b'"e":"hello"')
        told += await here.ask(b"tree\n") + await here.ask(b"tree json\n")
        assert b"task " in told
        assert not any(name in told for name in (b"alice", b"green", b"127.0.0.1"))


async def test_the_end_of_the_server_ends_what_is_watched(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        stream = await here.open_unix()
        await stream.send_all(b"watch\n")
        await read_until(stream, b'"e":"hello"')
    async with stream:
        await read_all(stream)
    assert not here.doors.path.exists()


async def test_the_end_of_the_server_ends_the_events_as_http_does(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        stream = await here.open_web()
        await stream.send_all(here.request(f"/events?token={here.token}"))
        await read_until(stream, b'"e":"hello"')
    async with stream:
        assert (await read_all(stream)).endswith(b"\r\n0\r\n\r\n")


async def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        path = here.doors.path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [each.name for each in path.parent.iterdir()] == [path.name]


# --- Places ---


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = folder_in(tmp_path)
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(NoPlace, match="closed to others"):
        listen_at(folder / "1.sock")
    assert list(folder.iterdir()) == []


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    folder_in(tmp_path).symlink_to(elsewhere)
    with pytest.raises(NoPlace, match="not a folder of ours"):
        listen_at(folder_in(tmp_path) / "1.sock")


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoPlace):
        listen_at(folder_in(tmp_path) / f"{'1' * 200}.sock")


def test_what_was_left_behind_is_removed_by_who_finds_it(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with listen_at(folder / "1.sock") as living, listen_at(folder / "2.sock") as dead:
        dead.close()
        assert (folder / "2.sock").exists()
        assert find_sockets([tmp_path]) == [folder / "1.sock"]
        assert not (folder / "2.sock").exists()
        with pytest.raises(NoPlace, match="another server"):
            listen_at(folder / "1.sock")
        assert living.fileno() != -1


def test_what_is_no_socket_or_out_of_reach_is_no_server_and_no_fault(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with listen_at(folder / "5.sock"):
        (folder / "4.sock").mkdir()
        assert find_sockets([tmp_path]) == [folder / "5.sock"]
    deep = tmp_path / ("x" * 108)
    deep.mkdir()
    folder_in(deep).mkdir(0o700)
    (folder_in(deep) / "6.sock").touch()
    assert find_sockets([deep]) == []


def test_a_place_that_was_left_behind_is_taken(tmp_path: Path) -> None:
    path = folder_in(tmp_path) / "1.sock"
    listen_at(path).close()
    with listen_at(path):
        assert find_sockets([tmp_path]) == [path]


def test_a_folder_of_somebody_else_is_not_looked_into(tmp_path: Path) -> None:
    with listen_at(folder_in(tmp_path) / "1.sock"):
        folder_in(tmp_path).chmod(0o755)
        assert find_sockets([tmp_path]) == []


def test_the_only_server_is_meant_and_of_several_the_named_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with pytest.raises(NoServer, match="serve --microscope"):
        choose_socket(None, [one, two])
    with listen_at(folder_in(two) / "22.sock"):
        assert choose_socket(None, [one, two]) == folder_in(two) / "22.sock"
        with listen_at(folder_in(one) / "11.sock"):
            assert choose_socket("22", [one, two]) == folder_in(two) / "22.sock"
            with pytest.raises(NoServer, match="say which") as caught:
                choose_socket(None, [one, two])
            assert [path.stem for path in caught.value.found] == ["11", "22"]
            with pytest.raises(NoServer, match="33"):
                choose_socket("33", [one, two])
    assert choose_socket("./some.sock", []) == Path("some.sock")


# --- The page's address ---


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8001", WebAddress("127.0.0.1", 8001)),
        ("[::1]:0", WebAddress("::1", 0)),
        ("localhost:1", WebAddress("localhost", 1)),
    ],
)
def test_an_address_of_this_machine_will_do(text: str, address: WebAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:1", "[::]:1", "192.0.2.1:1", "chat.example:1", ":1", "8001", "127.0.0.1",
        "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:1", "[127.0.0.1]:1", "localhost:-1",
        "127.0.0.1:²",
    ],
)  # fmt: skip
def test_any_other_address_will_not(text: str) -> None:
    with pytest.raises(ValueError, match="won't do"):
        parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "chat.example"])
def test_the_lab_is_refused_where_others_could_come(host: str, tmp_path: Path) -> None:
    assert not is_loopback(host)
    with pytest.raises(Unservable, match="--lab"):
        wish_for("", "names", "lab", host, tmp_path)
    assert not wish_for("", "names", None, host, tmp_path).lab
    assert wish_for("", "names", "lab", "127.0.0.1", tmp_path).lab


async def test_a_port_that_is_taken_is_unservable_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        web = WebAddress("127.0.0.1", taken.getsockname()[1])
        wish = Wish(folder_in(tmp_path) / "1.sock", web, Names.SHOWN, lab=False)
        doors = Doors(wish, trio.lowlevel.current_task())
        with pytest.raises(Unservable, match="Address already in use"):
            await doors.open()
    assert list(folder_in(tmp_path).iterdir()) == []


# --- HTTP: who may ask ---


async def test_the_page_may_do_nothing_but_talk_to_its_server(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        answer = await here.get("/")
        assert status(answer) == 200
        head = answer.partition(b"\r\n\r\n")[0].decode()
        assert "default-src 'none'" in head
        assert "frame-ancestors 'none'" in head
        assert "unsafe" not in head
        assert "Referrer-Policy: no-referrer" in head
        assert "X-Content-Type-Options: nosniff" in head
        assert "Cache-Control: no-store" in head
        assert here.token.encode() not in answer
        assert status(await here.get("/microscope.js")) == 200
        assert status(await here.get("/microscope.css")) == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: evil.example:8001"],
        ["Host: 127.0.0.1"],
        ["Host: 127.0.0.1:1"],
        ["Host:"],
        ["Origin: http://evil.example"],
        ["Origin: null"],
        ["Origin: http://127.0.0.1:1"],
        ["Origin:"],
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/acts"])
async def test_who_comes_by_a_foreign_name_or_page_is_refused(
    headers: list[str], path: str, tmp_path: Path
) -> None:
    async with looking(tmp_path, lab=True) as here:
        method = "POST" if path == "/acts" else "GET"
        token = f"X-Microscope-Token: {here.token}"
        assert status(await here.get(path, token, *headers, method=method)) == 403


async def test_the_names_of_this_machine_will_do(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        port = here.own.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
            own = f"{host}:{port}"
            assert (
                status(await here.get("/nothing", f"Host: {own}", f"Origin: http://{own}")) == 404
            )


async def test_without_the_token_nothing_is_told_and_nothing_done(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        body = '{"act":"stall","ms":0}'
        for given in ("", "x", "é", here.token[:-1], here.token + "x"):
            header = f"X-Microscope-Token: {given}"
            assert status(await here.get(f"/events?token={given}")) in (400, 403)
            assert status(await here.get("/events", header)) in (400, 403)
            act = here.request("/acts", header, method="POST", body=body)
            assert status(await here.fetch(act)) in (400, 403)
        # Not in the query either, where a link could carry it.
        act = here.request(f"/acts?token={here.token}", method="POST", body=body)
        assert status(await here.fetch(act)) == 403


async def test_each_microscope_has_a_token_of_its_own(tmp_path: Path) -> None:
    async with looking(tmp_path / "..") as one:
        first = one.token
    async with looking(tmp_path / "..") as other:
        assert len(first) >= 32
        assert first != other.token


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        ("GET /../microscope.js HTTP/1.1", 404),
        ("GET /web.py HTTP/1.1", 404),
        ("GET /%2e%2e/web.py HTTP/1.1", 404),
        ("POST / HTTP/1.1", 405),
        ("GET /acts HTTP/1.1", 405),
        ("POST /events HTTP/1.1", 405),
        ("HEAD / HTTP/1.1", 405),
        ("OPTIONS /acts HTTP/1.1", 405),
    ],
)
async def test_what_is_not_there_is_refused(request_line: str, code: int, tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        answer = await here.fetch(f"{request_line}\r\nHost: {here.own}\r\n\r\n".encode())
        assert status(answer) == code


async def test_a_body_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        body = " " * 5_000
        assert status(await here.fetch(here.request("/acts", method="POST", body=body))) == 413


async def test_events_are_the_recording(tmp_path: Path) -> None:
    async with looking(tmp_path) as here, await here.open_web() as stream:
        await stream.send_all(here.request(f"/events?token={here.token}"))
        head = await read_until(stream, b'"e":"hello"')
        assert b"Content-Type: text/event-stream" in head
        await here.venue.join("alice", room="green")
        events = await read_until(stream, b'"name":"room green"')
        lines = [line for line in events.split(b"\n") if line.startswith(b"data: ")]
        assert all(json.loads(line[6:])["e"] for line in lines[:-1])


async def test_one_too_many_is_asked_to_come_later(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        places = [await here.open_unix() for _ in range(16)]
        for place in places:
            await place.send_all(b"watch\n")
            await read_until(place, b'"e":"hello"')
        answer = await here.get(f"/events?token={here.token}")
        assert status(answer) == 503
        assert b"Retry-After: 10" in answer
        assert b"error" in await first_line(here)
        await places.pop().aclose()
        with trio.fail_after(HANG):  # That somebody has gone is noticed soon, not at once.
            while b"hello" not in await first_line(here):
                pass
        for place in places:
            await place.aclose()


async def first_line(here: Looking) -> bytes:
    async with await here.open_unix() as stream:
        await stream.send_all(b"watch\n")
        return await read_until(stream, b"\n")


# --- The boundary ---

GARBAGE = [
    b"",
    b"\n",
    b"\x00\xff" * 50_000,
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /" + b"a" * 100_000,
    b"POST /acts HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000,
    b"POST /acts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"watch" * 100_000,
    b"watch\n" + b"x" * 1_000_000,
    b"tree\n\xff",
    b"trees json\n" + b"\xff" * 100_000,
    b"watch me\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:20]))
async def test_the_chat_goes_on_whatever_comes(
    garbage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with looking(tmp_path, lab=True) as here:
        alice, bob = await here.venue.join("alice"), await here.venue.join("bob")
        for open_one in (here.open_unix, here.open_web):
            for _ in range(3):
                stream = await open_one()
                with trio.move_on_after(HANG), suppress(trio.BrokenResourceError):
                    await stream.send_all(garbage)
                await still_chatting(alice, bob, "still here")
                await stream.aclose()
        assert "room lobby" in await here.tree()
        assert status(await here.get("/nothing")) == 404
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_the_chat_goes_on_when_watchers_vanish_or_stall(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with looking(tmp_path) as here:
        alice, bob = await here.venue.join("alice"), await here.venue.join("bob")
        stalled = await here.open_unix()
        await stalled.send_all(b"watch\n")
        for number in range(10):
            stream = await here.open_unix()
            await stream.send_all(b"watch\n")
            await stream.receive_some(5)  # In the middle of a line.
            await stream.aclose()
            web = await here.open_web()
            await web.send_all(here.request(f"/events?token={here.token}"))
            await web.receive_some(5)
            web.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await web.aclose()
            await still_chatting(alice, bob, f"{number}")
        await stalled.aclose()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_fault_of_the_microscope_costs_the_chat_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with looking(tmp_path, faults=2) as here, await here.open_unix() as stream:
        alice, bob = await here.venue.join("alice"), await here.venue.join("bob")
        await stream.send_all(b"watch\n")
        await read_until(stream, b'"e":"hello"')
        task = trio.lowlevel.current_task()
        name, task.name = task.name, object()  # type: ignore[assignment]
        await read_all(stream)
        assert b"tree" not in await here.ask(b"tree\n")
        await still_chatting(alice, bob, "still here")
        task.name = name
    faults = [record.name for record in caplog.records if record.levelno > logging.INFO]
    assert faults == ["trio_chat.microscope.recorder", visitors.__name__]


def break_listener(address: tuple[str, int]) -> None:
    """Make a listening socket of this process refuse to accept, as a broken kernel would."""
    for number in os.listdir("/dev/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(number)))
        except OSError:
            continue
        with found:
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens and found.getsockname() == address:
                found.shutdown(socket.SHUT_RDWR)


async def test_the_end_of_the_microscope_is_no_end_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with looking(tmp_path, faults=1) as here, await here.open_unix() as stream:
        alice, bob = await here.venue.join("alice"), await here.venue.join("bob")
        await stream.send_all(b"watch\n")
        await read_until(stream, b'"e":"hello"')
        break_listener(here.address)
        await read_all(stream)
        await still_chatting(alice, bob, "still here")
        assert not here.doors.path.exists()
    faults = [record.message for record in caplog.records if record.levelno > logging.INFO]
    assert faults == ["the microscope failed; the server goes on without it"]


# --- The lab ---


def id_of(tree: bytes, name: str) -> int:
    """Return the number of the task with that name, in what a watcher was told."""
    for line in tree.splitlines():
        told = json.loads(line)
        if told["e"] == "spawn" and told["name"] == name:
            number = told["id"]
            assert isinstance(number, int)
            return number
    raise AssertionError(f"no {name} in {tree!r}")


@asynccontextmanager
async def watching(here: Looking) -> AsyncIterator[tuple[trio.SocketStream, bytes]]:
    async with await here.open_unix() as stream:
        await stream.send_all(b"watch\n")
        yield stream, await read_until(stream, b"hub green")


async def test_the_loop_can_be_stalled(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        begin = trio.current_time()
        assert await here.act({"act": "stall", "ms": 20}) == (200, "stall for 20 ms")
        assert trio.current_time() - begin >= 0.02


async def test_of_several_nurseries_of_a_task_one_can_be_meant(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        await here.venue.join("alice", room="green")
        async with watching(here) as (stream, tree):
            owner = id_of(tree, "server")
            lines = [json.loads(line) for line in tree.splitlines()]
            nurseries = [line["id"] for line in lines if line.get("of") == owner]
            act = {"act": "deadline", "id": nurseries[1], "seconds": 1000}
            assert await here.act(act) == (200, "deadline of 1000 s for nursery 2 of server")
            told = await read_until(stream, b'"e":"scope"')
            assert f'"id":{nurseries[1]}'.encode() in told


async def test_acts_need_the_lab(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        code, said = await here.act({"act": "stall", "ms": 0})
        assert (code, "--lab" in said) == (403, True)


async def test_cancelling_a_room_ends_that_room_and_no_other(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        alice = await here.venue.join_once("alice", room="green")
        bob, carol = await here.venue.join("bob"), await here.venue.join("carol")
        async with watching(here) as (stream, tree):
            assert b'"lab":true' in tree
            code, said = await here.act({"act": "cancel", "id": id_of(tree, "room green")})
            assert (code, said) == (200, "cancel room green")
            told = await read_until(stream, b'"reason":"lab: cancel room green"')
            assert b'"text":"cancel room green"' in told
        await has_ended(alice)
        await still_chatting(bob, carol, "still here")


async def test_a_deadline_is_what_a_scope_has_from_then_on(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        await here.venue.join("alice", room="green")
        async with watching(here) as (stream, tree):
            act = {"act": "deadline", "id": id_of(tree, "room green"), "seconds": 100}
            assert await here.act(act) == (200, "deadline of 100 s for room green")
            await read_until(stream, b'"deadline":1')


async def test_a_task_that_raises_is_started_where_it_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
        await raise_in_a_room(tmp_path)  # The venue counts the server's faults.
    assert "lab: raise in member alice" in caplog.text


async def raise_in_a_room(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        alice = await here.venue.join_once("alice", room="green")
        bob, carol = await here.venue.join("bob"), await here.venue.join("carol")
        async with watching(here) as (stream, tree):
            code, said = await here.act({"act": "raise", "id": id_of(tree, "member alice")})
            assert (code, said) == (200, "raise in member alice")
            await read_until(stream, b"LabError")
        await has_ended(alice)
        await still_chatting(bob, carol, "still here")


async def test_an_act_that_has_no_object_is_refused_in_a_sentence(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        await here.venue.join("alice", room="green")
        async with watching(here) as (_, tree):
            assert await here.act({"act": "cancel", "id": 10**9}) == (
                404,
                "1000000000 is gone, or never was",
            )
            code, said = await here.act({"act": "cancel", "id": id_of(tree, "hub green")})
            assert code == 409
            assert said.startswith("hub green has no nursery")


async def test_what_is_no_json_is_no_act(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        token = f"X-Microscope-Token: {here.token}"
        for body in ("{", "\0", "é"):
            answer = await here.fetch(here.request("/acts", token, method="POST", body=body))
            assert status(answer) == 400


@pytest.mark.parametrize(
    "act",
    [
        None, [], {}, {"act": "explode"}, {"act": "cancel"}, {"act": "cancel", "id": "1"},
        {"act": "cancel", "id": 1.5}, {"act": "stall", "ms": 2001}, {"act": "stall", "ms": -1},
        {"act": "deadline", "id": 1}, {"act": "deadline", "id": 1, "seconds": -1},
        {"act": "deadline", "id": 1, "seconds": "1"},
        {"act": "raise", "id": True}, {"act": "stall", "ms": False},
        {"act": "deadline", "id": 1, "seconds": True},
    ],
)  # fmt: skip
async def test_what_is_no_act_is_refused_in_a_sentence(act: object, tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True) as here:
        code, said = await here.act(act)
        assert (code, said[:6]) == (400, "no act")


async def test_marks_hide_names_too(tmp_path: Path) -> None:
    async with looking(tmp_path, lab=True, names=Names.IDS) as here:
        root = json.loads((await watch_begin(here)).splitlines()[1])["id"]
        code, said = await here.act({"act": "deadline", "id": root, "seconds": 1000})
        assert (code, said) == (200, f"deadline of 1000 s for task {root}")


async def watch_begin(here: Looking) -> bytes:
    async with await here.open_unix() as stream:
        await stream.send_all(b"watch\n")
        return await read_until(stream, b'"e":"spawn"')


def test_the_process_names_the_socket(tmp_path: Path) -> None:
    assert wish_for("", "ids", None, "127.0.0.1", tmp_path) == Wish(
        folder_in(tmp_path) / f"{os.getpid()}.sock", None, Names.IDS, lab=False
    )


# --- What waits ---


async def test_what_waits_for_a_member_who_is_behind_is_told_of_its_writer(tmp_path: Path) -> None:
    patient = Config(port=0, rate=0, outbox=64 * 1024 * 1024, outbox_blobs=100_000)
    async with looking(tmp_path, config=patient) as here, await here.open_unix() as watching:
        await watching.send_all(b"watch\n")
        await read_until(watching, b'"e":"hello"')
        host, port = here.venue.server.config.host, here.venue.server.port
        async with await trio.open_tcp_stream(host, port) as slow:
            await slow.send_all(HANDSHAKE)
            await read_until(slow, b"\r\n\r\n")
            alice = await here.venue.join("alice")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk, alice, name="talk")
                told = await read_until(watching, b'"e":"gauge"')
                told += await read_until(watching, b"\n")  # The rest of that line.
                nursery.cancel_scope.cancel(reason="enough")
    whole = re.findall(rb"^{.*}$", told, re.MULTILINE)
    lines = [json.loads(line) for line in whole]
    gauge = next(line for line in lines if line["e"] == "gauge")
    writers = [line["id"] for line in lines if str(line.get("name")).startswith("writer ")]
    assert gauge["id"] in writers
    blobs, kibibytes = gauge["outbox"]
    assert blobs > 1
    assert 0 < kibibytes <= patient.outbox // 1024


async def talk(guest: Guest) -> None:
    """Say more than a socket that nobody reads can hold."""
    while True:
        await guest.say("x" * 4000)
