"""Sessions that were valid, bent byte by byte: they harm nobody. More of it with `make fuzz`."""

from __future__ import annotations

import pytest
from fuzz import corpus
from fuzz.bending import WHOLE, End, Plan, plans
from fuzz.harness import judge, play
from hypothesis import given, settings
from hypothesis import strategies as st

CORPUS = corpus.load()


def test_the_corpus_holds_the_sessions_that_its_script_writes() -> None:
    kept = {name: data for name, data in CORPUS.items() if not name.startswith(corpus.FOUND)}
    assert kept == corpus.SESSIONS


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("name", CORPUS)
def test_a_session_of_the_corpus_harms_nobody(name: str, end: End) -> None:
    judge(Plan(CORPUS[name], WHOLE, end))


@pytest.mark.parametrize("name", CORPUS)
def test_nor_does_it_byte_by_byte(name: str) -> None:
    judge(Plan(CORPUS[name], range(len(CORPUS[name])), End.SILENCE))


@given(plan=plans, schedule=st.random_module())
@settings(max_examples=80)
def test_nor_does_one_that_was_bent_and_the_fast_lane_changes_nothing(
    plan: Plan, schedule: object
) -> None:
    judge(plan)


@given(plan=plans, schedule=st.random_module())
@settings(max_examples=80)
def test_nor_does_one_whose_client_waits_for_nothing(plan: Plan, schedule: object) -> None:
    play(plan, patient=False)
