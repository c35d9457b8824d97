"""The open rooms: from a name to the room of that name, for as long as it is open.

Each room runs in the nursery that is given here, and is in the table from the step in which it is
opened to the step in which it is over.
"""

from __future__ import annotations

import trio

from .config import Config
from .history import History
from .ledger import Ledger
from .metrics import Tally
from .protocol import Ended
from .room import NO_HISTORY, Arrival, Room


class Rooms:
    """The table. `nursery` is where the rooms live."""

    def __init__(
        self,
        nursery: trio.Nursery,
        config: Config,
        history: History,
        ledger: Ledger,
        tally: Tally,
    ) -> None:
        self._nursery = nursery
        self._config = config
        self._history = history
        self._ledger = ledger
        self._tally = tally
        self._rooms: dict[str, Room] = {}

    # No awaits below: finding, entering and leaving a room cannot interleave. With one inside
    # `admit`, sixteen who join at once have been seen to open sixteen rooms.

    def admit(self, name: str, arrival: Arrival) -> None:
        """Bring somebody into the room of that name; open it if it isn't.

        Raises:
            Ended: the room is full, or what is said could not be kept.
        """
        if not self._history.available:
            raise Ended(NO_HISTORY)
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(
                name, self._config, self._history, self._ledger, self._tally, self._over
            )
            self._nursery.start_soon(room.run, name=f"room {name}")
        room.admit(arrival)  # Bounded; full means 1013.

    def _over(self, room: Room) -> None:
        del self._rooms[room.name]

    def drain(self, deadline: float) -> None:
        """Drain every room, so that all their members' connections are closed by then."""
        for room in list(self._rooms.values()):
            room.drain(deadline)

    def counts(self) -> dict[str, int]:
        """Return how many members each open room has."""
        return {name: len(room.roster) for name, room in self._rooms.items()}

    def get(self, name: str) -> Room | None:
        """Return the open room of that name."""
        return self._rooms.get(name)
