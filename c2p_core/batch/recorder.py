"""Puts results into their places and notes them in the journal; nothing else of a batch writes there.

In this order: small pictures; the result under a temporary name; its row, announced; the result in its place; the row,
done. A run that is ended in between leaves at most an announced row and a temporary file, which ``tidy`` sorts out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from c2p_core.batch.engine import Outcome
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.sidecar_sources import beside_sidecars
from c2p_core.batch.sources import REPORT_FOLDER, STATE_FOLDER
from c2p_core.errors import CannotWrite, Message
from c2p_core.io import report
from c2p_core.io.atomic_files import cannot_write, find_free_name, find_parts, put_in_place, write_part, write_whole
from c2p_core.io.sidecars import CopiedSidecars, carry_sidecars

BEFORE, AFTER = "before", "after"
# After these errors no other result could be written either, or the journal could not say so.
_FATAL = ("journal-unusable", "folder-unusable", "store-unusable", "store-lock-lost")


def tidy(folder: Path, journal: Journal) -> None:
    """Sort out what a run left that was ended: results on their way are done if they arrived, else forgotten."""
    for row in journal.announced():
        assert row.target is not None and row.number is not None
        target = folder / row.target
        if holds(target, row):
            journal.finish(row.number, row.target, target.stat().st_mtime_ns)
        else:
            journal.forget(row.number)
    for parts in (folder / STATE_FOLDER, folder / REPORT_FOLDER):
        for part in find_parts(parts):
            part.unlink(missing_ok=True)


def holds(target: Path, row: Row) -> bool:
    """Whether a file has the content that a row says; what can't be read has not."""
    try:
        if target.stat().st_size != row.result_size:
            return False
        return hashlib.sha256(target.read_bytes()).hexdigest() == row.result_digest
    except OSError:
        return False


def thumbnail_name(name: str, which: str) -> str:
    """Of a small picture in the report's folder."""
    return f"{name}-{which}.jpg"


@dataclass
class Recorder:
    """Writes what comes of photos.

    Attributes:
        folder: of the results.
        journal: its journal.
        settings: the digest of the settings of a photo, by its path.
        overwrite: whether results of earlier runs that nobody has changed since are replaced.
        strip_personal: whether personal metadata are removed from sidecars.
    """

    folder: Path
    journal: Journal
    settings: Callable[[str], str]
    overwrite: bool = False
    strip_personal: bool = False

    def record(self, outcome: Outcome) -> Row:
        """Write one outcome; returns its row. Where a result can't be written to its place, that is its outcome.

        Raises:
            CannotWrite: the disk is full or gone, or the journal can't be written.
        """
        if not (self.folder / STATE_FOLDER).is_dir():
            # Its folder would be made again elsewhere, on the disk that the lost one was part of.
            raise CannotWrite("folder-unusable", path=str(self.folder), reason="it is gone")
        row = Row(
            place=outcome.item.place,
            settings=self.settings(outcome.item.path),
            digest=outcome.digest,
            source=outcome.item.path,
            size=outcome.stamp[0],
            mtime_ns=outcome.stamp[1],
            state="failed",
            report=outcome.report,
            faces=outcome.faces,
            seconds=outcome.seconds,
        )
        if outcome.reuse is not None:
            return self._reuse(row, outcome)
        if outcome.state == "done":
            assert outcome.data is not None
            return self._try_place(row, outcome.data, outcome.thumbnails)
        row = replace(row, state="failed" if outcome.state == "failed" else "without-face")
        return replace(row, number=self.journal.write(row))

    def _reuse(self, row: Row, outcome: Outcome) -> Row:
        """Note that an earlier result serves: it is in its place, or a copy of it is put there."""
        assert outcome.reuse is not None
        try:
            earlier = self.journal.row(outcome.reuse.number)
        except KeyError:
            # Another photo's result has replaced it since the engine asked.
            return self._fail(row, CannotWrite("earlier-result-replaced", path=row.source))
        if earlier.place == row.place or earlier.source == row.source:
            self.journal.restamp(outcome.reuse.number, row.source, row.size, row.mtime_ns)
            return replace(earlier, source=row.source, size=row.size, mtime_ns=row.mtime_ns)
        told = earlier.report | {"photo": row.source}
        copy = replace(row, state=earlier.state, report=told, faces=earlier.faces, thumbnails=earlier.thumbnails)
        if outcome.reuse.data is None:
            return replace(copy, number=self.journal.write(copy))
        return self._try_place(copy, outcome.reuse.data, None)

    def _try_place(self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None) -> Row:
        try:
            return self.place(row, data, thumbnails)
        except CannotWrite as error:
            if _ends_all(error):
                raise
            return self._fail(row, error)

    def _fail(self, row: Row, error: CannotWrite) -> Row:
        told = report.failure_report(row.source, error.message, error.exit_code)
        failed = replace(row, state="failed", report=told, faces=0, seconds=0.0, target=None, thumbnails=None)
        return replace(failed, number=self.journal.write(failed))

    def place(self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None) -> Row:
        """Put a result into its place; returns its row.

        Raises:
            CannotWrite: it can't be written.
        """
        wanted = self.folder / row.place
        row = replace(row, state="announced", result_digest=hashlib.sha256(data).hexdigest(), result_size=len(data))
        try:
            if thumbnails is not None:
                row = replace(row, thumbnails=self.write_thumbnails(row, thumbnails))
            wanted.parent.mkdir(parents=True, exist_ok=True)
            placed = None
            while placed is None:
                placed = self._place_once(row, wanted, data)
        except OSError as error:
            raise cannot_write(wanted, error) from error
        return placed

    def _place_once(self, row: Row, wanted: Path, data: bytes) -> Row | None:
        """The row of the result in its place; None where another file came there at the same time."""
        part = write_part(self._parts_folder(wanted.parent), data)
        try:
            target, replaced = self._choose_target(wanted)
            # Before the result, which is not looked at again once it is there.
            carried = self._carry_sidecars(row, target)
            told = row.report | {"protected": str(target), "sidecars": [str(path) for path in carried.present]}
            told["warnings"] = [*told.get("warnings", ()), *(warning.described() for warning in carried.warnings)]
            row = replace(row, target=self._relative(target), report=told)
            try:
                number = self.journal.write(row)
            except CannotWrite:
                _remove(carried.created)
                raise
            try:
                put_in_place(part, target, replace=replaced)
                changed = target.stat().st_mtime_ns
            except OSError as error:
                if not isinstance(error, FileExistsError) and holds(target, row):
                    # It is there, but perhaps not yet on the disk; it stays announced, and the next run looks.
                    reason = error.strerror or str(error)
                    raise CannotWrite("folder-unusable", path=str(self.folder), reason=reason) from error
                _remove(carried.created)
                self.journal.forget(number)
                if isinstance(error, FileExistsError):
                    return None
                raise
        finally:
            part.unlink(missing_ok=True)
        # Where this fails, the row stays announced; the next run finds its result in place and notes it as done.
        self.journal.finish(number, self._relative(target), changed)
        return replace(row, number=number, state="done", result_mtime_ns=changed)

    def _carry_sidecars(self, row: Row, target: Path) -> CopiedSidecars:
        with beside_sidecars(row.source) as source:
            return carry_sidecars(
                source,
                target,
                personal=not self.strip_personal,
                source_type=row.report.get("digital_source_type"),
                parts=self._parts_folder(target.parent),
            )

    def _choose_target(self, wanted: Path) -> tuple[Path, bool]:
        """The file of a result, and whether it takes the place of an earlier one."""
        if not os.path.lexists(wanted):
            return wanted, False
        if self.overwrite:
            owner = self.journal.owner(self._relative(wanted))
            if owner is not None and not wanted.is_symlink() and holds(wanted, owner):
                return wanted, True
        return find_free_name(wanted), False

    def _relative(self, target: Path) -> str:
        return os.path.relpath(target, self.folder)

    def _parts_folder(self, folder: Path) -> Path:
        """Where the file is written before it has its name: on the same disk as its place."""
        own = self.folder / STATE_FOLDER
        return own if own.stat().st_dev == folder.stat().st_dev else folder

    def write_thumbnails(self, row: Row, thumbnails: tuple[bytes, bytes]) -> str:
        """Write the small pictures of a result; returns their name."""
        (self.folder / REPORT_FOLDER).mkdir(exist_ok=True)
        key = "\0".join((row.settings, row.digest, row.place))
        name = hashlib.sha256(os.fsencode(key)).hexdigest()[:20]
        for which, data in zip((BEFORE, AFTER), thumbnails, strict=True):
            write_whole(self.folder / REPORT_FOLDER / thumbnail_name(name, which), data)
        return name


def _ends_all(error: CannotWrite) -> bool:
    """Whether no other result may be written either: no space or folder is left, or no journal, or no store of ours."""
    return error.fields.get("why") == Message("no-space") or error.code in _FATAL


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
