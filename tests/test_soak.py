"""A few seconds of the soak: it runs, and it would say what is wrong."""

from __future__ import annotations

from soak import soak


def test_a_few_seconds_of_crowds_leave_nothing_behind() -> None:
    assert soak(seconds=3, seed=1) == []
