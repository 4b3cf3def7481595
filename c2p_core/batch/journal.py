"""The journal of a folder of results: what each file came from, with which settings, and what could not be protected.

One connection in one thread writes it. A result is first announced, then put in place, then noted as done, so that
whatever ends the program in between, the next run finds out what happened.
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
# The most results that the pace is computed from.
_LATEST = 1000
# Names are bytes: those of files need not be text.
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
    """What the journal says of a photo with certain settings.

    Attributes:
        place: where the result was wanted, relative to the folder of results; ``target`` is where it is.
        settings: digest of all that determines the result but the photo.
        digest: SHA-256 of the photo's file; empty where it could not be read.
        source: absolute path of the photo; ``size`` and ``mtime_ns`` are of it.
        state: "announced" until the result is in its place.
        result_digest, result_size, result_mtime_ns: of the result's file.
        thumbnails: name of the small pictures, without what tells before from after; None where there are none.
        report: the photo's part of the report, see ``io.report``.
        faces: how many were protected.
        seconds: that their searches took.
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
class Known:
    """What planning needs of a row; attributes as there."""

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
    """Seconds that searches took, and the faces and photos that they protected."""

    seconds: float = 0.0
    faces: int = 0
    photos: int = 0


def known_of(row: Row) -> Known:
    """The part of a row that planning needs."""
    assert row.number is not None
    names = row.place, row.settings, row.digest, row.source
    result = row.result_digest, row.result_size, row.result_mtime_ns
    return Known(row.number, *names, row.size, row.mtime_ns, row.state, row.target, *result)


class Journal:
    """An open journal; only for the thread that opened it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the journal, or begin one.

        Args:
            path: of its file.
            read_only: write nothing, so that the folder need not be writable.

        Raises:
            CannotWrite: it can't be opened or is damaged.
            BadRequest: a newer version of the program made it.
        """
        self._path = path
        try:
            self._base = _open_to_read(path) if read_only else _open_to_write(path)
            self._base.execute("PRAGMA cache_size=-4000")
            version = _read_version(self._base)
            if version == 0:
                if read_only:  # nothing is in it yet
                    self._base.close()
                    self._base = sqlite3.connect(":memory:", isolation_level=None)
                self._base.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
        except sqlite3.Error as error:
            raise CannotWrite("journal-unusable", path=str(path), reason=str(error)) from error
        if version > _VERSION:
            raise BadRequest("journal-newer", path=str(path))

    def close(self) -> None:
        """Close it; what was written is on the disk already."""
        self._base.close()

    def copy_to(self, path: Path) -> None:
        """Copy it to a new file.

        Raises:
            CannotWrite: it can't be written.
        """
        try:
            with contextlib.closing(sqlite3.connect(path)) as copy:
                self._base.backup(copy)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def known(self) -> Iterator[Known]:
        """What is done, or was found by this version of the program to have no face; the latest last."""
        found = self._query(
            "SELECT number, place, settings, digest, source, size, mtime_ns, state, target, result_digest,"
            " result_size, result_mtime_ns FROM photos WHERE state = 'done' OR (state = 'without-face' AND program = ?)"
            " ORDER BY finished",
            (__version__,),
        )
        for number, place, settings, digest, source, size, mtime_ns, state, target, *result in found:
            names = os.fsdecode(place), settings, digest, os.fsdecode(source)
            yield Known(number, *names, size, mtime_ns, state, _decode(target), *result)

    def announced(self) -> list[Row]:
        """Results that were on the way to their place when a run ended."""
        return list(self._rows("WHERE state = 'announced'"))

    def rows(self) -> Iterator[Row]:
        """The latest of every place, in the order of places."""
        return self._rows(
            "WHERE number IN (SELECT number FROM (SELECT number, max(finished) FROM photos"
            " WHERE state != 'announced' GROUP BY place)) ORDER BY place"
        )

    def row(self, number: int) -> Row:
        """The row of a number.

        Raises:
            KeyError: there is none.
        """
        for row in self._rows("WHERE number = ?", number):
            return row
        raise KeyError(number)

    def owner(self, target: str) -> Row | None:
        """The row of the result that is at a place, if the journal knows it."""
        for row in self._rows("WHERE target = ? AND state = 'done' ORDER BY finished DESC LIMIT 1", _encode(target)):
            return row
        return None

    def pace(self, settings: str, processes: int) -> Pace:
        """How fast the latest results of these settings were, with this version and so many processes side by side.

        Other versions may search with other steps, and processes share the cores.
        """
        found = self._query(
            # Copies of earlier results took no time.
            "SELECT seconds, faces, report FROM photos WHERE state = 'done' AND seconds > 0 AND settings = ?"
            " AND program = ? ORDER BY finished DESC LIMIT ?",
            (settings, __version__, _LATEST),
        )
        alike = [(seconds, faces) for seconds, faces, told in found if json.loads(told).get("processes") == processes]
        return Pace(sum(seconds for seconds, _ in alike), sum(faces for _, faces in alike), len(alike))

    def mean_size_ratio(self) -> float | None:
        """How many times as large as the photos the results are; None before there is one."""
        ((results, photos),) = self._query("SELECT total(result_size), total(size) FROM photos WHERE state = 'done'")
        return results / photos if photos else None

    def write(self, row: Row) -> int:
        """Write a row in place of an earlier one of the same place, settings and content; returns its number.

        What failed at that place is forgotten: the row says what is true now.
        """
        with self._transaction():
            self._base.execute(
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
        cursor = self._base.execute(
            f"INSERT INTO photos ({_COLUMNS}) VALUES (NULL, {', '.join('?' * len(values))})", values
        )
        return int(cursor.lastrowid or 0)

    @staticmethod
    def _key(row: Row) -> tuple[object, ...]:
        """What tells a row from others: its place, settings and content; and where its result is."""
        return _encode(row.place), row.settings, row.digest, None if row.target is None else _encode(row.target)

    def finish(self, number: int, target: str, mtime_ns: int) -> None:
        """Note that an announced result is in its place; rows of what it replaced go."""
        with self._transaction():
            self._base.execute("DELETE FROM photos WHERE target = ? AND number != ?", (_encode(target), number))
            self._base.execute(
                "UPDATE photos SET state = 'done', target = ?, result_mtime_ns = ? WHERE number = ?",
                (_encode(target), mtime_ns, number),
            )

    def forget(self, number: int) -> None:
        """Drop a row."""
        with self._transaction():
            self._base.execute("DELETE FROM photos WHERE number = ?", (number,))

    def restamp(self, number: int, source: str, size: int, mtime_ns: int) -> None:
        """Note that a photo of the same content has another path or time now."""
        with self._transaction():
            self._base.execute(
                "UPDATE photos SET source = ?, size = ?, mtime_ns = ? WHERE number = ?",
                (_encode(source), size, mtime_ns, number),
            )

    def _rows(self, where: str, *values: object) -> Iterator[Row]:
        for found in self._query(f"SELECT {_COLUMNS} FROM photos {where}", values):
            number, place, settings, digest, source, size, mtime_ns, state, target = found[:9]
            result_digest, result_size, result_mtime_ns, thumbnails, report, faces, seconds, program, finished = found[
                9:
            ]
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
            return self._base.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the statements in its block, or none of them."""
        try:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> CannotWrite:
        return CannotWrite("journal-unusable", path=str(self._path), reason=str(error))


def _open_to_write(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None)
    # Where that is not possible, as on network drives, SQLite's usual way is kept.
    base.execute("PRAGMA journal_mode=WAL")
    # The order of rows and files must survive a power cut.
    base.execute("PRAGMA synchronous=FULL")
    return base


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal that is there; nothing can be written to it."""
    base = sqlite3.connect(path, isolation_level=None)
    try:
        base.execute("PRAGMA query_only=1")
        _read_version(base)
    except sqlite3.OperationalError:
        base.close()
        # SQLite reads a journal in WAL mode only where it may write files beside it, unless it is told that nobody
        # changes it. That is true of a folder that can't be written; a log in it has rows that must not be missed.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        base = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    return base


def _read_version(base: sqlite3.Connection) -> int:
    (version,) = base.execute("PRAGMA user_version").fetchone()
    return int(version)


def _encode(name: str) -> bytes:
    return os.fsencode(name)


def _decode(name: bytes | None) -> str | None:
    return None if name is None else os.fsdecode(name)
