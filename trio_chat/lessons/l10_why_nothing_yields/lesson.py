"""The experiment: an archivist in each of three rooms, who reads its past and stops early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from ...config import Config
from ...history import History
from ..l03_raise_in_one_connection.overheard import overheard
from ..lesson import Clock, Kind, Lesson, Prediction, Twin
from ..lives import ended
from . import careful, naive, taskgroup
from .away import AwayHistory
from .pages import Page, open_pages, read_pages, read_pages_in_time

if TYPE_CHECKING:
    from ...venue import Guest, Venue
    from ..bench import Bench

ROOMS: Final = ("blue", "green", "red")
WORDS: Final = ("hello", "how are you", "needle", "fine", "and you", "bye")
WORD: Final = "needle"  # on the second page of three
LATER: Final = "1013: the room's history can't be had at the moment"
FAULT: Final = "1011: an error in the server"
CONFIG: Final = Config(port=0)

Guests = dict[str, list["Guest"]]  # by room


async def stop_early(bench: Bench) -> None:
    """Let archivists read in a generator, in a scope and in a block; then look at the server."""
    history = AwayHistory(CONFIG)
    with overheard("trio.async_generator_errors"):  # What Trio finds when it sweeps up.
        async with bench.open_room(CONFIG, history, faults=1) as venue:
            guests = await fill(venue)
            await leave_a_generator(bench, history, guests)
            await wait_in_a_scope(bench, history, guests)
            bench.expect("the one is counted as a fault, the other is not", faults(venue), 1)
            await leave_a_block(bench, history, guests)
            await meet_the_server(bench, venue, history)
    loose = {life.name: life.survivors for life in ended(bench.recording) if life.survivors}
    bench.expect(
        "one task has been outside the tree, in all of this", loose, {"archivist": ("read ahead",)}
    )


async def fill(venue: Venue) -> Guests:
    """Let two people into each room, who say six things there."""
    guests: Guests = {}
    for room in ROOMS:
        guests[room] = [await venue.join_once(f"{room}-{number}", room=room) for number in range(2)]
        for word in WORDS:
            await guests[room][0].say(word)
    return guests


# --- Three archivists ----------------------------------------------------------------------------


async def find(pages: AsyncIterator[Page], home: trio.Event) -> None:
    """Look for a word, and stop where it is. Then do something else, until it is time to go."""
    async for page in pages:
        if any(entry.message == WORD for entry in page):
            break
    await home.wait()


async def leave_a_generator(bench: Bench, history: History, guests: Guests) -> None:
    """Leave a generator early that has a nursery open."""
    home = trio.Event()
    pages = read_pages(await history.open_room("green"))
    let_in(bench, "green", find, pages, home)
    await trio.testing.wait_all_tasks_blocked()
    bench.show("the archivist of green has found the word, and has left the loop")
    helper = below(bench, "archivist")
    bench.expect("its loop is over, but its nursery is not", helper, ["read ahead"])

    bench.mark("the archivist of green goes home")
    with overheard("trio_chat") as lines:
        home.set()
        await trio.testing.wait_all_tasks_blocked()
    bench.show("when everything has come to rest")
    bench.expect("the room green has died of it", bench.tasks("room green"), [])
    bench.expect("the log says so", lines, ["room green failed"])
    bench.expect(
        "its members were told that the server has a fault",
        told(guests["green"]),
        [FAULT] * 2,
    )


async def read_slowly(pages: AsyncIterator[Page]) -> None:
    """Read each page for five seconds."""
    async for _ in pages:
        await trio.sleep(5)


async def wait_in_a_scope(bench: Bench, history: History, guests: Guests) -> None:
    """Read slowly what a generator yields that has a deadline open."""
    start = trio.current_time()
    pages = read_pages_in_time(await history.open_room("blue"))
    bench.mark("the archivist of blue reads slowly")
    let_in(bench, "blue", read_slowly, pages)
    await trio.sleep(0.875)
    bench.expect("for nearly a second all is well", len(bench.tasks("room blue")), 1)
    with overheard("trio_chat") as lines:
        await trio.sleep(0.125)
        await trio.testing.wait_all_tasks_blocked()
    bench.show("when everything has come to rest")
    bench.expect("after one second the room blue has died", bench.tasks("room blue"), [])
    bench.expect("it was one second, by the clock", trio.current_time() - start, 1)
    bench.expect("the log says nothing", lines, [])
    bench.expect(
        "its members were told that the server has a fault",
        told(guests["blue"]),
        [FAULT] * 2,
    )


async def find_in_block(history: History, room: str, home: trio.Event) -> None:
    """Look for a word as `find` does, in pages that come from a block."""
    async with open_pages(await history.open_room(room)) as pages:
        async for page in pages:
            if any(entry.message == WORD for entry in page):
                break
    await home.wait()


async def leave_a_block(bench: Bench, history: History, guests: Guests) -> None:
    """Leave a loop early that stands in the block of its nursery."""
    home = trio.Event()
    let_in(bench, "red", find_in_block, history, "red", home)
    await trio.testing.wait_all_tasks_blocked()
    bench.show("the archivist of red has found the word, and has left the block")
    bench.expect("its nursery is over as well", below(bench, "archivist"), [])

    bench.mark("the archivist of red goes home")
    home.set()
    await trio.testing.wait_all_tasks_blocked()
    await guests["red"][0].say("still there?")
    heard = [await guest.expect("still there?") for guest in guests["red"]]
    bench.expect("in red they talk on", len(heard), 2)


# --- The server itself ---------------------------------------------------------------------------


async def meet_the_server(bench: Bench, venue: Venue, history: AwayHistory) -> None:
    """Let somebody into red while its past can't be read."""
    before = faults(venue)
    bench.mark("ada comes to red, and its history is away")
    history.away = True
    ada = await venue.join_once("ada", room="red")
    await trio.sleep(1)
    bench.expect("ada is told to come again later", told([ada]), [LATER])
    failed = "her session failed: a block that it had entered was left open"
    bench.check("her session has left every block", faults(venue) == before, failed)


# --- What one sees in the tree -------------------------------------------------------------------


def let_in(bench: Bench, room: str, work: Callable[..., Awaitable[None]], *what: object) -> None:
    """Start an archivist in the nursery of a room."""
    bench.task(f"room {room}").child_nurseries[0].start_soon(work, *what, name="archivist")


def below(bench: Bench, name: str) -> Sequence[str]:
    """Return the names of a task's children."""
    nurseries = bench.task(name).child_nurseries
    return [child.name for nursery in nurseries for child in nursery.child_tasks]


def faults(venue: Venue) -> int:
    """Return how many errors the server has counted."""
    return venue.server.house.tally.faults


def told(guests: list[Guest]) -> list[str]:
    """Return what guests were told when they were thrown out."""
    return [str(guest.ended) for guest in guests]


LESSON: Final = Lesson(
    key="10",
    question="Why may nothing yield inside a nursery?",
    story=(
        "Three rooms have a past of six messages, three pages, and an archivist who looks for a "
        "word in it. In green the pages come from a generator with a nursery in it, in blue from "
        "one with a deadline in it, in red from a block."
    ),
    prediction=Prediction(
        question="The archivist of green finds the word on page two and breaks out of the loop. "
        "What becomes of the task that fetches page three?",
        answers=(
            "it is cancelled: `break` ends the loop, and with it the generator and its nursery",
            "it goes on, until the archivist ends: a task waits for its children",
            "it goes on, outlives the archivist, and the room dies of it",
            "it goes on for ever, and nobody notices",
        ),
        right=2,
        because=(
            "`break` leaves the loop, not the generator: that stands still at its `yield`, with "
            "its nursery open. When the archivist ends, nobody stands at the lid. Trio notices, "
            "and raises an error that is nobody's in particular: so it is the room's."
        ),
    ),
    experiment=stop_early,
    clock=Clock.VIRTUAL,
    package=__package__,
    twins={
        Kind.NAIVE: Twin(
            naive.stop_early,
            {"readers": 16, "orphans": 16},
            "{readers} readers stopped early, and left {orphans} orphans behind",
        ),
        Kind.CAREFUL: Twin(
            careful.stop_early,
            {"readers": 16, "orphans": 0},
            "{readers} readers stopped early, and left {orphans} orphans behind",
        ),
        Kind.TASKGROUP: Twin(
            taskgroup.stop_early,
            {"readers": 16, "errors": 16},
            "{readers} readers stopped early, and {errors} errors came that none of them got",
        ),
    },
)
