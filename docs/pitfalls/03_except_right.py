"""A name is asked for, with a guess for the one error that may come.

Says: nobody there
"""

import trio
from trio.testing import MockClock


async def ask_name() -> str:
    name = "guest"
    try:
        await trio.sleep_forever()  # The peer never answers.
        name = "ada"
    except trio.BrokenResourceError:
        print("no name, so a guess")
    return name


async def main() -> None:
    try:
        with trio.fail_after(1):
            name = await ask_name()
        print(f"joined as {name}")
    except trio.TooSlowError:
        print("nobody there")


trio.run(main, clock=MockClock(autojump_threshold=0))
