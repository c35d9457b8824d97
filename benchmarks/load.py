"""The load: raw non-blocking sockets under one epoll, frames counted in bulk.

The load must not be the limit, so nothing here parses a frame on the hot path. All frames of a run
have one size, learnt from a first message, and counting is a division; where sizes differ (the v1
dialect), a marker in each message's text is counted, at the speed of `bytes.count`.

Every delivery is counted. What was sent and did not arrive is reported as lost.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

BATCH: Final = 64  # handshakes under way at once
BUFFER: Final = 1 << 20
MARK: Final = b"~mark~"
TEXT: Final = "a message of an ordinary length, as people write them " + MARK.decode()
PATIENCE: Final = 5.0  # seconds without a byte, then what is missing is lost


class LoadError(Exception):
    """The server did not do what the load needs of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: `ws://HOST:PORT/PREFIX/ROOM/`, in the plain dialect or in v1."""

    host: str
    port: int
    prefix: str = "/ws/chat/"
    subprotocol: str = ""

    @classmethod
    def parse(cls, url: str, subprotocol: str = "") -> Target:
        """Read `ws://host:port/ws/chat/` (a room's name is put behind it)."""
        parts = urlsplit(url)
        if parts.scheme != "ws" or not parts.hostname:
            raise LoadError(f"{url}: expected ws://HOST:PORT/PATH/")
        return cls(parts.hostname, parts.port or 80, parts.path or "/ws/chat/", subprotocol)

    def request(self, room: str, query: str = "") -> bytes:
        """Return the handshake for a room."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self.prefix}{room}/{query} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes) -> bytes:
    """Return a masked text frame, as a client sends it."""
    size, key = len(payload), b"\x17\x2a\x63\x5c"
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    mask = (key * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + key + both.to_bytes(size, "big")


def plain(text: str = TEXT) -> bytes:
    """Return a message of the plain dialect, as a frame."""
    return frame(b'{"message":"%b"}' % text.encode())


def with_id(number: int, text: str = TEXT) -> bytes:
    """Return a message of the v1 dialect with an id, as a frame."""
    return frame(b'{"message":"%b","id":"load-%08d"}' % (text.encode(), number))


def connect(target: Target, room: str, query: str = "") -> socket.socket:
    """Open one connection, its handshake sent and not yet answered."""
    sock = socket.create_connection((target.host, target.port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(target.request(room, query))
    return sock


def finish_handshake(sock: socket.socket) -> bytes:
    """Read the handshake's answer; return what came behind it.

    Raises:
        LoadError: it was refused.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise LoadError(f"the handshake was cut off after {data[:80]!r}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise LoadError(f"the handshake was refused: {head[:80]!r}")
    sock.setblocking(False)
    return rest


class Members:
    """Open connections, and how many bytes or marks each has received."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sockets: list[socket.socket] = []
        self.received: list[int] = []  # by member: bytes, or marks once `counts_marks`
        self.counts_marks = False
        self.size = 0  # bytes of one message's frame
        self.total = 0  # over all members
        self._tails: list[bytes] = []
        self._epoll = select.epoll()
        self._by_fd: dict[int, int] = {}
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)

    def __len__(self) -> int:
        return len(self.sockets)

    def join(self, rooms: list[str]) -> float:
        """Connect one member to each of `rooms`; return the seconds that it took."""
        begin = time.perf_counter()
        for start in range(0, len(rooms), BATCH):
            batch = [connect(self.target, room) for room in rooms[start : start + BATCH]]
            for sock in batch:
                self.add(sock, finish_handshake(sock))
        return time.perf_counter() - begin

    def add(self, sock: socket.socket, early: bytes = b"") -> None:
        """Take over a connection whose handshake is done."""
        index = len(self.sockets)
        self.sockets.append(sock)
        self.received.append(len(early))
        self._tails.append(b"")
        self._by_fd[sock.fileno()] = index
        self._epoll.register(sock, select.EPOLLIN)

    def poll(self, timeout: float, most: int = -1) -> list[int]:
        """Receive what there is, for `most` members; return those that received something."""
        touched = []
        for fd, _ in self._epoll.poll(timeout, most):
            index = self._by_fd[fd]
            try:
                count = self.sockets[index].recv_into(self._buffer)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise LoadError(f"member {index} was cut off: {exc}") from exc
            if not count:
                raise LoadError(f"the server closed member {index}")
            if self.counts_marks:
                count = self._count_marks(index, count)
            self.received[index] += count
            self.total += count
            touched.append(index)
        return touched

    def _count_marks(self, index: int, size: int) -> int:
        data = self._tails[index] + bytes(self._view[:size])
        self._tails[index] = data[-(len(MARK) - 1) :]
        return data.count(MARK)

    def settle(self, quiet: float = 0.3) -> None:
        """Receive and forget, until nothing has come for `quiet` seconds."""
        while self.poll(quiet):
            pass
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.received = [0] * len(self.sockets)
        self.total = 0

    def learn(self, room: list[int], message: bytes) -> None:
        """Learn the size of a message's frame from one that is sent by the first of `room`."""
        self.settle()
        if self.target.subprotocol:
            self.counts_marks, self.size = True, 1
        self.sockets[room[0]].sendall(message)
        deadline = time.perf_counter() + PATIENCE
        while any(not self.received[index] for index in room):
            self.poll(0.1)
            if time.perf_counter() > deadline:
                raise LoadError("a first message did not reach everybody")
        self.settle()
        if not self.counts_marks:
            self.size = self._learn_size(room, message)

    def _learn_size(self, room: list[int], message: bytes) -> int:
        self.sockets[room[0]].sendall(message)
        while self.poll(0.3):
            pass
        sizes = {self.received[index] for index in room}
        self.reset()
        if len(sizes) != 1:
            raise LoadError(f"one message arrived as {sorted(sizes)} bytes")
        return sizes.pop()

    def send(self, index: int, data: bytes) -> None:
        """Send whole frames; where the socket is full, receive meanwhile."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sockets[index].send(view) :]
            except BlockingIOError:
                self.poll(0.001)

    def close(self) -> None:
        """Close every connection, by reset: quick, and nothing stays in TIME_WAIT."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        self._epoll.close()
