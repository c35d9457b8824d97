"""The same test, and the hub expects what may happen to a member, and nothing else.

Says: green, and with a bug planted: red
"""

from collections.abc import Callable

import trio

Member = Callable[[str], None]


def broadcast(members: list[Member], text: str) -> None:
    for member in members:
        try:
            member(text)
        except trio.BrokenResourceError:
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
