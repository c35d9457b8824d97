"""The first thing that everybody meets: the door reads one request's head, then decides.

A short-lived task for each new TCP connection. It answers pages itself, one after the other while
the client keeps the connection; a WebSocket it brings to its room, in one synchronous step, and is
done with it. Whoever holds a connection closes it: the door does, up to that step.

h11 judges what HTTP is. On top of it stands what makes request smuggling work elsewhere: two
lengths, a length with chunks, folded lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import urlsplit

import h11
import trio

from .config import Config
from .metrics import Tally
from .transport import Transport
from .upgrade import Handshake, shake_hands, wants_websocket
from .web import REASONS, SECURITY_HEADERS, Answer, Refused, Request, say

# Takes a connection that has shaken hands, with what came behind the request, and the address that
# it counts for. From then on it is somebody else's.
HandOver = Callable[[Transport, Handshake, bytes, str], None]


class ShakeHands(Protocol):
    """Judges a request for an upgrade: `upgrade.shake_hands`, or another at other addresses."""

    def __call__(
        self, request: Request, *, allowed: tuple[str, ...], scheme: str | None
    ) -> Handshake:
        """Return what was agreed; raise `Refused` where nothing was."""


FOLDED: Final = re.compile(rb"\n[ \t]")
LENGTH: Final = re.compile(rb"\ncontent-length[ \t]*:([^\r\n]*)", re.IGNORECASE)
CHUNKED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class Door:
    """Meets one connection."""

    def __init__(
        self,
        transport: Transport,
        config: Config,
        tally: Tally,
        answer: Callable[[Request], Answer],
        hand_over: HandOver,
        shake_hands: ShakeHands = shake_hands,
    ) -> None:
        self._transport = transport
        self._config = config
        self._tally = tally
        self._answer = answer
        self._hand_over = hand_over
        self._shake_hands = shake_hands
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=config.max_head)
        self._raw = b""  # What has been read for the next request, as it came.
        self._method = "GET"  # Of the request that an answer is for, as far as it can be told.

    async def serve(self) -> None:
        """Answer requests until the client goes, is too slow, or has become a WebSocket.

        Closes the connection, unless it was handed over.
        """
        handed_over = False
        try:
            handed_over = await self._serve()
        except trio.BrokenResourceError:
            pass  # The client went away; there is nobody to tell.
        finally:
            if not handed_over:
                await self._transport.aclose()

    async def _serve(self) -> bool:
        """Return whether the connection was handed over."""
        patience = self._config.handshake_timeout
        try:
            while (request := await self._next_request(patience)) is not None:
                if wants_websocket(request):
                    self._upgrade(request)
                    return True
                if not await self._reply(self._answer(request)):
                    break
                patience = self._config.idle_timeout
        except Refused as exc:
            await self._turn_away(exc.answer)
        except h11.RemoteProtocolError as exc:
            await self._turn_away(say(exc.error_status_hint, f"bad request: {exc}"))
        return False

    def _upgrade(self, request: Request) -> None:
        if not isinstance(self._http.next_event(), h11.EndOfMessage):
            raise Refused(say(400, "a handshake has no body"))  # It would be read as frames.
        address, scheme = self._client(request)
        handshake = self._shake_hands(request, allowed=self._config.allow_origin, scheme=scheme)
        early, _ = self._http.trailing_data
        self._hand_over(self._transport, handshake, early, address)

    def _client(self, request: Request) -> tuple[str, str | None]:
        # Who and how, as far as the peer, or a proxy that we trust, can tell.
        address = self._transport.peer.rpartition(":")[0].strip("[]")
        if not self._config.trusts(address):
            return address, None
        for hop in reversed(request.tokens(b"x-forwarded-for")):
            address = hop
            if not self._config.trusts(hop):
                break
        # Of several schemes the first is the client's own; the rest are between proxies.
        return address, next(iter(request.tokens(b"x-forwarded-proto")), None)

    # --- Reading ---------------------------------------------------------------------------------

    async def _next_request(self, patience: float) -> Request | None:
        """Read a request's head; None where the client went, or did not finish in time.

        Raises:
            Refused: it can be read in two ways.
            h11.RemoteProtocolError: it is not HTTP.
            trio.BrokenResourceError: the connection is broken.
        """
        with trio.move_on_after(patience):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._transport.receive_some()
                if not data:
                    return None
                self._raw += data
                self._http.receive_data(data)
            return self._check(event) if isinstance(event, h11.Request) else None
        return None

    def _check(self, event: h11.Request) -> Request:
        self._method = event.method.decode("ascii")
        behind, _ = self._http.trailing_data
        head = self._raw[: len(self._raw) - len(behind)]
        if len(head) > self._config.max_head:
            raise Refused(say(431))  # h11 counts only while the end of the head is missing.
        lengths = LENGTH.findall(head)
        if FOLDED.search(head):
            raise Refused(say(400, "folded header lines are not accepted"))
        if len(lengths) > 1 or b"," in b"".join(lengths):
            raise Refused(say(400, "more than one Content-Length"))
        if lengths and CHUNKED.search(head):
            raise Refused(say(400, "both Content-Length and Transfer-Encoding"))
        version = event.http_version.decode()
        if version not in ("1.0", "1.1"):
            raise Refused(say(505, "only HTTP/1.1 is spoken"))
        try:
            asked = event.target.decode("ascii")
            # A path may begin with two slashes: what follows is no host (RFC 9112, section 3.2.1).
            target = urlsplit(f"//here{asked}" if asked.startswith("/") else asked)
        except ValueError as exc:  # A bracket where a host could stand.
            raise Refused(say(400, f"bad target: {exc}")) from None
        path = target.path or "/"  # A whole address may do without (RFC 9112, section 3.2.1).
        return Request(self._method, path, target.query, list(event.headers), version)

    # --- Answering -------------------------------------------------------------------------------

    async def _reply(self, answer: Answer) -> bool:
        """Send an answer; return whether the client may ask again on this connection."""
        # A request with a body is not read any further: the connection ends with the answer.
        more = isinstance(self._http.next_event(), h11.EndOfMessage)
        await self._send(answer)
        if not more or self._http.our_state is not h11.DONE:
            await self._linger()
            return False
        self._raw, _ = self._http.trailing_data
        self._method = "GET"
        self._http.start_next_cycle()
        return True

    async def _turn_away(self, answer: Answer) -> None:
        await self._send(answer)
        await self._linger()

    async def _send(self, answer: Answer) -> None:
        self._tally.answers[answer.status] += 1
        headers = {"Date": formatdate(usegmt=True), **SECURITY_HEADERS, **answer.headers}
        if answer.status != 304:  # There a cache would take them for the file's own.
            headers["Content-Type"] = answer.content_type
            headers["Content-Length"] = str(len(answer.body))
        if self._http.their_state is not h11.DONE:
            headers["Connection"] = "close"
        response = h11.Response(
            status_code=answer.status,
            headers=list(headers.items()),
            reason=REASONS.get(answer.status, ""),
        )
        data = [self._http.send(response)]
        if self._method != "HEAD" and answer.body:
            data.append(self._http.send(h11.Data(data=answer.body)))
        data.append(self._http.send(h11.EndOfMessage()))
        with trio.move_on_after(self._config.idle_timeout) as patience:
            rest = memoryview(b"".join(part for part in data if part))
            while rest:
                rest = rest[await self._transport.send_some(rest) :]
        if patience.cancelled_caught:
            raise trio.BrokenResourceError("the client did not take its answer")

    async def _linger(self) -> None:
        # A socket that is closed over unread bytes is reset, and the reset eats the answer.
        await self._transport.send_eof()
        with trio.move_on_after(self._config.linger_timeout):
            while await self._transport.receive_some():
                pass
