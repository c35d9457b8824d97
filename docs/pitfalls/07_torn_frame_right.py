"""After a send that was cancelled half-way the stream is only closed.

Says: the first frame was cut off, and nothing stands behind it
"""

import trio
from trio.testing import wait_all_tasks_blocked

SIZE = 4_000_000


async def write(line: trio.SocketStream) -> None:
    with trio.CancelScope() as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.send_all, SIZE.to_bytes(4) + b"a" * SIZE, name="ada's")
            await wait_all_tasks_blocked()  # The peer does not read yet: a part of it is out.
            patience.cancel(reason="too slow")
    await trio.aclose_forcefully(line)  # Bob is told on another connection.


async def main() -> None:
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, ours, name="writer")
        await wait_all_tasks_blocked()
        got = b"".join([part async for part in theirs])
    length, text = int.from_bytes(got[:4]), got[4:]
    assert set(text) == {ord("a")}
    if len(text) < length:
        print("the first frame was cut off, and nothing stands behind it")


trio.run(main)
