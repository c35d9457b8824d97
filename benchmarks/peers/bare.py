"""The limit of Python: an epoll loop, `recv`, `send`, and nothing else.

No framework, no tasks, no checks: a broken frame breaks it. In each turn it reads what is there,
joins what each room has to say, and sends that to each member. Whoever can't take it has the rest
wait in a buffer without a bound. What other servers lose against this is what they do for it.
"""

from __future__ import annotations

import select
import socket
from base64 import b64encode
from collections import defaultdict
from hashlib import sha1

import orjson

from .arguments import port

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
READ, WRITE = select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT


class Member:
    """A connection: what came in part, what waits to go out."""

    __slots__ = ("backlog", "room", "sock", "unread")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.room = b""  # until the handshake is done
        self.unread = b""
        self.backlog = b""


class Server:
    """All connections, and the loop over them."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, READ)
        self.members: dict[int, Member] = {}
        self.rooms: defaultdict[bytes, set[Member]] = defaultdict(set)

    def run(self) -> None:
        """Serve until killed."""
        while True:
            said: defaultdict[bytes, list[bytes]] = defaultdict(list)
            for fd, event in self.epoll.poll():
                if fd == self.listener.fileno():
                    self.accept()
                    continue
                member = self.members[fd]
                try:
                    if event & select.EPOLLOUT:
                        self.send(member, b"")
                    if event & ~select.EPOLLOUT:
                        self.receive(member, said)
                except OSError:
                    self.drop(member)
            for room, news in said.items():
                self.broadcast(room, b"".join(news))

    def accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.members[sock.fileno()] = Member(sock)
        self.epoll.register(sock, READ)

    def drop(self, member: Member) -> None:
        if self.members.pop(member.sock.fileno(), None):
            self.rooms[member.room].discard(member)
            member.sock.close()

    def receive(self, member: Member, said: dict[bytes, list[bytes]]) -> None:
        data = member.sock.recv(65536)
        if not data:
            raise ConnectionResetError
        member.unread += data
        if not member.room:
            self.shake_hands(member)
        if member.room and member.unread:
            news, member.unread = read(member.unread)
            said[member.room] += news

    def shake_hands(self, member: Member) -> None:
        head, end, rest = member.unread.partition(b"\r\n\r\n")
        if not end:
            return
        request, *lines = head.split(b"\r\n")
        fields = (line.partition(b":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        accept = b64encode(sha1(headers[b"sec-websocket-key"] + GUID).digest())
        self.send(
            member,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
        )
        member.unread = rest
        member.room = request.split(b" ")[1]
        self.rooms[member.room].add(member)

    def broadcast(self, room: bytes, blob: bytes) -> None:
        for member in list(self.rooms[room]):
            try:
                self.send(member, blob)
            except OSError:
                self.drop(member)

    def send(self, member: Member, blob: bytes) -> None:
        waited = bool(member.backlog)
        blob = member.backlog + blob if waited else blob
        try:
            sent = member.sock.send(blob)
        except BlockingIOError:
            sent = 0
        member.backlog = blob[sent:]
        if waited != bool(member.backlog):
            self.epoll.modify(member.sock, WRITE if member.backlog else READ)


def read(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the frames to send for the whole frames in `data`, and what is left of it."""
    news, at = [], 0
    while len(data) - at >= 6:
        size, start = data[at + 1] & 127, at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        end = start + 4 + size
        if len(data) < end:
            break
        if data[at] & 15 == 8:
            raise ConnectionResetError
        message = orjson.loads(unmask(data[start : start + 4], data[start + 4 : end]))["message"]
        news.append(frame(orjson.dumps({"message": message})))
        at = end
    return news, data[at:]


def unmask(key: bytes, payload: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return both.to_bytes(size, "big")


def frame(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + payload


if __name__ == "__main__":
    Server(port()).run()
