"""Puts results into a store of objects, each with one request, in the order described in ``recorder``."""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from c2p_core.batch.engine import Outcome
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.layout import number_places
from c2p_core.batch.objects import Store
from c2p_core.batch.recorder import Recorder
from c2p_core.batch.result_readers import StoreReader, to_object_name
from c2p_core.batch.shared_journal import SharedJournal
from c2p_core.batch.sidecar_sources import beside_sidecars
from c2p_core.batch.store_lock import StoreLock
from c2p_core.batch.urls import join_url
from c2p_core.errors import CannotWrite, Message
from c2p_core.io.atomic_files import cannot_write
from c2p_core.io.sidecars import Turn, carry_sidecars

_PUSH_INTERVAL = 30.0  # seconds after which new rows of the journal are pushed to the store


def tidy_store(store: Store, journal: Journal) -> None:
    """Clean up after an interrupted run, as ``recorder.tidy`` does."""
    for row in journal.read_announced():
        assert row.target is not None and row.number is not None
        name = to_object_name(row.target)
        if store.matches(name, row.result_size, row.result_digest) and (stamp := store.stat(name)) is not None:
            journal.finish(row.number, row.target, stamp[1])
        else:
            journal.forget(row.number)


@dataclass
class StoreRecorder(Recorder):
    """Writes the outcomes of photos to a store, followed by the rows of the journal.

    Attributes:
        store, reader, lock: of the results. ``folder`` is the local one of the journal and the report.
    """

    store: Store = field(kw_only=True)
    reader: StoreReader = field(kw_only=True)
    lock: StoreLock = field(kw_only=True)
    _pushed: float = field(default_factory=time.monotonic)

    def record(self, outcome: Outcome) -> Row:
        """See ``Recorder.record``.

        Raises:
            CannotWrite: the store or the journal can't be written, or another machine has taken over.
        """
        self.lock.check()
        row = super().record(outcome)
        if time.monotonic() - self._pushed > _PUSH_INTERVAL:
            assert isinstance(self.journal, SharedJournal)
            self.journal.push(self.store)
            self._pushed = time.monotonic()
        return row

    def place_result(self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None, turn: Turn | None) -> Row:
        """See ``Recorder.place_result``."""
        row = replace(row, state="announced", result_digest=hashlib.sha256(data).hexdigest(), result_size=len(data))
        if thumbnails is not None:
            row = replace(row, thumbnails=self.write_thumbnails(row, thumbnails))
        placed = None
        try:
            while placed is None:
                placed = self._place_object(row, data, turn)
        except OSError as error:
            # An error of this machine, on which sidecars are prepared; those of the store have a code already.
            raise cannot_write(Path(tempfile.gettempdir()), error) from error
        return placed

    def _place_object(self, row: Row, data: bytes, turn: Turn | None) -> Row | None:
        """Try to put a result in place; returns its row, or None if another object appeared there meanwhile."""
        target, replaced = self._choose_place(row)
        name = to_object_name(target)
        if replaced:
            # Before its sidecars are written, which would be left over without it.
            self.lock.confirm()
        new_sidecars, entry = self._copy_sidecars(row, name, turn)
        row = replace(row, target=target, report=entry)
        try:
            number = self.journal.write(row)
        except CannotWrite:
            self._remove(new_sidecars)
            raise
        try:
            if replaced:
                self.lock.confirm()
                self.store.put(name, data)
            else:
                self.store.put_new(name, data)
        except FileExistsError:
            # It appeared just now. If it is this very result, another machine has written it, or this one has and the
            # response was lost; then it counts as done.
            if not self.store.holds(name, data):
                self._remove(new_sidecars)
                self.journal.forget(number)
                self.reader.update(name, self.store.stat(name))
                return None
        stamp = self.store.stat(name)
        if stamp is None:
            raise CannotWrite(
                "store-unusable", url=join_url(self.store.url, name), reason=Message("object-not-kept")
            ) from None
        self.reader.update(name, stamp)
        self.journal.finish(number, target, stamp[1])
        return replace(row, number=number, state="done", result_mtime_ns=stamp[1])

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.store.remove(name)

    def _choose_place(self, row: Row) -> tuple[str, bool]:
        """The place of a result, and whether it replaces an earlier result."""
        for place in itertools.chain([row.place], number_places(row.place)):
            name = to_object_name(place)
            if self.reader.stat(place) is None or self.store.stat(name) is None:
                return place, False
            owner = self.journal.find_owner(place)
            # This very result, written by a machine whose last rows are lost; or one of an earlier run.
            replaceable = row if owner is None else owner if self.overwrite and place == row.place else None
            if replaceable is not None and self.store.matches(name, replaceable.result_size, replaceable.result_digest):
                return place, True
        raise AssertionError("numbers do not end")

    def _copy_sidecars(self, row: Row, name: str, turn: Turn | None) -> tuple[list[str], dict[str, object]]:
        """Copy sidecars beside the result; returns the names of the new ones, and the report entry with all of them."""
        sidecars: list[str] = []
        new_sidecars: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, beside_sidecars(row.source) as source:
            target = Path(scratch, posixpath.basename(name))
            source_type = row.report.get("digital_source_type")
            personal = not self.strip_personal
            carried = carry_sidecars(source, target, personal=personal, source_type=source_type, turn=turn)
            warnings = list(carried.warnings)
            for path in carried.created:
                sidecar, data = posixpath.join(posixpath.dirname(name), path.name), path.read_bytes()
                try:
                    self.store.put_new(sidecar, data)
                    new_sidecars.append(sidecar)
                except FileExistsError:
                    if not self.store.holds(sidecar, data):
                        warnings.append(Message("sidecar-exists", path=join_url(self.store.url, sidecar)))
                        continue
                sidecars.append(join_url(self.store.url, sidecar))
        messages = [*row.report.get("warnings", ()), *(warning.described() for warning in warnings)]
        return new_sidecars, row.report | {
            "protected": join_url(self.store.url, name),
            "sidecars": sidecars,
            "warnings": messages,
        }
