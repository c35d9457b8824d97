"""A recording played back, with what must hold of every recording."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from trio_chat.microscope.events import (
    Closed,
    Event,
    Exited,
    Gauged,
    Hello,
    Marked,
    Moved,
    Named,
    Opened,
    ScopeChanged,
    Spawned,
)
from trio_chat.microscope.snapshot import TaskNode
from trio_chat.microscope.tree import to_json


class Scope(NamedTuple):
    """A nursery's scope; `deadline` in seconds since the recording began."""

    cancelled: bool = False
    deadline: float | None = None
    shield: bool = False


@dataclass
class Film:
    """What the events so far come to."""

    tasks: dict[int, tuple[str, int | None]] = field(default_factory=dict)  # name, within
    nurseries: dict[int, tuple[int, Scope]] = field(default_factory=dict)  # of, scope
    exits: dict[int, Exited] = field(default_factory=dict)
    now: float = 0.0

    def play(self, events: Iterable[Event]) -> Film:
        for event in events:
            assert event.t >= self.now, f"back in time: {event}"
            self.now = event.t
            self._apply(event)
        return self

    def _apply(self, event: Event) -> None:
        match event:
            case Hello():
                self.tasks, self.nurseries = {}, {}
            case Opened(_, id, of):
                assert id not in self.nurseries, event
                assert of in self.tasks, event
                self.nurseries[id] = of, Scope()
            case Closed(_, id):
                self._over(id)
            case Spawned(_, id, name, within):
                assert id not in self.tasks, event
                assert within is None or within in self.nurseries, event
                self.tasks[id] = name, within
            case Moved(_, id, within):
                assert within in self.nurseries, event
                self.tasks[id] = self.tasks[id][0], within
            case Named(_, id, name):
                self.tasks[id] = name, self.tasks[id][1]
            case ScopeChanged(_, id, cancelled, deadline, shield):
                scope = Scope(cancelled, deadline, shield)
                self.nurseries[id] = self.nurseries[id][0], scope
            case Exited(_, id):
                for nursery, (of, _) in [*self.nurseries.items()]:
                    if of == id:
                        self._over(nursery)
                del self.tasks[id]
                self.exits[id] = event
            case Gauged() | Marked():
                pass
            case _:
                assert_never(event)

    def _over(self, nursery: int) -> None:
        assert nursery not in [within for _, within in self.tasks.values()], f"{nursery} leaks"
        del self.nurseries[nursery]

    def expect(self, tree: TaskNode, now: float) -> None:
        """See that this is the tree as it was found just now, at the recording's time `now`."""
        found = to_json(tree)
        tasks, nurseries = found["tasks"], found["nurseries"]
        assert isinstance(tasks, list)
        assert isinstance(nurseries, list)
        found_tasks = {one["id"]: (one["name"], one["within"]) for one in tasks}
        assert self.tasks == found_tasks
        assert {*self.nurseries} == {one["id"] for one in nurseries}
        for one in nurseries:
            of, scope = self.nurseries[one["id"]]
            assert (of, scope.cancelled, scope.shield) == (
                one["of"],
                one["cancelled"],
                one["shield"],
            )
            left = one["deadline"]
            if left is None or scope.deadline is None:
                assert left == scope.deadline
            else:
                assert math.isclose(now + left, scope.deadline, abs_tol=1e-5)
