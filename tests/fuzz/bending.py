"""What the fuzzer does to a session: edits of its bytes, cuts, and a way to end."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from hypothesis import strategies as st

from . import corpus

SEAM: Final = re.compile(rb"[ /?=:\"{\n](?=[^ ])|\}(?=.)", re.DOTALL)
WHOLE: Final[Sequence[int]] = ()

# What parsers trip over, in place of a random byte.
TOKENS: Final = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r\n ",
    b"\x00",
    b"\xff",
    b"%",
    b"%00",
    b"?",
    b"//",
    b"//[",
    b"[",
    b"{",
    b'"',
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0, 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Origin: http://[\r\n",
    b"Expect: 100-continue\r\n",
    corpus.frame(corpus.FIN | corpus.PING),
    corpus.frame(corpus.FIN | corpus.CLOSE),
    corpus.frame(corpus.FIN | corpus.CLOSE, b"\x03"),
    corpus.close(1005),
    corpus.frame(corpus.FIN | corpus.MORE, b"x"),
    corpus.frame(corpus.TEXT, b"{"),
    corpus.frame(corpus.FIN | corpus.TEXT, b"\xed\xa0\x80"),
    corpus.frame(corpus.FIN | corpus.BINARY),
    b"\x81\xff" + b"\xff" * 8,
    b"\x81\x05hello",
    b"\xc1\x80\x00\x00\x00\x00",
)


class End(Enum):
    """What the client does when it has said everything."""

    EOF = "it ends its half"
    SILENCE = "it listens, and says nothing more"
    CLOSED = "it closes"


@dataclass(frozen=True)
class Edit:
    """One change, at a place that is counted around the session's end.

    With `seam` only those places count where something begins: a word, a line, a text, a frame.
    """

    kind: Literal["flip", "insert", "delete", "duplicate", "truncate"]
    seam: bool
    place: int
    size: int
    data: bytes

    def apply(self, session: bytes) -> bytes:
        seams = [found.end() for found in SEAM.finditer(session)] if self.seam else []
        places = seams or range(len(session) + 1)
        place = places[self.place % len(places)]
        before, here, after = session[:place], session[place:][: self.size], session[place:]
        match self.kind:
            case "flip":
                mask = self.data[0]
                return before + bytes(byte ^ mask for byte in here[:1]) + after[1:]
            case "insert":
                return before + self.data + after
            case "delete":
                return before + after[self.size :]
            case "duplicate":
                return before + here + after
            case "truncate":
                return before


@dataclass(frozen=True)
class Plan:
    """What one client sends, piece by piece, and how it ends."""

    session: bytes
    cuts: Sequence[int] = WHOLE
    end: End = End.EOF

    @property
    def pieces(self) -> list[bytes]:
        marks = sorted(
            {0, len(self.session), *(cut % (len(self.session) + 1) for cut in self.cuts)}
        )
        return [self.session[start:stop] for start, stop in itertools.pairwise(marks)]


def bend(session: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in edits:
        session = edit.apply(session)
    return session


edits: Final = st.builds(
    Edit,
    st.sampled_from(["insert", "flip", "delete", "duplicate", "truncate"]),
    st.booleans(),
    st.integers(0, 2000),
    st.integers(1, 40),
    st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4),
)
sessions: Final = st.builds(
    lambda parts, edits: bend(b"".join(parts), edits),
    st.lists(st.sampled_from([*corpus.load().values()]), min_size=1, max_size=2),
    st.lists(edits, max_size=5),
)
plans: Final = st.builds(
    Plan, sessions, st.lists(st.integers(0, 2000), max_size=6).map(tuple), st.sampled_from(End)
)
