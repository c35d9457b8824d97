"""A hub that goes through a copy of the members.

Says: everybody who is here has heard it
"""

import trio
from trio.testing import MockClock

members: dict[str, list[str]] = {"ada": [], "bob": [], "cem": []}


async def leave(name: str) -> None:
    await trio.sleep(0.5)
    del members[name]


async def broadcast(text: str) -> None:
    for heard in list(members.values()):
        heard.append(text)
        await trio.sleep(1)  # Who leaves now was there when the message came.


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broadcast, "hello", name="hub")
        nursery.start_soon(leave, "cem", name="cem leaves")
    print("everybody who is here has heard it")


trio.run(main, clock=MockClock(autojump_threshold=0))
