"""HTTP as values: a request's head, an answer. What a page is and what it carries; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

Headers = Sequence[tuple[bytes, bytes]]

# A page may load what this server serves and talk to this server, and nothing else; nobody may
# frame it. No inline script, no inline style, so a name that looks like one stays a name.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Request(NamedTuple):
    """The head of an HTTP request."""

    method: str
    path: str  # still percent-encoded
    query: str  # without the question mark
    headers: Headers  # names in lower case
    version: str  # "1.1"

    def get(self, name: bytes) -> str | None:
        """Return the value of a header; several are joined (RFC 9110, section 5.3)."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def tokens(self, name: bytes) -> list[str]:
        """Return the comma-separated items of a header."""
        return [item for part in (self.get(name) or "").split(",") if (item := part.strip())]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Security headers, length and connection handling come on top."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """This request gets an answer that is not what it asked for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}")
        self.answer = answer


def say(status: int, sentence: str = "", **headers: str) -> Answer:
    """Return an answer in one sentence; `Retry_After="5"` becomes the header `Retry-After: 5`."""
    text = sentence or REASONS[status].lower()
    return Answer(
        status,
        f"{text}\n".encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def redirect(status: int, path: str, query: str = "") -> Answer:
    """Return an answer that sends the client to another path of this server."""
    target = f"{path}?{query}" if query else path
    return Answer(status, f"{target}\n".encode(), headers={"Location": target})
