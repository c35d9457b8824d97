"""RFC 6455's frames, as far as the wire needs them: making whole ones, and following a client's.

trio-websocket speaks the protocol. Two things it can't do for us: make one frame for a whole room,
and say early that a message is growing too large. Both need no more than the frames' headers, and
both are here, without I/O.

`FrameFollower` also is the fast lane. A frame that is complete, final, masked, text and valid
UTF-8 carries no question that a protocol engine would have to answer, so it is lifted out of the
stream; and so is a Pong, which asks for nothing. Whatever else there is passes through untouched,
and trio-websocket judges it.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, NamedTuple

FIN: Final = 0x80
MASKED: Final = 0x80
OPCODE: Final = 0x0F
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CONTROL: Final = 0x8
FINAL_TEXT: Final = FIN | TEXT
FINAL_CLOSE: Final = FIN | 0x8
FINAL_PING: Final = FIN | 0x9
FINAL_PONG: Final = FIN | 0xA

MAX_CONTROL_PAYLOAD: Final = 125
NO_CODE: Final = 1005


def text_frame(payload: bytes) -> bytes:
    """Return a whole text frame as a server sends it: final and not masked."""
    return _frame(FIN | TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """Return a whole binary frame as a server sends it."""
    return _frame(FIN | BINARY, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (first, size, payload)
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


def close_frame(code: int, reason: str) -> bytes:
    """Return a Close frame; the reason is cut where it does not fit (RFC 6455, section 5.5).

    1005 stands for a Close without a code, and never goes over the line itself (section 7.1.5).
    """
    if code == NO_CODE:
        return b"%c\0" % FINAL_CLOSE
    text = reason.encode()[: MAX_CONTROL_PAYLOAD - 2]
    payload = code.to_bytes(2, "big") + text.decode(errors="ignore").encode()
    return b"%c%c%b" % (FINAL_CLOSE, len(payload), payload)


def ping_frame(payload: bytes) -> bytes:
    """Return a Ping frame with at most 125 bytes."""
    return b"%c%c%b" % (FINAL_PING, len(payload), payload)


def unmask(payload: bytes, key: bytes) -> bytes:
    """Return the payload without its mask (RFC 6455, section 5.3)."""
    # One XOR of two long integers: far fewer steps than one a byte.
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return both.to_bytes(size, "little")


class Header(NamedTuple):
    """What the first bytes of a frame say."""

    first: int  # FIN, reserved bits and opcode
    masked: bool
    length: int  # of the payload, in bytes
    size: int  # of the header itself, its masking key included


def parse_header(data: bytes, start: int = 0) -> Header | None:
    """Return the header that begins at `start`, or None where more bytes are needed."""
    size = len(data) - start
    if size < 2:
        return None
    first, second = data[start], data[start + 1]
    masked, length, end = bool(second & MASKED), second & 0x7F, 2
    if length == 126:
        end = 4
    elif length == 127:
        end = 10
    if end > 2:
        if size < end:
            return None
        length = int.from_bytes(data[start + 2 : start + end], "big")
    end += 4 * masked
    return Header(first, masked, length, end) if size >= end else None


LongWay = Literal[None]
LONG_WAY: Final = None  # Stands for "the next message comes from trio-websocket".


class Excess(enum.Enum):
    """Which bound a client's frames went over."""

    BYTES = "a frame or a message over the size limit"
    FRAGMENTS = "a message in too many fragments"


class Chunk(NamedTuple):
    """What one piece of a client's stream turned out to hold."""

    passed: bytes  # for trio-websocket
    messages: list[str | LongWay]  # in order; lifted texts, and marks for what goes the long way
    controls: int  # frames


class TooMuch(Exception):
    """The client's frames went over a bound; `before` is the chunk up to the frame that did."""

    def __init__(self, excess: Excess, before: Chunk) -> None:
        super().__init__(excess.value)
        self.excess = excess
        self.before = before


class FrameFollower:
    """Walks through the frames of one client without changing their meaning.

    Bounds are counted over all fragments of a message, as their headers announce them: a frame is
    refused before it has arrived. 0 means no limit.
    """

    __slots__ = (
        "_carry",
        "_fragments",
        "_lifts",
        "_max_bytes",
        "_max_fragments",
        "_message_bytes",
        "_remaining",
        "close_seen",
        "in_message",
        "lost",
    )

    def __init__(self, *, max_bytes: int, max_fragments: int, lifts: bool) -> None:
        self._max_bytes = max_bytes
        self._max_fragments = max_fragments
        self._lifts = lifts
        self._carry = b""  # The beginning of a header, already passed on.
        self._remaining = 0  # Bytes of the current frame's payload that are still to come.
        self._message_bytes = 0
        self._fragments = 0
        self.in_message = False  # Between the first and the last frame of a fragmented message.
        self.close_seen = False
        self.lost = False  # A header broke the protocol: what follows can't be told apart.

    @property
    def unfinished(self) -> bool:
        """Whether a frame or a message has begun and not ended."""
        return self.in_message or self._remaining > 0 or bool(self._carry)

    def feed(self, data: bytes) -> Chunk:
        """Take the next piece of the stream.

        Raises:
            TooMuch: a bound was exceeded; the follower is of no more use.
        """
        passed: list[bytes] = []
        messages: list[str | LongWay] = []
        controls = 0
        kept = position = 0  # data[kept:position] was looked at and will be passed on.
        while position < len(data):
            if self.lost:
                position = len(data)
            elif self._remaining:
                step = min(self._remaining, len(data) - position)
                self._remaining -= step
                position += step
            elif self.close_seen:
                data = data[:position]  # Nothing counts behind a Close (section 5.5.1).
            elif end := self._lift(data, position, messages):
                controls += data[position] == FINAL_PONG
                if kept < position:
                    passed.append(data[kept:position])
                kept = position = end
            else:
                start = position
                header, position = self._next_header(data, start)
                if header is None:
                    break
                if header.first & CONTROL:
                    controls += 1
                    self.close_seen = header.first == FINAL_CLOSE
                elif (excess := self._count(header)) is not None:
                    self.lost = True
                    passed.append(data[kept:start])
                    raise TooMuch(excess, Chunk(b"".join(passed), messages, controls))
                else:
                    if not self.in_message:
                        messages.append(LONG_WAY)
                    self.in_message = not header.first & FIN
        # Most chunks are lifted whole or passed on whole: neither is copied.
        if kept == 0:
            return Chunk(data, messages, controls)
        passed.append(data[kept:])
        return Chunk(b"".join(passed), messages, controls)

    def _lift(self, data: bytes, start: int, into: list[str | LongWay]) -> int:
        # The lane: takes one whole frame out and returns where it ends, or 0 where it must pass.
        first = data[start]
        if first not in (FINAL_TEXT, FINAL_PONG) or not self._lifts or self._carry:
            return 0
        second = data[start + 1] if start + 1 < len(data) else 0
        if MASKED <= second < MASKED | 126 and not self.in_message:
            # By far the most frames are short: their header says all in its second byte.
            length, body = second & 0x7F, start + 6
        else:
            header = parse_header(data, start)
            if header is None or not self._is_sound(header):
                return 0
            length, body = header.length, start + header.size
        end = body + length
        if end > len(data):
            return 0
        if first == FINAL_TEXT:
            if self._max_bytes and length > self._max_bytes:
                return 0
            try:
                into.append(unmask(data[body:end], data[body - 4 : body]).decode())
            except UnicodeDecodeError:
                return 0
        return end

    def _next_header(self, data: bytes, start: int) -> tuple[Header | None, int]:
        # A header may come in pieces: what was too short last time is put in front.
        carried = len(self._carry)
        window = self._carry + data[start : start + 14 - carried]
        header = parse_header(window)
        if header is None:
            self._carry = window
            return None, len(data)
        self._carry = b""
        if not self._is_sound(header):
            self.lost = True  # A broken frame begins nothing; the engine will say so.
            return None, len(data)
        self._remaining = header.length
        return header, start + header.size - carried

    def _is_sound(self, header: Header) -> bool:
        # Whether trio-websocket will go on after this header (RFC 6455, section 5.2).
        first, masked, length, size = header
        opcode = first & OPCODE
        minimal = 6 if length < 126 else 8 if length < 1 << 16 else 14
        if not masked or first & 0x70 or size != minimal or length >> 63:
            return False
        if opcode & CONTROL:
            return bool(first & FIN) and opcode <= 0xA and length <= MAX_CONTROL_PAYLOAD
        return opcode == CONTINUATION if self.in_message else opcode in (TEXT, BINARY)

    def _count(self, header: Header) -> Excess | None:
        # Counts a data frame; returns which bound it goes over.
        if not self.in_message:
            self._message_bytes = self._fragments = 0
        self._message_bytes += header.length
        self._fragments += 1
        if self._max_bytes and self._message_bytes > self._max_bytes:
            return Excess.BYTES
        if self._max_fragments and self._fragments > self._max_fragments:
            return Excess.FRAGMENTS
        return None
