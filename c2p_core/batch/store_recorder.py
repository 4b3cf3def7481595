"""Puts results into a store of objects, each whole by one request, in the order that ``recorder`` tells."""

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
from c2p_core.batch.result_readers import StoreReader, object_name
from c2p_core.batch.shared_journal import SharedJournal
from c2p_core.batch.sidecar_sources import beside_sidecars
from c2p_core.batch.store_lock import StoreLock
from c2p_core.batch.urls import join_url
from c2p_core.errors import CannotWrite, Message
from c2p_core.io.atomic_files import cannot_write
from c2p_core.io.sidecars import carry_sidecars

_PUSHED = 30.0  # seconds after which new rows of the journal go into the store


def tidy_store(store: Store, journal: Journal) -> None:
    """Sort out what a run left that was ended, as ``recorder.tidy`` does."""
    for row in journal.announced():
        assert row.target is not None and row.number is not None
        name = object_name(row.target)
        if store.matches(name, row.result_size, row.result_digest) and (stamp := store.stat(name)) is not None:
            journal.finish(row.number, row.target, stamp[1])
        else:
            journal.forget(row.number)


@dataclass
class StoreRecorder(Recorder):
    """Writes what comes of photos into a store, and the journal's rows after them.

    Attributes:
        store, reader, lock: of the results. ``folder`` is that of the journal and the report, on this machine.
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
        if time.monotonic() - self._pushed > _PUSHED:
            assert isinstance(self.journal, SharedJournal)
            self.journal.push(self.store)
            self._pushed = time.monotonic()
        return row

    def place(self, row: Row, data: bytes, thumbnails: tuple[bytes, bytes] | None) -> Row:
        """See ``Recorder.place``."""
        row = replace(row, state="announced", result_digest=hashlib.sha256(data).hexdigest(), result_size=len(data))
        if thumbnails is not None:
            row = replace(row, thumbnails=self.write_thumbnails(row, thumbnails))
        placed = None
        try:
            while placed is None:
                placed = self._place_object(row, data)
        except OSError as error:
            # Of this machine, where sidecars are prepared; those of the store have a code.
            raise cannot_write(Path(tempfile.gettempdir()), error) from error
        return placed

    def _place_object(self, row: Row, data: bytes) -> Row | None:
        """The row of the result in its place; None where another object came there at the same time."""
        target, replaced = self._choose_place(row)
        name = object_name(target)
        if replaced:
            # Before its sidecars, which would stay behind without it.
            self.lock.confirm()
        made, told = self._carry(row, name)
        row = replace(row, target=target, report=told)
        try:
            number = self.journal.write(row)
        except CannotWrite:
            self._remove(made)
            raise
        try:
            if replaced:
                self.lock.confirm()
                self.store.put(name, data)
            else:
                self.store.put_new(name, data)
        except FileExistsError:
            # It came in this very moment. If it is the result, another machine has written it, or this one has and
            # did not hear so; the journal learns of it.
            if not self.store.holds(name, data):
                self._remove(made)
                self.journal.forget(number)
                self.reader.note(name, self.store.stat(name))
                return None
        stamp = self.store.stat(name)
        if stamp is None:
            raise CannotWrite("store-unusable", url=join_url(self.store.url, name), reason="it was not kept") from None
        self.reader.note(name, stamp)
        self.journal.finish(number, target, stamp[1])
        return replace(row, number=number, state="done", result_mtime_ns=stamp[1])

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.store.remove(name)

    def _choose_place(self, row: Row) -> tuple[str, bool]:
        """Where a result goes, and whether it replaces an earlier one of ours."""
        for place in itertools.chain([row.place], number_places(row.place)):
            name = object_name(place)
            if self.reader.stat(place) is None or self.store.stat(name) is None:
                return place, False
            owner = self.journal.owner(place)
            # This very result, which a machine wrote whose last rows are lost; or one of an earlier run.
            ours = row if owner is None else owner if self.overwrite and place == row.place else None
            if ours is not None and self.store.matches(name, ours.result_size, ours.result_digest):
                return place, True
        raise AssertionError("numbers do not end")

    def _carry(self, row: Row, name: str) -> tuple[list[str], dict[str, object]]:
        """Copy sidecars beside the result; the names of those that are new, and the report with all of them."""
        there: list[str] = []
        made: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, beside_sidecars(row.source) as source:
            target = Path(scratch, posixpath.basename(name))
            term = row.report.get("digital_source_type")
            carried = carry_sidecars(source, target, personal=not self.strip_personal, source_type=term)
            warnings = list(carried.warnings)
            for path in carried.created:
                sidecar, data = posixpath.join(posixpath.dirname(name), path.name), path.read_bytes()
                try:
                    self.store.put_new(sidecar, data)
                    made.append(sidecar)
                except FileExistsError:
                    if not self.store.holds(sidecar, data):
                        warnings.append(Message("sidecar-exists", path=join_url(self.store.url, sidecar)))
                        continue
                there.append(join_url(self.store.url, sidecar))
        told = [*row.report.get("warnings", ()), *(warning.described() for warning in warnings)]
        return made, row.report | {
            "protected": join_url(self.store.url, name),
            "sidecars": there,
            "warnings": told,
        }
