"""A connection as a class that enters a nursery by hand.

Exit code: 1
Says: RuntimeError: Nursery stack corrupted
Seen by: flake8-async ASYNC102
"""

from typing import Any, Self

import trio


class Connection:
    """Open from the first line of its block to the last."""

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(trio.sleep_forever, name="heartbeat")
        await self._shake_hands()  # Raises; and for who fails to enter, nobody calls `__aexit__`.
        return self

    async def _shake_hands(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError("the room is full")

    async def __aexit__(self, *details: Any) -> None:
        self._nursery.cancel_scope.cancel(reason="goodbye")
        await self._manager.__aexit__(*details)


async def main() -> None:
    try:
        async with Connection():
            print("connected")
    except ConnectionRefusedError as refused:
        print(f"not connected: {refused}")


trio.run(main)
