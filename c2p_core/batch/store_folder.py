"""A folder of results in a store of objects; its journal and report are files of this machine, and go there, too."""

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
from c2p_core.batch.store_lock import StoreLock, hold_store, read_machine
from c2p_core.batch.store_recorder import StoreRecorder, tidy_store
from c2p_core.batch.urls import without_alias
from c2p_core.paths import data_folder

_AT_ONCE = 64  # files of a report on their way together


def state_folder(url: str) -> Path:
    """Where this machine keeps the journal and the report of a folder of objects, by whichever name of its store."""
    return data_folder() / "batches" / hashlib.sha256(os.fsencode(without_alias(url))).hexdigest()[:24]


@contextmanager
def open_store_folder(url: str) -> Iterator[Folder]:
    """Open a folder of objects for results, and sort out what ended runs of this machine and of others left.

    Raises:
        BadRequest: another batch is writing there, here or on another machine; no driver is installed for the store.
        CannotWrite: the store or the user's data folder can't be used.
    """
    store, path = open_store(url), state_folder(url)
    with lock_folder(path), contextlib.closing(SharedJournal(path / STATE_FOLDER / JOURNAL)) as journal:
        machine = read_machine(path.parent / "machine")
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
    """What is in a folder of objects, and a copy of its journal; nothing is written there or kept here.

    Raises:
        BadRequest: no driver is installed for the store.
        CannotWrite: the store can't be used.
    """
    store, own = open_store(url), state_folder(url) / STATE_FOLDER / JOURNAL
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / JOURNAL
        if own.exists():
            with contextlib.closing(Journal(own, read_only=True)) as journal:
                journal.copy_to(copy)
        with contextlib.closing(SharedJournal(copy)) as journal:
            journal.pull(store)
            yield journal, StoreReader(store)


def _publish(store: Store, reader: StoreReader, path: Path, lock: StoreLock) -> None:
    """Put what is new of the report into the store: small pictures that are there have not changed since.

    Raises:
        CannotWrite: the store can't be used, or another machine has taken over, whose report this would replace.
    """
    names = [f"{REPORT_FOLDER}/{picture.name}" for picture in sorted((path / REPORT_FOLDER).glob("*.jpg"))]
    names = [name for name in names if reader.stat(name) is None]
    names += [f"{REPORT_FOLDER}/{page.name}" for page in sorted((path / REPORT_FOLDER).glob("page-*.html"))]
    names += [name for name in (TABLE, PAGE) if (path / name).exists()]
    for first in range(0, len(names), _AT_ONCE):
        lock.confirm()
        store.put_all({name: (path / name).read_bytes() for name in names[first : first + _AT_ONCE]})
