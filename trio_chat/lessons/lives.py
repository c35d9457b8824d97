"""What a recording says of each task: its name, whose child it is, how it ended and in which order.

Pure functions of a recording. They read what one can see in the replay, so that an experiment can
expect it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..microscope.events import Event, Exited, How, Moved, Named, Opened, Spawned


@dataclass(frozen=True, slots=True)
class Life:
    """A task that has ended. `survivors` are the names of the children that it left behind."""

    name: str
    how: How
    reason: str | None
    survivors: tuple[str, ...]


@dataclass(slots=True)
class _Task:
    name: str
    within: int | None


def ended(events: Iterable[Event]) -> list[Life]:
    """Return who has ended, in the order in which they did."""
    living: dict[int, _Task] = {}
    owners: dict[int, int] = {}  # by nursery: the task that has opened it
    lives = []
    for event in events:
        match event:
            case Opened(id=id, of=of):
                owners[id] = of
            case Spawned(id=id, name=name, within=within):
                living[id] = _Task(name, within)
            case Moved(id=id, within=within):
                living[id].within = within
            case Named(id=id, name=name):
                living[id].name = name
            case Exited(id=id, how=how, reason=reason):
                task = living.pop(id)
                nurseries = {nursery for nursery, of in owners.items() if of == id}
                left = tuple(each.name for each in living.values() if each.within in nurseries)
                lives.append(Life(task.name, how, reason, left))
            case _:
                pass  # Scopes, gauges and marks say nothing about who lives.
    return lives
