"""The asking end of the Unix socket: answers that come in pieces, are none, or have an end."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from processes import COMMAND, HANG, read_until

from trio_chat.microscope.asking import NoAnswer, ask, read_answer
from trio_chat.microscope.discovery import listen_at
from trio_chat.microscope.drawing import show_tree, watch_tree
from trio_chat.microscope.taking import record


@asynccontextmanager
async def answering(path: Path, *pieces: bytes) -> AsyncIterator[trio.MemorySendChannel[bytes]]:
    """Answer the first who asks with these pieces, and with what is sent; closed means the end."""
    way_in, way_out = trio.open_memory_channel[bytes](10)
    for piece in pieces:
        way_in.send_nowait(piece)
    async with trio.open_nursery() as nursery:
        await nursery.start(answer, path, way_out, name="answer")
        with way_in:
            yield way_in
        nursery.cancel_scope.cancel(reason="the test is over")


async def answer(
    path: Path,
    pieces: trio.MemoryReceiveChannel[bytes],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with listen_at(path) as found:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(found))
        task_status.started()
        async with await listener.accept() as stream:
            await stream.receive_some()
            async for piece in pieces:
                await stream.send_all(piece)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ours" / "1.sock"


async def test_lines_come_whole_however_they_were_cut(path: Path) -> None:
    async with answering(path) as server, ask(path, "watch") as answers:
        await server.send(b"1\n2")
        assert await answers.next_lines() == b"1\n"
        await server.send(b"2\n3\n4")
        assert await answers.next_lines() == b"22\n3\n"
        await server.send(b"4")
        await server.send(b"4\n\n5")
        assert await answers.next_lines() == b"444\n\n"


async def test_a_line_that_is_cut_off_by_the_end_is_dropped(path: Path) -> None:
    async with answering(path) as server, ask(path, "watch") as answers:
        await server.send(b"1\n2")
        assert await answers.next_lines() == b"1\n"
        server.close()
        assert await answers.next_lines() == b""


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"", "has ended"), (b"HTTP/1.1 400\n", "no microscope"), (b'{"error":"no"}\n', "no")],
)
async def test_a_server_that_is_no_microscope_is_told_from_one(
    answer: bytes, why: str, path: Path, tmp_path: Path
) -> None:
    async with answering(path, answer) as server:
        server.close()
        with pytest.raises(NoAnswer, match=why):
            await show_tree(path, None)
    async with answering(path, answer) as server:
        server.close()
        with pytest.raises(NoAnswer, match=why):
            await record(path, tmp_path / "file", seconds=60)
    assert not (tmp_path / "file").exists()


async def test_what_a_server_says_moves_no_cursor(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with answering(path, b'"main\\n\\u001b[2J\\u202e"\n'):
        assert await show_tree(path, None) == 0
    out = capsys.readouterr().out
    assert out == "main\n\\x1b[2J\\u202e\n"


async def test_of_several_trees_that_wait_the_last_is_printed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with answering(path, b'"one"\n"two"\n') as server, trio.open_nursery() as nursery:
        nursery.start_soon(watch_tree, path, None, name="watch")
        server.close()
    assert capsys.readouterr().out.endswith("two\n\n")


def test_an_error_is_told_as_one() -> None:
    with pytest.raises(NoAnswer, match="full"):
        read_answer(b'{"error":"full"}')
    assert read_answer(b'{"tasks":[]}') == {"tasks": []}


async def test_a_recording_says_where_something_is_missing(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hello = b'{"t":0.0,"e":"hello","v":1,"python":"3","trio":"0","pid":1}\n'
    async with answering(path, hello) as server, trio.open_nursery() as nursery:
        nursery.start_soon(record, path, tmp_path / "file", 60, name="record")
        await server.send(b'{"t":1.0,"e":"mark","text":"x"}\n')
        await server.send(hello)
        server.close()
    assert (tmp_path / "file").read_bytes().count(b"\n") == 3
    err = capsys.readouterr().err
    assert "3 events" in err
    assert "1 times" in err


async def test_watching_ends_when_whoever_read_it_has_gone(path: Path) -> None:
    async with answering(path, b'"one"\n') as server:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "tree", "--watch", str(path)], stdout=subprocess.PIPE
        )
        assert process.stdout
        await read_until(process.stdout, b"one\n")
        await process.stdout.aclose()
        await server.send(b'"two"\n')
        with trio.fail_after(HANG):
            assert await process.wait() == 0
