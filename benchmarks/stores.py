"""What it costs to keep what is said: a server with a history on disk beside one with memory.

Both are measured in one go, while the other idles: so the ratio says more about the histories than
about the machine's hour.
"""

from __future__ import annotations

from collections.abc import Callable

from .load import Target
from .measure import Result, fanout, rooms
from .servers import OURS, Process, free_port, our_command, running

Run = Callable[[Target, Process | None], Result]


def one_room(
    target: Target,
    server: Process | None,
    *,
    kind: str,
    members: int = 100,
    in_flight: int = 32,
    seconds: float = 3.0,
) -> Result:
    """One room, so many messages under way, from as many senders: messages a second."""

    def run(target: Target, server: Process | None) -> Result:
        return fanout(
            target,
            server,
            members=members,
            in_flight=in_flight,
            senders=in_flight,
            seconds=seconds,
        )

    return _beside_memory(run, target, server, kind=kind, count=1, members=members)


def many_rooms(
    target: Target,
    server: Process | None,
    *,
    kind: str,
    count: int = 200,
    members: int = 5,
    seconds: float = 3.0,
) -> Result:
    """Many small rooms, everybody talks: messages a second."""

    def run(target: Target, server: Process | None) -> Result:
        return rooms(target, server, rooms=count, members=members, seconds=seconds)

    return _beside_memory(run, target, server, kind=kind, count=count, members=members)


def _beside_memory(
    run: Run, target: Target, server: Process | None, *, kind: str, count: int, members: int
) -> Result:
    port = free_port()
    with running(OURS, our_command(port), port) as memory:
        usual = run(Target("127.0.0.1", port, subprotocol=target.subprotocol), memory)
        stored = run(target, server)
    rates = [float(str(one.figures["deliveries_per_s"])) / members for one in (usual, stored)]
    return Result(
        "history",
        {"kind": kind, "rooms": count, "members": members},
        {
            "stored_per_s": rates[1],
            "memory_per_s": rates[0],
            "of_memory": rates[1] / rates[0],
            "lost": stored.figures["lost"],
        },
        stored.load_cpu,
        stored.server_cpu,
    )
