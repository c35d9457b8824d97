"""One member's outbox, and all of them together: bytes and deliveries always add up.

An outbox is synchronous, so no test here awaits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from trio_chat.outbox import MAX_BATCH, Blob, Outbox, Outboxes

UNLIMITED = 0


def make(max_blobs: int = 100) -> Outbox:
    return Outbox(max_blobs, Outboxes(UNLIMITED))


def drain(outbox: Outbox, step: int) -> tuple[bytes, int]:
    """Take all, as a socket that takes `step` bytes at once; return the bytes and deliveries."""
    out, handed = b"", 0
    while data := bytes(outbox.in_hand()[:step]):
        out += data
        handed += outbox.advance(len(data))
    return out, handed


# --- One outbox ----------------------------------------------------------------------------------


def test_an_outbox_that_has_caught_up_has_nothing_in_hand() -> None:
    outbox = make()
    assert (bytes(outbox.in_hand()), outbox.size) == (b"", 0)


@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_blobs_come_out_in_order_whatever_the_socket_takes_at_once(step: int) -> None:
    outbox = make()
    for blob in (Blob(b"one", 1), Blob(b"two", 2), Blob(b"three", 3)):
        outbox.put_nowait(blob)
    assert drain(outbox, step) == (b"onetwothree", 6)
    assert outbox.size == 0


def test_what_is_out_already_is_not_sent_again() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 1), 2)
    outbox.put_nowait(Blob(b"world", 1))
    assert outbox.size == 8
    assert drain(outbox, 100) == (b"lloworld", 2)


def test_a_blob_is_handed_over_with_its_last_byte() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 3))
    outbox.in_hand()
    assert [outbox.advance(1) for _ in range(5)] == [0, 0, 0, 0, 3]


def test_a_blob_that_began_elsewhere_is_handed_over_with_its_last_byte() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 3), 4)
    assert outbox.advance(1) == 3


def test_many_blobs_are_joined_for_one_call() -> None:
    outbox = make()
    for _ in range(10):
        outbox.put_nowait(Blob(b"x" * 100, 1))
    assert len(outbox.in_hand()) == 1000


def test_no_more_is_joined_than_pays() -> None:
    outbox = make()
    for _ in range(10):
        outbox.put_nowait(Blob(bytes(MAX_BATCH // 2), 1))
    assert len(outbox.in_hand()) == MAX_BATCH


def test_as_many_blobs_wait_as_may() -> None:
    outbox = make(max_blobs=2)
    outbox.put_nowait(Blob(b"a", 1))
    outbox.put_nowait(Blob(b"b", 1))
    with pytest.raises(trio.WouldBlock):
        outbox.put_nowait(Blob(b"c", 1))
    assert outbox.size == 2
    assert drain(outbox, 100) == (b"ab", 2)


def test_the_blob_that_is_half_out_takes_none_of_the_places() -> None:
    outbox = make(max_blobs=1)
    outbox.put_nowait(Blob(b"hello", 1), 3)
    outbox.put_nowait(Blob(b"a", 1))
    assert outbox.size == 3


def test_dropping_what_waits_leaves_what_is_in_hand() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 1))
    outbox.in_hand()
    outbox.advance(2)
    for text in (b"one", b"two"):
        outbox.put_nowait(Blob(text, 2))
    assert outbox.drop_waiting() == 4
    assert outbox.size == 3
    outbox.put_nowait(Blob(b"bye", 0))
    assert drain(outbox, 100) == (b"llobye", 1)


def test_dropping_all_counts_what_is_half_out_as_dropped() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 1), 2)
    outbox.put_nowait(Blob(b"one", 2))
    assert outbox.drop_all() == 3
    assert (bytes(outbox.in_hand()), outbox.size) == (b"", 0)


def test_an_outbox_whose_all_was_dropped_begins_anew() -> None:
    outbox = make()
    outbox.put_nowait(Blob(b"hello", 1), 4)
    outbox.drop_all()
    outbox.put_nowait(Blob(b"bye", 2))
    outbox.in_hand()
    assert [outbox.advance(1) for _ in range(3)] == [0, 0, 2]


class OneMember(RuleBasedStateMachine):
    """An outbox against a list: what went in has gone out, was dropped, or still waits."""

    @initialize(max_blobs=st.integers(1, 5), sent=st.integers(0, 3))
    def fall_behind(self, max_blobs: int, sent: int) -> None:
        self.outboxes = Outboxes(UNLIMITED)
        self.outbox = Outbox(max_blobs, self.outboxes)
        self.max_blobs = max_blobs
        self.waiting: deque[Blob] = deque()  # in the channel
        self.in_hand: deque[Blob] = deque()  # taken by the writer, or half out from the start
        self.sent = sent  # of the first blob in hand
        self.put = self.handed = self.dropped = 0
        if sent:
            blob = Blob(b"0123", 5)
            self.outbox.put_nowait(blob, sent)
            self.in_hand.append(blob)
            self.put += blob.deliveries

    @rule(data=st.binary(min_size=1, max_size=8), deliveries=st.integers(0, 9))
    def offer(self, data: bytes, deliveries: int) -> None:
        blob = Blob(data, deliveries)
        if len(self.waiting) < self.max_blobs:
            self.outbox.put_nowait(blob)
            self.waiting.append(blob)
            self.put += deliveries
        else:
            with pytest.raises(trio.WouldBlock):
                self.outbox.put_nowait(blob)

    @rule(step=st.integers(1, 20))
    def write(self, step: int) -> None:
        if not self.in_hand:
            self.in_hand, self.waiting = self.waiting, deque()
        expected = b"".join(blob.data for blob in self.in_hand)[self.sent :]
        assert bytes(self.outbox.in_hand()) == expected
        if not expected:
            return
        sent = min(step, len(expected))
        handed = self.outbox.advance(sent)
        self.sent += sent
        completed = 0
        while self.in_hand and self.sent >= len(self.in_hand[0].data):
            blob = self.in_hand.popleft()
            self.sent -= len(blob.data)
            completed += blob.deliveries
        assert handed == completed
        self.handed += handed

    @rule()
    def drop_waiting(self) -> None:
        dropped = self.outbox.drop_waiting()
        assert dropped == sum(blob.deliveries for blob in self.waiting)
        self.waiting.clear()
        self.dropped += dropped

    @precondition(lambda self: self.in_hand or self.waiting)
    @rule()
    def drop_all(self) -> None:
        self.dropped += self.outbox.drop_all()
        self.waiting.clear()
        self.in_hand.clear()
        self.sent = 0

    @invariant()
    def bytes_add_up(self) -> None:
        held = [*self.in_hand, *self.waiting]
        assert self.outbox.size == sum(len(blob.data) for blob in held) - self.sent
        assert self.outboxes.size == self.outbox.size

    @invariant()
    def deliveries_add_up(self) -> None:
        held = [*self.in_hand, *self.waiting]
        assert self.put == self.handed + self.dropped + sum(blob.deliveries for blob in held)


OneMember.TestCase.settings = settings(max_examples=50, stateful_step_count=20)
TestOneMember = OneMember.TestCase


# --- All outboxes together -----------------------------------------------------------------------


@dataclass
class Laggard:
    """A member that is behind, and drops everything when it is evicted."""

    outboxes: Outboxes
    evictions: list[str]
    name: str
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(100, self.outboxes)
        self.outboxes.opened(self.outbox, self.evict)

    def evict(self) -> None:
        self.evictions.append(self.name)
        self.outbox.drop_all()

    def wait(self, size: int) -> None:
        self.outbox.put_nowait(Blob(bytes(size), 1))
        self.outboxes.enforce()


@pytest.fixture
def evictions() -> list[str]:
    return []


def laggards(evictions: list[str], limit: int, *sizes: int) -> tuple[Outboxes, list[Laggard]]:
    outboxes = Outboxes(limit)
    all_of_them = [Laggard(outboxes, evictions, name) for name in "abcdef"[: len(sizes)]]
    for laggard, size in zip(all_of_them, sizes, strict=True):
        laggard.outbox.put_nowait(Blob(bytes(size), 1))
    return outboxes, all_of_them


def test_within_the_budget_nobody_is_evicted(evictions: list[str]) -> None:
    outboxes, _ = laggards(evictions, 60, 10, 30, 20)
    outboxes.enforce()
    assert (evictions, outboxes.size) == ([], 60)


def test_over_the_budget_the_worst_laggard_goes_first(evictions: list[str]) -> None:
    outboxes, _ = laggards(evictions, 59, 10, 30, 20)
    outboxes.enforce()
    assert (evictions, outboxes.size) == (["b"], 30)


def test_as_many_go_as_need_be_and_each_once(evictions: list[str]) -> None:
    outboxes, _ = laggards(evictions, 15, 10, 30, 20)
    outboxes.enforce()
    outboxes.enforce()
    assert (evictions, outboxes.size) == (["b", "c"], 10)


def test_who_has_caught_up_is_never_the_worst(evictions: list[str]) -> None:
    outboxes, (a, b, _) = laggards(evictions, 41, 10, 30, 20)
    outboxes.closed(b.outbox)
    outboxes.closed(b.outbox)
    a.wait(1)
    assert evictions == ["c"]


def test_when_nobody_is_left_to_evict_enforcing_ends(evictions: list[str]) -> None:
    outboxes, (a, b) = laggards(evictions, 1, 10, 10)
    outboxes.closed(a.outbox)
    outboxes.closed(b.outbox)
    outboxes.enforce()
    assert (evictions, outboxes.size) == ([], 20)


def test_a_limit_of_zero_is_none(evictions: list[str]) -> None:
    outboxes, _ = laggards(evictions, UNLIMITED, 10**6, 10**6)
    outboxes.enforce()
    assert evictions == []
