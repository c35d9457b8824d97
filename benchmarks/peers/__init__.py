"""Servers of the plain dialect that one might pick instead, and how each is started.

Each is as short as its library's own chat or broadcast example, written as its documentation says:
nothing held back, nothing tuned that the documentation does not recommend, one process each. All
of them speak `/ws/chat/ROOM/`, take `{"message": TEXT}` and send exactly that to everybody in the
room. None has names, history, limits, heartbeats of its own or a defence against slow members:
that is what ours does besides, not what is measured.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

NODE: Final = Path(__file__).parent / "node"
MODULES: Final = NODE / "node_modules"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to compare with.

    `packages` are the distributions whose versions belong beside its figures; `command` starts it
    on a port; `missing` says what to install where it can't run here, and None where it can.
    """

    name: str
    label: str
    packages: tuple[str, ...]
    command: Callable[[int], list[str]]
    missing: Callable[[], str | None]


# --- Peers in Python ---


def _python(name: str, label: str, *packages: str) -> Peer:
    return Peer(name, label, packages, partial(_module, name), partial(_missing, packages))


def _module(name: str, port: int) -> list[str]:
    return [sys.executable, "-m", f"{__name__}.{name.replace('-', '_')}", "--port", str(port)]


def _missing(packages: tuple[str, ...]) -> str | None:
    absent = []
    for package in packages:
        try:
            version(package)
        except PackageNotFoundError:
            absent.append(package)
    return f"needs {', '.join(absent)}: pip install --group bench" if absent else None


def _bare_missing() -> str | None:
    return None if sys.platform == "linux" else "needs epoll, which only Linux has"


# --- Peers in JavaScript ---


def _node_command(port: int) -> list[str]:
    return ["node", str(NODE / "ws.mjs"), "--port", str(port)]


def _node_missing() -> str | None:
    if shutil.which("node") is None:
        return "needs Node.js: install node and npm"
    if not (MODULES / "ws").is_dir():
        return "needs ws: npm ci --ignore-scripts, in benchmarks/peers/node"
    return None


def _bun() -> Path | None:
    # The package `bun` links this binary in a script after its installation, which we don't run.
    # Where there is a second build for old processors, its name sorts behind.
    return next(iter(sorted(MODULES.glob("@oven/bun-*/bin/bun"))), None)


def _bun_command(port: int) -> list[str]:
    return [str(_bun()), str(NODE / "bun.mjs"), "--port", str(port)]


def _bun_missing() -> str | None:
    if _bun() is None:
        return "needs bun: npm ci --ignore-scripts, in benchmarks/peers/node"
    return None


PEERS: Final[dict[str, Peer]] = {
    peer.name: peer
    for peer in (
        _python("channels-daphne", "Channels on Daphne", "django", "channels", "daphne"),
        _python(
            "channels-uvicorn", "Channels on Uvicorn", "django", "channels", "uvicorn", "uvloop"
        ),
        _python("fastapi", "FastAPI on Uvicorn", "fastapi", "uvicorn", "uvloop"),
        _python("websockets", "websockets (asyncio)", "websockets"),
        _python("websockets-trio", "websockets (Trio)", "websockets", "trio"),
        _python("aiohttp", "aiohttp", "aiohttp"),
        _python("aiohttp-uvloop", "aiohttp on uvloop", "aiohttp", "uvloop"),
        _python("picows", "picows on uvloop", "picows", "uvloop"),
        _python("trio-naive", "trio-websocket, naive", "trio-websocket", "trio"),
        Peer("node-ws", "ws on Node.js", ("ws",), _node_command, _node_missing),
        Peer("bun", "Bun", ("bun",), _bun_command, _bun_missing),
        Peer("bare", "bare epoll loop", (), partial(_module, "bare"), _bare_missing),
    )
}
