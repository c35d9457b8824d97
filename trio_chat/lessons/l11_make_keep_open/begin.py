"""Yours to make green, with `trio-chat lab make --solution FILE`.

`keep` runs one life and begins it anew when it fails, after a pause. `supervise` does so for
several, and the failure of one is nobody else's business. What exactly they promise is in the
lesson's text, and each promise is checked.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from trio_chat.lessons.l11_make_keep_open.policy import Life, Policy


async def keep(life: Life, policy: Policy) -> None:
    """Run a life until it returns; so far, only once."""
    await life()


async def supervise(lives: Mapping[str, Life], policy: Policy) -> None:
    """Keep all of them alive, until all have returned."""
    async with trio.open_nursery() as nursery:
        for name, life in lives.items():
            nursery.start_soon(keep, life, policy, name=name)
