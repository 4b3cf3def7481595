"""The journal of a folder of results: the source and settings of each file, and the photos that could not be protected.

One connection in one thread writes it. A result is first announced, then put in place, then marked as done, so that the
next run can recover whenever the program ends in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from c2p_core.errors import BadRequest, CannotWrite
from c2p_core.version import __version__

State = Literal["announced", "done", "without-face", "failed"]
_VERSION = 1
# The pace is computed from at most this number of results.
_MAX_PACE_ROWS = 1000
# Names are bytes: file names may not be valid text.
_TABLES = """
CREATE TABLE photos (
    number INTEGER PRIMARY KEY,
    place BLOB NOT NULL,
    settings TEXT NOT NULL,
    digest TEXT NOT NULL,
    source BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    state TEXT NOT NULL,
    target BLOB,
    result_digest TEXT,
    result_size INTEGER,
    result_mtime_ns INTEGER,
    thumbnails TEXT,
    report TEXT NOT NULL,
    faces INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    program TEXT NOT NULL,
    finished REAL NOT NULL
);
CREATE UNIQUE INDEX by_content ON photos (place, settings, digest);
CREATE INDEX by_target ON photos (target);
"""
_COLUMNS = (
    "number, place, settings, digest, source, size, mtime_ns, state, target, result_digest, result_size,"
    " result_mtime_ns, thumbnails, report, faces, seconds, program, finished"
)


@dataclass(frozen=True)
class Row:
    """The journal's entry on a photo with certain settings.

    Attributes:
        place: the intended path of the result, relative to the folder of results; ``target`` is the actual one.
        settings: digest of everything but the photo that determines the result.
        digest: SHA-256 of the photo's file; empty if it could not be read.
        source: absolute path of the photo; ``size`` and ``mtime_ns`` are of it.
        state: "announced" until the result is in its place.
        result_digest, result_size, result_mtime_ns: of the result's file.
        thumbnails: common part of the names of the small pictures; None if there are none.
        report: the photo's entry in the report, see ``io.report``.
        faces: how many were protected.
        seconds: duration of their searches.
        program: version of the program.
        finished: Unix time.
    """

    place: str
    settings: str
    digest: str
    source: str
    size: int
    mtime_ns: int
    state: State
    report: dict[str, Any]
    target: str | None = None
    result_digest: str | None = None
    result_size: int | None = None
    result_mtime_ns: int | None = None
    thumbnails: str | None = None
    faces: int = 0
    seconds: float = 0.0
    program: str = __version__
    finished: float = field(default_factory=time.time)
    number: int | None = None


@dataclass(frozen=True, slots=True)
class KnownResult:
    """The part of a ``Row`` that planning needs."""

    number: int
    place: str
    settings: str
    digest: str
    source: str
    size: int
    mtime_ns: int
    state: State
    target: str | None
    result_digest: str | None
    result_size: int | None
    result_mtime_ns: int | None


@dataclass(frozen=True)
class Pace:
    """The duration of searches, and the faces and photos that they protected."""

    seconds: float = 0.0
    faces: int = 0
    photos: int = 0


def to_known_result(row: Row) -> KnownResult:
    """The ``KnownResult`` of a row."""
    assert row.number is not None
    names = row.place, row.settings, row.digest, row.source
    result = row.result_digest, row.result_size, row.result_mtime_ns
    return KnownResult(row.number, *names, row.size, row.mtime_ns, row.state, row.target, *result)


class Journal:
    """An open journal; only for the thread that opened it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the journal, or create one.

        Args:
            path: of its file.
            read_only: write nothing, so that the folder need not be writable.

        Raises:
            CannotWrite: it can't be opened or is damaged.
            BadRequest: a newer version of the program made it.
        """
        self._path = path
        try:
            self._connection = _open_to_read(path) if read_only else _open_to_write(path)
            self._connection.execute("PRAGMA cache_size=-4000")
            version = _read_version(self._connection)
            if version == 0:
                if read_only:  # nothing is in it yet
                    self._connection.close()
                    self._connection = sqlite3.connect(":memory:", isolation_level=None)
                self._connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
        except sqlite3.Error as error:
            raise CannotWrite("journal-unusable", path=str(path), reason=str(error)) from error
        if version > _VERSION:
            raise BadRequest("journal-newer", path=str(path))

    def close(self) -> None:
        """Close it; everything written is on the disk already."""
        self._connection.close()

    def copy_to(self, path: Path) -> None:
        """Copy it to a new file.

        Raises:
            CannotWrite: it can't be written.
        """
        try:
            with contextlib.closing(sqlite3.connect(path)) as copy:
                self._connection.backup(copy)
        except sqlite3.Error as error:
            raise self._make_error(error) from error

    def read_known(self) -> Iterator[KnownResult]:
        """Results that are done, and photos in which this version of the program found no face; the latest last."""
        rows = self._query(
            "SELECT number, place, settings, digest, source, size, mtime_ns, state, target, result_digest,"
            " result_size, result_mtime_ns FROM photos WHERE state = 'done' OR (state = 'without-face' AND program = ?)"
            " ORDER BY finished",
            (__version__,),
        )
        for number, place, settings, digest, source, size, mtime_ns, state, target, *result in rows:
            names = os.fsdecode(place), settings, digest, os.fsdecode(source)
            yield KnownResult(number, *names, size, mtime_ns, state, _decode(target), *result)

    def read_announced(self) -> list[Row]:
        """Results that a run was about to put in place when it ended."""
        return list(self._read_rows("WHERE state = 'announced'"))

    def read_rows(self) -> Iterator[Row]:
        """The latest row of every place, sorted by place."""
        return self._read_rows(
            "WHERE number IN (SELECT number FROM (SELECT number, max(finished) FROM photos"
            " WHERE state != 'announced' GROUP BY place)) ORDER BY place"
        )

    def read_row(self, number: int) -> Row:
        """The row with a number.

        Raises:
            KeyError: there is none.
        """
        for row in self._read_rows("WHERE number = ?", number):
            return row
        raise KeyError(number)

    def find_owner(self, target: str) -> Row | None:
        """The row of the result at a target; None if the journal does not know it."""
        for row in self._read_rows(
            "WHERE target = ? AND state = 'done' ORDER BY finished DESC LIMIT 1", _encode(target)
        ):
            return row
        return None

    def read_pace(self, settings: str, processes: int) -> Pace:
        """How fast the latest results with these settings, this version and this number of processes were.

        Other versions may search with other steps, and processes share the cores.
        """
        rows = self._query(
            # Copies of earlier results took no time.
            "SELECT seconds, faces, report FROM photos WHERE state = 'done' AND seconds > 0 AND settings = ?"
            " AND program = ? ORDER BY finished DESC LIMIT ?",
            (settings, __version__, _MAX_PACE_ROWS),
        )
        matching = [
            (seconds, faces) for seconds, faces, report in rows if json.loads(report).get("processes") == processes
        ]
        return Pace(sum(seconds for seconds, _ in matching), sum(faces for _, faces in matching), len(matching))

    def mean_size_ratio(self) -> float | None:
        """Mean ratio of the size of results to that of their photos; None without results."""
        ((results, photos),) = self._query("SELECT total(result_size), total(size) FROM photos WHERE state = 'done'")
        return results / photos if photos else None

    def write(self, row: Row) -> int:
        """Write a row, replacing one with the same place, settings and content; returns its number.

        Earlier failures at that place are deleted.
        """
        with self._transaction():
            self._connection.execute(
                "DELETE FROM photos WHERE place = ?1 AND settings = ?2 AND (digest = ?3 OR state = 'failed')",
                (_encode(row.place), row.settings, row.digest),
            )
            return self._insert(row)

    def _insert(self, row: Row) -> int:
        values = (
            _encode(row.place),
            row.settings,
            row.digest,
            _encode(row.source),
            row.size,
            row.mtime_ns,
            row.state,
            None if row.target is None else _encode(row.target),
            row.result_digest,
            row.result_size,
            row.result_mtime_ns,
            row.thumbnails,
            json.dumps(row.report),
            row.faces,
            row.seconds,
            row.program,
            row.finished,
        )
        cursor = self._connection.execute(
            f"INSERT INTO photos ({_COLUMNS}) VALUES (NULL, {', '.join('?' * len(values))})", values
        )
        return int(cursor.lastrowid or 0)

    @staticmethod
    def _make_key(row: Row) -> tuple[object, ...]:
        """The key of a row, its place, settings and content; and the target of its result."""
        return _encode(row.place), row.settings, row.digest, None if row.target is None else _encode(row.target)

    def finish(self, number: int, target: str, mtime_ns: int) -> None:
        """Mark an announced result as done; rows of results that it replaced are deleted."""
        with self._transaction():
            self._connection.execute("DELETE FROM photos WHERE target = ? AND number != ?", (_encode(target), number))
            self._connection.execute(
                "UPDATE photos SET state = 'done', target = ?, result_mtime_ns = ? WHERE number = ?",
                (_encode(target), mtime_ns, number),
            )

    def forget(self, number: int) -> None:
        """Delete a row."""
        with self._transaction():
            self._connection.execute("DELETE FROM photos WHERE number = ?", (number,))

    def restamp(self, number: int, source: str, size: int, mtime_ns: int) -> None:
        """Note that the photo with the same content has a new path or time."""
        with self._transaction():
            self._connection.execute(
                "UPDATE photos SET source = ?, size = ?, mtime_ns = ? WHERE number = ?",
                (_encode(source), size, mtime_ns, number),
            )

    def _read_rows(self, where: str, *values: object) -> Iterator[Row]:
        for columns in self._query(f"SELECT {_COLUMNS} FROM photos {where}", values):
            number, place, settings, digest, source, size, mtime_ns, state, target = columns[:9]
            result_digest, result_size, result_mtime_ns, thumbnails, report, faces, seconds, program, finished = (
                columns[9:]
            )
            yield Row(
                os.fsdecode(place),
                settings,
                digest,
                os.fsdecode(source),
                size,
                mtime_ns,
                state,
                json.loads(report),
                _decode(target),
                result_digest,
                result_size,
                result_mtime_ns,
                thumbnails,
                faces,
                seconds,
                program,
                finished,
                number,
            )

    def _query(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._make_error(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the statements in its block, or none of them."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._make_error(error) from error

    def _make_error(self, error: sqlite3.Error) -> CannotWrite:
        return CannotWrite("journal-unusable", path=str(self._path), reason=str(error))


def _open_to_write(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    # Where that is not possible, such as on network drives, SQLite keeps its default mode.
    connection.execute("PRAGMA journal_mode=WAL")
    # The order of rows and files must survive a power cut.
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing journal read-only."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only=1")
        _read_version(connection)
    except sqlite3.OperationalError:
        connection.close()
        # SQLite reads a database in WAL mode only if it may write files beside it, or if the database is opened as
        # immutable. It is, in a folder that can't be written; but a log beside it has rows that must not be missed.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    return connection


def _read_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _encode(name: str) -> bytes:
    return os.fsencode(name)


def _decode(name: bytes | None) -> str | None:
    return None if name is None else os.fsdecode(name)
