"""A goodbye under a shield without a deadline; the peer does not read for an hour.

Exit code: 0
Says: the shutdown took 3600 s
Seen by: no tool
"""

import trio
from trio.testing import MockClock


async def serve(peer: trio.MemorySendChannel[str]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):  # Whoever cancels waits as long as the peer likes.
            await peer.send("goodbye")


async def read_late(peer: trio.MemoryReceiveChannel[str]) -> None:
    await trio.sleep(3601)
    print(f"the peer heard: {await peer.receive()}")


async def main() -> None:
    to_peer, peer = trio.open_memory_channel[str](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_late, peer, name="peer")
        with trio.move_on_after(1):
            await serve(to_peer)
        print(f"the shutdown took {trio.current_time() - 1:.0f} s")
        nursery.cancel_scope.cancel(reason="the server has ended")


trio.run(main, clock=MockClock(autojump_threshold=0))
