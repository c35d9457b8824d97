"""A broadcast to 10,000 members in one step. Somebody else has something short to do.

Exit code: 0
Says: others ran during the broadcast: no
Seen by: no tool
"""

import trio

members: list[list[str]] = [[] for _ in range(10_000)]
turns: list[float] = []


async def take_turns() -> None:
    while True:
        await trio.lowlevel.checkpoint()
        turns.append(trio.current_time())


async def broadcast(text: str) -> None:
    await trio.lowlevel.checkpoint()
    before = len(turns)
    for member in members:
        member.append(text)  # No await, so nobody else runs before the last member has it.
    print(f"others ran during the broadcast: {'yes' if len(turns) > before else 'no'}")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns, name="another room")
        await broadcast("hello")
        nursery.cancel_scope.cancel(reason="everybody has heard it")


trio.run(main)
