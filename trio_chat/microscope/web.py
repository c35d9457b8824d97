"""The page's listener: HTTP for a browser on this machine, one request a connection.

    GET /                the page, and its files; nothing in them is about this server
    GET /events          the recording as server-sent events; needs the token
    POST /acts           one act of the lab; needs the token, as a header

Who may ask: only somebody who calls this listener by a name of the loopback (else a foreign name
that is made to lead here would do), from no other page, and with the token. The token is in the
address that the server prints. The page keeps it for its tab and sends it itself; a cookie would
go to every other port of this machine as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from email.utils import formatdate
from importlib import resources
from typing import Final
from urllib.parse import parse_qs

import h11
import trio

from ..site import CONTENT_TYPES
from ..web import REASONS, SECURITY_HEADERS, Answer, Refused, Request, say
from .acts import Lab, NotDone, parse_act
from .visitors import PATIENCE, Stream, notice_leaving, send
from .watch import Microscope, TooManyWatchers, Watcher

MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 4 * 1024
LINGER: Final = 2.0  # seconds in which a client may finish what it was saying
TOKEN_HEADER: Final = b"x-microscope-token"
PAGE: Final = "microscope.html"

HEADERS: Final = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # The address has the token in it.
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Desk:
    """Answers those who come to the page's listener, `own`, which is a host and a port.

    `lab` is None where one may only look.
    """

    def __init__(self, microscope: Microscope, lab: Lab | None, own: str) -> None:
        self.token = secrets.token_urlsafe(24)
        self._microscope = microscope
        self._lab = lab
        port = own.rpartition(":")[2]
        self._hosts = {own, *(f"{host}:{port}" for host in ("127.0.0.1", "[::1]", "localhost"))}
        if port == "80":  # A browser leaves out HTTP's own port.
            self._hosts |= {host.removesuffix(":80") for host in self._hosts}
        self._files = dict(load_page())

    async def answer_one(self, stream: Stream) -> None:
        """Read one request and answer it.

        Raises:
            trio.BrokenResourceError: the client is gone, or takes nothing.
        """
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            with trio.move_on_after(PATIENCE) as patience:
                asked = await _read_request(stream, http)
            if patience.cancelled_caught or asked is None:
                return
            request, body = asked
            self._check(request)
            if request.path == "/events" and request.method == "GET":
                await self._stream(stream, http, request)
                return
            answer = self._answer(request, body)
        except Refused as exc:
            answer = exc.answer
        except h11.RemoteProtocolError as exc:
            answer = say(exc.error_status_hint, "bad request")
        await _reply(stream, http, answer)

    def _check(self, request: Request) -> None:
        host = (request.get(b"host") or "").lower()
        if host not in self._hosts:
            raise Refused(say(403, "this listener is for this machine, by its own name"))
        origin = request.get(b"origin")
        if origin is not None and origin.lower() != f"http://{host}":
            raise Refused(say(403, "this is not for other pages"))

    def _check_token(self, given: str) -> None:
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise Refused(say(403, "the token is missing or wrong: open the printed address"))

    def _answer(self, request: Request, body: bytes) -> Answer:
        match request.method, request.path:
            case "GET", "/":
                return self._files.get(PAGE, say(404))
            case "GET", path if path.removeprefix("/") in self._files:
                return self._files[path.removeprefix("/")]
            case "POST", "/acts":
                return self._act(request, body)
            case _, path if path in ("/", "/acts", "/events"):
                return say(405)
            case _:
                return say(404, "there is nothing at this address")

    def _act(self, request: Request, body: bytes) -> Answer:
        # Only as a header: a form or a link of another page can't send one.
        self._check_token(request.get(TOKEN_HEADER) or "")
        if self._lab is None:
            raise Refused(say(403, "one may only look: acts need a server with --lab"))
        try:
            return say(200, self._lab.do(parse_act(body)))
        except NotDone as exc:
            raise Refused(say(exc.status, str(exc))) from None

    async def _stream(self, stream: Stream, http: h11.Connection, request: Request) -> None:
        # An EventSource can't send a header, so here the token may stand in the query.
        in_query = parse_qs(request.query).get("token", [""])[0]
        self._check_token(request.get(TOKEN_HEADER) or in_query)
        try:
            with self._microscope.watch() as watcher:
                await send(stream, _head(http, 200, {"Content-Type": "text/event-stream"}))
                async with trio.open_nursery() as nursery:
                    scope = nursery.cancel_scope
                    nursery.start_soon(notice_leaving, stream, scope, name="leaving")
                    await _send_news(stream, http, watcher)
                    scope.cancel(reason="the microscope is closed")
        except TooManyWatchers as exc:
            raise Refused(say(503, str(exc), Retry_After="10")) from None


async def _send_news(stream: Stream, http: h11.Connection, watcher: Watcher) -> None:
    with suppress(trio.EndOfChannel):
        while True:
            lines = await watcher.take()
            # An event ends with an empty line.
            events = b"data: " + lines[:-1].replace(b"\n", b"\n\ndata: ") + b"\n\n"
            await send(stream, http.send(h11.Data(data=events)) or b"")
    await send(stream, http.send(h11.EndOfMessage()) or b"")


def load_page() -> Iterable[tuple[str, Answer]]:
    """Return the page's files, read once; a wheel carries them."""
    folder = resources.files(__package__) / "page"
    for file in folder.iterdir():
        kind = CONTENT_TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            yield file.name, Answer(200, file.read_bytes(), kind)


async def _read_request(stream: Stream, http: h11.Connection) -> tuple[Request, bytes] | None:
    head: Request | None = None
    body = b""
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                data = await stream.receive_some()
                if not data and head is None:
                    return None
                http.receive_data(bytes(data))
            case h11.Request():
                head = _to_request(event)
            case h11.Data():
                body += event.data
                if len(body) > MAX_BODY:
                    raise Refused(say(413, "that is too long for an act"))
            case h11.EndOfMessage() if head is not None:
                return head, body
            case _:
                return None


def _to_request(event: h11.Request) -> Request:
    method = event.method.decode("ascii")
    if method not in ("GET", "POST"):  # To HEAD no answer could have a body.
        raise Refused(Answer(405, headers={"Allow": "GET, POST"}))
    path, _, query = event.target.decode("ascii").partition("?")
    return Request(method, path, query, list(event.headers), event.http_version.decode())


def _head(http: h11.Connection, status: int, headers: dict[str, str]) -> bytes:
    response = h11.Response(
        status_code=status,
        headers=list({"Date": formatdate(usegmt=True), **HEADERS, **headers}.items()),
        reason=REASONS.get(status, ""),
    )
    return http.send(response) or b""


async def _reply(stream: Stream, http: h11.Connection, answer: Answer) -> None:
    length = str(len(answer.body))
    about = {"Content-Type": answer.content_type, "Content-Length": length, **answer.headers}
    data = _head(http, answer.status, about)
    if answer.body:
        data += http.send(h11.Data(data=answer.body)) or b""
    await send(stream, data + (http.send(h11.EndOfMessage()) or b""))
    await stream.send_eof()
    # A socket that is closed over unread bytes is reset, and the reset eats the answer.
    with trio.move_on_after(LINGER):
        while await stream.receive_some():
            pass
