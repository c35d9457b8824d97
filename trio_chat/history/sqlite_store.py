"""The half of the SQLite history that blocks: turns of writing, portions of forgetting, reading.

No Trio here: the methods run in worker threads. `take_turn` and `forget` are for one caller at a
time, `read` is for any number. Nothing is remembered from one turn to the next that the file does
not hold, but what may be wrong in it after a failure.

Python lets go of its global lock at every step of a statement, and may wait 5 ms to have it back
while the loop is busy: 500 rows by `executemany` took 240 ms then, in one statement 37. So as many
rows as there are go into one statement, and a page of the history comes out as one value.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import orjson

from ..config import Retention
from ..protocol import Entry
from . import Accepted, Conflict, Draft, Duplicate, Receipt
from .sqlite_file import HistoryFile, told, transaction

SECOND: Final = 1_000_000  # in the file's unit of time

# What a message costs in the file besides its text, its name and its id, in bytes.
ENTRY_OVERHEAD: Final = 64

# How many rows one statement brings at most: few enough for its variables, and a power of two.
MOST_ROWS: Final = 256

# What one portion of forgetting deletes, and looks at, at most: some milliseconds of work.
PORTION_MESSAGES: Final = 500
PORTION_ROOMS: Final = 50
SCAN: Final = 20_000


class RoomRow(NamedTuple):
    """What the file says about a room, besides its messages; see the schema."""

    key: int
    name: str
    epoch: str
    first: int
    last: int
    time: int
    size: int
    oldest: int | None


class Append(NamedTuple):
    """What is to be said in a room. `row` is as the last turn left it."""

    row: RoomRow
    drafts: Sequence[Draft]


class Turn(NamedTuple):
    """What came of a turn."""

    receipts: Sequence[Sequence[Receipt]]  # for each append
    opened: Sequence[RoomRow]  # for each room to open
    changed: dict[str, RoomRow]  # by name: whatever room is another now
    untrimmed: bool  # There is something to forget.


class Portion(NamedTuple):
    """What came of forgetting a portion."""

    changed: dict[str, RoomRow]
    more: bool  # There is more to forget.


class Store:
    """All rooms in one file. `open` it first, `close` it last."""

    def __init__(self, file: HistoryFile, retention: Retention) -> None:
        self._file = file
        self._keep = retention
        self._age = int(retention.age * SECOND) if 0 < retention.age < float("inf") else 0
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._next_key = 1
        self._failed = False
        self._doubtful: dict[int, RoomRow] = {}

    def open(self) -> None:
        """Hold the file, and forget what is too much by today's settings.

        Raises:
            HistoryUnavailable: it can't be had.
        """
        self._file.hold()
        try:
            with self._transaction() as db:
                (highest,) = db.execute("SELECT max(key) FROM rooms").fetchone()
                self._next_key = (highest or 0) + 1
                if keep := self._keep.messages:
                    sql = "UPDATE rooms SET first = last + 1 - ?1 WHERE last + 1 - first > ?1"
                    db.execute(sql, (keep,))
        except BaseException:
            self._file.release()
            raise

    def close(self) -> None:
        """Let go of the file. What can't be closed well is left to the next who opens it."""
        with suppress(sqlite3.Error):
            while self._readers:
                self._readers.pop().close()
            if self._writer is not None:
                self._writer.close()
        self._writer = None
        self._file.release()

    @contextmanager
    def _transaction(self, rows: Sequence[RoomRow] = ()) -> Iterator[sqlite3.Connection]:
        # After a failure nothing is known of the connection: the next turn gets a new one. Nor is
        # it of the rooms, which were like these `rows`.
        with told():
            try:
                if self._writer is None:
                    self._writer = self._file.open_writer()
                with transaction(self._writer):
                    if self._failed:
                        self._take_back(self._writer)
                    yield self._writer
            except BaseException:
                self._failed = True
                for row in rows:
                    self._doubtful.setdefault(row.key, row)
                if self._writer is not None:
                    with suppress(sqlite3.Error):
                        self._writer.close()
                self._writer = None
                raise
        self._failed = False
        self._doubtful.clear()

    def _take_back(self, db: sqlite3.Connection) -> None:
        # A commit that failed may be in the file all the same. Nobody was told of its numbers, and
        # they will be given again.
        for row in self._doubtful.values():
            db.execute("DELETE FROM messages WHERE room = ? AND seq > ?", (row.key, row.last))
            if row.last:
                self._write_rows(db, [row])
            else:
                db.execute("DELETE FROM rooms WHERE key = ?", (row.key,))

    # --- Writing ---------------------------------------------------------------------------------

    def take_turn(self, appends: Sequence[Append], rooms: Sequence[str], now: int) -> Turn:
        """Append, then open rooms, in one transaction. `now` is in microseconds.

        Raises:
            HistoryUnavailable: nothing of it was done.
        """
        with self._transaction([row for row, _ in appends]) as db:
            changed = self._expire(db, now)
            untrimmed = bool(changed)
            known = self._find_ids(db, appends)
            messages: list[object] = []
            receipts: list[list[Receipt]] = []
            written: dict[str, RoomRow] = {}
            for before, drafts in appends:
                row = written.get(before.name) or changed.get(before.name) or before
                row, said = self._append(db, row, drafts, now, known, messages)
                written[row.name] = row
                receipts.append(said)
            _insert(db, "INSERT INTO messages VALUES", 7, messages)
            bounded = [self._bound(db, row) for row in written.values()]
            self._write_rows(db, bounded)
            changed |= {row.name: row for row in bounded}
            opened = [self._open_room(db, name) for name in rooms]
            untrimmed |= any(changed[row.name].first > row.first for row, _ in appends)
            return Turn(receipts, opened, changed, untrimmed)

    def _find_ids(
        self, db: sqlite3.Connection, appends: Sequence[Append]
    ) -> dict[tuple[int, str], tuple[int, str]]:
        """Return number and text of every message in the file whose `id` is used again."""
        wanted: list[object] = []
        for row, drafts in appends:
            for draft in drafts:
                if draft.id is not None:
                    wanted += (row.key, draft.id)
        found = {}
        for part, marks in _portions(2, wanted):
            sql = (
                f"WITH wanted (room, id) AS (VALUES {marks})"
                " SELECT m.room, m.id, m.seq, m.message FROM wanted"
                " CROSS JOIN messages AS m INDEXED BY ids"
                " ON m.room = wanted.room AND m.id = wanted.id"
            )
            for room, id, seq, message in db.execute(sql, part).fetchall():
                found[room, id] = (seq, message)
        return found

    def _append(
        self,
        db: sqlite3.Connection,
        row: RoomRow,
        drafts: Sequence[Draft],
        now: int,
        known: dict[tuple[int, str], tuple[int, str]],
        messages: list[object],
    ) -> tuple[RoomRow, list[Receipt]]:
        """Number the drafts; put what is accepted behind `messages`, to be inserted."""
        key, _, _, first, last, time, size, oldest = row
        time = max(time, now)  # The clock may be set back; a room's time never falls.
        moment = time / SECOND
        receipts: list[Receipt] = []
        for name, message, id in drafts:
            if id is not None:
                if (earlier := known.get((key, id))) is not None:
                    seq, text = earlier
                    if seq >= first:
                        kind = Duplicate if text == message else Conflict
                        receipts.append(kind(id, seq))
                        continue
                    # Forgotten, but still in the file: an id counts as long as its message.
                    db.execute("DELETE FROM messages WHERE room = ? AND seq = ?", (key, seq))
                known[key, id] = (last + 1, message)
            last += 1
            messages += (key, last, time, name, message, id, size)
            size += _size(message) + _size(name) + _size(id) + ENTRY_OVERHEAD
            receipts.append(Accepted(Entry(last, moment, name, message, id)))
        if oldest is None and last > row.last:
            oldest = time
        if last == row.last:
            return row, receipts
        return row._replace(last=last, time=time, size=size, oldest=oldest), receipts

    def _bound(self, db: sqlite3.Connection, row: RoomRow) -> RoomRow:
        """Return the row of a room in which everything is forgotten that is too much."""
        first = row.first
        if keep := self._keep.messages:
            first = max(first, row.last + 1 - keep)
        if (keep := self._keep.bytes) and row.size > keep:
            sql = "start >= ?"
            first, _ = _first_where(db, row._replace(first=first), sql, row.size - keep)
        oldest = row.oldest if first <= row.last else None
        return row._replace(first=first, oldest=oldest)

    def _open_room(self, db: sqlite3.Connection, name: str) -> RoomRow:
        sql = f"SELECT {', '.join(RoomRow._fields)} FROM rooms WHERE name = ?"
        found = db.execute(sql, (name,)).fetchone()
        if found is not None:
            return self._bound(db, RoomRow(*found))
        # It is in the file when something is said: an empty room leaves nothing behind.
        self._next_key += 1
        return RoomRow(self._next_key - 1, name, secrets.token_urlsafe(9), 1, 0, 0, 0, None)

    def _write_rows(self, db: sqlite3.Connection, rows: Sequence[RoomRow]) -> None:
        values = [value for row in rows for value in (*row, 1)]
        _insert(
            db,
            f"INSERT INTO rooms ({', '.join(RoomRow._fields)}, lowest) VALUES",
            len(RoomRow._fields) + 1,
            values,
            "ON CONFLICT (key) DO UPDATE SET first = excluded.first, last = excluded.last,"
            " time = excluded.time, size = excluded.size, oldest = excluded.oldest",
        )

    # --- Forgetting ------------------------------------------------------------------------------

    def _expire(self, db: sqlite3.Connection, now: int) -> dict[str, RoomRow]:
        """Forget what is too old, in any room, open or not: a portion of it."""
        if not self._age:
            return {}
        limit = now - self._age
        sql = f"SELECT {', '.join(RoomRow._fields)} FROM rooms WHERE oldest < ? LIMIT ?"
        changed = {}
        for found in db.execute(sql, (limit, PORTION_ROOMS)).fetchall():
            row = RoomRow(*found)
            first, time = _first_where(db, row, "time >= ?", limit)
            oldest = time if first <= row.last else None
            changed[row.name] = row._replace(first=first, oldest=oldest)
        self._write_rows(db, list(changed.values()))
        return changed

    def forget(self, now: int) -> Portion:
        """Forget a portion of what is too old, and delete a portion of what is forgotten.

        Raises:
            HistoryUnavailable: nothing of it was done.
        """
        with self._transaction() as db:
            changed = self._expire(db, now)
            sql = "SELECT key, lowest, first FROM rooms WHERE lowest < first LIMIT ?"
            rooms = db.execute(sql, (PORTION_ROOMS,)).fetchall()
            left = PORTION_MESSAGES
            for key, lowest, first in rooms:
                upto = min(first, lowest + left)
                left -= upto - lowest
                db.execute("DELETE FROM messages WHERE room = ? AND seq < ?", (key, upto))
                db.execute("UPDATE rooms SET lowest = ? WHERE key = ?", (upto, key))
                if not left:
                    break
            more = not left or PORTION_ROOMS in (len(rooms), len(changed))
            return Portion(changed, more)

    # --- Reading ---------------------------------------------------------------------------------

    def read(self, key: int, after: int, upto: int, limit: int) -> list[Entry]:
        """Return entries; see `RoomLog.read`.

        Raises:
            HistoryUnavailable: they can't be read now.
        """
        # As one value: see above. SQLite writes its JSON in the order in which the rows come.
        sql = (
            "SELECT json_group_array(json_array(seq, time, name, message, id)) FROM"
            " (SELECT * FROM messages WHERE room = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?)"
        )
        with told():
            reader = self._readers.pop() if self._readers else self._file.open_reader()
            try:
                (page,) = reader.execute(sql, (key, after, upto, limit)).fetchone()
            except BaseException:
                reader.close()
                raise
        self._readers.append(reader)
        return [Entry(seq, time / SECOND, *rest) for seq, time, *rest in orjson.loads(page)]


def _first_where(
    db: sqlite3.Connection, row: RoomRow, condition: str, value: int
) -> tuple[int, int | None]:
    """Return number and time of a room's first message for which something is true.

    It is true of all that follow, too. Where that message is far away, return a number on the way
    to it, and the time that the room's oldest had: the rest is done next time.
    """
    far = row.first + SCAN
    sql = f"SELECT seq, time FROM messages WHERE room = ? AND seq >= ? AND seq < ? AND {condition}"
    found = db.execute(f"{sql} ORDER BY seq LIMIT 1", (row.key, row.first, far, value)).fetchone()
    return (min(far, row.last + 1), row.oldest) if found is None else (found[0], found[1])


def _size(text: str | None) -> int:
    """Return how many bytes a text takes in UTF-8."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def _portions(width: int, values: Sequence[object]) -> Iterator[tuple[Sequence[object], str]]:
    """Yield the values of so many rows of `width`, and the question marks for them.

    Only powers of two of rows, so that the statements stay few, and prepared.
    """
    row = f"({', '.join('?' * width)})"
    start, rows = 0, MOST_ROWS
    while (left := len(values) // width - start) > 0:
        while rows > left:
            rows //= 2
        yield values[start * width : (start + rows) * width], ", ".join([row] * rows)
        start += rows


def _insert(
    db: sqlite3.Connection, sql: str, width: int, values: Sequence[object], rest: str = ""
) -> None:
    for part, marks in _portions(width, values):
        db.execute(f"{sql} {marks} {rest}", part)
