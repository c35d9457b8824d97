"""`tree`, `record`, `replay` and `serve --microscope` as their users meet them: as processes.

What to wait for is read from their output and from files, never from a clock.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from processes import COMMAND, GOING_AWAY, HANG, Ended, Serving, ended, read_until, serving

from trio_chat.microscope.events import Exited, Hello, Spawned, decode
from trio_chat.microscope.recording import Recording


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where sockets are looked for in this test, and nowhere else."""
    return {"TMPDIR": str(tmp_path)}


def sockets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("trio-chat-*/*"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def read_error(server: Serving, mark: bytes) -> str:
    assert server.process.stderr
    return (await read_until(server.process.stderr, mark)).decode()


@asynccontextmanager
async def running(*arguments: str, environ: dict[str, str]) -> AsyncIterator[trio.Process]:
    """Run a command that ends when it is told to."""
    process = await trio.lowlevel.open_process(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()


async def end_of(process: trio.Process) -> Ended:
    return await Serving(process, "").end()


# --- tree ---


async def test_tree_finds_the_only_server_and_shows_who_is_there(environ: dict[str, str]) -> None:
    async with serving("--microscope", environ=environ) as server, await server.join():
        end = await ended("tree", environ=environ)
        assert (end.code, end.err) == (0, "")
        assert end.out.startswith("main\n")
        assert "── server\n" in end.out
        assert "── hub lobby\n" in end.out


async def test_tree_prints_values_as_well(environ: dict[str, str]) -> None:
    async with serving("--microscope", environ=environ):
        end = await ended("tree", "--json", environ=environ)
        assert end.out.count("\n") == 1
        assert isinstance(json.loads(end.out), dict)


@pytest.mark.parametrize("command", [("tree",), ("tree", "--watch"), ("record", "file")])
async def test_where_there_is_no_server_one_is_told_how_to_start_one(
    command: tuple[str, ...], environ: dict[str, str]
) -> None:
    async with serving(environ=environ):  # This one has no microscope.
        end = await ended(*command, environ=environ)
    assert (end.code, end.out) == (2, "")
    assert end.err.count("\n") == 1
    assert "trio-chat serve --microscope" in end.err


async def test_of_several_servers_one_has_to_be_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    both = {**environ, "XDG_RUNTIME_DIR": str(runtime)}
    async with (
        serving("--microscope", environ=environ) as one,
        serving("--microscope", environ=both) as other,
    ):
        end = await ended("tree", environ=both)
        assert (end.code, end.out) == (2, "")
        first, *rest = end.err.splitlines()
        assert "say which" in first
        assert {line.split()[0] for line in rest} == {str(one.process.pid), str(other.process.pid)}
        for line in rest:
            for name in line.split():
                assert (await ended("tree", name, environ=both)).code == 0
        assert sockets(runtime) == [f"{other.process.pid}.sock"]


@pytest.mark.parametrize("target", ["1", "./nothing.sock"])
async def test_a_server_that_is_not_there_is_one_line_and_code_2(
    target: str, environ: dict[str, str]
) -> None:
    for command in (("tree",), ("record", "file")):
        end = await ended(*command, target, environ=environ)
        assert (end.code, end.out, end.err.count("\n")) == (2, "", 1)


async def test_what_a_killed_server_leaves_behind_is_removed_by_the_next_look(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with serving("--microscope", environ=environ) as dead:
        dead.process.kill()
        await dead.process.wait()
    assert sockets(tmp_path) == [f"{dead.process.pid}.sock"]
    async with serving("--microscope", environ=environ) as living:
        assert (await ended("tree", environ=environ)).code == 0
        assert sockets(tmp_path) == [f"{living.process.pid}.sock"]
        living.process.send_signal(signal.SIGTERM)
        assert (await living.end()).code == 0
    assert sockets(tmp_path) == []


async def test_watching_prints_the_tree_again_when_it_changes_and_ends_with_ctrl_c(
    environ: dict[str, str],
) -> None:
    async with (
        serving("--microscope", environ=environ) as server,
        running("tree", "--watch", environ=environ) as watching,
    ):
        assert watching.stdout
        assert b"lobby" not in await read_until(watching.stdout, b"server\n")
        async with await server.join():
            await read_until(watching.stdout, b"hub lobby\n")
        watching.send_signal(signal.SIGINT)
        end = await end_of(watching)
        assert (end.code, end.err) == (0, "")


async def test_on_a_terminal_the_tree_is_drawn_and_the_screen_is_given_back(
    environ: dict[str, str],
) -> None:
    ours, theirs = pty.openpty()
    async with serving("--microscope", environ=environ):
        command = [*COMMAND, "tree", "--watch"]
        process = await trio.lowlevel.open_process(command, stdout=theirs, env=environ)
        os.close(theirs)
        async with trio.lowlevel.FdStream(ours) as screen:
            drawn = await read_until(screen, b"server")
            assert drawn.startswith(b"\x1b[?1049h")
            process.send_signal(signal.SIGINT)
            await read_until(screen, b"\x1b[?1049l")
            with trio.fail_after(HANG):
                assert await process.wait() == 0


async def test_watching_ends_with_the_server(environ: dict[str, str]) -> None:
    async with (
        serving("--microscope", environ=environ) as server,
        running("tree", "--watch", "--json", environ=environ) as watching,
    ):
        assert watching.stdout
        await read_until(watching.stdout, b"\n")
        server.process.send_signal(signal.SIGTERM)
        end = await end_of(watching)
        assert (end.code, "the server has ended" in end.err) == (0, True)


# --- record and replay ---


async def test_a_recording_ends_with_ctrl_c_and_says_what_is_in_it(
    environ: dict[str, str],
) -> None:
    async with (
        serving("--microscope", environ=environ) as server,
        running("record", "/dev/stdout", environ=environ) as recording,
    ):
        assert recording.stdout
        written = await read_until(recording.stdout, b'"server"')
        async with await server.join():
            written += await read_until(recording.stdout, b'"hub lobby"')
        recording.send_signal(signal.SIGINT)
        end = await end_of(recording)
        events = [decode(line) for line in (written.decode() + end.out).splitlines()]
        assert (end.code, f"{len(events)} events" in end.err) == (0, True)
        assert isinstance(events[0], Hello)
        assert "hub lobby" in [event.name for event in events if isinstance(event, Spawned)]


async def test_a_recording_tells_how_the_server_ended(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "end.jsonl"
    async with (
        serving("--microscope", environ=environ) as server,
        running("record", str(file), environ=environ) as recording,
    ):
        assert recording.stderr
        await read_until(recording.stderr, b"Ctrl-C ends it")
        server.process.send_signal(signal.SIGTERM)
        end = await end_of(recording)
        assert (end.code, "the server has ended" in end.err) == (0, True)
        assert (await server.end()).code == 0
    events = Recording.read(file).events
    tasks = {event.id: event.name for event in events if isinstance(event, Spawned)}
    gone = {tasks[event.id] for event in events if isinstance(event, Exited)}
    assert {"server", "heartbeat", "signals"} <= gone


async def test_a_recording_tells_how_a_server_that_failed_ended(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "end.jsonl"
    async with (
        serving("--microscope", "127.0.0.1:0", "--lab", environ=environ) as server,
        await server.join(),
        running("record", str(file), environ=environ) as recording,
    ):
        assert recording.stderr
        await read_until(recording.stderr, b"Ctrl-C ends it")
        said = await read_error(server, b"/?token=")  # It was printed before the readiness.
        own, _, token = said.rpartition("http://")[2].split()[0].partition("/?token=")
        tree = json.loads((await ended("tree", "--json", environ=environ)).out)
        ids = {task["name"]: task["id"] for task in tree["tasks"]}
        await post(own, token, {"act": "raise", "id": ids["server"]})
        assert (await end_of(recording)).code == 0
        end = await server.end()
    assert end.code == 1
    assert "LabError: lab: raise in server" in end.err
    events = Recording.read(file).events
    tasks = {event.id: event.name for event in events if isinstance(event, Spawned)}
    gone = {tasks[event.id] for event in events if isinstance(event, Exited)}
    assert {"hub lobby", "room lobby", "heartbeat", "server", "signals"} <= gone


async def post(own: str, token: str, act: object) -> None:
    host, _, port = own.rpartition(":")
    body = json.dumps(act)
    head = f"POST /acts HTTP/1.1\r\nHost: {own}\r\nX-Microscope-Token: {token}\r\n"
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await read_until(stream, b" 200 ")


async def test_a_recording_into_a_pipe_that_nobody_reads_ends_with_ctrl_c(
    environ: dict[str, str], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with (
        serving("--microscope", environ=environ),
        running("record", str(pipe), environ=environ) as recording,
    ):
        assert recording.stderr
        await read_until(recording.stderr, b"Ctrl-C ends it")
        recording.send_signal(signal.SIGINT)
        assert (await end_of(recording)).code == 0


async def test_a_recording_ends_after_its_seconds(environ: dict[str, str], tmp_path: Path) -> None:
    async with serving("--microscope", environ=environ):
        end = await ended("record", "--seconds", "0.1", str(tmp_path / "x"), environ=environ)
        assert (end.code, "0.1 s are over" in end.err) == (0, True)
        assert len(Recording.read(tmp_path / "x"))
        bad = await ended("record", "--seconds", "soon", str(tmp_path / "x"), environ=environ)
        assert (bad.code, bad.err.count("\n")) == (2, 1)


async def test_a_file_that_can_not_be_written_is_one_line_and_code_2(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with serving("--microscope", environ=environ):
        end = await ended("record", str(tmp_path / "no" / "folder"), environ=environ)
    assert end.code == 2
    assert "No such file or directory" in end.err
    assert "Traceback" not in end.err


async def test_replay_makes_one_page_beside_the_recording(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "party.jsonl"
    async with serving("--microscope", environ=environ):
        await ended("record", "--seconds", "0.1", str(file), environ=environ)
    end = await ended("replay", str(file), environ=environ)
    assert (end.code, end.out, end.err) == (0, f"{file}.html\n", "")
    page = await trio.Path(f"{file}.html").read_text()
    assert "listener 127.0.0.1" in page
    assert 'src="' not in page
    other = tmp_path / "other.html"
    end = await ended("replay", str(file), "--to", str(other), environ=environ)
    assert (end.code, end.out) == (0, f"{other}\n")
    assert await trio.Path(other).read_text() == page


async def test_a_recording_whose_name_is_no_unicode_has_a_page_as_well(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / os.fsdecode(b"\xff.jsonl")
    hello = Hello(0.0, 1, "3", "0", 1)
    await trio.to_thread.run_sync(Recording([hello]).write, file)
    end = await ended("replay", str(file), environ=environ)
    assert (end.code, end.err) == (0, "")
    assert "<title>" in await trio.Path(f"{file}.html").read_text()


async def test_a_page_is_not_written_over_its_recording(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "party.jsonl"
    await trio.to_thread.run_sync(Recording([Hello(0.0, 1, "3", "0", 1)]).write, file)
    end = await ended("replay", str(file), "--to", str(file), environ=environ)
    assert (end.code, end.out, end.err.count("\n")) == (2, "", 1)
    assert len(Recording.read(file)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this kernel has no full device")
async def test_a_disk_that_is_full_is_named_in_one_line(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "party.jsonl"
    await trio.to_thread.run_sync(Recording([Hello(0.0, 1, "3", "0", 1)]).write, file)
    async with serving("--microscope", environ=environ):
        for command in (("replay", str(file), "--to", "/dev/full"), ("record", "/dev/full")):
            end = await ended(*command, environ=environ)
            assert end.code == 2
            assert "trio-chat: /dev/full: No space left on device\n" in end.err


@pytest.mark.parametrize("folder", ["runtime", "/a/folder/that/is/not/there"])
async def test_a_relative_or_missing_runtime_folder_counts_for_nothing(
    folder: str, environ: dict[str, str], tmp_path: Path
) -> None:
    without = {**environ, "XDG_RUNTIME_DIR": folder}
    async with serving("--microscope", environ=without) as server:
        assert sockets(tmp_path) == [f"{server.process.pid}.sock"]
        assert (await ended("tree", environ=environ)).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing in it"),
        ('{"t":0,"e":"mark","text":"x"}\n\n{"t":0,\n', "line 3: no JSON"),
        ("\0\n", "line 1: no JSON"),
    ],
)
async def test_what_is_no_recording_is_one_line_and_code_2(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    end = await ended("replay", str(file))
    assert (end.code, end.out, end.err.count("\n")) == (2, "", 1)
    assert said in end.err
    assert str(file) in end.err
    assert names(tmp_path) == [file.name]


async def test_a_recording_that_is_not_there_is_one_line_and_code_2(tmp_path: Path) -> None:
    end = await ended("replay", str(tmp_path / "none"))
    assert (end.code, end.err.count("\n")) == (2, 1)
    assert "No such file" in end.err


# --- serve ---


async def test_the_page_is_served_at_the_address_that_is_printed(
    environ: dict[str, str],
) -> None:
    async with serving("--microscope", "127.0.0.1:0", environ=environ) as server:
        said = await read_error(server, b"/?token=")
        url = said.split("microscope on ")[-1].strip()  # It was printed before the readiness.
        own, _, token = url.removeprefix("http://").partition("/?token=")
        host, _, port = own.partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            head = f"GET /events?token={token} HTTP/1.1\r\nHost: {own}\r\n\r\n"
            await stream.send_all(head.encode())
            await read_until(stream, b'"name":"server"')
            server.process.send_signal(signal.SIGTERM)
            assert (await server.end()).code == 0


async def test_a_signal_prints_the_tree_with_or_without_a_microscope(
    environ: dict[str, str],
) -> None:
    async with serving(environ=environ) as server, await server.join():
        server.process.send_signal(signal.SIGUSR1)
        tree = await read_error(server, b"listener 127.0.0.1\n")
        assert "main\n" in tree
        assert "── hub lobby\n" in tree


async def test_names_that_are_hidden_are_not_printed_at_a_signal_either(
    environ: dict[str, str],
) -> None:
    options = ("--microscope", "--microscope-names", "ids", "--log-level", "warning")
    async with serving(*options, environ=environ) as server, await server.join():
        server.process.send_signal(signal.SIGUSR1)
        tree = await read_error(server, b"task 1\n")
        server.process.terminate()
        tree += (await server.end()).err
    assert "── task " in tree
    assert "lobby" not in tree
    assert "127.0.0.1" not in tree


async def test_a_server_without_a_microscope_opens_no_socket(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with serving(environ=environ):
        assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--microscope", "0.0.0.0:0"), "--microscope: '0.0.0.0:0' won't do"),
        (("--microscope", "chat.example:80"), "won't do"),
        (("--lab",), "--lab needs --microscope"),
        (("--lab", "--microscope", "--host", "0.0.0.0"), "--lab"),
        (("--microscope", "--microscope-names", "none"), "invalid choice: 'none'"),
    ],
)
async def test_what_would_let_others_in_is_one_line_and_code_2(
    arguments: tuple[str, ...], said: str, environ: dict[str, str], tmp_path: Path
) -> None:
    end = await ended("serve", "--port", "0", *arguments, environ=environ)
    assert (end.code, end.out, end.err.count("\n")) == (2, "", 1)
    assert said in end.err
    assert names(tmp_path) == []


async def test_a_folder_that_is_open_to_others_is_one_line_and_code_2(
    environ: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / f"trio-chat-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    end = await ended("serve", "--port", "0", "--microscope", environ=environ)
    assert (end.code, end.out, end.err.count("\n")) == (2, "", 1)
    assert "closed to others" in end.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this kernel has no full device")
async def test_a_log_that_is_full_keeps_nobody_from_serving(environ: dict[str, str]) -> None:
    async with await trio.open_file("/dev/full", "wb") as full:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "serve", "--port", "0", "--microscope"],
            stdout=subprocess.PIPE,
            stderr=full.fileno(),
            env=environ,
        )
    assert process.stdout
    await read_until(process.stdout, b"listening on ")
    assert (await ended("tree", environ=environ)).code == 0
    process.terminate()
    with trio.fail_after(HANG):
        await process.wait()  # What Python could not write becomes its exit code, 120.


async def test_a_second_signal_ends_at_once_though_nobody_reads_the_log(
    environ: dict[str, str],
) -> None:
    async with serving("--microscope", environ=environ) as server, await server.join() as guest:
        assert server.process.stderr
        await server.process.stderr.aclose()
        server.process.terminate()
        await read_until(guest, GOING_AWAY)  # It drains, and this guest won't say goodbye.
        server.process.terminate()
        with trio.fail_after(HANG):
            assert await server.process.wait() == 128 + signal.SIGTERM


async def test_a_second_signal_ends_at_once_though_somebody_watches(
    environ: dict[str, str],
) -> None:
    patient = ("--drain-timeout", "10m", "--close-timeout", "10m", "--microscope")
    async with (
        serving(*patient, environ=environ) as server,
        await server.join(),
        running("record", "/dev/stdout", environ=environ) as recording,
    ):
        assert recording.stdout
        await read_until(recording.stdout, b'"server"')
        server.process.send_signal(signal.SIGINT)
        await read_until(recording.stdout, b"the server is draining")
        server.process.send_signal(signal.SIGINT)
        assert (await server.end()).code == 128 + signal.SIGINT
        assert (await end_of(recording)).code == 0
