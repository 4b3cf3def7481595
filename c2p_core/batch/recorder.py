"""Puts results into their places and notes them in the journal; nothing else of a batch writes there.

The order is: small pictures; the result under a temporary name; its row, announced; the result in its place; the row,
done. A run that ends in between leaves at most an announced row and a temporary file, which ``tidy`` cleans up.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from c2p_core.batch.engine import Outcome
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.sidecar_sources import beside_sidecars
from c2p_core.batch.sources import REPORT_FOLDER, STATE_FOLDER
from c2p_core.errors import CannotWrite, Message
from c2p_core.io import report
from c2p_core.io.atomic_files import cannot_write, find_free_name, find_parts, put_in_place, write_part, write_whole
from c2p_core.io.sidecars import CopiedSidecars, Turn, carry_sidecars

BEFORE, AFTER = "before", "after"
# After these errors no other result could be written or noted in the journal either.
_FATAL = ("journal-unusable", "folder-unusable", "store-unusable", "store-lock-lost")


def tidy(folder: Path, journal: Journal) -> None:
    """Clean up after an interrupted run: announced results are done if they are in their places, else forgotten."""
    folders = {folder / STATE_FOLDER, folder / REPORT_FOLDER}
    for row in journal.read_announced():
        assert row.target is not None and row.number is not None
        target = folder / row.target
        folders.add(target.parent)  # of its temporary file if that is on another disk
        if matches_row(target, row):
            journal.finish(row.number, row.target, target.stat().st_mtime_ns)
        else:
            journal.forget(row.number)
    for folder_of_parts in folders:
        for part in find_parts(folder_of_parts):
            part.unlink(missing_ok=True)


def matches_row(target: Path, row: Row) -> bool:
    """Whether a file can be read and has the content that a row describes."""
    try:
        if target.stat().st_size != row.result_size:
            return False
        return hashlib.sha256(target.read_bytes()).hexdigest() == row.result_digest
    except OSError:
        return False


def make_thumbnail_name(name: str, side: str) -> str:
    """The file name of a small picture in the report's folder; ``side`` is ``BEFORE`` or ``AFTER``."""
    return f"{name}-{side}.jpg"


@dataclass
class Recorder:
    """Writes the outcomes of photos.

    Attributes:
        folder: of the results.
        journal: its journal.
        digest_settings: gives the digest of the settings for the photo at a path.
        overwrite: whether results of earlier runs that nobody has changed since are replaced.
        strip_personal: whether personal metadata are removed from sidecars.
    """

    folder: Path
    journal: Journal
    digest_settings: Callable[[str], str]
    overwrite: bool = False
    strip_personal: bool = False
    # Folders that are mounted from the disk of the others: nothing can be moved into them.
    _mounted: set[Path] = field(default_factory=set, init=False)

    def record(self, outcome: Outcome) -> Row:
        """Write one outcome; returns its row. A result that can't be written to its place is recorded as failed.

        Raises:
            CannotWrite: the disk is full or gone, or the journal can't be written.
        """
        if not (self.folder / STATE_FOLDER).is_dir():
            # After a disk was unplugged, the folder would be created again on the disk that it was mounted on.
            raise CannotWrite("folder-unusable", path=str(self.folder), reason=Message("folder-gone"))
        row = Row(
            place=outcome.item.place,
            settings=self.digest_settings(outcome.item.path),
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
            return self._record_reuse(row, outcome)
        if outcome.state == "done":
            assert outcome.data is not None
            return self._try_place_result(row, outcome.data, outcome.thumbnails, outcome.turn)
        row = replace(row, state="failed" if outcome.state == "failed" else "without-face")
        return replace(row, number=self.journal.write(row))

    def _record_reuse(self, row: Row, outcome: Outcome) -> Row:
        """Use an earlier result: it is in its place, or a copy of it is put there."""
        assert outcome.reuse is not None
        try:
            earlier = self.journal.read_row(outcome.reuse.number)
        except KeyError:
            # Another photo's result has replaced it since the engine asked.
            return self._record_failure(row, CannotWrite("earlier-result-replaced", path=row.source))
        if earlier.place == row.place or earlier.source == row.source:
            self.journal.restamp(outcome.reuse.number, row.source, row.size, row.mtime_ns)
            return replace(earlier, source=row.source, size=row.size, mtime_ns=row.mtime_ns)
        entry = earlier.report | {"photo": row.source}
        copy = replace(row, state=earlier.state, report=entry, faces=earlier.faces, thumbnails=earlier.thumbnails)
        if outcome.reuse.data is None:
            return replace(copy, number=self.journal.write(copy))
        return self._try_place_result(copy, outcome.reuse.data, None, outcome.turn)

    def _try_place_result(
        self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None, turn: Turn | None
    ) -> Row:
        try:
            return self.place_result(row, data, thumbnails, turn)
        except CannotWrite as error:
            if _is_fatal(error):
                raise
            return self._record_failure(row, error)

    def _record_failure(self, row: Row, error: CannotWrite) -> Row:
        entry = report.failure_report(row.source, error.message, error.exit_code)
        failed = replace(row, state="failed", report=entry, faces=0, seconds=0.0, target=None, thumbnails=None)
        return replace(failed, number=self.journal.write(failed))

    def place_result(self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None, turn: Turn | None) -> Row:
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
                placed = self._place_once(row, wanted, data, turn)
        except OSError as error:
            raise cannot_write(wanted, error) from error
        return placed

    def _place_once(self, row: Row, wanted: Path, data: bytes, turn: Turn | None) -> Row | None:
        """Try to put a result in place; returns its row, or None if another try is needed.

        It is if another file appeared there meanwhile, or if the folder turned out to be mounted.
        """
        part = write_part(self._choose_parts_folder(wanted.parent), data)
        try:
            target, replaced = self._choose_target(wanted)
            # Before the result, which is not touched again once it is in place.
            carried = self._carry_sidecars(row, target, turn)
            entry = row.report | {"protected": str(target), "sidecars": [str(path) for path in carried.present]}
            entry["warnings"] = [*entry.get("warnings", ()), *(warning.described() for warning in carried.warnings)]
            row = replace(row, target=self._make_relative(target), report=entry)
            try:
                number = self.journal.write(row)
            except CannotWrite:
                _remove(carried.created)
                raise
            try:
                put_in_place(part, target, replace=replaced)
                mtime_ns = target.stat().st_mtime_ns
            except OSError as error:
                if not isinstance(error, FileExistsError) and matches_row(target, row):
                    # It is there, but perhaps not yet on the disk; it stays announced, and the next run checks.
                    reason = error.strerror or str(error)
                    raise CannotWrite("folder-unusable", path=str(self.folder), reason=reason) from error
                _remove(carried.created)
                self.journal.forget(number)
                if error.errno == errno.EXDEV and wanted.parent not in self._mounted:
                    self._mounted.add(wanted.parent)
                    return None
                if isinstance(error, FileExistsError):
                    return None
                raise
        finally:
            part.unlink(missing_ok=True)
        # If this fails, the row stays announced; the next run finds its result in place and marks it as done.
        self.journal.finish(number, self._make_relative(target), mtime_ns)
        return replace(row, number=number, state="done", result_mtime_ns=mtime_ns)

    def _carry_sidecars(self, row: Row, target: Path, turn: Turn | None) -> CopiedSidecars:
        with beside_sidecars(row.source) as source:
            return carry_sidecars(
                source,
                target,
                personal=not self.strip_personal,
                source_type=row.report.get("digital_source_type"),
                turn=turn,
                parts=self._choose_parts_folder(target.parent),
            )

    def _choose_target(self, wanted: Path) -> tuple[Path, bool]:
        """The path of a result, and whether it replaces an earlier one."""
        if not os.path.lexists(wanted):
            return wanted, False
        if self.overwrite:
            owner = self.journal.find_owner(self._make_relative(wanted))
            if owner is not None and not wanted.is_symlink() and matches_row(wanted, owner):
                return wanted, True
        return find_free_name(wanted), False

    def _make_relative(self, target: Path) -> str:
        return os.path.relpath(target, self.folder)

    def _choose_parts_folder(self, folder: Path) -> Path:
        """Where a file is written before it gets its name: on the same disk as its place."""
        state_folder = self.folder / STATE_FOLDER
        is_same_disk = state_folder.stat().st_dev == folder.stat().st_dev and folder not in self._mounted
        return state_folder if is_same_disk else folder

    def write_thumbnails(self, row: Row, thumbnails: tuple[bytes, bytes]) -> str:
        """Write the small pictures of a result; returns their name."""
        (self.folder / REPORT_FOLDER).mkdir(exist_ok=True)
        key = "\0".join((row.settings, row.digest, row.place))
        name = hashlib.sha256(os.fsencode(key)).hexdigest()[:20]
        for side, data in zip((BEFORE, AFTER), thumbnails, strict=True):
            write_whole(self.folder / REPORT_FOLDER / make_thumbnail_name(name, side), data)
        return name


def _is_fatal(error: CannotWrite) -> bool:
    """Whether no other result could be written either: the disk, journal or store can't be used."""
    return error.fields.get("why") == Message("no-space") or error.code in _FATAL


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
