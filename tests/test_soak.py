"""A few seconds of the soak, and that it would say what is wrong: it is shown servers that are."""

from __future__ import annotations

import pytest
from soak import soak

# A server with a fault built in: what is between, before it runs.
PROGRAM = """
import functools, itertools, os, sys
import trio
from trio_chat.cli import main
from trio_chat.door import Door
from trio_chat.ledger import Ledger
from trio_chat.outbox import Outbox
from trio_chat.protocol import CloseCode, Ending
from trio_chat.server import Server
from trio_chat.wire import Wire
meet, serve, hang_up, run, advance = (
    Server.meet, Door.serve, Wire.hang_up, Server.run, Outbox.advance
)
kept, count = [], itertools.count(1)
{}
sys.exit(main(sys.argv[1:]))
"""

AFTER_EACH = """
async def meet_and_more(self, transport):
    await meet(self, transport)
    {}
Server.meet = meet_and_more
"""

FAILING = """
async def serve_and_fail(self):
    await serve(self)
    1 / (next(count) % 100)
Door.serve = serve_and_fail
"""

FAULTS = {
    "memory": (AFTER_EACH.format("kept.append(bytearray(100_000))"), "memory has grown by"),
    "a task": (AFTER_EACH.format("await trio.sleep_forever()"), " tasks run, "),
    "a file": (AFTER_EACH.format("os.dup(0)"), " files are open, "),
    "an error": (FAILING, "faults_total is "),
    "the log": (FAILING, "in the log: "),
    "the end": (AFTER_EACH.format("next(count) % 100 or os._exit(0)"), "in the end: "),
    "the books": (
        "Ledger.drop = lambda self, reason, deliveries: None",
        "the books don't balance",
    ),
    "what waited": (
        "Outbox.advance = lambda self, sent: advance(self, sent) * 0",
        "deliveries_waiting is ",
    ),
    "no eviction": ("sys.argv += ['--outbox', '1GiB', '--outboxes', '0']", "evicted none"),
    "eviction unsaid": (
        """
def hang_up_in_silence(self, ending):
    return hang_up(self, ending if ending.code != 4000 else Ending(CloseCode.ABNORMAL, ""))
Wire.hang_up = hang_up_in_silence
""",
        "stall: ",
    ),
    "another goodbye": (
        """
def say_something_else(self, ending):
    return hang_up(self, ending if ending.code != 1001 else Ending(CloseCode.NORMAL, ""))
Wire.hang_up = say_something_else
""",
        "the goodbyes were ",
    ),
    "exit code": (
        """
async def fail(self, **options):
    await run(self, **options)
    self.exit_code = 1
Server.run = fail
""",
        "the drain ended with 1",
    ),
    "a message": (
        """
offer = Wire.offer
Wire.offer = lambda self, data, deliveries=0: (
    offer(self, data, deliveries) if next(count) % 100 else True
)
""",
        " messages some heard ",
    ),
}


def test_a_few_seconds_of_crowds_leave_nothing_behind() -> None:
    report = soak(seconds=3, seed=1)
    assert report.wrong == []
    assert report.evicted


# Where a server ends in the middle of a deed, the crowd is left to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize(("fault", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_server_with_a_fault_does_not_pass(fault: str, sentence: str) -> None:
    report = soak(2, 1, program=("-c", PROGRAM.format(fault)), patience=3)
    assert [said for said in report.wrong if sentence in said]
