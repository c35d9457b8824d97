"""A test was red: a member that is gone broke the hub. Somebody made the `except` wide enough.

Exit code: 0
Says: green, and with a bug planted: green
Seen by: ruff BLE001
"""

from collections.abc import Callable

import trio

Member = Callable[[str], None]


def broadcast(members: list[Member], text: str) -> None:
    for member in members:
        try:
            member(text)
        except Exception:  # Now no error of any kind comes out of here, ever again.
            print("one member has gone")


def gone(text: str) -> None:
    raise trio.BrokenResourceError("the peer has gone")


def buggy(text: str) -> None:
    raise KeyError("typo")


def color_of_test(*members: Member) -> str:
    heard: list[str] = []
    try:
        broadcast([*members, heard.append], "hello")
    except (KeyError, trio.BrokenResourceError):
        return "red"
    return "green" if heard == ["hello"] else "red"


print(f"{color_of_test(gone)}, and with a bug planted: {color_of_test(gone, buggy)}")
