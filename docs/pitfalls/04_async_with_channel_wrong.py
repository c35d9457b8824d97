"""A member's last words, with which the room ends, have a bug in them.

Exit code: 0
Says: all is well
Seen by: no tool
"""

import trio


async def say_goodbye(inbox: trio.MemorySendChannel[str], room: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()  # It stands for a conversation.
    async with inbox:  # Leaving this block awaits; in a cancelled scope that raises Cancelled.
        room.cancel(reason="its last member leaves")
        inbox.send_nowait("goodbye, " + names["ada"])


names: dict[str, str] = {}  # The bug: nobody is in it.


async def main() -> None:
    inbox, _hub = trio.open_memory_channel[str](1)
    with trio.CancelScope() as room:
        await say_goodbye(inbox, room)
    print("all is well")


trio.run(main)
