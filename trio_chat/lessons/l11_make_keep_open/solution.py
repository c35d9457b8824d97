"""One solution. Look at it when yours is green.

A supervisor is a nursery. Whoever it keeps alive has a task of its own in it, and that task is the
boundary: so the failure of one is nobody else's business, until it can't go on.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from .policy import Life, Policy


async def keep(life: Life, policy: Policy) -> None:
    """Run a life until it returns; begin it anew when it fails, after a pause.

    Raises:
        Exception: what the life has raised, when it has been begun anew too often in a row.
    """
    failures = 0
    while True:
        began = trio.current_time()
        try:
            await life()
        except Exception:  # The boundary: a Cancelled is none, and passes.
            if trio.current_time() - began >= policy.healthy:
                failures = 0
            failures += 1
            if failures > policy.restarts:
                raise
        else:
            return
        await trio.sleep(min(policy.most, policy.first * 2 ** (failures - 1)))


async def supervise(lives: Mapping[str, Life], policy: Policy) -> None:
    """Keep all of them alive, each for itself, until all have returned.

    Raises:
        ExceptionGroup: of what one has raised that could not be kept alive. The others are over.
    """
    async with trio.open_nursery() as nursery:
        for name, life in lives.items():
            nursery.start_soon(keep, life, policy, name=name)
