"""A journal whose rows are also in the store of the results, so that another machine can go on.

SQLite needs a disk. So the journal is a file of this machine, and its new rows go into the store every now and then as
an object of lines of JSON, which is never changed again; whoever opens the store takes in the objects that their own
journal has not seen. ``row_lines`` writes the lines, and checks those that come from a store.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.objects import Store
from c2p_core.batch.row_lines import format_row, parse_row
from c2p_core.errors import CannotWrite

ROWS = ".c2p/rows"
"""Folder of these objects in the store."""
_LARGEST = 256 << 20  # bytes of one of them
_PER_OBJECT = 5000  # rows
_TABLES = """
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS shared (number INTEGER PRIMARY KEY);
"""


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
            data = b"".join(map(format_row, rows))
            try:
                store.put_new(name, data)
            except FileExistsError:
                # A request whose answer was lost, and that the driver makes once more, finds what it wrote.
                if not store.holds(name, data):
                    raise
            with self._transaction():
                self.mark_shared(name, (row.number for row in rows))
            count += len(rows)
        return count

    def restamp(self, number: int, source: str, size: int, mtime_ns: int) -> None:
        """See ``Journal``; the row goes to the store once more."""
        # First, so that a run that ends in between shares a row that is as it was, and not one never shared.
        with self._transaction():
            self._base.execute("DELETE FROM shared WHERE number = ?", (number,))
        super().restamp(number, source, size, mtime_ns)

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
        """Take in rows, where no later one is here; all of them, or none.

        A row of the same time is the same result, whose photo may have got another path or time since. That of the
        store is the later one, unless this machine has still to put its own there.
        """
        numbers = []
        with self._transaction():
            for row in rows:
                same = self._query(
                    "SELECT number, finished, number IN (SELECT number FROM shared) FROM photos"
                    " WHERE (place = ? AND settings = ? AND digest = ?) OR (target IS NOT NULL AND target = ?)",
                    self._key(row),
                )
                if any((finished, not shared) > (row.finished, False) for _, finished, shared in same):
                    continue
                self._base.executemany("DELETE FROM photos WHERE number = ?", [(number,) for number, *_ in same])
                numbers.append(self._insert(row))
            self.mark_shared(name, numbers)
        return len(numbers)

    def mark_shared(self, name: str, numbers: Iterable[int | None]) -> None:
        """Remember that the rows of these numbers are in an object of the store; within a transaction."""
        self._base.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
        self._base.executemany("INSERT OR IGNORE INTO shared VALUES (?)", [(number,) for number in numbers])
