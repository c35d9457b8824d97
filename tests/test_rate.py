"""A token bucket, with a clock that the test turns.

Times are multiples of 1/1024 and rates powers of two, so that no rounding blurs what is exact.
"""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from trio_chat.rate import TokenBucket

rates = st.integers(-3, 6).map(lambda power: 2.0**power)
bursts = st.integers(1, 20)
gaps = st.lists(st.integers(0, 4096).map(lambda ticks: ticks / 1024), max_size=60)


def taken(bucket: TokenBucket, times: list[float], cost: float = 1.0) -> list[float]:
    """The times at which something was let through."""
    return [now for now in times if bucket.take(now, cost) == 0]


def test_a_burst_is_let_through_at_once_and_no_more() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert taken(bucket, [100.0] * 5) == [100.0] * 3


def test_who_waits_as_long_as_told_is_let_through() -> None:
    bucket = TokenBucket(rate=4, burst=1)
    bucket.take(0)
    assert bucket.take(0) == 0.25
    assert bucket.take(0.125) == 0.125
    assert bucket.take(0.25) == 0


def test_what_is_refused_costs_nothing() -> None:
    bucket = TokenBucket(rate=4, burst=1)
    bucket.take(0)
    assert [bucket.take(0) for _ in range(10)] == [0.25] * 10


def test_long_silence_saves_up_one_burst_only() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    taken(bucket, [0.0] * 3)
    assert taken(bucket, [1e6] * 10) == [1e6] * 3


def test_a_rate_of_zero_is_no_limit() -> None:
    bucket = TokenBucket(rate=0, burst=1)
    assert len(taken(bucket, [0.0] * 1000)) == 1000


def test_a_cost_above_the_burst_needs_a_full_bucket_and_is_paid_off_afterwards() -> None:
    bucket = TokenBucket(rate=4, burst=8)
    assert bucket.take(0, 1) == 0
    assert bucket.take(0, 16) == 0.25
    assert bucket.take(0.25, 16) == 0
    assert bucket.take(0.25, 1) == 2.25


@given(rates, bursts, gaps)
def test_in_no_span_of_time_there_is_more_than_burst_and_rate_allow(
    rate: float, burst: int, gaps: list[float]
) -> None:
    times = taken(TokenBucket(rate, burst), list(accumulate(gaps)))
    for i, start in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= burst + rate * (times[j] - start)


@given(rates, bursts, gaps, st.integers(1, 20))
def test_the_wait_is_enough_and_no_longer_than_needed(
    rate: float, burst: int, gaps: list[float], cost: int
) -> None:
    bucket, now = TokenBucket(rate, burst), 0.0
    for gap in gaps:
        now += gap
        wait = bucket.take(now, cost)
        if wait:
            assert bucket.take(now + wait / 2, cost) == wait / 2
            now += wait
            assert bucket.take(now, cost) == 0
