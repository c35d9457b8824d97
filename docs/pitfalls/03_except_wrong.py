"""A name is asked for, with a guess for whatever goes wrong.

Exit code: 0
Says: joined as guest
Seen by: ruff BLE001, flake8-async ASYNC103
"""

import trio
from trio.testing import MockClock


async def ask_name() -> str:
    name = "guest"
    try:
        await trio.sleep_forever()  # The peer never answers.
        name = "ada"
    except BaseException:
        print("no name, so a guess")  # And the cancellation ends here.
    return name


async def main() -> None:
    try:
        with trio.fail_after(1):
            name = await ask_name()
        print(f"joined as {name}")
    except trio.TooSlowError:
        print("nobody there")


trio.run(main, clock=MockClock(autojump_threshold=0))
