"""A room against a model of it: who is there, what was said, and who has heard how much.

Hypothesis chooses what happens next from what is possible by then: somebody joins, talks, stalls,
wakes up, leaves or breaks off. After each step the room is as the model says, and every member has
heard a contiguous part of the room's one order.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest
import trio
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lobby import Guest, Lobby, lockstep, memory, number, open_lobby
from trio.testing import MockClock

from trio_chat.config import Config
from trio_chat.protocol import DEFAULT_HISTORY

NAMES: Final = ("alice", "bob", "carol", "dora")
OUTBOX: Final = 40_000  # bytes; what a member says when it says a lot does not fit
A_LOT: Final = "x" * 3_000

EXAMPLES: Final = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(autouse=True)
def troubles(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that nothing was logged that somebody would have to look into."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno > logging.INFO] == []


@dataclass
class Member:
    """What the model knows of a connection."""

    guest: Guest
    after: int  # It hears everything after this number.
    stalled: bool = False


@dataclass
class Model:
    """What a room should be: two dictionaries."""

    lobby: Lobby
    said: dict[int, str] = field(default_factory=dict)  # by number
    members: dict[str, Member] = field(default_factory=dict)
    past: dict[str, Member] = field(default_factory=dict)  # each name's last connection
    evicted: int = 0

    # What can happen.

    def possible(self) -> dict[str, tuple[Callable[[str], Awaitable[None]], list[str]]]:
        here = [name for name, member in self.members.items() if not member.stalled]
        stalled = [name for name, member in self.members.items() if member.stalled]
        away = [name for name in NAMES if name not in self.members]
        acts: dict[str, tuple[Callable[[str], Awaitable[None]], list[str]]] = {
            "join": (self.join, away),
            "come back": (self.come_back, [name for name in away if name in self.past]),
            "take over": (self.take_over, here),
            "say": (self.say, here),
            "repeat": (self.repeat, here if self.said else []),
            "say a lot": (self.say_a_lot, here),
            "stall": (self.stall, here),
            "wake": (self.wake, stalled),
            "leave": (self.leave, here),
            "break off": (self.break_off, here + stalled),
        }
        return {act: (do, who) for act, (do, who) in acts.items() if who}

    async def join(self, name: str) -> None:
        guest = await self.lobby.join(name=name, history=3, line=lockstep)
        assert guest.welcome["recovered"] is False
        self._arrived(name, guest, max(len(self.said) - 3, 0))

    async def come_back(self, name: str) -> None:
        before = self.past[name]
        after = before.guest.numbers[-1] if before.guest.numbers else before.after
        epoch = before.guest.welcome["epoch"]
        guest = await self.lobby.join(name=name, since=after, epoch=epoch, line=lockstep)
        if guest.welcome["epoch"] != epoch:
            # Nothing had been said when the room ended, so there was nothing to keep of it.
            assert before.after == 0
            after = max(len(self.said) - DEFAULT_HISTORY, 0)
        assert guest.welcome["recovered"] is (guest.welcome["epoch"] == epoch)
        self._arrived(name, guest, after)

    async def take_over(self, name: str) -> None:
        old = self.members.pop(name)
        guest = await self.lobby.join(resume=old.guest.welcome["resume"], history=0, line=memory)
        ending = await old.guest.wait_closed()
        assert ending is not None
        assert ending.code == 4006
        self._arrived(name, guest, len(self.said))

    def _arrived(self, name: str, guest: Guest, after: int) -> None:
        assert guest.name == name
        assert guest.welcome["seq"] == len(self.said)
        assert guest.welcome["members"] == sorted([*self.members, name])
        self.members[name] = self.past[name] = Member(guest, after)

    async def say(self, name: str, filling: str = "") -> None:
        seq = len(self.said) + 1
        self.said[seq] = f"{name} says {seq}{filling}"
        guest = self.members[name].guest
        await guest.say(self.said[seq], f"id-{seq}")
        assert (await guest.hear("ack", id=f"id-{seq}"))["seq"] == seq

    async def repeat(self, name: str) -> None:
        seq = len(self.said)
        guest = self.members[name].guest
        before = len(guest.events("ack"))
        await guest.say(self.said[seq], f"id-{seq}")
        await guest.until(lambda guest: len(guest.events("ack")) > before)
        assert guest.events("ack")[-1] == {
            "type": "ack",
            "id": f"id-{seq}",
            "seq": seq,
            "duplicate": True,
        }

    async def say_a_lot(self, name: str) -> None:
        for _ in range(20):
            await self.say(name, A_LOT)

    async def stall(self, name: str) -> None:
        member = self.members[name]
        member.guest.pause()
        member.stalled = True

    async def wake(self, name: str) -> None:
        member = self.members[name]
        member.guest.resume()
        member.stalled = False

    async def leave(self, name: str) -> None:
        member = self.members.pop(name)
        assert (await member.guest.close() or (0,))[0] == 1000

    async def break_off(self, name: str) -> None:
        await self.members.pop(name).guest.vanish()

    # What must be true then.

    async def check(self) -> None:
        await self.lobby.quiet()
        self._bury_the_evicted()
        await self.lobby.quiet()
        # A room without members may still wait for the goodbyes of those who were evicted.
        counts = self.lobby.rooms.counts()
        assert counts == {"lobby": len(self.members)} or not (self.members or any(counts.values()))
        for member in self.members.values():
            heard = member.guest.events("message")
            expected = [*self.said.items()][member.after :]
            told = [(number(event), event["message"]) for event in heard]
            if member.stalled:
                assert told == expected[: len(told)]
            else:
                assert told == expected

    def _bury_the_evicted(self) -> None:
        roster = self.lobby.rooms.get("lobby")
        for name, member in list(self.members.items()):
            if roster is None or roster.roster.named(name) is None:
                assert member.stalled, f"{name} was put out, though it read"
                del self.members[name]
                self.evicted += 1
                event("somebody is evicted")


async def play(data: st.DataObject) -> None:
    config = Config(rate=0, outbox=OUTBOX, stall_timeout=0, close_timeout=1)
    async with open_lobby(config) as lobby:
        model = Model(lobby)
        for _ in range(data.draw(st.integers(1, 25), label="steps")):
            possible = model.possible()
            act = data.draw(st.sampled_from(sorted(possible)), label="act")
            do, candidates = possible[act]
            await do(data.draw(st.sampled_from(candidates), label="who"))
            await model.check()
        for name in list(model.members):
            await model.break_off(name)
        await trio.sleep(config.close_timeout)
        await model.check()
        assert lobby.house.crowd.size == 0


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=MockClock(autojump_threshold=0))


@settings(EXAMPLES, max_examples=60)
@given(random=st.random_module(), data=st.data())
def test_a_room_is_as_its_model(random: object, data: st.DataObject) -> None:
    run(partial(play, data))


@pytest.mark.slow
@settings(EXAMPLES, max_examples=2_000)
@given(random=st.random_module(), data=st.data())
def test_a_room_is_as_its_model_in_many_more_stories(random: object, data: st.DataObject) -> None:
    run(partial(play, data))


async def come_and_go(rooms: list[tuple[str, bool, int]]) -> None:
    """Bring people into rooms and let some of them go, in ways that are all different."""
    async with open_lobby() as lobby:
        here: list[tuple[str, Guest]] = []
        for room, stays, way in rooms:
            guest = await (lobby.join_plain(room) if way % 2 else lobby.join(room))
            if stays:
                here.append((room, guest))
            elif way < 2:
                await guest.vanish()
            else:
                await guest.close()
            await lobby.quiet()

            names = {room for room, _ in here}
            present = {name: sum(room == name for room, _ in here) for name in names}
            assert lobby.rooms.counts() == present
            assert lobby.house.crowd.size == len(lobby.house.heartbeat) == len(here)


@settings(EXAMPLES, max_examples=50)
@given(
    random=st.random_module(),
    rooms=st.lists(
        st.tuples(st.sampled_from(["green", "blue"]), st.booleans(), st.integers(0, 3)), max_size=20
    ),
)
def test_presence_equals_open_connections(
    random: object, rooms: list[tuple[str, bool, int]]
) -> None:
    run(partial(come_and_go, rooms))
