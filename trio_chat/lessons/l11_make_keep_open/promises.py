"""The promises of a supervisor, each tried with fifty fates: the tests of the exercise.

A trial returns what was seen instead of what was promised, in words; nothing where it was kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

import trio

from .fates import (
    GRID,
    Actor,
    Course,
    Misfortune,
    Span,
    foresee,
    make_failure,
    make_late_failure,
    make_policy,
    make_return,
)
from .policy import Policy, Solution

FATES: Final = 50
PATIENCE: Final = 5.0  # seconds; the longest fate takes four

Trial = Callable[[Solution, Random], Awaitable[str]]


class Promise(NamedTuple):
    """What is promised, in a sentence, and how that is tried with one fate."""

    sentence: str
    trial: Trial


async def try_out(promise: Promise, solution: Solution) -> str:
    """Try a promise with fifty fates, all at the same time; return the first that was broken."""
    broken: dict[int, str] = {}
    async with trio.open_nursery() as nursery:
        for seed in range(FATES):
            nursery.start_soon(_try, promise, solution, seed, broken, name=f"fate {seed}")
    return f"fate {min(broken)}: {broken[min(broken)]}" if broken else ""


async def _try(promise: Promise, solution: Solution, seed: int, broken: dict[int, str]) -> None:
    instead = f"it is not over after {PATIENCE:g} s"
    with trio.move_on_after(PATIENCE):
        try:
            instead = await promise.trial(solution, Random(seed))
        except Exception as error:  # noqa: BLE001 - whatever a solution raises is not as promised
            instead = f"it raised {error!r}"
    if instead:
        broken[seed] = instead


# --- One alone -----------------------------------------------------------------------------------


async def return_once(solution: Solution, random: Random) -> str:
    """See that a life that returns is not begun again."""
    return await _follow(solution, [make_return(random)], make_policy(random))


async def pause_longer(solution: Solution, random: Random) -> str:
    """See the pauses between failures in a row."""
    policy = make_policy(random)
    failures = [make_failure(random) for _ in range(random.randint(0, policy.restarts))]
    return await _follow(solution, [*failures, make_return(random)], policy)


async def recover(solution: Solution, random: Random) -> str:
    """See the pauses where some of the lives were long ones."""
    makers = [make_failure, make_late_failure]
    failures = [random.choice(makers)(random) for _ in range(random.randint(1, 6))]
    policy = replace(make_policy(random), restarts=len(failures))
    return await _follow(solution, [*failures, make_return(random)], policy)


async def give_up(solution: Solution, random: Random) -> str:
    """See that the failure after the last restart goes up, as it is."""
    policy = make_policy(random)
    failures = [make_failure(random) for _ in range(policy.restarts + 1)]
    return await _follow(solution, [*failures, make_return(random)], policy)


async def _follow(solution: Solution, spans: Sequence[Span], policy: Policy) -> str:
    start, actor, raised = trio.current_time(), Actor(spans), None
    course = foresee(spans, policy, start)
    try:
        await solution.keep(actor.live, policy)
    except Misfortune as error:
        raised = error
    seen = _compare(actor, course, start)
    if seen:
        return f"{_lives(spans, policy)}: {seen}"
    if raised is None and course.given_up:
        return "it has returned, and the last failure is lost"
    if raised is not (actor.last_error if course.given_up else None):
        return f"it raised {raised!r}"
    return _over(start, course.end)


async def stop_at_once(solution: Solution, random: Random) -> str:
    """See that a cancel at any time, in a life or in a pause, is the end at that time."""
    policy = replace(make_policy(random), restarts=6)
    spans = [*(make_failure(random) for _ in range(6)), make_return(random)]
    start, actor = trio.current_time(), Actor(spans)
    course = foresee(spans, policy, start)
    # Between two ticks, so that nothing else happens at that time.
    moment = start + (random.randrange(round((course.end - start) / GRID)) + 0.5) * GRID
    with trio.move_on_at(moment) as scope:
        await solution.keep(actor.live, policy)
    if not scope.cancelled_caught:
        return "it was cancelled, and it has swallowed that"
    if trio.current_time() != moment:
        return f"it went on for {_ticks(moment, [trio.current_time()])} ticks"
    return _begun(start, actor.begins, [begin for begin in course.begins if begin < moment])


# --- Several beside each other -------------------------------------------------------------------


async def leave_others_alone(solution: Solution, random: Random) -> str:
    """See that each goes the way that it would go alone, and when all of it is over."""
    policy = replace(make_policy(random), restarts=6)
    actors = {name: Actor(_some_spans(random)) for name in ("green", "blue", "red")}
    start = trio.current_time()
    courses = {name: foresee(actor.spans, policy, start) for name, actor in actors.items()}
    lives = {name: actor.live for name, actor in actors.items()}
    await solution.supervise(lives, policy)
    for name, actor in actors.items():
        if seen := _compare(actor, courses[name], start):
            return f"{name}: {seen}"
    return _over(start, max(course.end for course in courses.values()))


async def take_others_along(solution: Solution, random: Random) -> str:
    """See that who can't be kept alive ends them all, at once, and says why."""
    policy = make_policy(random)
    failing = [make_failure(random) for _ in range(policy.restarts + 1)]
    green, blue = Actor(failing), Actor([Span(PATIENCE, fails=False)])
    start = trio.current_time()
    course = foresee(failing, policy, start)
    raised: list[BaseException] = []
    try:
        await solution.supervise({"green": green.live, "blue": blue.live}, policy)
    except Misfortune as error:
        raised = [error]
    except ExceptionGroup as group:
        raised = list(_leaves(group))
    if seen := _compare(green, course, start):
        return f"green: {seen}"
    if blue.living:
        return "blue lives on"
    if raised != [green.last_error]:
        return f"it raised {raised}, not the last failure of green"
    return _over(start, course.end)


def _some_spans(random: Random) -> Sequence[Span]:
    failures = [make_failure(random) for _ in range(random.randint(0, 6))]
    return [*failures, make_return(random)]


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


# --- In words ------------------------------------------------------------------------------------


def _compare(actor: Actor, course: Course, start: float) -> str:
    if actor.doubles:
        return "it was begun while it still lived"
    return _begun(start, actor.begins, course.begins)


def _begun(start: float, found: Sequence[float], wanted: Sequence[float]) -> str:
    if found == wanted:
        return ""
    return f"it was begun at {_ticks(start, found)}, wanted {_ticks(start, wanted)}"


def _over(start: float, wanted: float) -> str:
    over = trio.current_time()
    if over == wanted:
        return ""
    return f"it was over at {_ticks(start, [over])}, wanted {_ticks(start, [wanted])}"


def _lives(spans: Sequence[Span], policy: Policy) -> str:
    lives = ", ".join(f"{span.seconds / GRID:g}" for span in spans)
    first, most = policy.first / GRID, policy.most / GRID
    patience = f"{policy.restarts} restarts and pauses from {first:g} to {most:g}"
    healthy = policy.healthy / GRID
    return f"lives of {lives}, healthy from {healthy:g}, {patience}"


def _ticks(start: float, times: Sequence[float]) -> str:
    return ", ".join(f"{(each - start) / GRID:g}" for each in times)


PROMISES: Final = (
    Promise("who returns is done, and not begun again", return_once),
    Promise("each pause is twice as long as the one before, up to the longest", pause_longer),
    Promise("who was healthy for long enough begins with the first pause again", recover),
    Promise("the failure after the last restart goes up, as it was raised", give_up),
    Promise("who is cancelled is over at once, in a life as in a pause", stop_at_once),
    Promise("one for one: the failures of one are nobody else's business", leave_others_alone),
    Promise("who can't be kept alive takes the others along, and says why", take_others_along),
)
