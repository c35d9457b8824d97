"""The books: they balance exactly when every delivery that is owed is accounted for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.ledger import Ledger

counts = st.integers(0, 100)


@given(counts, counts, st.dictionaries(st.sampled_from(["evicted", "broken", "left"]), counts))
def test_what_is_owed_is_handed_over_waits_or_was_dropped(
    handed: int, waiting: int, dropped: dict[str, int]
) -> None:
    ledger = Ledger(owed=handed + waiting + sum(dropped.values()), handed=handed, waiting=waiting)
    for reason, count in dropped.items():
        ledger.drop(reason, count)
    assert ledger.balances


@pytest.mark.parametrize("side", ["owed", "handed", "waiting"])
def test_one_delivery_too_many_on_either_side_is_seen(side: str) -> None:
    ledger = Ledger(owed=6, handed=3, waiting=2)
    ledger.drop("evicted", 1)
    assert ledger.balances
    setattr(ledger, side, getattr(ledger, side) + 1)
    assert not ledger.balances


def test_deliveries_are_dropped_for_a_reason() -> None:
    ledger = Ledger()
    for reason, count in [("evicted", 2), ("left", 1), ("evicted", 3)]:
        ledger.drop(reason, count)
    assert ledger.dropped == {"evicted": 5, "left": 1}


def test_dropping_nothing_leaves_no_trace() -> None:
    ledger = Ledger()
    ledger.drop("left", 0)
    assert list(ledger.dropped) == []


def test_the_books_read_as_a_sentence() -> None:
    ledger = Ledger(owed=9, handed=4, waiting=1)
    ledger.drop("left", 1)
    ledger.drop("evicted", 3)
    assert str(ledger) == (
        "9 owed, 4 handed over, 1 waiting, 3 dropped: evicted, 1 dropped: left; balances"
    )


def test_the_sentence_says_it_when_they_do_not_balance() -> None:
    assert str(Ledger(owed=1)) == "1 owed, 0 handed over, 0 waiting; DOES NOT BALANCE"
