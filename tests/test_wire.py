"""The wire: what goes out whole and in order, who is evicted, how it ends, over memory and TCP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from wires import (
    BINARY,
    CLOSE,
    FIN,
    MORE,
    OPENING,
    PING,
    PONG,
    TEXT,
    Ends,
    Frame,
    Served,
    close,
    echo,
    in_time,
    listen,
    lockstep,
    make,
    masked,
    memory,
    ping,
    said,
    serve,
    tcp,
    text,
)

from trio_chat.config import Config
from trio_chat.connection import Connection
from trio_chat.frames import text_frame
from trio_chat.ledger import Ledger
from trio_chat.outbox import Outboxes
from trio_chat.protocol import CloseCode, Ending
from trio_chat.wire import Wire

pytest_plugins = ["wire_fixtures"]

Line = Callable[[], Ends]
Clock = trio.abc.Clock | None
Settings = dict[str, Any]

KiB = 1024
LIMIT = 1000  # bytes, of a frame and of a message, where one is needed


# --- Order: one frame after the other, each whole -------------------------------------------------


async def test_offers_pongs_and_the_goodbye_never_interleave_on_a_narrow_line(
    narrow: Line, clock: Clock, fast_lane: bool
) -> None:
    offers = [text_frame(f"{number} ".encode() * 2000) for number in range(40)]

    async def offer_now_and_then() -> None:
        for blob in offers:
            served.offer(blob)
            await trio.lowlevel.checkpoint()

    async with serve(narrow, listen, fast_lane=fast_lane) as served:
        pings = [ping(b"%d" % number) for number in range(15)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(offer_now_and_then)
            nursery.start_soon(partial(served.peer.send, *pings, close()))
            frames = await served.peer.rest()
    assert [frame for frame in frames if frame.first == FIN | TEXT] == [
        Frame(FIN | TEXT, blob[4:]) for blob in offers
    ]
    assert [frame.payload for frame in frames if frame.first == FIN | PONG] == [
        b"%d" % number for number in range(15)
    ]
    assert [frame.code for frame in frames if frame.first == FIN | CLOSE] == [1000]
    assert frames[-1].first == FIN | CLOSE
    assert served.ledger.handed == len(offers)


async def test_what_the_kernel_takes_only_in_part_arrives_whole() -> None:
    blob = text_frame(b"x" * 300 * KiB)
    async with serve(tcp, listen) as served:
        assert not served.offer(blob)
        assert 0 < served.outboxes.size < len(blob)  # Some of it is out already.
        assert served.ledger.waiting == 1
        assert await served.peer.frame() == said("x" * 300 * KiB)
        await served.peer.goodbye()


async def test_what_fits_is_handed_over_at_once() -> None:
    async with serve(tcp, listen) as served:
        assert served.offer(text_frame(b"hello"))
        assert served.outboxes.size == 0
        assert await served.peer.frame() == said("hello")
        await served.peer.goodbye()


async def test_a_cancelled_send_leaves_no_half_frame(
    narrow: Line, clock: Clock, fast_lane: bool
) -> None:
    async def give_up_and_go_on(connection: Connection) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.send, "x" * 100 * KiB)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        gave_up.set()
        await connection.send("after")
        await listen(connection)

    gave_up = trio.Event()
    async with serve(narrow, give_up_and_go_on, fast_lane=fast_lane) as served:
        await gave_up.wait()
        assert await served.peer.frame() == said("x" * 100 * KiB)
        assert await served.peer.frame() == said("after")
        await served.peer.goodbye()


async def test_a_pong_whose_reader_is_cancelled_still_comes_before_the_goodbye(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(lockstep, listen) as served, trio.open_nursery() as nursery:
        nursery.start_soon(served.peer.send, ping(b"first"), ping(b"second"))
        await trio.testing.wait_all_tasks_blocked()
        assert served.connection is not None
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        frames = await served.peer.rest()
    assert (
        frames[:-1]
        == [Frame(FIN | PONG, b"first"), Frame(FIN | PONG, b"second")][: len(frames) - 1]
    )
    assert frames[0] == Frame(FIN | PONG, b"first")
    assert frames[-1].code == CloseCode.REMOVED


# --- An offer never raises ------------------------------------------------------------------------


async def test_an_offer_after_the_end_is_dropped_and_booked(line: Line, clock: Clock) -> None:
    async with serve(line) as served:
        await served.peer.goodbye()
        await served.over.wait()
        assert not served.offer(text_frame(b"late"), deliveries=3)
    assert served.ledger.dropped == {"left": 3}


async def test_a_wire_that_is_shut_gives_its_first_reason(line: Line, clock: Clock) -> None:
    async with serve(line) as served:
        served.wire.shut("left")
        served.wire.shut("closed")
        assert not served.offer(text_frame(b"late"))
        assert (await served.peer.goodbye())[-1].code == 1000
    assert served.ledger.dropped == {"left": 1}


async def wait(connection: Connection) -> None:
    await trio.sleep_forever()


async def test_an_offer_to_a_reset_peer_ends_that_member_and_nothing_else(
    line: Line, clock: Clock
) -> None:
    async with serve(line, wait) as served:
        await served.peer.reset()
        offered = 0
        while not served.over.is_set():
            served.offer(text_frame(b"x"))
            offered += 1
            await trio.lowlevel.checkpoint()
    assert served.ending.code == CloseCode.ABNORMAL
    assert served.ledger.owed == offered
    assert served.ledger.dropped["broken"] > 0


async def test_an_evicted_wire_takes_no_more(narrow: Line, clock: Clock) -> None:
    async with serve(narrow, listen, outbox=10 * KiB, close_timeout=0.5) as served:
        while served.offer(text_frame(b"x" * KiB)) or served.outboxes.size < 9 * KiB:
            pass
        served.offer(text_frame(b"x" * 2 * KiB))
        before = served.outboxes.size
        assert not served.offer(text_frame(b"late"))
        assert served.outboxes.size == before
        assert (await served.peer.rest())[-1].code == CloseCode.EVICTED


# --- Eviction -------------------------------------------------------------------------------------


def fill(served: Served, *, pieces: int, size: int) -> None:
    """Offer until so many pieces wait behind the one that the writer has in hand."""
    while served.offer(text_frame(b"x" * size)):
        pass
    for _ in range(pieces):
        served.offer(text_frame(b"x" * size))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        pytest.param({"outbox": 20 * KiB}, "bytes wait", id="bytes"),
        pytest.param({"outbox_blobs": 10}, "10 pieces wait", id="pieces"),
        pytest.param({"outboxes": 20 * KiB}, "all outboxes together", id="total"),
    ],
)
async def test_a_full_outbox_evicts_its_member_who_is_told_although_the_queue_is_full(
    narrow: Line, clock: Clock, settings: dict[str, int], why: str, fast_lane: bool
) -> None:
    given: Settings = {"fast_lane": fast_lane, "close_timeout": 0.5, **settings}
    async with serve(narrow, listen, **given) as served:
        fill(served, pieces=30, size=KiB)
        assert served.ledger.dropped["evicted"] > 0
        frames = await served.peer.rest()
        assert set(frames[:-1]) <= {said("x" * KiB)}
        assert frames[-1].code == CloseCode.EVICTED
    assert served.ending.code == CloseCode.EVICTED
    assert why in served.ending.reason
    assert served.ledger.handed == len(frames) - 1


async def test_as_many_bytes_as_may_wait_evict_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    frame = text_frame(b"x" * 98)
    async with serve(lockstep, listen, outbox=10 * len(frame)) as served:
        for _ in range(10):
            served.offer(frame)
        assert served.ledger.dropped.total() == 0
        served.offer(text_frame(b""))
        assert served.ledger.dropped["evicted"] > 0
        await served.peer.rest()


async def test_as_many_pieces_as_may_wait_evict_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(lockstep, listen, outbox_blobs=10) as served:
        for _ in range(10):
            served.offer(text_frame(b"x"))
        assert served.ledger.dropped.total() == 0
        served.offer(text_frame(b"x"))
        assert served.ledger.dropped["evicted"] == 11
        await served.peer.rest()


async def test_one_piece_may_be_larger_than_the_whole_outbox(narrow: Line, clock: Clock) -> None:
    async with serve(narrow, listen, outbox=KiB) as served:
        assert not served.offer(text_frame(b"x" * 200 * KiB))
        assert await served.peer.frame() == said("x" * 200 * KiB)
        await served.peer.goodbye()


async def test_a_member_that_takes_no_byte_is_evicted_after_the_stall_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    start = trio.current_time()
    async with serve(lockstep, listen, stall_timeout=10, close_timeout=5) as served:
        served.offer(text_frame(b"x"))
        with trio.CancelScope():
            await served.over.wait()
        # Over a stream what was cancelled half-way can't be mended: there is no goodbye.
        assert trio.current_time() - start == 10
    assert served.ledger.dropped == {"evicted": 1} or served.ledger.dropped == {"broken": 1}


async def test_who_stalled_and_looks_up_is_told() -> None:
    async with serve(tcp, listen, stall_timeout=0.1, close_timeout=2) as served:
        fill(served, pieces=3, size=100 * KiB)
        assert served.connection is not None
        while served.connection.ending is None:
            await trio.testing.wait_all_tasks_blocked(0.01)
        frames = await served.peer.rest()
    assert frames[-1].code == CloseCode.EVICTED
    assert "no byte taken in 0.1 s" in served.ending.reason


async def test_a_member_that_takes_a_little_now_and_then_is_not_stalled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(lockstep, listen, stall_timeout=10) as served:
        for _ in range(5):
            served.offer(text_frame(b"x"))
            await trio.sleep(9)
            assert await served.peer.frame() == said("x")
        await served.peer.goodbye()


async def test_the_worst_laggard_pays_when_all_outboxes_together_are_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = Config(outboxes=100 * KiB)
    ledger, outboxes = Ledger(), Outboxes(config.outboxes)
    endings: dict[str, list[Ending]] = {"slow": [], "worst": []}

    def behind(name: str) -> Wire:
        wire = Wire(lockstep()[1], config, ledger, outboxes, OPENING)
        wire.attach(None, endings[name].append)
        return wire

    slow, worst = behind("slow"), behind("worst")
    for _ in range(39):
        slow.offer(text_frame(b"x" * KiB), 1)
    for _ in range(60):
        worst.offer(text_frame(b"x" * KiB), 1)
    assert endings == {"slow": [], "worst": []}
    slow.offer(text_frame(b"x" * KiB), 1)  # It is this one that goes over the bound.
    slow.offer(text_frame(b"x" * KiB), 1)
    assert [ending.code for ending in endings["worst"]] == [CloseCode.EVICTED]
    assert endings["slow"] == []
    assert (ledger.waiting, ledger.dropped) == (41, {"evicted": 60})
    for wire in (slow, worst):
        await wire.hang_up(Ending(CloseCode.NORMAL, ""))
    assert (ledger.waiting, outboxes.size) == (0, 0)


# --- Violations: the peer is told, and what it said before counts ---------------------------------

BAD = b"\xff\xfe"
HALF_A_EURO = "€".encode()[:2]

VIOLATIONS = {
    "reserved bit 1": ([masked(FIN | 0x40 | TEXT, b"x")], 1002),
    "reserved bit 2": ([masked(FIN | 0x20 | TEXT, b"x")], 1002),
    "reserved bit 3": ([masked(FIN | 0x10 | TEXT, b"x")], 1002),
    "reserved bit in a ping": ([masked(FIN | 0x40 | PING)], 1002),
    "opcode 3": ([masked(FIN | 0x3)], 1002),
    "opcode 7": ([masked(FIN | 0x7, b"x")], 1002),
    "opcode 11": ([masked(FIN | 0xB)], 1002),
    "opcode 15": ([masked(FIN | 0xF, b"x")], 1002),
    "unmasked text": ([b"\x81\x01x"], 1002),
    "unmasked ping": ([b"\x89\x00"], 1002),
    "unmasked close": ([b"\x88\x02\x03\xe8"], 1002),
    "text as long as it gets, unmasked": ([b"\x81\x7f" + b"\xff" * 8], 1002),
    "length in more bytes than needed": ([masked(FIN | TEXT, b"x", length=b"\x7e\0\1")], 1002),
    "length in eight bytes": ([masked(FIN | TEXT, b"x", length=b"\x7f" + b"\0" * 7 + b"\1")], 1002),
    "length with its highest bit": ([masked(FIN | TEXT, length=b"\x7f\x80" + b"\0" * 7)], 1002),
    "long ping": ([masked(FIN | PING, b"x" * 126)], 1002),
    "fragmented ping": ([masked(PING)], 1002),
    "fragmented close": ([masked(CLOSE)], 1002),
    "long close": ([masked(FIN | CLOSE, b"\x03\xe8" + b"x" * 124)], 1002),
    "close of one byte": ([masked(FIN | CLOSE, b"\x03")], 1002),
    "close code 0": ([close(0)], 1002),
    "close code 999": ([close(999)], 1002),
    "close code 1004": ([close(1004)], 1002),
    "close code 1005": ([close(1005)], 1002),
    "close code 1006": ([close(1006)], 1002),
    "close code 1015": ([close(1015)], 1002),
    "close code 2000": ([close(2000)], 1002),
    "close code 65535": ([close(65535)], 1002),
    "close reason not UTF-8": ([close(1000, BAD)], 1007),
    "continuation of nothing": ([masked(FIN | MORE, b"x")], 1002),
    "unfinished continuation of nothing": ([masked(MORE, b"x")], 1002),
    "text inside of a text": ([masked(TEXT, b"x"), masked(FIN | TEXT, b"y")], 1002),
    "binary inside of a text": ([masked(TEXT, b"x"), masked(FIN | BINARY, b"y")], 1002),
    "text begun twice": ([masked(TEXT, b"x"), masked(TEXT, b"y")], 1002),
    "text not UTF-8": ([masked(FIN | TEXT, BAD)], 1007),
    "text that breaks off in a character": ([masked(FIN | TEXT, HALF_A_EURO)], 1007),
    "surrogate": ([masked(FIN | TEXT, b"\xed\xa0\x80")], 1007),
    "overlong": ([masked(FIN | TEXT, b"\xc0\xaf")], 1007),
    "beyond Unicode": ([masked(FIN | TEXT, b"\xf4\x90\x80\x80")], 1007),
    "fragment not UTF-8": ([masked(TEXT, b"x"), masked(FIN | MORE, BAD)], 1007),
    "character not ended in the next": (
        [masked(TEXT, HALF_A_EURO), masked(FIN | MORE, b"x")],
        1007,
    ),
    "character not ended at all": ([masked(TEXT, HALF_A_EURO), masked(FIN | MORE)], 1007),
    "frame too large": ([masked(FIN | TEXT, b"x" * (LIMIT + 1))], 1009),
    "frame that only says so": ([masked(FIN | BINARY, length=b"\x7f\x7f" + b"\xff" * 7)], 1009),
    "message too large": ([masked(TEXT, b"x" * LIMIT), masked(FIN | MORE, b"x")], 1009),
    "too many fragments": ([masked(BINARY), *[masked(MORE, b"x")] * 10], 1009),
    "too many empty fragments": ([masked(TEXT), *[masked(MORE)] * 10], 1009),
}


@pytest.mark.parametrize("what", VIOLATIONS)
async def test_a_violation_is_answered_with_a_close_behind_what_was_said_before(
    line: Line, clock: Clock, fast_lane: bool, what: str
) -> None:
    frames, code = VIOLATIONS[what]
    given: Settings = {"max_frame": LIMIT, "max_fragments": 10, "fast_lane": fast_lane}
    async with serve(line, **given) as served:
        sent = b"".join([text("one"), ping(b"?"), text("two"), *frames, *[ping(b"behind")] * 5])
        await served.peer.send(sent)
        answers = await served.peer.rest()
    assert served.received == ["one", "two"]
    assert answers[0] == Frame(FIN | PONG, b"?")
    assert [frame.code for frame in answers[1:]] == [code]
    assert served.ending.code == code


@pytest.mark.parametrize("what", ["unmasked text", "text not UTF-8", "frame too large"])
async def test_the_close_survives_what_a_violator_still_sends(what: str, fast_lane: bool) -> None:
    # A socket that is closed over unread bytes is reset, and the reset would eat the Close.
    frames, code = VIOLATIONS[what]
    async with (
        serve(tcp, fast_lane=fast_lane, max_frame=LIMIT) as served,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(served.peer.send, *frames, *[ping(b"x" * 125)] * 2000))
        assert (await served.peer.frame()).code == code
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("what", VIOLATIONS)
async def test_a_violation_followed_by_a_reset_ends_this_connection_and_raises_nothing(
    line: Line, clock: Clock, fast_lane: bool, what: str
) -> None:
    frames, code = VIOLATIONS[what]
    given: Settings = {"max_frame": LIMIT, "max_fragments": 10, "fast_lane": fast_lane}
    async with serve(line, **given) as served:
        await served.peer.send(*frames, *[ping(b"behind")] * 5)
        await served.peer.reset()
    assert served.ending.code in (code, CloseCode.ABNORMAL)


@pytest.mark.parametrize("what", ["text not UTF-8", "frame too large"])
async def test_a_violator_that_never_stops_is_dropped_after_the_linger_timeout(
    autojump_clock: trio.testing.MockClock, what: str
) -> None:
    frames, code = VIOLATIONS[what]
    start = trio.current_time()
    async with serve(memory, max_frame=LIMIT, linger_timeout=2) as served:
        await served.peer.send(*frames)
        assert (await served.peer.frame()).code == code
        while not served.over.is_set():
            with trio.move_on_after(0.25):
                await served.over.wait()
            with contextlib.suppress(trio.BrokenResourceError):  # Which means that it was dropped.
                await served.peer.send(ping())
        assert trio.current_time() - start == 2


async def test_a_message_as_large_as_may_be_is_received(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, fast_lane=fast_lane, max_frame=LIMIT, max_fragments=10) as served:
        await served.peer.send(
            text("x" * LIMIT),
            masked(TEXT, b"y" * (LIMIT // 10)),
            *[masked(MORE, b"y" * (LIMIT // 10))] * 8,
            masked(FIN | MORE, b"y" * (LIMIT // 10)),
        )
        await served.peer.goodbye()
    assert served.received == ["x" * LIMIT, "y" * LIMIT]


async def test_a_flood_of_control_frames_ends_with_1008(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, fast_lane=fast_lane, rate=0.01, burst=5) as served:
        await served.peer.send(text("one"), *[ping()] * 5)
        for _ in range(5):
            assert await served.peer.frame() == Frame(FIN | PONG, b"")
        await served.peer.send(text("two"), ping())
        while (frame := await served.peer.frame()).first != FIN | CLOSE:
            assert frame == Frame(FIN | PONG, b"")
        assert frame.code == CloseCode.POLICY
        await served.peer.goodbye()
    assert served.received == ["one", "two"]


async def test_pings_within_the_rate_are_answered_for_ever(
    autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async with serve(memory, fast_lane=fast_lane, rate=1, burst=5) as served:
        for number in range(100):
            await served.peer.send(ping(b"%d" % number))
            assert await served.peer.frame() == Frame(FIN | PONG, b"%d" % number)
            await trio.sleep(1)
        await served.peer.goodbye()


async def test_without_a_rate_there_is_no_flood(line: Line, clock: Clock, fast_lane: bool) -> None:
    async with serve(line, fast_lane=fast_lane, rate=0) as served:
        for _ in range(20):
            await served.peer.send(*[ping()] * 50)
            for _ in range(50):
                assert await served.peer.frame() == Frame(FIN | PONG, b"")
        await served.peer.goodbye()


async def test_what_comes_behind_a_close_does_not_count(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, fast_lane=fast_lane) as served:
        await served.peer.send(text("one"), close(), ping(), close(1001), text("two"), b"\xff" * 9)
        assert [frame.code for frame in await served.peer.rest()] == [1000]
    assert served.received == ["one"]


# --- The goodbye ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 3000, 4999])
async def test_the_peers_close_is_answered_with_its_own_code_once(
    line: Line, clock: Clock, fast_lane: bool, code: int | None
) -> None:
    async with serve(line, fast_lane=fast_lane) as served:
        assert [frame.code for frame in await served.peer.goodbye(code)] == [code]
    assert served.ending.code == (code or 1005)


async def test_what_was_said_before_a_close_is_answered_before_the_goodbye(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, echo, fast_lane=fast_lane) as served:
        await served.peer.send(text("one"), text("two"), text("three"), close())
        *answers, goodbye = await served.peer.rest()
    assert answers == [said("one"), said("two"), said("three")]
    assert goodbye.code == 1000


async def test_our_close_goes_out_once_although_the_peers_crosses_it(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    ours = Ending(CloseCode.REMOVED, "removed")
    async with serve(line, fast_lane=fast_lane) as served:
        assert served.connection is not None
        served.connection.end(ours)
        assert [frame.code for frame in await served.peer.goodbye()] == [CloseCode.REMOVED]
    assert served.ending == ours


async def test_a_peer_that_ignores_our_close_is_dropped_after_the_close_timeout(
    autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async with serve(memory, fast_lane=fast_lane, close_timeout=5) as served:
        assert served.connection is not None
        start = trio.current_time()
        served.connection.end(Ending(CloseCode.GOING_AWAY, "bye"))
        assert [frame.code for frame in await served.peer.rest()] == [CloseCode.GOING_AWAY]
        assert trio.current_time() - start == 5


async def test_a_peer_that_only_goes_on_talking_is_dropped_after_the_close_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(memory, max_frame=LIMIT, close_timeout=5) as served:
        assert served.connection is not None
        start = trio.current_time()
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        while not served.over.is_set():
            with contextlib.suppress(trio.BrokenResourceError):  # Which means that it was dropped.
                await served.peer.send(text("but"))
            with trio.move_on_after(0.5):
                await served.over.wait()
        assert trio.current_time() - start == 5


async def test_a_violation_in_place_of_the_peers_close_ends_the_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(memory, max_frame=LIMIT, close_timeout=50, linger_timeout=2) as served:
        assert served.connection is not None
        start = trio.current_time()
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        await served.peer.send(text("x" * 2 * LIMIT))
        await served.over.wait()
        assert trio.current_time() - start == 2


async def test_a_peer_that_takes_nothing_is_dropped_after_the_close_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve(lockstep, listen, close_timeout=5, stall_timeout=60) as served:
        served.offer(text_frame(b"x"))
        assert served.connection is not None
        start = trio.current_time()
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        await served.over.wait()
        assert trio.current_time() - start == 5
    assert served.ledger.dropped.total() == 1


async def test_the_peers_close_that_came_with_the_request_is_not_waited_for_again(
    line: Line, clock: Clock
) -> None:
    async def leave(connection: Connection) -> None:
        connection.end(Ending(CloseCode.TRY_AGAIN_LATER, "full"))
        await trio.lowlevel.checkpoint()

    async with serve(line, leave, early=close(1000), close_timeout=0) as served:
        assert [frame.code for frame in await served.peer.rest()] == [CloseCode.TRY_AGAIN_LATER]


async def test_the_end_of_the_stream_without_a_close_is_abnormal_and_not_answered(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, fast_lane=fast_lane) as served:
        await served.peer.send(text("one"), text("two"))
        await served.peer.stream.send_eof()
        assert await served.peer.rest() == []
    assert served.received == ["one", "two"]
    assert served.ending.code == CloseCode.ABNORMAL


async def test_who_only_finished_sending_still_gets_what_it_is_owed(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, echo, fast_lane=fast_lane) as served:
        await served.peer.send(text("one"), text("x" * 20_000))
        await served.peer.stream.send_eof()
        assert await served.peer.rest() == [said("one"), said("x" * 20_000)]


async def test_the_end_inside_of_a_frame_is_abnormal(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    async with serve(line, fast_lane=fast_lane) as served:
        await served.peer.send(text("one"), text("two")[:-1])
        await served.peer.stream.send_eof()
        assert await served.peer.rest() == []
    assert served.received == ["one"]
    assert served.ending.code == CloseCode.ABNORMAL


@pytest.mark.parametrize("cut", range(0, len(text("hello") + ping() + close()) + 1, 3))
async def test_a_reset_after_any_byte_is_the_end_and_nothing_else(
    line: Line, clock: Clock, fast_lane: bool, cut: int
) -> None:
    async with serve(line, echo, fast_lane=fast_lane) as served:
        await served.peer.send((text("hello") + ping() + close())[:cut])
        await served.peer.reset()
    assert served.ending.code in (1000, CloseCode.ABNORMAL)


async def test_a_reset_while_the_goodbye_is_said_is_the_end_and_nothing_else(
    narrow: Line, clock: Clock
) -> None:
    async with serve(narrow, listen) as served:
        served.offer(text_frame(b"x" * 200 * KiB))
        assert served.connection is not None
        served.connection.end(Ending(CloseCode.REMOVED, "removed"))
        await trio.testing.wait_all_tasks_blocked()
        await served.peer.reset()
    assert served.ledger.dropped == {"broken": 1}


# --- Coming in ------------------------------------------------------------------------------------


async def test_what_came_with_the_request_is_received_after_the_handshake(
    line: Line, clock: Clock, fast_lane: bool
) -> None:
    early = text("one") + masked(FIN | BINARY, b"two") + text("three")[:3]
    async with serve(line, early=early, fast_lane=fast_lane) as served:
        await served.peer.send(text("three")[3:], text("four"))
        await served.peer.goodbye()
    assert served.received == ["one", b"two", "three", "four"]


async def test_it_makes_no_difference_how_the_bytes_are_cut(
    autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    async with serve(memory, echo, fast_lane=fast_lane) as served:
        sent = b"".join(
            [text("one"), ping(b"?"), masked(TEXT, b"tw"), ping(b"!"), masked(FIN | MORE, b"o")]
        )
        for byte in sent + masked(FIN | BINARY, b"x" * 200) + text("y" * 300):
            await served.peer.send(bytes([byte]))
        frames = await served.peer.goodbye()
    pongs = [frame.payload for frame in frames if frame.first == FIN | PONG]
    assert pongs == [b"?", b"!"]
    assert [frame for frame in frames[:-1] if frame.first != FIN | PONG] == [
        said("one"),
        said("two"),
        Frame(FIN | BINARY, b"x" * 200),
        said("y" * 300),
    ]


async def test_who_is_busy_makes_the_peer_wait(
    autojump_clock: trio.testing.MockClock, fast_lane: bool
) -> None:
    free = trio.Event()

    async def be_busy_first(connection: Connection) -> None:
        await free.wait()
        await served.collect(connection)

    async with serve(lockstep, be_busy_first, fast_lane=fast_lane) as served:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(20):
                await served.peer.send(text(str(number)))
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            assert sent < 5
            free.set()
        await served.peer.goodbye()
    assert served.received == [str(number) for number in range(20)]


async def test_a_stream_that_takes_not_even_the_handshake_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ends, config = lockstep(), Config(stall_timeout=10)
    served = make(ends, config)
    with in_time(ends):
        await served.run(listen, config)
        assert trio.current_time() == 10
    assert served.connection is None


async def test_a_wire_that_never_shook_hands_closes_without_a_word(
    line: Line, clock: Clock
) -> None:
    ends = line()
    peer, _ = ends
    served = make(ends, Config())
    with in_time(ends):
        await served.wire.hang_up(Ending(CloseCode.ABNORMAL, "the room ended"))
        assert await peer.rest() == []


async def test_sockets_and_streams_say_who_the_peer_is(line: Line, clock: Clock) -> None:
    ends = line()
    served = make(ends, Config())
    host, _, port = served.wire.peer.rpartition(":")
    assert (host, port.isdecimal()) in [("memory", True), ("127.0.0.1", True)]
    await served.wire.hang_up(Ending(CloseCode.ABNORMAL, ""))
    await served.peer.aclose()


async def test_who_is_on_the_way_out_is_not_evicted_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ledger, outboxes = Ledger(), Outboxes(1000)
    endings: list[Ending] = []
    wires = [Wire(lockstep()[1], Config(), ledger, outboxes, OPENING) for _ in range(2)]
    for wire in wires:
        wire.attach(None, endings.append)
    wires[0].offer(b"x" * 800)
    wires[0].shut("left")
    wires[1].offer(b"x" * 300)
    assert endings == [Ending(CloseCode.EVICTED, endings[0].reason)]
    assert outboxes.size == 800
    for wire in wires:
        await wire.hang_up(Ending(CloseCode.ABNORMAL, ""))
