"""A goodbye in a `finally`, for whoever is cancelled.

Exit code: 0
Says: the peer heard: nothing
Seen by: flake8-async ASYNC102
"""

import trio


async def serve(peer: trio.MemorySendChannel[str]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        await peer.send("goodbye")  # Its scope is cancelled: the first await raises at once.


async def main() -> None:
    to_peer, peer = trio.open_memory_channel[str](1)
    with trio.CancelScope() as session:
        session.cancel(reason="the room ends")
        await serve(to_peer)
    try:
        print(f"the peer heard: {peer.receive_nowait()}")
    except trio.WouldBlock:
        print("the peer heard: nothing")


trio.run(main)
