"""Puts model files into the user's folder: one process at a time for each model, and only after they were checked.

What is incomplete lies in a folder beside the models, so that it is never taken for a model and the next call
continues it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from c2p_core.errors import Message, ModelUnavailable
from c2p_core.models.download import DownloadFailed, Progress, download_files
from c2p_core.models.files import LOCKS, PARTIAL_PREFIX, cannot_write, compute_hash
from c2p_core.models.layouts import has_layout
from c2p_core.models.manifest import HttpsSource, ModelEntry, ModelFile
from c2p_core.models.pins import pin_path, read_pin, write_pin

# What nobody continued for so long is removed.
_STALE_SECONDS = 14 * 24 * 3600.0
_POLL_SECONDS = 0.5


def fetch_model(entry: ModelEntry, root: Path, is_intact: Callable[[], bool], progress: Progress) -> list[Message]:
    """Download a model into ``root``/name; does nothing if another process has done it meanwhile.

    Args:
        entry: has at least one source for downloads.
        root: folder of fetched models.
        is_intact: whether the model is there, asked again once no other process is fetching it.
        progress: called with the bytes received so far and their total.

    Returns:
        messages for the user.

    Raises:
        ModelUnavailable: every source failed, each for its own reason.
        CannotWrite: a file could not be written.
    """
    with lock_model(entry.name, root, progress):
        if is_intact():
            return []
        failures = []
        for source in entry.sources:
            if not isinstance(source, HttpsSource):
                continue
            try:
                with partial_folder(entry.name, root) as folder:
                    download_files(source, entry.files, folder, progress)
                    return put_in_place(entry, folder, root)
            except DownloadFailed as error:
                failures.append(error.message)
            except OSError as error:
                raise cannot_write(root, error) from error
        raise ModelUnavailable("model-fetch-failed", name=entry.name, why=failures)


def put_in_place(entry: ModelEntry, folder: Path, root: Path) -> list[Message]:
    """Move the files of a model from ``folder`` to ``root``/name once each is what the manifest says or the first of
    its kind, which is then pinned; the lock of the model must be held.

    Returns:
        a message for each file that was pinned.

    Raises:
        ModelUnavailable: a file is another one, or holds something else; nothing was moved, and it is gone.
        OSError: a file can't be moved.
    """
    hashes = {}
    for file in entry.files:
        try:
            hashes[file.name] = _accept(entry, file, folder / file.name, root)
        except ModelUnavailable:
            (folder / file.name).unlink(missing_ok=True)
            raise
    pinned = []
    target = root / entry.name
    target.mkdir(exist_ok=True)
    for file in entry.files:
        if not file.sha256 and not read_pin(root, entry.name, file.name):
            write_pin(root, entry.name, file.name, hashes[file.name])
            pinned.append(Message("model-pinned", name=entry.name, file=file.name, sha256=hashes[file.name]))
        (folder / file.name).replace(target / file.name)
    return pinned


def remove_model(entry: ModelEntry, root: Path) -> int:
    """Remove the fetched files of a model, and what is incomplete of it; its pins stay.

    Returns:
        bytes that were removed.

    Raises:
        CannotWrite: a file can't be removed.
    """
    with lock_model(entry.name, root, None):
        removed, folder = 0, root / entry.name
        partial = root / f"{PARTIAL_PREFIX}{entry.name}"
        # Other files in the model's folder are the user's.
        for path in [*(folder / file.name for file in entry.files), *partial.rglob("*")]:
            try:
                if path.is_file():
                    removed += path.stat().st_size
                    path.unlink()
            except OSError as error:
                raise cannot_write(folder, error) from error
        with contextlib.suppress(OSError):  # it has other files, or was never there
            folder.rmdir()
        shutil.rmtree(partial, ignore_errors=True)
        return removed


@contextlib.contextmanager
def lock_model(name: str, root: Path, progress: Progress) -> Iterator[None]:
    """Keep other processes from changing a model; waits for one that does, and calls ``progress`` meanwhile.

    Raises:
        CannotWrite: the folder can't be written, or its file system has no locks.
    """
    try:
        (root / LOCKS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(_lock_path(name, root))
        while True:
            try:
                lock.acquire(timeout=_POLL_SECONDS)
                break
            except Timeout:
                if progress:
                    progress(0, 1)
    # filelock raises the second where a file system has no locks.
    except (OSError, NotImplementedError) as error:
        known = error if isinstance(error, OSError) else OSError(0, str(error))
        raise cannot_write(root, known) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def partial_folder(name: str, root: Path) -> Iterator[Path]:
    """The folder of what is incomplete of a model, kept after an error unless it is empty; removes abandoned ones.

    The lock of the model must be held.

    Raises:
        OSError: it can't be made.
    """
    folder = root / f"{PARTIAL_PREFIX}{name}"
    for other in root.glob(f"{PARTIAL_PREFIX}*"):
        if other != folder:
            _remove_abandoned(other, root)
    if _is_abandoned(folder):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    # What is continued counts from now on, also where nothing in it gets another name.
    os.utime(folder)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()
        raise
    # What killed runs left beside the parts has no use any more.
    shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path, root: Path) -> None:
    """Remove what is incomplete of another model, unless a process is at work on it."""
    with contextlib.suppress(Timeout, OSError, NotImplementedError):  # another time, then
        if not _is_abandoned(folder):
            return
        with FileLock(_lock_path(folder.name.removeprefix(PARTIAL_PREFIX), root), timeout=0):
            # Who had the lock until now may have continued it.
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _STALE_SECONDS
    except FileNotFoundError:
        return False


def _lock_path(name: str, root: Path) -> Path:
    return root / LOCKS / f"{name}.lock"


def _accept(entry: ModelEntry, file: ModelFile, path: Path, root: Path) -> str:
    """Return the hash of a new file.

    Raises:
        ModelUnavailable: it is not the one that the manifest or a pin names, or lacks the tensors of its model.
    """
    found = compute_hash(path)
    known = file.sha256 or read_pin(root, entry.name, file.name)
    if found == known:
        return found
    if file.sha256:
        raise ModelUnavailable("model-file-altered", name=entry.name, file=file.name)
    if known:
        pin = pin_path(root, entry.name, file.name)
        raise ModelUnavailable("model-differs-from-pin", name=entry.name, file=file.name, pin=str(pin))
    if not has_layout(path, file.layout):
        raise ModelUnavailable("model-without-layout", name=entry.name, file=file.name)
    return found
