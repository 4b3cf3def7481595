"""A folder of results in a store of objects; its journal and report are files on this machine, and are copied there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from c2p_core.batch.journal import Journal
from c2p_core.batch.objects import Store, open_store
from c2p_core.batch.result_readers import StoreReader
from c2p_core.batch.run import JOURNAL, Folder, lock_folder
from c2p_core.batch.shared_journal import SharedJournal
from c2p_core.batch.sources import PAGE, REPORT_FOLDER, STATE_FOLDER, TABLE
from c2p_core.batch.store_lock import StoreLock, hold_store, read_machine_name
from c2p_core.batch.store_recorder import StoreRecorder, tidy_store
from c2p_core.batch.urls import replace_alias
from c2p_core.paths import data_folder

_FILES_PER_REQUEST = 64  # files of a report that are written together


def locate_state_folder(url: str) -> Path:
    """Where this machine keeps the journal and report of a folder of objects, under any of its store's schemes."""
    return data_folder() / "batches" / hashlib.sha256(os.fsencode(replace_alias(url))).hexdigest()[:24]


@contextmanager
def open_store_folder(url: str) -> Iterator[Folder]:
    """Open a folder of objects for results, and clean up after interrupted runs on this and other machines.

    Raises:
        BadRequest: another batch is writing there, here or on another machine; no driver is installed for the store.
        CannotWrite: the store or the user's data folder can't be used.
    """
    store, path = open_store(url), locate_state_folder(url)
    with lock_folder(path), contextlib.closing(SharedJournal(path / STATE_FOLDER / JOURNAL)) as journal:
        machine = read_machine_name(path.parent / "machine")
        with hold_store(store, machine) as lock:
            store = lock.store
            journal.pull(store)
            tidy_store(store, journal)
            reader = StoreReader(store)
            make_recorder = partial(StoreRecorder, store=store, reader=reader, lock=lock)
            try:
                yield Folder(path, journal, reader, make_recorder, partial(_publish, store, reader, path, lock))
            finally:
                lock.confirm()
                journal.push(store)


@contextmanager
def peek_store_folder(url: str) -> Iterator[tuple[Journal, StoreReader]]:
    """A copy of the journal of a folder of objects, and a reader of its results; nothing is written there or kept here.

    Raises:
        BadRequest: no driver is installed for the store.
        CannotWrite: the store can't be used.
    """
    store, journal_path = open_store(url), locate_state_folder(url) / STATE_FOLDER / JOURNAL
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / JOURNAL
        if journal_path.exists():
            with contextlib.closing(Journal(journal_path, read_only=True)) as journal:
                journal.copy_to(copy)
        with contextlib.closing(SharedJournal(copy)) as journal:
            journal.pull(store)
            yield journal, StoreReader(store)


def _publish(store: Store, reader: StoreReader, path: Path, lock: StoreLock) -> None:
    """Copy new files of the report to the store: small pictures never change once they are there.

    Raises:
        CannotWrite: the store can't be used, or another machine has taken over, whose report this would replace.
    """
    names = [f"{REPORT_FOLDER}/{picture.name}" for picture in sorted((path / REPORT_FOLDER).glob("*.jpg"))]
    names = [name for name in names if reader.stat(name) is None]
    names += [f"{REPORT_FOLDER}/{page.name}" for page in sorted((path / REPORT_FOLDER).glob("page-*.html"))]
    names += [name for name in (TABLE, PAGE) if (path / name).exists()]
    for start in range(0, len(names), _FILES_PER_REQUEST):
        lock.confirm()
        store.put_all({name: (path / name).read_bytes() for name in names[start : start + _FILES_PER_REQUEST]})
