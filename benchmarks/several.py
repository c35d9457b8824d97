"""Several nodes and one Redis: what they carry together, and how much later a message arrives.

The cluster is this measurement's own, and starts afresh with each. The server that a case is given
is one node with memory: the latency is measured there as well, in the same minute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import cycle

from .load import BATCH, Members, Target, connect, finish_handshake
from .measure import Result, fanout, latency
from .servers import OURS, Process, free_port, our_command, running, running_redis


class Spread(Members):
    """Members who take turns at several nodes."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets[0])
        self._targets = cycle(targets)

    def join(self, rooms: list[str]) -> float:
        """See `Members.join`."""
        for start in range(0, len(rooms), BATCH):
            opened = [connect(next(self._targets), room) for room in rooms[start : start + BATCH]]
            for sock in opened:
                self.add(sock, finish_handshake(sock))
        return 0.0


@contextmanager
def cluster(target: Target, nodes: int) -> Iterator[tuple[list[Target], Process]]:
    """Run so many nodes and a Redis, on whichever core there is; yield the first one's process."""
    with ExitStack() as stack:
        history = stack.enter_context(running_redis())
        targets, processes = [], []
        for _ in range(nodes):
            port = free_port()
            command = our_command(port, "--history", history)
            process = stack.enter_context(running(OURS, command, port))
            os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
            targets.append(replace(target, port=port))
            processes.append(process)
        yield targets, processes[0]


def throughput(
    target: Target,
    server: Process | None,
    *,
    nodes: int = 2,
    members: int = 100,
    in_flight: int = 128,
    seconds: float = 3.0,
) -> Result:
    """One room over all nodes, half of its members talk: messages a second."""
    with cluster(target, nodes) as (targets, node):
        run = fanout(
            target,
            node,
            members=members,
            in_flight=in_flight,
            senders=max(nodes, members // 2),
            seconds=seconds,
            gather=lambda _: Spread(targets),
        )
    return Result(
        "cluster",
        {"nodes": nodes, "members": members, "what": "as much as they carry"},
        {"stored_per_s": run.figures["messages_per_s"], "lost": run.figures["lost"]},
        run.load_cpu,
        run.server_cpu,
    )


def delay(
    target: Target,
    server: Process | None,
    *,
    nodes: int = 2,
    members: int = 100,
    deliveries: int = 5000,
    seconds: float = 5.0,
) -> Result:
    """An open loop over all nodes, and over one node with memory: milliseconds in between."""
    run = partial(latency, members=members, deliveries=deliveries, seconds=seconds)
    alone = run(target, server)
    with cluster(target, nodes) as (targets, node):
        together = run(target, node, gather=lambda _: Spread(targets))
    medians = [float(str(each.figures["p50_ms"])) for each in (alone, together)]
    return Result(
        "cluster",
        {"nodes": nodes, "members": members, "what": f"{deliveries:,} deliveries a second"},
        {
            "added_ms": medians[1] - medians[0],
            "p50_ms": medians[1],
            "p99_ms": together.figures["p99_ms"],
            "lost": together.figures["lost"],
        },
        together.load_cpu,
        together.server_cpu,
    )
