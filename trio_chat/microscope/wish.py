"""What was asked for on the command line: where the microscope is served, and what it may do.

Values and checks, no I/O. Whatever is not this machine alone is refused here.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from .discovery import folder_in
from .known import Names


class Unservable(Exception):
    """The microscope can't be served as it was asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where the page is served: a name or address of the loopback, and a port (0: a free one)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: the socket's place, the page's address if any, names, and the lab."""

    socket: Path
    web: WebAddress | None
    names: Names
    lab: bool


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener of this name."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def wish_for(address: str, names: str, lab: str | None, host: str, parent: Path) -> Wish:
    """Return what the options of `serve` ask for; `host` is where the chat itself listens.

    Raises:
        Unservable: they ask for what must not be.
    """
    if lab is not None and not is_loopback(host):
        raise Unservable(f"--lab lets others break things, so not with --host {host}")
    try:
        web = parse_address(address) if address else None
    except ValueError as exc:
        raise Unservable(f"--microscope: {exc}") from None
    socket_path = folder_in(parent) / f"{os.getpid()}.sock"
    return Wish(socket_path, web, Names(names), lab is not None)


def parse_address(text: str) -> WebAddress:
    """Return what "127.0.0.1:8001", "[::1]:8001" or "localhost:8001" stand for.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if ":" in host else host
    if not colon or not is_loopback(bare) or ("[" in host) != (":" in bare):
        raise ValueError(f"{text!r} won't do; it is for this machine only, as 127.0.0.1:PORT")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"{text!r} won't do; its port is a number up to 65535, 0 for a free one")
    return WebAddress(bare, int(port))
