"""A journal whose rows are also in the store of the results, so that another machine can go on.

SQLite needs a disk. So the journal is a file of this machine, and its new rows go into the store every now and then as
an object of lines of JSON, which is never changed again; whoever opens the store takes in the objects that their own
journal has not seen. Lines from a store are data that anybody may have written: each is checked, none is run.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.objects import Store
from c2p_core.errors import CannotWrite

ROWS = ".c2p/rows"
"""Folder of these objects in the store."""
_LARGEST = 256 << 20  # bytes of one of them
_PER_OBJECT = 5000  # rows
_TABLES = """
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS shared (number INTEGER PRIMARY KEY);
"""
_TYPES: Mapping[str, tuple[type, ...]] = {
    "place": (str,),
    "settings": (str,),
    "digest": (str,),
    "source": (str,),
    "size": (int,),
    "mtime_ns": (int,),
    "state": (str,),
    "report": (dict,),
    "target": (str, type(None)),
    "result_digest": (str, type(None)),
    "result_size": (int, type(None)),
    "result_mtime_ns": (int, type(None)),
    "thumbnails": (str, type(None)),
    "faces": (int,),
    "seconds": (float, int),
    "program": (str,),
    "finished": (float, int),
}
_HEX = re.compile(r"[0-9a-f]*")


class SharedJournal(Journal):
    """A journal that remembers which of its rows are in a store; only for the thread that opened it."""

    def __init__(self, path: Path) -> None:
        """See ``Journal``."""
        super().__init__(path)
        with self._transaction():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._base.execute(statement)

    def pull(self, store: Store) -> int:
        """Take in the rows that are in the store and not here; returns how many.

        Raises:
            CannotWrite: the store can't be read, or what is there is damaged.
        """
        seen = {name for (name,) in self._query("SELECT name FROM segments")}
        count = 0
        for name in sorted(store.list_all(ROWS)):
            if name in seen or not name.endswith(".jsonl"):
                continue
            data = store.read(name, _LARGEST) or b""
            try:
                rows = [parse_row(line) for line in data.splitlines()]
            except (ValueError, RecursionError) as error:
                raise CannotWrite("journal-unusable", path=f"{store.url}/{name}", reason=str(error)) from error
            count += self._take(rows, name)
        return count

    def push(self, store: Store) -> int:
        """Put the rows that are not in the store there; returns how many."""
        count = 0
        while rows := list(self._unshared()):
            # By time, so that the latest of two on one photo comes last.
            name = f"{ROWS}/{time.time_ns():020}-{secrets.token_hex(4)}.jsonl"
            store.put_new(name, b"".join(map(format_row, rows)))
            with self._transaction():
                self._note(name, (row.number for row in rows))
            count += len(rows)
        return count

    def restamp(self, number: int, source: str, size: int, mtime_ns: int) -> None:
        """See ``Journal``; the row goes to the store once more."""
        super().restamp(number, source, size, mtime_ns)
        with self._transaction():
            self._base.execute("DELETE FROM shared WHERE number = ?", (number,))

    def _insert(self, row: Row) -> int:
        number = super()._insert(row)
        # The number may have been that of another row, which is no more.
        self._base.execute("DELETE FROM shared WHERE number = ?", (number,))
        return number

    def _unshared(self) -> Iterator[Row]:
        return self._rows(
            "WHERE state != 'announced' AND number NOT IN (SELECT number FROM shared) ORDER BY finished LIMIT ?",
            _PER_OBJECT,
        )

    def _take(self, rows: Iterable[Row], name: str) -> int:
        """Take in rows, where no later one is here; all of them, or none."""
        numbers = []
        with self._transaction():
            for row in rows:
                same = self._query(
                    "SELECT number, finished FROM photos WHERE (place = ? AND settings = ? AND digest = ?)"
                    " OR (target IS NOT NULL AND target = ?)",
                    self._key(row),
                )
                if any(finished >= row.finished for _, finished in same):
                    continue
                self._base.executemany("DELETE FROM photos WHERE number = ?", [(number,) for number, _ in same])
                numbers.append(self._insert(row))
            self._note(name, numbers)
        return len(numbers)

    def _note(self, name: str, numbers: Iterable[int | None]) -> None:
        self._base.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
        self._base.executemany("INSERT OR IGNORE INTO shared VALUES (?)", [(number,) for number in numbers])


def format_row(row: Row) -> bytes:
    """A row as a line of JSON; names that are no text keep their bytes as lone surrogates."""
    told = {name: value for name, value in asdict(replace(row, number=None)).items() if name in _TYPES}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def parse_row(line: bytes) -> Row:
    """The row of a line that anybody may have written.

    Raises:
        ValueError: it is none, or it names something outside the folder of results.
    """
    told: Any = json.loads(line)
    if not isinstance(told, dict) or set(told) != set(_TYPES):
        raise ValueError("a line has other fields than a row")
    for name, kinds in _TYPES.items():
        if not isinstance(told[name], kinds) or isinstance(told[name], bool):
            raise ValueError(f"{name} is no {kinds[0].__name__}")
    if told["state"] not in ("done", "without-face", "failed"):
        raise ValueError("state is none")
    if (told["state"] == "done") != (told["target"] is not None and told["result_digest"] is not None):
        raise ValueError("a result has no place or no digest")
    if ("faces" if told["state"] == "done" else "error") not in told["report"]:
        raise ValueError("report is none")
    for name in ("settings", "digest", "result_digest", "thumbnails"):
        if told[name] is not None and not _HEX.fullmatch(told[name]):
            raise ValueError(f"{name} is no digest")
    for name in ("place", "target"):
        parts = PurePosixPath((told[name] or "photo").replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"{name} leads out of the folder")
    return Row(**{field.name: told[field.name] for field in fields(Row) if field.name in _TYPES})
