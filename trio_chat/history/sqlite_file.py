"""The file that a SQLite history is kept in: whose it is, what shape it has, and how it is opened.

No Trio here: everything blocks, and runs in worker threads. One server holds the file, for as long
as it runs; the kernel lets go of it for a server that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from . import HistoryUnavailable

Sync = Literal["full", "normal"]

# Both are in the file's header. The first says that it is ours ("trch"), the second which shape.
APPLICATION: Final = 0x74726368
VERSION: Final = 2

# What SQLite needs to be for STRICT tables and its JSON functions.
OLDEST_SQLITE: Final = (3, 38, 0)

# Seconds to wait for another program that holds the file, such as a backup or somebody's shell.
BUSY_TIMEOUT: Final = 2.0

# Statements that are kept prepared: a turn has about six, each for a few powers of two of rows.
STATEMENTS: Final = 256

# Bytes that SQLite may keep of the file in memory, and that its log keeps on disk between bursts.
CACHE: Final = 32 * 1024 * 1024
LOG_KEPT: Final = 64 * 1024 * 1024

# From each version to the next. A step that has been in a release never changes; it gets a
# successor. Times are microseconds since the Unix epoch.
STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE rooms (
            key INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            epoch TEXT NOT NULL,
            first INTEGER NOT NULL,   -- the oldest number that is kept; last + 1: none is
            last INTEGER NOT NULL,    -- the number given last
            time INTEGER NOT NULL,    -- of that message
            size INTEGER NOT NULL,    -- bytes of all messages that there ever were
            lowest INTEGER NOT NULL   -- below this one, everything is deleted already
        ) STRICT""",
        """CREATE TABLE messages (
            room INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            time INTEGER NOT NULL,
            name TEXT,                -- NULL: a member of the plain dialect
            message TEXT NOT NULL,
            id TEXT,
            start INTEGER NOT NULL,   -- bytes of all messages of the room before this one
            PRIMARY KEY (room, seq)
        ) STRICT, WITHOUT ROWID""",
        "CREATE UNIQUE INDEX ids ON messages (room, id) WHERE id IS NOT NULL",
        "CREATE INDEX untrimmed ON rooms (key) WHERE lowest < first",
    ),
    (
        # Not later than the time of the room's oldest message, so that those that have one which
        # is too old are found without looking at all the others.
        "ALTER TABLE rooms ADD COLUMN oldest INTEGER",
        """UPDATE rooms SET oldest =
            (SELECT time FROM messages WHERE room = rooms.key AND seq = rooms.first)""",
        "CREATE INDEX oldest ON rooms (oldest) WHERE oldest IS NOT NULL",
    ),
)

# What SQLite calls it, and what an operator can do. A longer name goes before its beginning.
MEANINGS: Final = (
    ("SQLITE_FULL", "the disk is full; make space on it"),
    ("SQLITE_BUSY", "another program holds the file; end it, or wait until it is done"),
    ("SQLITE_LOCKED", "another program holds the file; end it, or wait until it is done"),
    ("SQLITE_READONLY", "the file can't be written; look at its permissions and its disk's"),
    ("SQLITE_PERM", "the file can't be written; look at its permissions and its disk's"),
    ("SQLITE_NOTADB", "the file is no SQLite database; name another one"),
    ("SQLITE_CORRUPT", "the file is damaged; put a backup in its place"),
    ("SQLITE_CANTOPEN", "the file can't be opened; look at its directory and its permissions"),
    ("SQLITE_IOERR", "the disk can't be read or written"),
)


def explain(error: sqlite3.Error | OSError) -> str:
    """Return in one line what is wrong, and what would do."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full; make space on it"
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    name: str = getattr(error, "sqlite_errorname", "")  # Not there where Python itself objects.
    for beginning, meaning in MEANINGS:
        if name.startswith(beginning):
            return f"{meaning} ({error})"
    return f"SQLite says: {error}"


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong with a file into `HistoryUnavailable`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise HistoryUnavailable(explain(error)) from error


class HistoryFile:
    """A file, held for one server from `hold` to `release`."""

    __slots__ = ("_identity", "_lock", "_sync", "path")

    def __init__(self, path: str, sync: Sync) -> None:
        self.path = Path(path).absolute()
        self._sync = sync
        self._lock = -1
        self._identity: tuple[int, int] | None = None

    def hold(self) -> None:
        """Take the file for this server; make it if it isn't there, and bring it up to date.

        Raises:
            HistoryUnavailable: it is another server's or program's, newer, damaged, can't be
                written, or there is no such directory.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise HistoryUnavailable(f"SQLite {needed} is needed, not {sqlite3.sqlite_version}")
        if not self.path.parent.is_dir():
            raise HistoryUnavailable(f"there is no directory {self.path.parent}; make it")
        with told():
            self._take_lock()
        try:
            with told(), closing(self._connect("rwc")) as db:
                prepare(db)
                self._identity = self._identify()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another server have it. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        # Not a lock on the file itself: closing it would undo SQLite's own locks on it.
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise HistoryUnavailable(
                f"another server uses the file already, process {holder}; end that, or name another"
            ) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _identify(self) -> tuple[int, int]:
        about = os.stat(self.path)
        return about.st_dev, about.st_ino

    def open_writer(self) -> sqlite3.Connection:
        """Return a connection for the one who writes.

        Raises:
            HistoryUnavailable: it can't be had, or it is another file than the one that is held.
            sqlite3.Error: it can't be had.
        """
        # With another file in its place all numbers would be wrong; a new one would lose them.
        try:
            same = self._identify() == self._identity
        except FileNotFoundError:
            same = False
        if not same:
            raise HistoryUnavailable("the file was taken away or replaced; put it back, or restart")
        return self._connect("rw")

    def open_reader(self) -> sqlite3.Connection:
        """Return a connection that only reads; it neither waits for the writer nor makes it wait.

        Raises:
            sqlite3.Error: it can't be had.
        """
        return self._connect("ro")

    def _connect(self, mode: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,  # Transactions begin and end where we say so.
            check_same_thread=False,  # A worker thread is any thread; one at a time has it.
            cached_statements=STATEMENTS,
        )
        try:
            db.execute(f"PRAGMA synchronous = {self._sync}")
            db.execute(f"PRAGMA cache_size = -{CACHE // 1024}")
            db.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
        except BaseException:
            db.close()
            raise
        return db


def prepare(db: sqlite3.Connection) -> None:
    """Bring a file up to date, step by step, each in a transaction; see that it can be written.

    Raises:
        HistoryUnavailable: it is not ours, or newer than this program.
        sqlite3.Error: it can't be read or written.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION:
        raise HistoryUnavailable("the file is another program's database; name another one")
    if version > VERSION:
        raise HistoryUnavailable(
            f"the file is of version {version}, this program knows {VERSION}; use a newer program"
        )
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise HistoryUnavailable("the file's disk can't do write-ahead logging; name another disk")
    for number in range(version, VERSION):
        with transaction(db):
            for statement in STEPS[number]:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {number + 1}")
    with transaction(db):
        # It changes nothing, but a disk that is full or read-only objects now.
        db.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do all of the block, or nothing of it. Waits for others that write."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Where SQLite has rolled back by itself, it says that there is nothing to roll back.
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
