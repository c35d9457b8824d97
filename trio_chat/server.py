"""The tree: listeners and doors, rooms, the heartbeat, each in the nursery that it may outlive not.

    server
    ├── heartbeat
    ├── room "lobby", room "green" …     hubs and members inside
    └── listener, door, door …

Three nested nurseries, and the order in which they end is the order of a drain: first nobody new
comes, then the rooms finish what was said and close their members, then the heartbeat stops.
Reading the indentation of `run` from the inside out is reading the shutdown.
"""

from __future__ import annotations

import logging
import math
import socket
from functools import partial

import trio

from .config import Config
from .crowd import Crowd
from .door import Door
from .heartbeat import Heartbeat
from .history import History
from .history.choose import choose_history
from .house import House
from .ledger import Ledger
from .listening import accept_forever, close_listeners, open_listeners
from .metrics import CONTENT_TYPE, Tally, render
from .outbox import Outboxes
from .protocol import Ended
from .rooms import Rooms
from .session import Visit
from .site import Site
from .transport import SocketTransport, Transport
from .upgrade import Handshake
from .web import Answer
from .wire import Wire

log = logging.getLogger(__name__)


def build_house(config: Config, history: History) -> House:
    """Return the shared things of one server, all new but the history."""
    return House(
        config=config,
        history=history,
        ledger=Ledger(),
        tally=Tally(),
        outboxes=Outboxes(config.outboxes),
        heartbeat=Heartbeat(config),
        crowd=Crowd(limit=config.max_connections, limit_per_address=config.max_per_address),
    )


class Server:
    """A chat server. `run` it in a nursery, `drain` it to end it.

    `history` is the one that `config` asks for, unless another is given.
    """

    def __init__(self, config: Config, history: History | None = None) -> None:
        self.config = config
        self.house = build_house(config, history or choose_history(config))
        self._site = Site(self._counts, self._metrics, lambda: not self._draining.is_set())
        self._draining = trio.Event()
        self._listeners: list[socket.socket] = []
        self._nursery: trio.Nursery | None = None
        self._rooms: Rooms | None = None
        self.port = config.port
        self.exit_code = 0
        self._unstored = math.inf  # How many messages were refused before the drain.

    @property
    def url(self) -> str:
        """Where the pages are, once the server listens."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self.port}/chat/"

    def drain(self) -> None:
        """Begin to end: let what was said reach everybody, say goodbye. Idempotent."""
        self._draining.set()

    async def run(self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained. `exit_code` is then 0, or 1 where something accepted was lost.

        Raises:
            OSError: the address can't be listened on; nothing was started.
            HistoryUnavailable: the history can't be opened; nothing was started.

        If cancelled, members are told that the server goes away, but nothing else is waited for.
        """
        config = self.config
        await self.house.history.open()
        try:
            self._listeners = await open_listeners(config.host, config.port, config.backlog)
            self.port = self._listeners[0].getsockname()[1]
            async with trio.open_nursery() as house:
                house.start_soon(self.house.history.run, name="history")
                house.start_soon(self.house.heartbeat.run, name="heartbeat")
                with trio.CancelScope() as grace:
                    async with trio.open_nursery() as rooms:
                        self._open_rooms(rooms)
                        async with trio.open_nursery() as doors:
                            self._open_doors(doors)
                            task_status.started(self)
                            await self._draining.wait()
                            await trio.sleep(config.drain_delay)
                            doors.cancel_scope.cancel(reason="the server is draining")
                        self._drain_rooms(grace)
                house.cancel_scope.cancel(reason="everybody has left")
            if grace.cancelled_caught:
                log.error("not drained within %g s: tasks were cancelled", config.drain_timeout)
                self.exit_code = 1
        finally:
            close_listeners(self._listeners)
            with trio.move_on_after(config.close_timeout, shield=True):
                await self.house.history.aclose()
            if self._rooms is not None:
                self._close_the_books()

    def _open_rooms(self, nursery: trio.Nursery) -> None:
        house = self.house
        self._nursery = nursery
        self._rooms = Rooms(nursery, house.config, house.history, house.ledger, house.tally)

    def _open_doors(self, nursery: trio.Nursery) -> None:
        for listener in self._listeners:
            welcome = partial(self._welcome, nursery)
            name = f"listener {listener.getsockname()[0]}"
            nursery.start_soon(accept_forever, listener, welcome, name=name)

    def _drain_rooms(self, grace: trio.CancelScope) -> None:
        close_listeners(self._listeners)
        self._unstored = self.house.tally.unstored
        now = trio.current_time()
        grace.deadline = now + self.config.drain_timeout
        assert self._rooms is not None
        self._rooms.drain(deadline=now + self.config.farewell_time)

    def _close_the_books(self) -> None:
        ledger = self.house.ledger
        log.log(logging.INFO if ledger.balances else logging.ERROR, "ledger: %s", ledger)
        if self.house.tally.unstored > self._unstored:
            log.error("a message that was accepted could not be stored")
            self.exit_code = 1

    # --- From the listener to the door, from the door to the room --------------------------------

    def _welcome(self, nursery: trio.Nursery, accepted: socket.socket, peer: str) -> None:
        self.house.tally.connections += 1
        transport = SocketTransport(accepted, peer)
        nursery.start_soon(self.meet, transport, name=f"door {peer}")

    async def meet(self, transport: Transport) -> None:
        """Meet a new connection: answer its requests, or bring it to its room.

        Whatever goes wrong here costs this one connection.
        """
        house = self.house
        door = Door(transport, house.config, house.tally, self._site.answer, self._hand_over)
        try:
            await door.serve()
        except Exception:
            house.tally.faults += 1
            log.exception("the door failed on %s", transport.peer)

    def _hand_over(
        self, transport: Transport, handshake: Handshake, early: bytes, address: str
    ) -> None:
        # One synchronous step: before it the door closes the connection, after it the room does.
        house = self.house
        assert self._rooms is not None
        assert self._nursery is not None
        opening = handshake.opening
        wire = Wire(transport, house.config, house.ledger, house.outboxes, opening, early)
        visit = Visit(house, wire, handshake.dialect, handshake.join, address)
        try:
            house.crowd.enter(address)
            try:
                self._rooms.admit(handshake.room, visit)
            except Ended:
                house.crowd.leave(address)
                raise
        except Ended as full:
            name = f"turned away {transport.peer}"
            self._nursery.start_soon(visit.turn_away, full.ending, name=name)

    # --- What the site shows ---------------------------------------------------------------------

    def _counts(self) -> dict[str, int]:
        return self._rooms.counts() if self._rooms is not None else {}

    def _metrics(self) -> Answer:
        counts = self._counts()
        gauges = {
            "connections_open": self.house.crowd.size,
            "rooms_open": len(counts),
            "members": sum(counts.values()),
            "outbox_bytes": self.house.outboxes.size,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "draining": int(self._draining.is_set()),
        }
        text = render(self.house.tally, self.house.ledger, gauges)
        return Answer(200, text.encode(), CONTENT_TYPE, {"Cache-Control": "no-store"})
