"""What a recorder knows of the tree: enough to say what has changed since.

No clock, no sink and no hook: the time is given, and events are returned. It holds the tasks that
live, and forgets each with its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

from .endings import End
from .events import Closed, Event, Exited, How, Moved, Named, Opened, ScopeChanged, Spawned
from .snapshot import QUIET, Scope, Seen, Serials, scope_of

# Who was cancelled looks this far up for the scope that did it; the next look finds it anyway.
LEVELS: Final = 50

# So many of the dead are remembered.
AUTHORS: Final = 1000


class Names(Enum):
    """Whether tasks are recorded by name, or as "task 118" and without what they said."""

    SHOWN = "names"
    IDS = "ids"


@dataclass(slots=True)
class _Life:
    """A task that lives, as the recording has it."""

    task: trio.lowlevel.Task
    name: str
    within: int | None
    nurseries: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Place:
    """A nursery that is open, as the recording has it."""

    scope: Scope = QUIET
    explained: bool = False  # The recording says why it was cancelled.
    tasks: set[int] = field(default_factory=set)


class Known:
    """The tree as it was recorded so far. `origin` is Trio's time at the recording's beginning."""

    def __init__(self, serials: Serials, names: Names, origin: float) -> None:
        self._serials = serials
        self._names = names
        self._origin = origin
        self._lives: dict[int, _Life] = {}
        self._places: dict[int, _Place] = {}
        # Who died lately, by what Trio called them: it may be they whom a cancellation names.
        self._authors: dict[str, int] = {}

    # --- A look ----------------------------------------------------------------------------------

    def compare(self, t: float, survey: Iterable[Seen]) -> Iterator[Event]:
        """Say what is not as it was, and know it from now on."""
        homes: dict[int, int] = {}
        for seen in survey:
            within = homes.pop(seen.id, None)
            life = self._lives.get(seen.id)
            if life is None:
                yield self._begin(t, seen.task, seen.id, within)
                life = self._lives[seen.id]
            elif life.within != within and within is not None:
                yield self._move(t, seen.id, life, within)
            if life.name != seen.name:
                yield self._rename(t, seen.id, life)
            here = [nursery.id for nursery in seen.nurseries]
            yield from self._compare_nurseries(t, seen.id, life, here)
            for nursery in seen.nurseries:
                yield from self._compare_scope(t, nursery.id, nursery.scope)
                homes.update(dict.fromkeys(nursery.tasks, nursery.id))

    def _compare_nurseries(
        self, t: float, of: int, life: _Life, here: list[int]
    ) -> Iterator[Event]:
        if life.nurseries == here:
            return
        for id in here:
            if id not in self._places:
                yield self._open(t, id, of, life)
        for id in set(life.nurseries).difference(here):
            life.nurseries.remove(id)
            yield from self._follow_all(t, self._places.pop(id).tasks)
            yield Closed(t, id)

    def _compare_scope(self, t: float, id: int, scope: Scope) -> Iterator[Event]:
        place = self._places[id]
        if place.scope != scope:
            place.scope = scope
            yield self._describe(t, id, scope)

    def _describe(self, t: float, id: int, scope: Scope, end: End | None = None) -> ScopeChanged:
        deadline = None if scope.deadline is None else round(scope.deadline - self._origin, 6)
        reason, source = (None, None) if end is None else (self._say(end.reason), end.source)
        return ScopeChanged(t, id, scope.cancelled, deadline, scope.shield, reason, source)

    # --- A task begins, and what may happen to it ------------------------------------------------

    def note_spawn(self, t: float, task: trio.lowlevel.Task) -> Iterator[Event]:
        """Say that a task was spawned, and where; nothing if that is not in this tree."""
        nursery = task.parent_nursery
        if nursery is None or nursery.parent_task not in self._serials:
            return
        of = self._serials.number(nursery.parent_task)
        life = self._lives.get(of)
        if life is None:
            return
        yield from self._follow(t, of, life)
        within = self._serials.number(nursery)
        if within not in self._places:
            yield self._open(t, within, of, life)
        yield from self._compare_scope(t, within, scope_of(nursery))
        yield self._begin(t, task, self._serials.number(task), within)

    def _begin(self, t: float, task: trio.lowlevel.Task, id: int, within: int | None) -> Event:
        self._lives[id] = _Life(task, task.name, within)
        if within is not None:
            self._places[within].tasks.add(id)
        return Spawned(t, id, self._call(id, task.name), within)

    def _open(self, t: float, id: int, of: int, life: _Life) -> Event:
        self._places[id] = _Place()
        life.nurseries.append(id)
        return Opened(t, id, of)

    def _rename(self, t: float, id: int, life: _Life) -> Event:
        life.name = life.task.name
        return Named(t, id, self._call(id, life.name))

    def _move(self, t: float, id: int, life: _Life, within: int) -> Event:
        if life.within in self._places:
            self._places[life.within].tasks.discard(id)
        life.within = within
        self._places[within].tasks.add(id)
        return Moved(t, id, within)

    def _follow(self, t: float, id: int, life: _Life) -> Iterator[Event]:
        """Say where a task is now, if `nursery.start()` has moved it."""
        nursery = life.task.parent_nursery
        if nursery is None or life.within is None:
            return
        within = self._serials.number(nursery)
        if within == life.within:
            return
        if within not in self._places:
            of = self._serials.number(nursery.parent_task)
            if of not in self._lives:
                return  # It has left this tree.
            yield self._open(t, within, of, self._lives[of])
        yield self._move(t, id, life, within)

    def _follow_all(self, t: float, tasks: Iterable[int]) -> Iterator[Event]:
        for id in sorted(tasks):
            if id in self._lives:
                yield from self._follow(t, id, self._lives[id])

    # --- A task ends -----------------------------------------------------------------------------

    def note_exit(self, t: float, task: trio.lowlevel.Task, end: End) -> Iterator[Event]:
        """Say that a task ended, and how; nothing if it was not in this tree."""
        id = self._serials.number(task)
        life = self._lives.get(id)
        if life is None:
            return
        yield from self._follow(t, id, life)
        if life.name != task.name:
            yield self._rename(t, id, life)
        for nursery in life.nurseries:
            yield from self._follow_all(t, self._places[nursery].tasks)
        if end.how is How.CANCELLED:
            yield from self._explain(t, task.parent_nursery, end)
        del self._lives[id]
        for nursery in life.nurseries:
            del self._places[nursery]
        if life.within in self._places:
            self._places[life.within].tasks.discard(id)
        self._authors[repr(task)] = id
        if len(self._authors) > AUTHORS:
            del self._authors[next(iter(self._authors))]
        by = None if end.author is None else self._author(end.author)
        exc = end.exc if end.exc is None or self._shown else end.exc.partition(":")[0]
        yield Exited(t, id, end.how, exc, self._say(end.reason), end.source, by, end.at)

    def _explain(self, t: float, nursery: trio.Nursery | None, end: End) -> Iterator[Event]:
        for _ in range(LEVELS):
            if nursery is None:
                return
            scope = scope_of(nursery)
            place = self._places.get(id := self._serials.number(nursery))
            if scope.cancelled and place is not None:
                if not place.explained:
                    place.explained = True
                    place.scope = scope
                    yield self._describe(t, id, scope, end)
                return
            nursery = nursery.parent_task.parent_nursery

    # --- Words -----------------------------------------------------------------------------------

    def _call(self, id: int, name: str) -> str:
        return name if self._names is Names.SHOWN else f"task {id}"

    def _say(self, text: str | None) -> str | None:
        return text if self._shown else None

    @property
    def _shown(self) -> bool:
        return self._names is Names.SHOWN

    def _author(self, words: str) -> int | str | None:
        """Return who that is: "<Task 'alice' at 0x7f00>", as a cancellation has it."""
        id = self._authors.pop(words, None)
        if id is not None:
            self._authors[words] = id  # It may be asked for again: others died of it as well.
            return id
        name, _, address = words.removeprefix("<Task ").removesuffix(">").rpartition(" at 0x")
        try:
            id = self._serials.at(int(address, 16))
        except ValueError:
            return None
        life = None if id is None else self._lives.get(id)
        if life is not None and repr(life.task) == words:
            return id
        return self._say(name.strip("'\"") or None)
