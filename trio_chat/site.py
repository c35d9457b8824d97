"""What is at which address: pages, static files, health. From a request to an answer, without I/O.

The files of `trio_chat/pages` are read once, when the server starts; a wheel carries them.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Final
from urllib.parse import quote

from .protocol import BadName, parse_room_name
from .web import Answer, Request, redirect, say

CONTENT_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}

# A page's scripts belong together, so a browser asks each time; mostly the answer is 304.
CACHE: Final = "public, no-cache"
NEVER: Final = "no-store"

MAX_LISTED: Final = 100
ROOMS_MARK: Final = b"<!-- rooms -->"


class Site:
    """Answers what is not a WebSocket.

    `counts` gives the members of each open room, `metrics` the Prometheus text, `ready` whether
    new members are welcome.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, int]],
        metrics: Callable[[], Answer],
        ready: Callable[[], bool],
    ) -> None:
        self._counts = counts
        self._metrics = metrics
        self._ready = ready
        self._files = _load_files()

    def answer(self, request: Request) -> Answer:
        """Return the answer to any request that is not an upgrade."""
        answer = self._find(request)
        if answer.status != 404 and request.method not in ("GET", "HEAD"):
            return say(405, "only GET and HEAD are answered here", Allow="GET, HEAD")
        return answer

    def _find(self, request: Request) -> Answer:
        match request.path.split("/")[1:]:
            case [""]:
                return redirect(302, "/chat/")
            case ["chat"]:
                return redirect(301, "/chat/", request.query)
            case ["chat", ""]:
                return self._index()
            case ["chat", room] | ["chat", room, ""] if not _names_a_room(room):
                return say(404, "no room can have that name")
            case ["chat", room]:
                return redirect(301, f"/chat/{room}/", request.query)
            case ["chat", _, ""]:
                return self._file(request, "room.html")
            case ["static", name] if not name.endswith(".html"):
                return self._file(request, name)
            case ["favicon.ico"]:
                return self._file(request, "favicon.ico")
            case ["ws", "chat", room] | ["ws", "chat", room, ""]:
                if not _names_a_room(room):
                    return say(404, "no room can have that name")
                return say(
                    426, "this address speaks WebSocket", Upgrade="websocket", Connection="Upgrade"
                )
            case ["livez"]:
                return say(200, "ok", Cache_Control=NEVER)
            case ["readyz"]:
                if self._ready():
                    return say(200, "ok", Cache_Control=NEVER)
                return say(503, "draining", Cache_Control=NEVER)
            case ["metrics"]:
                return self._metrics()
            case _:
                return say(404, "there is nothing at this address")

    def _file(self, request: Request, name: str) -> Answer:
        file = self._files.get(name)
        if file is None:
            return say(404, "there is nothing at this address")
        known = request.tokens(b"if-none-match")
        if file.headers["ETag"] in known or f"W/{file.headers['ETag']}" in known:
            return Answer(304, headers=file.headers)
        return file

    def _index(self) -> Answer:
        # The only page that is put together here, and every foreign word in it is escaped.
        counts = sorted(self._counts().items(), key=lambda item: (-item[1], item[0]))
        items = [_list_item(room, count) for room, count in counts[:MAX_LISTED] if count]
        page = self._files["index.html"]
        body = page.body.replace(ROOMS_MARK, "".join(items).encode(), 1)
        return Answer(200, body, page.content_type, {"Cache-Control": NEVER})


def _list_item(room: str, count: int) -> str:
    return (
        f'<li><a href="/chat/{quote(room, safe="")}/">{html.escape(room)}</a>'
        f' <span class="count">{count}</span></li>'
    )


def _names_a_room(segment: str) -> bool:
    try:
        parse_room_name(segment)
    except BadName:
        return False
    return True


def _load_files() -> dict[str, Answer]:
    folder = resources.files(__package__) / "pages"
    return {
        file.name: _static(file.name, file.read_bytes())
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in CONTENT_TYPES
    }


def _static(name: str, body: bytes) -> Answer:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    kind = CONTENT_TYPES[name.rpartition(".")[2]]
    return Answer(200, body, kind, {"ETag": tag, "Cache-Control": CACHE})
