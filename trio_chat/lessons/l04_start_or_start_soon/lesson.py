"""The experiment: a door hands a connection over; sixteen come at once; and who closes what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...client import Disconnected, Message
from ...client.nursery import open_service_nursery
from ...config import Config
from ...server import Server
from ...venue import Guest
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from . import careful, naive, taskgroup
from .late_history import LateHistory
from .street import Street

if TYPE_CHECKING:
    from ..bench import Bench

MEMBERS: Final = 16
CONFIG: Final = Config(port=0, max_members=MEMBERS)
NAMES: Final = [f"green-{number}" for number in range(MEMBERS)]
OWNERS: Final = {
    "ada": "member ada",
    "bob": "door memory:bob",
    "gil": "turned away memory:gil",
    "cem": "room red",
} | {name: f"member {name}" for name in NAMES}


async def knock_and_enter(bench: Bench) -> None:
    """Start two servers in two ways; then follow connections from the door to their end."""
    await start_in_two_ways(bench)
    history = LateHistory(CONFIG)
    async with bench.open_room(CONFIG, history) as venue, open_service_nursery() as nursery:
        doors = bench.task("server").child_nurseries[-1]  # the innermost
        street = Street(venue.server, doors, nursery)
        await hand_over(bench, street)
        guests = await come_at_once(bench, street, history)
        await stay_outside(bench, street, history)
        bench.mark("everybody leaves")
        for guest in guests:
            await guest.leave()
        await trio.testing.wait_all_tasks_blocked()
        closers = {name: street.closed_by.get(name, "nobody") for name in OWNERS}
        wrong = [f"{name} by {task}" for name, task in closers.items() if task != OWNERS[name]]
        bench.check("each connection was closed by whoever held it", not wrong, ", ".join(wrong))


async def start_in_two_ways(bench: Bench) -> None:
    """See what has happened when `start_soon` returns, and when `start` does."""
    async with trio.open_nursery() as nursery:
        early, ready = Server(CONFIG), Server(CONFIG)
        nursery.start_soon(early.run, name="server, by start_soon")
        bench.expect("behind start_soon, not a line of it has run: no port", early.port, 0)
        await nursery.start(ready.run, name="server, by start")
        bench.check("behind start, it listens: there is a port", ready.port > 0)
        early.drain()
        ready.drain()


async def hand_over(bench: Bench, street: Street) -> None:
    """Let ada knock, then say where she wants to go, then leave."""
    stream = street.knock("ada")
    await trio.testing.wait_all_tasks_blocked()
    bench.show("ada has connected, and has said nothing yet")
    bench.expect("her door holds her connection", holders(bench), ["door memory:ada < server"])

    bench.mark("ada asks for the room blue")
    ada = await street.enter(stream, "ada", room="blue")
    await trio.testing.wait_all_tasks_blocked()
    bench.show("she is in")
    bench.expect("now a member does; the door is gone", holders(bench), ["member ada < room blue"])
    await ada.leave()


async def come_at_once(bench: Bench, street: Street, history: LateHistory) -> list[Guest]:
    """Let 16 ask for a room that is not open, whose history takes its time."""
    guests: list[Guest] = []

    async def come(name: str) -> None:
        guests.append(await street.enter(street.knock(name), name, room="green"))

    history.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        bench.mark("16 ask for the room green at once; its history is slow to open")
        for name in NAMES:
            nursery.start_soon(come, name, name=f"{name} comes")
        await trio.testing.wait_all_tasks_blocked()
        bench.show("while the history opens")
        bench.expect("one task for the room, and no other", len(bench.tasks("room")), 1)
        inside = [*bench.tasks("hub"), *bench.tasks("member")]
        bench.expect("it has no hub yet, and no member", inside, [])
        bench.expect("and all 16 doors are gone", bench.tasks("door"), [])

        bench.mark("the history is open")
        history.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        bench.show("all are in")
        bench.expect("one room with 16 in it, not 16 with one", sizes(bench), [MEMBERS])
    await guests[0].say("hello, everybody")
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("all 16 hear what one says", sum(map(has_heard, guests)), MEMBERS)
    return guests


async def stay_outside(bench: Bench, street: Street, history: LateHistory) -> None:
    """Let three come who don't get in, each for another reason."""
    bench.mark("gil asks for the room green, which is full")
    told = dict[str, int]()
    await try_to_enter(street, "gil", "green", told)
    await trio.testing.wait_all_tasks_blocked()
    bench.expect("he is told 1013: try again later", told.get("gil", "welcome"), 1013)

    bench.mark("bob knocks, and never says a word")
    began = trio.current_time()
    silence = await street.knock("bob").receive_some()
    bench.expect("he is told nothing, and his door closes the line", silence, b"")
    patience = trio.current_time() - began
    bench.expect(
        "after exactly 10 seconds, the door's deadline", patience, CONFIG.handshake_timeout
    )

    history.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_to_enter, street, "cem", "red", told, name="cem comes")
        await trio.testing.wait_all_tasks_blocked()
        bench.mark("cem waits for the room red to open, and it is cancelled")
        bench.scope("room red").cancel(reason="lesson 4")
    bench.expect("nobody says goodbye to him: that is 1006", told["cem"], 1006)
    bench.show("when everything has come to rest")


async def try_to_enter(street: Street, name: str, room: str, told: dict[str, int]) -> None:
    """Note what somebody is told who can't enter; who can leaves again."""
    try:
        guest = await street.enter(street.knock(name), name, room)
        await guest.leave()
    except Disconnected as ended:
        told[name] = int(ended.code)


def has_heard(guest: Guest) -> bool:
    """Return whether a guest has heard the others."""
    return any(isinstance(event, Message) for event in guest.heard)


def holders(bench: Bench) -> list[str]:
    """Return who may hold a connection, and within which task."""
    found = []
    for task in [*bench.tasks("door"), *bench.tasks("member"), *bench.tasks("turned away")]:
        assert task.parent_nursery is not None, "only Trio's own first task is in none"
        found.append(f"{task.name} < {task.parent_nursery.parent_task.name}")
    return found


def sizes(bench: Bench) -> list[int]:
    """Return how many members each room has."""
    return [
        sum(
            child.name.startswith("member")
            for nursery in room.child_nurseries
            for child in nursery.child_tasks
        )
        for room in bench.tasks("room")
    ]


LESSON: Final = Lesson(
    key="4",
    question="`start` or `start_soon`, and who owns the socket?",
    story=(
        "Ada knocks, and is handed over to a room. Sixteen ask at once for a room that takes its "
        "time to open. Then three come who don't get in: one is too many, one says nothing, and "
        "one waits for a room that ends."
    ),
    prediction=Prediction(
        question="16 ask at once for a room that is not open. How many rooms are opened?",
        answers=(
            "16: each finds none, so each opens one",
            "any number from 1 to 16: it depends on who is how fast",
            "one: the other 15 are turned away until it is open",
            "one: the first opens it, and the other 15 find it",
        ),
        right=3,
        because=(
            "Looking for the room, opening it and handing the connection to it are one step, with "
            "no await in it, so nobody can come between. `start_soon` makes that possible: it "
            "does not wait. Who comes while the room opens waits in the room's own queue."
        ),
    ),
    experiment=knock_and_enter,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.knock_and_enter,
            {"rooms": 16, "guests": 16, "running": 16},
            "{rooms} rooms for {guests} people; the server is closed, and {running} handlers run",
        ),
        Kind.CAREFUL: Twin(
            careful.knock_and_enter,
            {"rooms": 1, "guests": 16, "running": 0},
            "{rooms} room for {guests} people; the server is closed, and {running} handlers run",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.knock_and_enter,
            {"outside": 16, "inside": 0},
            "the group has ended, and {outside} handlers run; of those created in it, {inside} do",
        ),
    },
)
