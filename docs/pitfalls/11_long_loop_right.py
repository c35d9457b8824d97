"""A broadcast to 10,000 members, 64 in one step. Somebody else has something short to do.

Says: others ran during the broadcast: yes
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
    for index, member in enumerate(list(members)):
        if index % 64 == 63:
            await trio.lowlevel.checkpoint()  # Over a copy: somebody may leave meanwhile.
        member.append(text)
    print(f"others ran during the broadcast: {'yes' if len(turns) > before else 'no'}")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns, name="another room")
        await broadcast("hello")
        nursery.cancel_scope.cancel(reason="everybody has heard it")


trio.run(main)
