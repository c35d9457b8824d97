# ruff: noqa: T201 - what it prints is for whoever runs it.
"""Fuzz for as long as one likes: `make fuzz ARGS="--minutes 10"`.

Each round has a fresh seed, which is printed. A session that makes the server fail is made as
small as Hypothesis can make it, kept in the corpus, and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import time

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from . import corpus
from .bending import Plan, plans
from .harness import judge, play

ROUND = 200  # plans with one seed


def fuzz(number: int) -> None:
    """Play a round. The smallest session that failed is kept, and what it raised goes on."""
    failed: list[Plan] = []

    @seed(number)
    @settings(
        max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(plan=plans, patient=st.booleans(), schedule=st.random_module())
    def play_round(plan: Plan, patient: bool, schedule: object) -> None:
        try:
            if patient:
                judge(plan)
            else:
                play(plan, patient=False)
        except Exception:
            failed.append(plan)
            raise

    try:
        play_round()
    except Exception:
        for plan in failed[-1:]:  # Hypothesis plays the smallest one last.
            name = corpus.FOUND + hashlib.sha256(plan.session).hexdigest()[:8]
            print(f"kept as {corpus.keep(plan.session, name)}")
        raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the door and the wire.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, help="play one round, with this seed")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    for rounds in itertools.count(1):
        number = random.getrandbits(32) if arguments.seed is None else arguments.seed
        print(f"round {rounds}, {ROUND} plans, --seed {number}", flush=True)
        fuzz(number)
        if arguments.seed is not None or time.monotonic() > end:
            print(f"{rounds * ROUND} plans played, nothing found")
            return


if __name__ == "__main__":
    main()
