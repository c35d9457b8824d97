"""The same bug, and the channel is closed by `with`: the error comes out.

Says: noticed: KeyError('ada')
"""

import trio


async def say_goodbye(inbox: trio.MemorySendChannel[str], room: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()  # It stands for a conversation.
    with inbox:  # A channel in memory closes in one step: there is nothing to await.
        room.cancel(reason="its last member leaves")
        inbox.send_nowait("goodbye, " + names["ada"])


names: dict[str, str] = {}  # The bug: nobody is in it.


async def main() -> None:
    inbox, _hub = trio.open_memory_channel[str](1)
    try:
        with trio.CancelScope() as room:
            await say_goodbye(inbox, room)
        print("all is well")
    except KeyError as bug:
        print(f"noticed: {bug!r}")


trio.run(main)
