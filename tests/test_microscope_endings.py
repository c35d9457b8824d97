"""How tasks end, as it is told in each of the ways that this Python has."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import nullcontext, suppress
from functools import partial, wraps
from types import TracebackType
from typing import Final, NoReturn

import pytest
import trio
import trio.testing

from trio_chat.microscope.endings import (
    ENDED,
    LONGEST,
    RETURNED,
    TOOL_IDS,
    End,
    Endings,
    Outcomes,
)
from trio_chat.microscope.events import How

WAYS: Final[list[type[Endings]]] = [Outcomes]
if sys.version_info >= (3, 12):
    from trio_chat.microscope.endings import Unwinding

    WAYS.append(Unwinding)


class Witness(trio.abc.Instrument):
    """Asks how each task ended."""

    def __init__(self, way: Endings) -> None:
        self._way = way
        self.ends: dict[str, End] = {}
        self.ended: list[End] = []

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        end = self.ends[task.name] = self._way.take(task)
        self.ended.append(end)

    def __getitem__(self, name: str) -> End:
        return self.ends[name]


@pytest.fixture(params=WAYS)
async def witness(request: pytest.FixtureRequest) -> AsyncIterator[Witness]:
    way: Endings = request.param()
    instrument = Witness(way)
    way.start()
    trio.lowlevel.add_instrument(instrument)
    yield instrument
    trio.lowlevel.remove_instrument(instrument)
    way.stop()


def fail(text: str = "no") -> NoReturn:
    raise ValueError(text)


async def fail_later(text: str) -> None:
    await trio.lowlevel.checkpoint()
    fail(text)


async def spawn(*functions: Callable[[], Awaitable[object]]) -> None:
    """Run each as a task of that name; what they raise is not for us."""
    try:
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function, name=getattr(function, "__name__", "task"))
    except* (ValueError, RuntimeError, OSError):
        pass


def is_at(end: End, function: str) -> bool:
    """Return whether the task ended on a line of this file, in that function."""
    where = (end.at or "").partition(" ")
    return where[0].startswith("test_microscope_endings.py:") and where[2] == function


async def test_a_task_that_comes_to_its_end_returned(witness: Witness) -> None:
    async def quiet() -> str:
        await trio.lowlevel.checkpoint()
        return "something"

    await spawn(quiet)
    assert witness["quiet"] == RETURNED


async def test_what_a_task_raised_is_told_with_its_line(witness: Witness) -> None:
    async def loud() -> None:
        await trio.lowlevel.checkpoint()
        fail("out of tea")

    await spawn(loud)
    end = witness["loud"]
    assert (end.how, end.exc) == (How.RAISED, "ValueError: out of tea")
    assert is_at(end, "fail")


async def test_an_exception_out_of_trio_is_told_with_the_line_that_asked_for_it(
    witness: Witness,
) -> None:
    async def reader() -> None:
        _, ours = trio.testing.memory_stream_pair()
        await ours.aclose()
        await ours.receive_some()

    with pytest.RaisesGroup(trio.ClosedResourceError):
        await spawn(reader)
    assert witness["reader"].exc == "ClosedResourceError"
    assert is_at(witness["reader"], "reader")


async def test_a_cancelled_task_tells_by_whom_and_why_and_where_it_waited(witness: Witness) -> None:
    async def waiter() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter, name="waiter")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="the show is over")
    end = witness["waiter"]
    assert (end.how, end.exc, end.reason) == (How.CANCELLED, None, "the show is over")
    assert (end.source, end.author) == ("explicit", repr(trio.lowlevel.current_task()))
    assert is_at(end, "waiter")


async def test_a_deadline_is_told_as_one(
    witness: Witness, autojump_clock: trio.testing.MockClock
) -> None:
    async def waiter() -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1):
        await spawn(waiter)
    assert (witness["waiter"].how, witness["waiter"].source) == (How.CANCELLED, "deadline")


async def test_who_dies_of_a_sibling_is_told_that(witness: Witness) -> None:
    async def waiter() -> None:
        await trio.sleep_forever()

    async def loud() -> None:
        await trio.testing.wait_all_tasks_blocked()
        fail("out of tea")

    await spawn(waiter, loud)
    end = witness["waiter"]
    assert (end.how, end.source) == (How.CANCELLED, "nursery")
    assert "out of tea" in (end.reason or "")
    assert "loud" in (end.author or "")


async def test_a_parent_of_the_cancelled_is_cancelled_where_it_waited_for_them(
    witness: Witness,
) -> None:
    async def child() -> None:
        await trio.sleep_forever()

    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent, name="parent")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="all of you")
    end = witness["parent"]
    assert (end.how, end.exc, end.reason) == (How.CANCELLED, None, "all of you")
    assert is_at(end, "parent")


async def test_a_group_with_one_real_failure_is_that_failure(witness: Witness) -> None:
    async def waiter() -> None:
        await trio.sleep_forever()

    async def loud() -> None:
        await trio.testing.wait_all_tasks_blocked()
        fail("one of us")

    async def parent() -> None:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiter)
                nursery.start_soon(loud)

    await spawn(parent)
    end = witness["parent"]
    assert (end.how, end.exc) == (How.RAISED, "ValueError: one of us")
    assert is_at(end, "parent")


async def test_in_a_group_the_line_is_where_it_failed_if_that_is_in_the_same_task(
    witness: Witness,
) -> None:
    async def parent() -> None:
        async with trio.open_nursery():
            fail("myself")

    await spawn(parent)
    assert is_at(witness["parent"], "fail")


async def test_what_a_task_catches_is_no_ending(witness: Witness) -> None:
    async def nested(depth: int) -> None:
        if depth:
            await trio.lowlevel.checkpoint()
            fail()
        with suppress(ValueError):
            await nested(1)  # The same function, but not the task's outermost.

    async def careful() -> None:
        with trio.CancelScope() as scope:
            scope.cancel(reason="my own")
            await trio.sleep_forever()

    async def brave() -> None:
        await nested(0)

    await spawn(partial(nested, 0), careful, brave)
    assert witness.ended == [RETURNED] * 3


async def test_a_function_that_runs_twice_at_once_ends_twice_in_its_own_way(
    witness: Witness,
) -> None:
    async def member(inner: Callable[[], object]) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        inner()

    await spawn(partial(member, lambda: None), partial(member, fail))
    assert sorted(end.how for end in witness.ended) == [How.RAISED, How.RETURNED]


async def test_wrappers_do_not_matter(witness: Witness) -> None:
    async def loud() -> None:
        await trio.lowlevel.checkpoint()
        fail("beneath it all")

    @wraps(loud)
    async def forgiving() -> None:
        try:
            await loud()
        except ValueError:
            await trio.lowlevel.checkpoint()

    @wraps(loud)
    async def strict() -> None:
        await loud()

    await spawn(partial(forgiving))
    assert witness.ended == [RETURNED]
    await spawn(partial(strict))
    assert witness.ended[1].exc == "ValueError: beneath it all"


class Foreign(Coroutine[object, object, None]):
    """A coroutine that no `async def` has made, as an extension module has them."""

    def __init__(self, inner: Coroutine[object, object, None]) -> None:
        self._inner = inner

    def send(self, value: object) -> object:
        return self._inner.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> object:
        assert isinstance(kind, BaseException)
        return self._inner.throw(kind)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[object, object, None]:
        return self._inner.__await__()


async def test_a_coroutine_that_is_not_python_s_ends_like_any_other(witness: Witness) -> None:
    async def loud() -> None:
        await trio.lowlevel.checkpoint()
        fail("in C")

    async def quiet() -> None:
        await trio.lowlevel.checkpoint()

    def start_loud() -> Foreign:
        return Foreign(loud())

    def start_quiet() -> Foreign:
        return Foreign(quiet())

    await spawn(start_quiet)
    await spawn(start_loud)
    assert witness["start_loud"].exc == "ValueError: in C"
    assert witness["start_quiet"] == RETURNED


async def test_a_long_text_is_cut_and_one_that_fails_is_left_out(witness: Witness) -> None:
    class Sulky(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("ask somebody else")

    async def chatty() -> None:
        await trio.lowlevel.checkpoint()
        fail("x" * 1000)

    async def sulky() -> None:
        await trio.lowlevel.checkpoint()
        raise Sulky

    await spawn(chatty)
    await spawn(sulky)
    assert len(witness["chatty"].exc or "") == LONGEST
    assert witness["sulky"].exc == "Sulky"


async def test_a_task_that_leaves_a_nursery_open_is_told_as_trio_ends_it(witness: Witness) -> None:
    async def child() -> None:
        await trio.sleep_forever()

    async def careless() -> None:
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        nursery.start_soon(child, name="orphan")

    await spawn(careless)
    await trio.testing.wait_all_tasks_blocked()
    assert witness["careless"].how is How.RAISED
    assert "RuntimeError" in (witness["careless"].exc or "")
    assert witness["orphan"].how is How.CANCELLED


async def test_what_goes_wrong_in_a_thread_is_nobody_s_end(witness: Witness) -> None:
    async def patient() -> None:
        with suppress(ValueError):
            await trio.to_thread.run_sync(trio.run, loud_elsewhere)

    async def loud_elsewhere() -> None:
        await trio.lowlevel.checkpoint()
        fail("in another run")

    await spawn(patient)
    assert witness["patient"] == RETURNED


# --- The first task of all, whose outcome Trio puts aside -----------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [None, ValueError("at the top"), KeyboardInterrupt()])
def test_the_main_task_s_end_is_told_as_well(
    way: type[Endings], error: BaseException | None
) -> None:
    told = way()
    witness = Witness(told)

    async def main() -> None:
        told.start()
        trio.lowlevel.current_task().name = "main"
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error

    with nullcontext() if error is None else pytest.raises(type(error)):
        trio.run(main, instruments=[witness])
    told.stop()
    exc = None if error is None else f"{type(error).__name__}: {error}".removesuffix(": ")
    assert witness["main"].exc == exc
    assert witness["main"].how is (How.RETURNED if error is None else How.RAISED)


# --- Where nobody can tell ------------------------------------------------------------------------


async def test_where_trio_is_not_as_expected_the_task_has_ended_and_that_is_all() -> None:
    # Nobody in Trio calls here, so there is no outcome to be found.
    await trio.lowlevel.checkpoint()
    assert Outcomes().take(trio.lowlevel.current_task()) == ENDED


if sys.version_info >= (3, 12):

    def tools() -> list[str | None]:
        return [sys.monitoring.get_tool(id) for id in TOOL_IDS]

    def test_the_interpreter_s_tool_id_is_taken_only_meanwhile() -> None:
        way = Unwinding()
        assert tools() == [None, None]
        way.start()
        assert tools() == ["trio-chat microscope", None]
        way.stop()
        way.stop()
        assert tools() == [None, None]

    async def test_two_may_watch_at_once() -> None:
        ways = Unwinding(), Unwinding()
        witnesses = [Witness(way) for way in ways]
        for way, witness in zip(ways, witnesses, strict=True):
            way.start()
            trio.lowlevel.add_instrument(witness)
        await spawn(partial(fail_later, "twice told"))
        for way, witness in zip(ways, witnesses, strict=True):
            trio.lowlevel.remove_instrument(witness)
            way.stop()
            assert witness.ended[0].exc == "ValueError: twice told"

    async def test_where_others_have_all_tool_ids_trio_s_outcome_is_looked_for() -> None:
        for id in TOOL_IDS:
            sys.monitoring.use_tool_id(id, "somebody else")
        way = Unwinding()
        witness = Witness(way)
        trio.lowlevel.add_instrument(witness)
        way.start()
        await spawn(partial(fail_later, "all the same"))
        way.stop()
        trio.lowlevel.remove_instrument(witness)
        for id in TOOL_IDS:
            sys.monitoring.free_tool_id(id)
        assert witness.ended[0].exc == "ValueError: all the same"
