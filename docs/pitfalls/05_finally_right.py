"""A goodbye in a `finally`, under a shield and with a deadline.

Says: the peer heard: goodbye
"""

import trio


async def serve(peer: trio.MemorySendChannel[str]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(2, shield=True):
            await peer.send("goodbye")


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
