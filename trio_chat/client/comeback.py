"""What a client remembers between two connections, and whether and when it comes back.

Pure bookkeeping: no I/O, no clock. The table is the column "come back?" of the protocol.
"""

from __future__ import annotations

import enum
import random
from typing import Final

from ..protocol import CloseCode
from .events import Welcome

# RFC 6455, section 7.4.1: never on the wire, but said by one's own side where no Close frame came.
NO_STATUS: Final = 1005
TLS_FAILED: Final = 1015

LONGEST_PAUSE: Final = 30.0  # seconds
SHORTEST_LATER: Final = 5.0  # seconds


class Comeback(enum.Enum):
    """What to do after a connection has ended."""

    NEVER = "never"
    SOON = "soon"
    LATER = "later"  # The server has no place just now, or needs a rest from this client.
    AFRESH = "afresh"  # What this client has seen no longer counts.


_COMEBACKS: Final[dict[int, Comeback]] = {
    CloseCode.NORMAL: Comeback.NEVER,
    CloseCode.GOING_AWAY: Comeback.SOON,
    CloseCode.PROTOCOL_ERROR: Comeback.NEVER,
    CloseCode.UNSUPPORTED_DATA: Comeback.NEVER,
    NO_STATUS: Comeback.SOON,
    CloseCode.ABNORMAL: Comeback.SOON,
    CloseCode.INVALID_TEXT: Comeback.NEVER,
    CloseCode.POLICY: Comeback.LATER,
    CloseCode.TOO_BIG: Comeback.NEVER,
    CloseCode.INTERNAL_ERROR: Comeback.SOON,
    CloseCode.TRY_AGAIN_LATER: Comeback.LATER,
    TLS_FAILED: Comeback.NEVER,
    CloseCode.EVICTED: Comeback.SOON,
    CloseCode.REMOVED: Comeback.NEVER,
    CloseCode.ROOM_CLOSED: Comeback.NEVER,
    CloseCode.NO_HEARTBEAT: Comeback.SOON,
    CloseCode.TOKEN_ENDED: Comeback.NEVER,  # A new token is the caller's to get.
    CloseCode.RENUMBERED: Comeback.AFRESH,
    CloseCode.REPLACED: Comeback.NEVER,
    # HTTP: the server, or a proxy before it, refused the handshake only for the moment.
    408: Comeback.LATER,
    425: Comeback.LATER,
    429: Comeback.LATER,
    500: Comeback.SOON,
    502: Comeback.SOON,
    503: Comeback.LATER,
    504: Comeback.SOON,
}


def comeback_after(code: int) -> Comeback:
    """Tell what to do after `code`: a close code, or the HTTP status of a refused handshake."""
    if code in _COMEBACKS:
        return _COMEBACKS[code]
    # Unknown: RFC 6455 leaves 1000 to 2999 to the protocol, such as 1012 "restarting". A number
    # that an application (3000 and up) or HTTP gave has a meaning that nobody told us.
    return Comeback.SOON if 1000 <= code < 3000 else Comeback.NEVER


def choose_pause(comeback: Comeback, attempt: int) -> float:
    """Return the seconds to wait before an attempt, counted from 1.

    Exponential with full jitter: thousands of clients that lost one server don't come back as one.
    """
    if comeback is Comeback.LATER:
        return random.uniform(SHORTEST_LATER, LONGEST_PAUSE)
    return random.uniform(0, min(LONGEST_PAUSE, 2.0 ** min(attempt, 10)))


class Gap(Exception):
    """The server left out a message that it owed."""


class Place:
    """How far a client has come in its room's order: each number once, and none left out.

    `seq` is the newest number of `epoch` that needs no asking for any more. An epoch of None means
    that this client has not been in the room yet.
    """

    def __init__(self, seq: int = 0, epoch: str | None = None) -> None:
        self.seq = seq
        self.epoch = epoch
        self._may_jump = False  # The next number needn't be the one after `seq`.

    def enter(self, welcome: Welcome, history: int) -> bool:
        """Take note of a greeting that answers a join with `history`; tell if nothing is missing.

        A count that lies behind ours has begun anew, even if it kept the epoch's name.
        """
        same = welcome.epoch == self.epoch and welcome.seq >= self.seq
        complete = same and (welcome.recovered or welcome.seq == self.seq)
        if not complete:
            # The newest `history` messages follow, or as many as there are.
            self.seq = max(self.seq if same else 0, welcome.seq - history)
        self.epoch = welcome.epoch
        self._may_jump = not complete
        return complete

    def advance(self, seq: int) -> bool:
        """Take note of message `seq`; tell if it is new.

        Raises:
            Gap: a message before it is missing.
        """
        if seq <= self.seq:
            return False
        if seq != self.seq + 1 and not self._may_jump:
            raise Gap(f"message {seq} came after {self.seq}")
        self.seq = seq
        self._may_jump = False
        return True

    def forget(self) -> None:
        """Take note that the numbering began anew."""
        self.seq = 0
        self.epoch = None
