"""A frame is a length and a text. Ada's is cancelled half-way; then Bob's follows.

Exit code: 0
Says: the first frame holds what ada and bob said
Seen by: no tool
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
    # How much went out, nobody knows. To the peer this is the middle of Ada's frame.
    await line.send_all(SIZE.to_bytes(4) + b"b" * SIZE)
    await line.aclose()


async def main() -> None:
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, ours, name="writer")
        await wait_all_tasks_blocked()
        got = b"".join([part async for part in theirs])
    length, text = int.from_bytes(got[:4]), got[4:]
    authors = [name for name in ("ada", "bob") if name[0].encode() in text[:length]]
    print(f"the first frame holds what {' and '.join(authors)} said")


trio.run(main)
