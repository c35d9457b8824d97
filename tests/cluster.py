"""Nodes as processes of their own, on one Redis, and the company that meets in a room of theirs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import trio
from witness import PATIENCE, Heard, Line, Witness, balance, open_line

LONGEST: Final = 120  # seconds that a company may stay
AT_ONCE: Final = 400  # who are on their way in; a node's room takes 256 of them
RATE: Final = 50  # messages a second of each who talks


class Node:
    """`trio-chat serve` in a process of its own. It is started, and then it has to be `ready`."""

    def __init__(self, history: str, log: Path, *options: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "trio_chat", "serve", "--port", "0", "--rate", "0"]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [*command, "--history", history, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.address = ""

    def wait_ready(self) -> None:
        """Wait until it listens. Blocks."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.startswith("listening on http://"), f"no node: {line}{self.log}"
        self.address = f"ws://{urlsplit(line.split()[-1]).netloc}"

    def room(self, name: str) -> str:
        """Return the address of a room."""
        return f"{self.address}/ws/chat/{quote(name)}/"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @property
    def lives(self) -> bool:
        """Whether it has neither been killed nor told to end."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, as `kill -9` does, if it lives."""
        self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()

    def end(self) -> None:
        """Let it drain. It must end well, with its books balanced and no fault in its log."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE)
        log = self.log
        assert code == 0, f"code {code}: {log[-2000:]}"
        assert "; balances\n" in log, log[-2000:]
        assert re.findall(r"^\S+ (?:error|critical) trio_chat.*", log, re.MULTILINE) == [], log[
            -4000:
        ]


@contextmanager
def running(nodes: Sequence[Node]) -> Iterator[None]:
    """See that none of them outlives the block. Where it fails, what they have logged is shown."""
    try:
        yield
    except BaseException:
        for number, node in enumerate(nodes):
            sys.stderr.write(f"--- node {number} ---\n{node.log[-4000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()


def end_well(nodes: Sequence[Node]) -> None:
    """Let those drain that have not been killed. Blocks."""
    for node in nodes:
        if node.lives:
            node.end()


@contextmanager
def serving(directory: Path, history: str, count: int, *options: str) -> Iterator[Sequence[Node]]:
    """Run so many nodes. Blocks."""
    nodes = [Node(history, directory / f"node-{one}.log", *options) for one in range(count)]
    with running(nodes):
        for node in nodes:
            node.wait_ready()
        yield nodes
        end_well(nodes)


@asynccontextmanager
async def open_nodes(directory: Path, *histories: str) -> AsyncIterator[Sequence[Node]]:
    """Run a node on each of the histories."""
    # What blocks is done in threads: a node may have to reach its Redis through a cable of ours.
    # When the nodes are killed, these threads end as well.
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
    logs = [directory / f"node-{number}.log" for number in range(len(histories))]
    nodes = [Node(history, log) for history, log in zip(histories, logs, strict=True)]
    with running(nodes):
        for node in nodes:
            await in_thread(node.wait_ready)
        yield nodes
        await in_thread(end_well, nodes)


class Company:
    """Who meets in one room, whichever node they come to."""

    def __init__(self, nodes: Sequence[Node], room: str, nursery: trio.Nursery) -> None:
        self.nodes = nodes
        self._nursery = nursery
        self._enough = trio.Event()
        self._talkers: Sequence[Witness] = ()
        self.room = room
        self.witnesses: list[Witness] = []

    def arrive(self, node: int, **query: str | int) -> Witness:
        """Send somebody to a node; if that dies, they come back to the next one."""
        addresses = [each.room(self.room) for each in self.nodes]
        witness = Witness([*addresses[node:], *addresses[:node]], **query)
        self.witnesses.append(witness)
        self._nursery.start_soon(witness.live)
        return witness

    async def join(self, node: int, name: str, **query: str | int) -> Witness:
        """Send somebody in, and wait for the welcome."""
        witness = self.arrive(node, name=name, **query)
        await witness.until(lambda: bool(witness.chapters))
        return witness

    async def join_everywhere(self, each: int = 2) -> list[Witness]:
        """Send so many to each node, and wait until everybody knows of everybody."""
        names = [f"{number}-{one}" for number in range(len(self.nodes)) for one in range(each)]
        everybody = [self.arrive(int(name.partition("-")[0]), name=name) for name in names]
        for one in everybody:
            await one.until(partial(knows, one, names))
        return everybody

    def talk(self, *witnesses: Witness, rate: float = RATE) -> None:
        """Let them talk, until the books are closed."""
        self._enough, self._talkers = trio.Event(), witnesses
        for witness in witnesses:
            self._nursery.start_soon(witness.talk, rate, self._enough)

    async def go_on(self, *witnesses: Witness, more: int = 10) -> None:
        """Wait until each of them, or of all, had so many more of its messages accepted."""
        goals = {each: len(each.acks) + more for each in witnesses or self.present}
        for witness, goal in goals.items():
            await witness.until(partial(has_acks, witness, goal))

    async def leave(self) -> None:
        """Let everybody go, all at once."""
        async with trio.open_nursery() as nursery:
            for witness in self.present:
                nursery.start_soon(witness.leave)

    @property
    def present(self) -> list[Witness]:
        """Who has not left."""
        return [witness for witness in self.witnesses if not witness.over]

    async def settle(self) -> str:
        """Wait until all that was said is accepted, and heard by all; return the epoch."""
        self._enough.set()
        for witness in self._talkers:
            if not witness.over:
                await witness.say("the end")  # Behind what it has muttered, and is not told of.
        for witness in self.present:
            await witness.until(partial(has_no_questions, witness))
        (epoch,) = {str(witness.welcome["epoch"]) for witness in self.present}
        top = max(ack.seq for witness in self.witnesses for ack in witness.acks_of(epoch))
        for witness in self.present:
            await witness.until(partial(has_heard, witness, top))
        return epoch

    async def close_books(self) -> list[Heard]:
        """Settle, and see that the books balance; return what was said.

        Whoever comes to whichever node afterwards reads the same.
        """
        epoch = await self.settle()
        story = balance(self.witnesses, epoch)
        async with trio.open_nursery() as nursery:
            for number, node in enumerate(self.nodes):
                if node.lives:
                    nursery.start_soon(self._read_again, number, story, epoch)
        return story

    @asynccontextmanager
    async def open_plain(self, node: int) -> AsyncIterator[Line]:
        """Send in somebody who speaks the tutorial's dialect."""
        async with open_line(self.nodes[node].room(self.room), subprotocols=None) as line:
            yield line

    @asynccontextmanager
    async def open_rooms(self, node: int, count: int) -> AsyncIterator[None]:
        """Open so many other rooms on a node, with somebody in each."""
        rooms = [self.nodes[node].room(f"{self.room}-{number}") for number in range(count)]
        async with be_in(rooms):
            yield

    @asynccontextmanager
    async def open_crowd(self, count: int) -> AsyncIterator[None]:
        """Let so many come at once, to all nodes, who say nothing."""
        rooms = [node.room(self.room) for node in self.nodes]
        async with be_in([rooms[number % len(rooms)] for number in range(count)]):
            yield

    async def _read_again(self, node: int, story: Sequence[Heard], epoch: str) -> None:
        begin, end = story[0].seq - 1, story[-1].seq
        late = self.arrive(node, since=begin, epoch=epoch)
        await late.until(partial(has_heard, late, end))
        assert late.welcome["recovered"], f"not from {begin} on: {late.welcome}"
        assert late.heard() == story, differences(late.heard(), story)
        await late.leave()


@asynccontextmanager
async def be_in(rooms: Sequence[str]) -> AsyncIterator[None]:
    """Let somebody come into each of these rooms; from their welcome on they read nothing."""
    welcomed = trio.Semaphore(0)
    at_once = trio.Semaphore(AT_ONCE)

    async def come(room: str) -> None:
        await at_once.acquire()
        async with open_line(room) as line:
            assert (await line.hear())["type"] == "welcome"
            at_once.release()
            welcomed.release()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(come, room)
        with trio.fail_after(PATIENCE):
            for _ in rooms:
                await welcomed.acquire()
        yield
        nursery.cancel_scope.cancel(reason="they have been here for long enough")


def differences(one: Sequence[Heard], other: Sequence[Heard]) -> str:
    """Say in what two stories differ."""
    pairs = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
    return f"{len(one)} and {len(other)} messages; different are {pairs[:3]}"


# What to wait for.


def has_acks(witness: Witness, count: int) -> bool:
    return len(witness.acks) >= count


def has_no_questions(witness: Witness) -> bool:
    return bool(witness.chapters) and not witness.waiting


def has_heard(witness: Witness, seq: int) -> bool:
    return bool(witness.chapters) and witness.at >= seq


def knows(witness: Witness, names: Iterable[str]) -> bool:
    """Whether it was told of all of these, and of nobody else, by its welcome or a join."""
    return bool(witness.chapters) and set(witness.members) == set(names)


@asynccontextmanager
async def open_company(nodes: Sequence[Node], room: str) -> AsyncIterator[Company]:
    """Open a room for company. At the end of the block they are gone."""
    with trio.fail_after(LONGEST):
        async with trio.open_nursery() as nursery:
            company = Company(nodes, room, nursery)
            yield company
            await company.leave()
