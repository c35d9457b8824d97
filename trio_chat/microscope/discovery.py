"""Where the Unix sockets of running servers are: how one gets its place, how they are found.

    $XDG_RUNTIME_DIR/trio-chat-1000/4711.sock       or below the temporary folder

The folder is ours alone (0700), and so is the socket (0600). A socket gets its name only when it
listens already, so one that refuses a connection was left behind by a process that is gone, and
whoever finds it removes it. Being asked is the one test that holds in containers, too, where the
same number may be another process. No tasks here.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

BACKLOG: Final = 16
NAME: Final = re.compile(r"(\d{1,10})\.sock")


class NoPlace(Exception):
    """A socket can't be put where it belongs; the text says why."""


class NoServer(Exception):
    """There is not one server to look at; the text says what to do, `found` what is there."""

    def __init__(self, why: str, found: Sequence[Path]) -> None:
        super().__init__(why)
        self.found = found


def folder_in(parent: Path) -> Path:
    """Return where the sockets of this user are, below `parent`."""
    return parent / f"trio-chat-{os.getuid()}"


# --- A server's own ------------------------------------------------------------------------------


def listen_at(path: Path) -> socket.socket:
    """Return a listening, non-blocking socket at `path`, in a folder that is ours alone.

    Raises:
        NoPlace: the folder is somebody else's, the path is too long or is in use.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unnamed = path.with_suffix(".new")
    try:
        _make_folder(path.parent)
        if _answers(path):
            raise NoPlace(f"{path}: another server listens there")
        unnamed.unlink(missing_ok=True)
        listener.setblocking(False)
        listener.bind(os.fspath(unnamed))
        # Before it listens, so at no time could anybody else have connected.
        unnamed.chmod(0o600)
        listener.listen(BACKLOG)
        unnamed.rename(path)
    except OSError as exc:  # Of a path that is too long Python says so without a number.
        listener.close()
        raise NoPlace(f"{path}: {exc.strerror or exc}") from exc
    except BaseException:
        listener.close()
        raise
    return listener


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    if not _is_ours_alone(folder):
        raise NoPlace(f"{folder}: not a folder of ours that is closed to others (mode 0700)")


def _is_ours_alone(folder: Path) -> bool:
    try:
        found = folder.lstat()  # A link could lead anywhere.
    except OSError:
        return False
    ours = found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and ours and not found.st_mode & 0o077


# --- Somebody else's -----------------------------------------------------------------------------


def find_sockets(parents: Sequence[Path]) -> list[Path]:
    """Return the sockets of running servers, and remove those that were left behind."""
    found = []
    for folder in dict.fromkeys(map(folder_in, parents)):
        if not _is_ours_alone(folder):
            continue  # Whoever made it could put anything there.
        for path in sorted(folder.iterdir()):
            # What is no socket, or one that nobody can reach, is no server: it stays where it is.
            with suppress(OSError):
                if NAME.fullmatch(path.name):
                    if _answers(path):
                        found.append(path)
                    else:
                        path.unlink()
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(os.fspath(path))
        except BlockingIOError:
            return True  # It listens, and many others want to know as well.
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def choose_socket(target: str | None, parents: Sequence[Path]) -> Path:
    """Return the socket that is meant: by its process or path, or else the only one.

    Raises:
        NoServer: none, or several where none was named.
    """
    if target is not None and not target.isdecimal():
        return Path(target)
    found = find_sockets(parents)
    if target is not None:
        named = [path for path in found if path.stem == target]
        if not named:
            raise NoServer(f"no process {target} has a microscope", found)
        return named[0]
    match found:
        case [only]:
            return only
        case []:
            start = "start one: trio-chat serve --microscope"
            raise NoServer(f"no server with a microscope is running; {start}", found)
        case _:
            raise NoServer(f"{len(found)} servers are running: say which, by number", found)
