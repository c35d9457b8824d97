"""The facts of this machine that a figure depends on, without names of hosts or paths."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .peers import MODULES, PEERS

OURS = ("trio-chat", "trio", "trio-websocket", "wsproto", "h11", "orjson")


def describe_machine() -> dict[str, object]:
    """Return the processor, its cores, the memory, kernel, Python and the packages' versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        # A distribution's own suffix says nothing to a reader.
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": _versions(),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    """Return the versions of what is installed of ours and of the peers'."""
    names = {*OURS, *(package for peer in PEERS.values() for package in peer.packages)}
    found = {"node": _node()} | {name: _version(name) for name in names}
    return {name: number for name, number in sorted(found.items()) if number}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _npm_version(MODULES / name / "package.json")


def _npm_version(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text())["version"])
    except OSError:
        return ""


def _node() -> str:
    if shutil.which("node") is None:
        return ""
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip().removeprefix("v")
