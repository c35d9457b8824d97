"""The fast lane is only a shorter way: whoever is at the other end can't tell if it is there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from wires import BINARY, CLOSE, FIN, MORE, PING, PONG, TEXT, Frame, close, masked, memory, serve

from trio_chat.connection import Connection

LIMIT = 300  # bytes, of a frame and of a message
FRAGMENTS = 4

payloads = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"", b"x" * LIMIT, "€".encode()[:2], b"\xff", b"\x80"]),
    st.binary(max_size=LIMIT + 10),
)
texts = st.builds(masked, st.just(FIN | TEXT), st.text(max_size=150).map(str.encode))
pings = st.builds(masked, st.just(FIN | PING), st.binary(max_size=125))
lawful = st.one_of(
    texts,
    texts,
    pings,
    st.builds(masked, st.sampled_from([FIN | TEXT, FIN | BINARY, FIN | PONG]), payloads),
    st.builds(
        lambda opcode, parts, between: (
            masked(opcode, parts[0])
            + between
            + b"".join(masked(MORE, part) for part in parts[1:-1])
            + masked(FIN | MORE, parts[-1])
        ),
        st.sampled_from([TEXT, BINARY]),
        st.lists(payloads, min_size=2, max_size=FRAGMENTS + 1),
        st.just(b"") | pings,
    ),
)
unlawful = st.one_of(
    st.builds(masked, st.integers(0, 255), payloads),
    st.builds(close, st.none() | st.integers(0, 5000), st.binary(max_size=123)),
    st.binary(max_size=20),
)
streams = st.tuples(
    st.lists(lawful, max_size=8), st.lists(unlawful, max_size=2), st.lists(lawful, max_size=2)
).map(lambda parts: b"".join(frame for part in parts for frame in part))


@dataclass
class Account:
    """What one can tell of a connection from its two ends.

    The sentence in a Close is for people: the codec's own counts from where its last read began.
    """

    received: Sequence[str | bytes]
    echoes: Sequence[Frame]
    pongs: Sequence[Frame]
    goodbyes: Sequence[int | None]
    ending: int


async def converse(pieces: Sequence[bytes], *, patient: bool, **config: Any) -> Account:
    """Send the pieces and then the end of the stream; `patient`: each when the last is digested."""
    received: list[str | bytes] = []

    async def keep_and_echo(connection: Connection) -> None:
        async for message in connection:
            received.append(message)
            await connection.send(message)

    config |= {"max_frame": LIMIT, "max_fragments": FRAGMENTS}
    async with serve(memory, keep_and_echo, **config) as served:
        for piece in pieces:
            await served.peer.send(piece)
            if patient:
                await trio.testing.wait_all_tasks_blocked()
        await served.peer.stream.send_eof()
        frames = await served.peer.rest()
        await served.over.wait()
    assert [frame.first for frame in frames[:-1] if frame.first == FIN | CLOSE] == []
    return Account(
        received,
        [frame for frame in frames if frame.first in (FIN | TEXT, FIN | BINARY)],
        [frame for frame in frames if frame.first == FIN | PONG],
        [frame.code for frame in frames if frame.first == FIN | CLOSE],
        served.ending.code,
    )


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    marks = [0, *sorted(mark % (len(stream) + 1) for mark in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(marks) if start < end]


def agree(stream: bytes, cuts: Sequence[int], *, patient: bool, **config: Any) -> None:
    def account(fast_lane: bool) -> Account:
        talk = partial(converse, patient=patient, fast_lane=fast_lane, **config)
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(talk, cut(stream, cuts), clock=clock)

    fast, slow = account(True), account(False)
    assert fast == slow
    # What was received was answered before the goodbye, whatever the end was.
    assert len(fast.echoes) == len(fast.received)
    event(f"ended with {fast.ending}")


cuts = st.lists(st.integers(0, 5000), max_size=8)
BIG = masked(FIN | TEXT, b"x" * (LIMIT + 1))


@given(stream=streams, cuts=cuts)
@example(stream=masked(FIN | TEXT, b"a") + masked(FIN | TEXT, b"b") + BIG, cuts=[])
@example(stream=masked(FIN | TEXT, b"a") * 3 + close() + masked(FIN | PING), cuts=[])
@example(stream=masked(FIN | TEXT, b"\xff") + BIG, cuts=[])
@example(stream=masked(FIN | TEXT, b"a") + masked(FIN | PING) * 7 + close(), cuts=[])
@settings(max_examples=60)
def test_the_same_stream_is_received_and_answered_the_same_with_and_without_it(
    stream: bytes, cuts: list[int]
) -> None:
    agree(stream, cuts, patient=True, rate=1, burst=5)


@given(stream=streams, cuts=cuts, schedule=st.random_module())
@settings(max_examples=60)
def test_and_under_every_schedule(stream: bytes, cuts: list[int], schedule: object) -> None:
    agree(stream, cuts, patient=False, rate=0)


@pytest.mark.slow
@given(stream=streams, cuts=cuts, schedule=st.random_module(), patient=st.booleans())
@settings(max_examples=3000)
def test_and_of_many_streams(
    stream: bytes,
    cuts: list[int],
    schedule: object,
    patient: bool,
) -> None:
    agree(stream, cuts, patient=patient, rate=1 if patient else 0, burst=5)
