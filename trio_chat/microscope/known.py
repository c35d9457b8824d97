"""What a recorder knows of the tree: enough to say what has changed since.

No clock, no sink and no hook: the time is given, and events are returned. It holds the tasks that
live and the nurseries that are open, and forgets each with its end. To look is to compare, object
by object: where nothing has changed, nothing is made.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

from .endings import End
from .events import Closed, Event, Exited, Gauged, How, Moved, Named, Opened, ScopeChanged, Spawned
from .snapshot import Serials, in_order

Task = trio.lowlevel.Task

# Whoever is cancelled looks this far up for the scope that did it.
LEVELS: Final = 50
# So many of the dead are remembered.
AUTHORS: Final = 1000


class Names(Enum):
    """Whether tasks are recorded by name, or as "task 118" and without what they said."""

    SHOWN = "names"
    IDS = "ids"


@dataclass(slots=True, eq=False)
class _Place:
    """A nursery that is open, as the recording has it."""

    id: int
    nursery: trio.Nursery
    cancelled: bool = False
    deadline: float = math.inf
    shield: bool = False
    end: End | None = None  # of the first that died of it: it knows why this was cancelled
    tasks: set[Task] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Life:
    """A task that lives, as the recording has it."""

    id: int
    task: Task
    name: str
    place: _Place | None
    nurseries: list[trio.Nursery] = field(default_factory=list)
    gauge: tuple[int, ...] | None = None


class Known:
    """The tree as it was recorded so far. `origin` is Trio's time at the recording's beginning."""

    def __init__(self, serials: Serials, names: Names, origin: float) -> None:
        self._serials = serials
        self._names = names
        self._origin = origin
        self._lives: dict[int, _Life] = {}  # by address, as a cancellation names tasks
        self._places: dict[trio.Nursery, _Place] = {}
        # Who died lately, by what Trio called them: it may be they whom a cancellation names.
        self._authors: OrderedDict[str, int] = OrderedDict()

    # --- A look ----------------------------------------------------------------------------------

    def begin(self, t: float, root: Task) -> Iterator[Event]:
        """Say what the tree is."""
        yield self._spawn(t, root, None)
        yield from self.compare(t)

    def compare(self, t: float) -> Iterator[Event]:
        """Say what is not as it was, and know it from now on."""
        walk = list(self._lives.values())
        for life in walk:  # It grows by those who are found on the way.
            if life.task.name != life.name:
                yield self._rename(t, life)
            nurseries = life.task.child_nurseries
            if nurseries != life.nurseries:
                yield from self._compare_nurseries(t, life)
            for nursery in nurseries:
                place = self._places[nursery]
                yield from self._compare_scope(t, place)
                if place.tasks != nursery.child_tasks:
                    yield from self._compare_tasks(t, place, walk)

    def _compare_nurseries(self, t: float, life: _Life) -> Iterator[Event]:
        nurseries = life.task.child_nurseries
        for nursery in nurseries:
            if nursery not in self._places:
                place = self._places[nursery] = _Place(self._serials.number(nursery), nursery)
                life.nurseries.append(nursery)
                yield Opened(t, place.id, life.id)
        for nursery in [one for one in life.nurseries if one not in nurseries]:
            yield from self._follow_all(t, self._places[nursery])
            yield Closed(t, self._places.pop(nursery).id)
        life.nurseries = nurseries

    def _compare_scope(self, t: float, place: _Place) -> Iterator[Event]:
        scope = place.nursery.cancel_scope
        if (
            scope.cancel_called is not place.cancelled
            or scope.deadline != place.deadline
            or scope.shield is not place.shield
        ):
            place.cancelled, place.deadline = scope.cancel_called, scope.deadline
            place.shield = scope.shield
            yield self._describe(t, place)

    def _compare_tasks(self, t: float, place: _Place, found: list[_Life]) -> Iterator[Event]:
        tasks = place.nursery.child_tasks
        yield from self._follow_all(t, place)
        for task in in_order(tasks - place.tasks, self._serials):
            if id(task) not in self._lives:  # Else it is followed from where it was.
                yield self._spawn(t, task, place)
                found.append(self._lives[id(task)])

    def reasons(self, t: float) -> Iterator[Event]:
        """Say once more why nurseries were cancelled."""
        for place in self._places.values():
            if place.end is not None:
                yield self._describe(t, place)

    def gauge(self, t: float, gauges: Mapping[Task, tuple[int, ...]]) -> Iterator[Event]:
        """Say what was measured for these tasks, where it is not as it was."""
        for task, measured in gauges.items():
            life = self._lives.get(id(task))
            if life is not None and measured != life.gauge:
                life.gauge = measured
                yield Gauged(t, life.id, measured)

    # --- What may happen to a task that lives ----------------------------------------------------

    def _rename(self, t: float, life: _Life) -> Named:
        life.name = life.task.name
        return Named(t, life.id, self._call(life))

    def _move(self, t: float, life: _Life, place: _Place) -> Moved:
        if life.place is not None:
            life.place.tasks.discard(life.task)
        life.place = place
        place.tasks.add(life.task)
        return Moved(t, life.id, place.id)

    def _follow(self, t: float, life: _Life) -> Iterator[Event]:
        """Say where a task is now, if `nursery.start()` has handed it over."""
        nursery = life.task.parent_nursery
        if nursery is None or life.place is None or nursery is life.place.nursery:
            return
        if nursery not in self._places and id(nursery.parent_task) in self._lives:
            yield from self._compare_nurseries(t, self._lives[id(nursery.parent_task)])
        if nursery in self._places:
            yield self._move(t, life, self._places[nursery])

    def _follow_all(self, t: float, place: _Place) -> Iterator[Event]:
        for task in in_order(frozenset(place.tasks), self._serials):
            yield from self._follow(t, self._lives[id(task)])

    def _describe(self, t: float, place: _Place) -> ScopeChanged:
        infinite = place.deadline == math.inf
        deadline = None if infinite else round(place.deadline - self._origin, 6)
        reason = None if place.end is None else self._quote(place.end.reason)
        source = None if place.end is None else place.end.source
        return ScopeChanged(t, place.id, place.cancelled, deadline, place.shield, reason, source)

    # --- A task begins ---------------------------------------------------------------------------

    def note_spawn(self, t: float, task: Task) -> Iterator[Event]:
        """Say that a task was spawned, and where; nothing if that is not in this tree."""
        nursery = task.parent_nursery
        parent = None if nursery is None else self._lives.get(id(nursery.parent_task))
        if nursery is None or parent is None:
            return
        yield from self._follow(t, parent)
        if nursery not in self._places:
            yield from self._compare_nurseries(t, parent)
        place = self._places[nursery]
        yield from self._compare_scope(t, place)
        yield self._spawn(t, task, place)

    def _spawn(self, t: float, task: Task, place: _Place | None) -> Spawned:
        life = self._lives[id(task)] = _Life(self._serials.number(task), task, task.name, place)
        if place is None:
            return Spawned(t, life.id, self._call(life))
        place.tasks.add(task)
        return Spawned(t, life.id, self._call(life), place.id)

    # --- A task ends -----------------------------------------------------------------------------

    def note_exit(self, t: float, task: Task, end: End) -> Iterator[Event]:
        """Say that a task ended, and how; nothing if it was not in this tree."""
        life = self._lives.get(id(task))
        if life is None:
            return
        yield from self._follow(t, life)
        if life.name != task.name:
            yield self._rename(t, life)
        for nursery in life.nurseries:
            yield from self._follow_all(t, self._places[nursery])
        if end.how is How.CANCELLED:
            yield from self._explain(t, task.parent_nursery, end)
        yield self._exit(t, life, end)
        if life.place is not None and life.place.nursery in self._places:
            yield from self._compare_scope(t, life.place)  # Did it take others with it?

    def _exit(self, t: float, life: _Life, end: End) -> Exited:
        by = None if end.author is None else self._find_author(end.author)
        del self._lives[id(life.task)]
        for nursery in life.nurseries:
            del self._places[nursery]
        if life.place is not None:
            life.place.tasks.discard(life.task)
        self._authors[repr(life.task)] = life.id
        if len(self._authors) > AUTHORS:
            self._authors.popitem(last=False)
        exc = end.exc if end.exc is None or self._shown else end.exc.partition(":")[0]
        return Exited(t, life.id, end.how, exc, self._quote(end.reason), end.source, by, end.at)

    def _explain(self, t: float, nursery: trio.Nursery | None, end: End) -> Iterator[Event]:
        """Say why the nearest nursery that is cancelled was: the first of its dead knows."""
        for _ in range(LEVELS):
            place = None if nursery is None else self._places.get(nursery)
            if nursery is None or place is None:
                return
            if nursery.cancel_scope.cancel_called:
                if place.end is None:
                    place.end, place.cancelled = end, True
                    yield self._describe(t, place)
                return
            nursery = nursery.parent_task.parent_nursery

    # --- Words -----------------------------------------------------------------------------------

    @property
    def _shown(self) -> bool:
        return self._names is Names.SHOWN

    def _call(self, life: _Life) -> str:
        return life.name if self._shown else f"task {life.id}"

    def _quote(self, text: str | None) -> str | None:
        return text if self._shown else None

    def _find_author(self, words: str) -> int | str | None:
        """Return whom Trio means by "<Task 'alice' at 0x7f00>": an id, or else the name."""
        id = self._authors.get(words)
        if id is not None:
            self._authors.move_to_end(words)  # Others may have died of it as well.
            return id
        name, _, address = words.removeprefix("<Task ").removesuffix(">").rpartition(" at 0x")
        try:
            life = self._lives.get(int(address, 16))
        except ValueError:
            life = None
        if life is not None and repr(life.task) == words:
            return life.id
        return self._quote(name.strip("'\"") or None)
