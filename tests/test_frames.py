"""Frames, made and followed. wsproto, which trio-websocket stands on, is the judge of both.

The lane that lifts whole text frames out of a stream must not be noticed: with it or without, cut
wherever it may be, a stream holds the same messages, the same control frames and the same error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_chat.frames import (
    LONG_WAY,
    MASKED,
    Excess,
    FrameFollower,
    Header,
    TooMuch,
    binary_frame,
    close_frame,
    parse_header,
    ping_frame,
    text_frame,
    unmask,
)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
KEY = b"\x11\x22\x33\x44"

keys = st.binary(min_size=4, max_size=4)
# Sizes on both sides of each border between the three forms of a length.
sizes = st.integers(0, 300) | st.sampled_from([125, 126, 127, 65_535, 65_536])


def masked_frame(first: int, payload: bytes, key: bytes = KEY) -> bytes:
    """A frame as a client sends it."""
    size = len(payload)
    if size < 126:
        length = bytes([MASKED | size])
    elif size < 1 << 16:
        length = bytes([MASKED | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([MASKED | 127]) + size.to_bytes(8, "big")
    return bytes([first]) + length + key + mask(payload, key)


def mask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces, none of them empty."""
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return (data[start:end] for start, end in pairwise(borders))


@dataclass
class Heard:
    """What somebody heard who listened to a stream."""

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    closed: int | None = None
    controls: int = field(default=0, compare=False)  # Nobody hears of a Pong.


class Engine:
    """The other end, by wsproto."""

    def __init__(self, side: ConnectionType) -> None:
        self._connection = Connection(side)
        self._parts: list[bytes] = []
        self.heard = Heard()

    def receive(self, data: bytes) -> None:
        if self._connection.state is not ConnectionState.OPEN or self.heard.closed is not None:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case TextMessage() | BytesMessage():
                    self._collect(event)
                case Ping(payload):
                    self.heard.controls += 1
                    self.heard.pings.append(bytes(payload))
                case Pong():
                    self.heard.controls += 1
                case CloseConnection(code):
                    self.heard.closed = int(code)

    def _collect(self, event: TextMessage | BytesMessage) -> None:
        self._parts.append(
            event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        )
        if event.message_finished:
            whole = b"".join(self._parts)
            self.heard.messages.append(whole.decode() if isinstance(event, TextMessage) else whole)
            self._parts.clear()


def hear(pieces: Iterable[bytes]) -> Heard:
    """Listen to a client's stream without a follower."""
    engine = Engine(ConnectionType.SERVER)
    for piece in pieces:
        engine.receive(piece)
    return engine.heard


def follower(*, max_bytes: int = 0, max_fragments: int = 0, lifts: bool = True) -> FrameFollower:
    return FrameFollower(max_bytes=max_bytes, max_fragments=max_fragments, lifts=lifts)


def follow(pieces: Iterable[bytes], *, lifts: bool) -> Heard:
    """Listen to a client's stream with a follower before the engine."""
    engine, following = Engine(ConnectionType.SERVER), follower(lifts=lifts)
    order: list[str | None] = []
    for piece in pieces:
        chunk = following.feed(piece)
        order += chunk.messages
        engine.receive(chunk.passed)
    judged = list(engine.heard.messages)
    messages: list[str | bytes] = []
    for message in order:
        if message is not LONG_WAY:
            messages.append(message)
        elif judged:
            messages.append(judged.pop(0))
        else:
            break  # It never came to its end, and so nothing behind it counts.
    assert judged == []
    return replace(engine.heard, messages=messages)


# --- Making frames -------------------------------------------------------------------------------


def receive_as_client(frame: bytes) -> Heard:
    engine = Engine(ConnectionType.CLIENT)
    engine.receive(frame)
    return engine.heard


@given(st.text() | sizes.map("x".__mul__))
@example("é" * 32_768)
def test_a_client_reads_our_text_frames(text: str) -> None:
    assert receive_as_client(text_frame(text.encode())) == Heard([text])


@given(st.binary() | sizes.map(bytes))
def test_a_client_reads_our_binary_frames(data: bytes) -> None:
    assert receive_as_client(binary_frame(data)) == Heard([data])


@given(st.binary(max_size=125))
def test_a_client_reads_our_pings(payload: bytes) -> None:
    assert receive_as_client(ping_frame(payload)) == Heard([], [payload])


@given(st.lists(st.text(), max_size=5))
def test_frames_that_are_joined_are_still_frames(texts: list[str]) -> None:
    blob = b"".join(text_frame(text.encode()) for text in texts)
    assert receive_as_client(blob).messages == texts


@given(st.sampled_from([1000, 1001, 1002, 1011, 1013, 4000, 4006]), st.text())
@example(4000, "é" * 62)
@example(4000, "x" + "😀" * 31)
def test_a_close_frame_says_its_code_and_as_much_of_its_reason_as_fits(
    code: int, reason: str
) -> None:
    connection = Connection(ConnectionType.CLIENT)
    connection.receive_data(close_frame(code, reason))
    (event,) = connection.events()
    assert isinstance(event, CloseConnection)
    assert event.code == code
    said = event.reason or ""
    assert reason.startswith(said)
    assert said == reason or 120 <= len(said.encode()) <= 123


def test_a_close_without_a_code_has_no_payload() -> None:
    assert receive_as_client(close_frame(1005, "not said")) == Heard(closed=1005)
    assert len(close_frame(1005, "not said")) == 2


# --- Reading headers -----------------------------------------------------------------------------


@given(st.integers(0, 255), sizes, keys)
def test_a_header_says_how_long_frame_and_header_are(first: int, size: int, key: bytes) -> None:
    frame = masked_frame(first, bytes(size), key)
    header = parse_header(frame)
    assert header == Header(first, True, size, len(frame) - size)


@given(sizes, st.integers(0, 20))
def test_a_header_is_found_anywhere(size: int, start: int) -> None:
    frame = text_frame(bytes(size))
    header = parse_header(b"?" * start + frame, start)
    assert header == Header(FIN | TEXT, False, size, len(frame) - size)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_header_that_is_cut_is_none_yet(size: int) -> None:
    frame = masked_frame(FIN | TEXT, bytes(size))
    header = frame[: len(frame) - size]
    assert parse_header(header) is not None
    assert all(parse_header(header[:end]) is None for end in range(len(header)))


@given(st.binary(max_size=300), keys)
def test_a_mask_is_taken_off(payload: bytes, key: bytes) -> None:
    assert unmask(mask(payload, key), key) == payload


# --- Following a stream --------------------------------------------------------------------------


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message in one frame or many, with control frames between them, and perhaps broken text."""
    opcode = draw(st.sampled_from([TEXT, TEXT, TEXT, BINARY]))
    text = st.text(max_size=10).map(str.encode) | sizes.map(bytes)
    payload = draw(text | st.binary(max_size=10))
    places = draw(st.just([]) | st.lists(st.integers(0, 1000), max_size=3))
    parts = list(cut(payload, places)) or [b""]
    frames = []
    for i, part in enumerate(parts):
        last = FIN if i == len(parts) - 1 else 0
        frames.append(masked_frame(last | (CONTINUATION if i else opcode), part, draw(keys)))
        if not last:
            frames += draw(st.lists(controls, max_size=1))
    return b"".join(frames)


texts = st.builds(masked_frame, st.just(FIN | TEXT), st.text(max_size=9).map(str.encode), keys)
controls = st.builds(
    masked_frame, st.sampled_from([FIN | PING, FIN | PONG]), st.binary(max_size=20), keys
)
closes = st.builds(
    masked_frame,
    st.just(FIN | CLOSE),
    st.binary(max_size=4) | st.just(b"\x03\xe8goodbye") | st.just(b"\x03\xe8\xff"),
)
# Any first byte, any length in any form: mostly a violation.
odd = st.builds(
    lambda first, length, rest: bytes([first]) + length + rest,
    st.integers(0, 255),
    st.integers(0, 255).map(lambda byte: bytes([byte]))
    | st.integers(0, 200).map(lambda size: b"\xfe" + size.to_bytes(2, "big"))
    | st.sampled_from([0, 125, 65_535, 2**62, 2**63]).map(
        lambda size: b"\xff" + size.to_bytes(8, "big")
    ),
    st.binary(max_size=12),
)
streams = st.lists(texts | messages() | controls, max_size=8)
hostile_streams = st.lists(texts | texts | messages() | controls | closes | odd, max_size=8)
places = st.lists(st.integers(0, 100_000), max_size=8)


@given(hostile_streams, places)
@example([masked_frame(FIN | TEXT, b"\xff"), masked_frame(FIN | TEXT, b"after")], [])
@example([masked_frame(TEXT, b"a"), masked_frame(FIN | TEXT, b"b")], [])
@example([masked_frame(FIN | CLOSE, b"\x03\xe8"), masked_frame(FIN | TEXT, b"after")], [])
def test_nobody_hears_that_texts_are_lifted(frames: list[bytes], places: list[int]) -> None:
    stream = b"".join(frames)
    assert follow(cut(stream, places), lifts=True) == hear([stream])


@pytest.mark.slow
@settings(max_examples=5000)
@given(hostile_streams, places)
def test_nobody_hears_that_texts_are_lifted_at_length(
    frames: list[bytes], places: list[int]
) -> None:
    stream = b"".join(frames)
    assert follow(cut(stream, places), lifts=True) == hear([stream])


@given(hostile_streams, places)
def test_nobody_hears_that_frames_are_followed(frames: list[bytes], places: list[int]) -> None:
    stream = b"".join(frames)
    assert follow(cut(stream, places), lifts=False) == hear([stream])


@given(streams, places)
def test_what_is_lifted_and_what_is_passed_on_is_everything(
    frames: list[bytes], places: list[int]
) -> None:
    following = follower()
    lifted: list[str] = []
    passed = b""
    for piece in cut(b"".join(frames), places):
        chunk = following.feed(piece)
        passed += chunk.passed
        lifted += [text for text in chunk.messages if text is not LONG_WAY]
    assert not following.unfinished
    for frame in split(b"".join(frames)):
        if passed.startswith(frame):
            passed = passed.removeprefix(frame)
        elif frame[0] != FIN | PONG:
            assert is_text_frame(frame, lifted.pop(0))
    assert (passed, lifted) == (b"", [])


def split(stream: bytes) -> Iterator[bytes]:
    """Single frames, of a stream of whole ones."""
    start = 0
    while (header := parse_header(stream, start)) is not None:
        end = start + header.size + header.length
        yield stream[start:end]
        start = end


def is_text_frame(frame: bytes, text: str) -> bool:
    header = parse_header(frame)
    assert header is not None
    payload = frame[header.size :]
    return (
        header.first == FIN | TEXT
        and header.length == len(payload)
        and unmask(payload, frame[header.size - 4 : header.size]) == text.encode()
    )


@given(streams, places)
def test_control_frames_are_counted(frames: list[bytes], places: list[int]) -> None:
    stream, following = b"".join(frames), follower()
    counted = sum(following.feed(piece).controls for piece in cut(stream, places))
    assert counted == hear([stream]).controls or hear([stream]).closed is not None


def test_without_lifting_every_byte_is_passed_on() -> None:
    frame = masked_frame(FIN | TEXT, b"hello")
    assert follower(lifts=False).feed(frame) == (frame, [LONG_WAY], 0)


def test_a_chunk_of_whole_texts_is_lifted_whole() -> None:
    frames = masked_frame(FIN | TEXT, b"hello") + masked_frame(FIN | TEXT, "é".encode())
    assert follower().feed(frames) == (b"", ["hello", "é"], 0)


def test_a_text_between_other_frames_is_lifted_from_between_them() -> None:
    ping, blob = masked_frame(FIN | PING, b"?"), masked_frame(FIN | BINARY, b"\0")
    frames = ping + masked_frame(FIN | TEXT, b"hello") + blob
    assert follower().feed(frames) == (ping + blob, ["hello", LONG_WAY], 1)


def test_a_text_that_comes_in_pieces_goes_the_long_way() -> None:
    frame, following = masked_frame(FIN | TEXT, b"hello"), follower()
    assert following.feed(frame[:-1]) == (frame[:-1], [LONG_WAY], 0)
    assert following.feed(frame[-1:]) == (frame[-1:], [], 0)


def test_the_rest_of_a_header_is_not_taken_for_a_frame() -> None:
    # Cut after its first byte, this binary frame goes on like an empty text frame.
    frame, following = masked_frame(FIN | BINARY, b"\0", b"\x80\0\0\0"), follower()
    assert follower().feed(frame[1:]).messages == [""]
    assert following.feed(frame[:1]) == (frame[:1], [], 0)
    assert following.feed(frame[1:]) == (frame[1:], [LONG_WAY], 0)


def test_text_that_is_not_utf_8_is_left_to_the_engine() -> None:
    frame = masked_frame(FIN | TEXT, b"\xc3\x28")
    assert follower().feed(frame) == (frame, [LONG_WAY], 0)


def test_after_a_message_that_took_the_long_way_texts_are_lifted_again() -> None:
    following = follower()
    following.feed(masked_frame(TEXT, b"a") + masked_frame(FIN, b"b"))
    assert following.feed(masked_frame(FIN | TEXT, b"c")).messages == ["c"]


# --- Where a stream stands -----------------------------------------------------------------------


def test_a_frame_or_a_message_that_is_not_at_its_end_is_unfinished() -> None:
    following = follower()
    steps: list[tuple[bytes, bool]] = [
        (b"\x01", True),  # half a header
        (b"\x82" + KEY, True),  # a header, and nothing of its two bytes
        (b"ab", True),  # a fragment, and no last one
        (masked_frame(FIN | PING, b"?"), True),
        (masked_frame(FIN | CONTINUATION, b""), False),
        (masked_frame(FIN | TEXT, b"lifted"), False),
        (masked_frame(FIN | PING, b"?")[:-1], True),
        (mask(b"?", KEY), False),
    ]
    assert [bool(following.feed(data)) and following.unfinished for data, _ in steps] == [
        unfinished for _, unfinished in steps
    ]


def test_in_a_message_means_between_its_fragments() -> None:
    following = follower()
    seen = [following.in_message]
    for frame in (masked_frame(TEXT, b"a"), masked_frame(0, b"b"), masked_frame(FIN, b"c")):
        following.feed(frame)
        seen.append(following.in_message)
    assert seen == [False, True, True, False]


def test_nothing_counts_behind_a_close() -> None:
    close, following = masked_frame(FIN | CLOSE, b"\x03\xe8"), follower()
    before, after = masked_frame(FIN | TEXT, b"before"), masked_frame(FIN | TEXT, b"after")
    assert following.feed(before + close + after) == (close, ["before"], 1)
    assert following.close_seen
    assert following.feed(after) == (b"", [], 0)


def test_a_close_is_passed_on_to_its_last_byte() -> None:
    close, following = masked_frame(FIN | CLOSE, b"\x03\xe8goodbye"), follower()
    assert b"".join(following.feed(bytes([byte])).passed for byte in close) == close
    assert following.close_seen
    assert not following.unfinished


# --- Violations ----------------------------------------------------------------------------------

VIOLATIONS = {
    "reserved bit 1": masked_frame(FIN | 0x40 | TEXT, b"a"),
    "reserved bit 2": masked_frame(FIN | 0x20 | TEXT, b"a"),
    "reserved bit 3": masked_frame(FIN | 0x10 | TEXT, b"a"),
    "reserved bit of a ping": masked_frame(FIN | 0x40 | PING, b"a"),
    "not masked": text_frame(b"a"),
    "a ping not masked": ping_frame(b"a"),
    "a continuation of nothing": masked_frame(FIN | CONTINUATION, b"a"),
    "a first fragment that continues nothing": masked_frame(CONTINUATION, b"a"),
    "a fragmented ping": masked_frame(PING, b"a"),
    "a fragmented close": masked_frame(CLOSE, b"\x03\xe8"),
    "a long ping": masked_frame(FIN | PING, bytes(126)),
    "a long close": masked_frame(FIN | CLOSE, bytes(126)),
    "5 in two bytes": b"\x81\xfe\x00\x05" + KEY + bytes(5),
    "125 in two bytes": b"\x81\xfe\x00\x7d" + KEY + bytes(125),
    "5 in eight bytes": b"\x81\xff" + (5).to_bytes(8, "big") + KEY + bytes(5),
    "65,535 in eight bytes": b"\x81\xff" + (65_535).to_bytes(8, "big") + KEY + bytes(65_535),
    "a length with its highest bit": b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY,
    "a length of all bits": b"\x81\xff" + b"\xff" * 8 + KEY,
} | {
    f"reserved opcode {opcode:#x}": masked_frame(FIN | opcode, b"a")
    for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
}


@pytest.mark.parametrize("frame", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_behind_a_header_that_breaks_the_protocol_nothing_is_told_apart(frame: bytes) -> None:
    text, ping = masked_frame(FIN | TEXT, b"hello"), masked_frame(FIN | PING, b"?")
    following = follower()
    chunk = following.feed(text + frame + ping + text)
    assert following.lost
    assert chunk.passed == frame + ping + text
    assert chunk.messages == ["hello"]
    assert following.feed(text) == (text, [], 0)
    assert hear([chunk.passed]).closed == 1002


@pytest.mark.parametrize("first", [FIN | TEXT, TEXT, FIN | BINARY, BINARY])
def test_a_message_within_a_message_breaks_the_protocol(first: int) -> None:
    stream = masked_frame(TEXT, b"a") + masked_frame(first, b"b")
    following = follower()
    assert following.feed(stream) == (stream, [LONG_WAY], 0)
    assert following.lost
    assert hear([stream]).closed == 1002


@given(st.sampled_from(list(VIOLATIONS.values())), st.integers(1, 13))
def test_a_violation_is_one_wherever_it_is_cut(frame: bytes, place: int) -> None:
    assert follow(cut(frame, [place]), lifts=True) == hear([frame]) == Heard(closed=1002)


# --- Bounds --------------------------------------------------------------------------------------


def feed_until_too_much(following: FrameFollower, frames: Sequence[bytes]) -> tuple[int, TooMuch]:
    """Feed frame by frame; return which of them was too much."""
    for i, frame in enumerate(frames):
        try:
            following.feed(frame)
        except TooMuch as exc:
            return i, exc
    raise AssertionError("nothing was too much")


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY, TEXT])
def test_a_frame_over_the_limit_is_refused_at_its_header(first: int) -> None:
    following = follower(max_bytes=1000)
    following.feed(masked_frame(FIN | TEXT, bytes(1000)))
    header = masked_frame(first, bytes(1001))[:8]
    assert feed_until_too_much(following, [header])[1].excess is Excess.BYTES
    assert following.lost


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(1, 200))
def test_bytes_are_counted_over_all_fragments(sizes: list[int], limit: int) -> None:
    frames = [masked_frame(0 if i else TEXT, bytes(size)) for i, size in enumerate(sizes)]
    fits = [sum(sizes[: i + 1]) <= limit for i in range(len(sizes))]
    following = follower(max_bytes=limit)
    if all(fits):
        assert all(following.feed(frame).passed == frame for frame in frames)
    else:
        place, too_much = feed_until_too_much(following, frames)
        assert (place, too_much.excess) == (fits.index(False), Excess.BYTES)


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_fragments_without_end_are_too_many(payload: bytes) -> None:
    frames = [masked_frame(TEXT, payload), *[masked_frame(0, payload)] * 10]
    place, too_much = feed_until_too_much(follower(max_fragments=8), frames)
    assert (place, too_much.excess) == (8, Excess.FRAGMENTS)
    assert str(too_much) == "a message in too many fragments"


def test_pings_between_fragments_are_no_fragments() -> None:
    following, ping = follower(max_bytes=2, max_fragments=2), masked_frame(FIN | PING, bytes(100))
    frames = [masked_frame(TEXT, b"a"), *[ping] * 10, masked_frame(FIN, b"b")]
    assert sum(following.feed(frame).controls for frame in frames) == 10


def test_each_message_is_counted_anew() -> None:
    following = follower(max_bytes=2, max_fragments=2)
    message = masked_frame(TEXT, b"a") + masked_frame(FIN, b"b")
    assert following.feed(message * 10).messages == [LONG_WAY] * 10


def test_a_limit_of_zero_is_none() -> None:
    following = follower()
    fragments = masked_frame(TEXT, bytes(100_000)) + masked_frame(0, b"") * 5000
    assert following.feed(fragments).passed == fragments


@pytest.mark.parametrize("lifted", [b"", masked_frame(FIN | TEXT, b"hello")], ids=["", "lifted"])
def test_what_came_before_too_much_is_not_lost(lifted: bytes) -> None:
    ping, over = masked_frame(FIN | PING, b"?"), masked_frame(FIN | BINARY, bytes(11))
    with pytest.raises(TooMuch) as caught:
        follower(max_bytes=10).feed(ping + lifted + ping + over + ping)
    assert caught.value.before == (ping + ping, ["hello"] if lifted else [], 2)
