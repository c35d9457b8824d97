"""What one expects, asked before the run; and what came, told behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .lesson import Prediction
from .text import wrap

Tell = Callable[[str], None]


def ask(prediction: Prediction, tell: Tell) -> int | None:
    """Ask for a guess; return which answer it is, or None where nobody answers."""
    tell("\n" + wrap(f"What do you expect? {prediction.question}"))
    for index, answer in enumerate(prediction.answers):
        tell(wrap(answer, first=f"  {_letter(index)}  ", rest=" " * 5))
    letters = [_letter(index) for index in range(len(prediction.answers))]
    while True:
        word = _read(f"Your guess ({', '.join(letters)}, or Enter for none): ")
        if not word or word in letters:
            return letters.index(word) if word else None


def wait_for_enter(prompt: str) -> None:
    """Give somebody at a terminal the time to think."""
    _read(f"{prompt} ")


def _read(prompt: str) -> str:
    # From a pipe nobody answers, and nothing waits for it.
    if not sys.stdin.isatty():
        return ""
    try:
        return input(prompt).strip().lower()
    except EOFError:
        return ""


def answer(prediction: Prediction, guess: int | None, tell: Tell) -> None:
    """Say what was right, beside what was guessed, and why it is so."""
    right = f"{_letter(prediction.right)}: {prediction.answers[prediction.right]}"
    match guess:
        case None:
            verdict = f"The answer is {right}"
        case prediction.right:
            verdict = f"As you said, {right}"
        case _:
            verdict = f"You said {_letter(guess)}; it is {right}"
    tell(f"\n{wrap(verdict)}\n\n{wrap(prediction.because)}")


def _letter(index: int) -> str:
    return "abcdefgh"[index]
