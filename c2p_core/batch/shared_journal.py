"""A journal whose rows are also in the store of the results, so that another machine can continue the batch.

SQLite needs a disk. So the journal is a file on this machine, and its new rows are pushed to the store now and then as
an object of JSON lines, which never changes again; a machine that opens the store pulls the objects that its journal
lacks. ``row_lines`` formats the lines, and validates those from a store.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.objects import Store
from c2p_core.batch.row_lines import format_row, parse_row
from c2p_core.errors import CannotWrite, get_reason

ROWS = ".c2p/rows"
"""Folder of these objects in the store."""
_MAX_OBJECT_BYTES = 256 << 20  # limit per object
_ROWS_PER_OBJECT = 5000
_TABLES = """
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS shared (number INTEGER PRIMARY KEY);
"""


class SharedJournal(Journal):
    """A journal that remembers which of its rows are in the store; only for the thread that opened it."""

    def __init__(self, path: Path) -> None:
        """See ``Journal``."""
        super().__init__(path)
        with self._transaction():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._connection.execute(statement)

    def pull(self, store: Store) -> int:
        """Merge the rows from the store that are missing here; returns how many.

        Raises:
            CannotWrite: the store can't be read, or its rows are damaged.
        """
        pulled = {name for (name,) in self._query("SELECT name FROM segments")}
        count = 0
        for name in sorted(store.list_all(ROWS)):
            if name in pulled or not name.endswith(".jsonl"):
                continue
            data = store.read(name, _MAX_OBJECT_BYTES) or b""
            try:
                rows = [parse_row(line) for line in data.splitlines()]
            except (ValueError, RecursionError) as error:
                raise CannotWrite("journal-unusable", path=f"{store.url}/{name}", reason=get_reason(error)) from error
            count += self._merge(rows, name)
        return count

    def push(self, store: Store) -> int:
        """Write the rows that are not in the store yet to it; returns how many."""
        count = 0
        while rows := list(self._read_unshared()):
            # Named by time, so that the later of two rows of a photo comes last.
            name = f"{ROWS}/{time.time_ns():020}-{secrets.token_hex(4)}.jsonl"
            data = b"".join(map(format_row, rows))
            try:
                store.put_new(name, data)
            except FileExistsError:
                # If the response to a request was lost, the driver's retry finds what the first attempt wrote.
                if not store.holds(name, data):
                    raise
            with self._transaction():
                self.mark_shared(name, (row.number for row in rows))
            count += len(rows)
        return count

    def restamp(self, number: int, source: str, size: int, mtime_ns: int) -> None:
        """See ``Journal``; the row is pushed once more."""
        # First, so that if the run ends in between, the row is shared unchanged rather than never again.
        with self._transaction():
            self._connection.execute("DELETE FROM shared WHERE number = ?", (number,))
        super().restamp(number, source, size, mtime_ns)

    def _insert(self, row: Row) -> int:
        number = super()._insert(row)
        # The number may have belonged to a deleted row.
        self._connection.execute("DELETE FROM shared WHERE number = ?", (number,))
        return number

    def _read_unshared(self) -> Iterator[Row]:
        return self._read_rows(
            "WHERE state != 'announced' AND number NOT IN (SELECT number FROM shared) ORDER BY finished LIMIT ?",
            _ROWS_PER_OBJECT,
        )

    def _merge(self, rows: Iterable[Row], name: str) -> int:
        """Merge rows, except where there is a later one here; all of them, or none.

        A row of the same time is the same result, whose photo may have got another path or time since. The one from the
        store is newer, unless this machine has not pushed its own yet.
        """
        numbers = []
        with self._transaction():
            for row in rows:
                existing = self._query(
                    "SELECT number, finished, number IN (SELECT number FROM shared) FROM photos"
                    " WHERE (place = ? AND settings = ? AND digest = ?) OR (target IS NOT NULL AND target = ?)",
                    self._make_key(row),
                )
                if any((finished, not shared) > (row.finished, False) for _, finished, shared in existing):
                    continue
                self._connection.executemany(
                    "DELETE FROM photos WHERE number = ?", [(number,) for number, *_ in existing]
                )
                numbers.append(self._insert(row))
            self.mark_shared(name, numbers)
        return len(numbers)

    def mark_shared(self, name: str, numbers: Iterable[int | None]) -> None:
        """Remember that the rows with these numbers are in an object of the store; call it within a transaction."""
        self._connection.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
        self._connection.executemany("INSERT OR IGNORE INTO shared VALUES (?)", [(number,) for number in numbers])
