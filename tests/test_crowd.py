"""How many may be there, in all and from one address."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.crowd import SERVER_FULL, SHARE_USED, Crowd
from trio_chat.protocol import Ended, Ending


def refusal(crowd: Crowd, address: str) -> Ending | None:
    try:
        crowd.enter(address)
    except Ended as end:
        return end.ending
    return None


def test_a_full_server_says_so_with_1013() -> None:
    crowd = Crowd(limit=2, limit_per_address=0)
    assert [refusal(crowd, address) for address in "abc"] == [None, None, SERVER_FULL]
    assert SERVER_FULL.code == 1013


def test_an_address_that_used_its_share_is_told_so_and_others_come_in() -> None:
    crowd = Crowd(limit=0, limit_per_address=2)
    assert [refusal(crowd, address) for address in "aaab"] == [None, None, SHARE_USED, None]
    assert SHARE_USED.code == 1013


@pytest.mark.parametrize("address", ["a", "b"])
def test_who_leaves_makes_room(address: str) -> None:
    crowd = Crowd(limit=2, limit_per_address=1)
    crowd.enter("a")
    crowd.enter("b")
    crowd.leave(address)
    assert refusal(crowd, address) is None


def test_without_limits_everybody_comes_in() -> None:
    crowd = Crowd(limit=0, limit_per_address=0)
    assert {refusal(crowd, "a") for _ in range(1000)} == {None}
    assert crowd.size == 1000


addresses = st.sampled_from("abc")


@given(st.integers(0, 4), st.integers(0, 3), st.lists(st.tuples(st.booleans(), addresses)))
def test_the_count_is_of_those_who_are_there(
    limit: int, share: int, moves: list[tuple[bool, str]]
) -> None:
    crowd, there = Crowd(limit=limit, limit_per_address=share), Counter[str]()
    for comes, address in moves:
        if comes:
            full = bool(limit) and there.total() >= limit
            used = bool(share) and there[address] >= share
            expected = SERVER_FULL if full else SHARE_USED if used else None
            assert refusal(crowd, address) == expected
            there[address] += expected is None
        elif there[address]:
            crowd.leave(address)
            there[address] -= 1
        assert crowd.size == there.total()
