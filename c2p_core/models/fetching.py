"""Installs model files in the user's folder: one process at a time for each model, and only after verification.

Incomplete files are kept in a folder beside the models, so that they are never mistaken for a model and the next call
can resume them.
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

# Incomplete files that were not resumed for this time are removed.
_STALE_SECONDS = 14 * 24 * 3600.0
_POLL_SECONDS = 0.5


def fetch_model(entry: ModelEntry, root: Path, is_intact: Callable[[], bool], progress: Progress) -> list[Message]:
    """Download a model into ``root``/name; does nothing if another process has done it meanwhile.

    Args:
        entry: has at least one source for downloads.
        root: folder of fetched models.
        is_intact: whether the model is present; called again once no other process is fetching it.
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
                    return move_files(entry, folder, root)
            except DownloadFailed as error:
                failures.append(error.message)
            except OSError as error:
                raise cannot_write(root, error) from error
        raise ModelUnavailable("model-fetch-failed", name=entry.name, why=failures)


def move_files(entry: ModelEntry, folder: Path, root: Path) -> list[Message]:
    """Move the files of a model from ``folder`` to ``root``/name after checking all of them.

    A file whose hash the manifest doesn't give is pinned to its first version. The lock of the model must be held.

    Returns:
        a message for each file that was pinned.

    Raises:
        ModelUnavailable: a file has the wrong hash or content; it was removed, and nothing was moved.
        OSError: a file can't be moved.
    """
    hashes = {}
    for file in entry.files:
        try:
            hashes[file.name] = _verify(entry, file, folder / file.name, root)
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
    """Remove the fetched and incomplete files of a model; its pins stay.

    Returns:
        the number of bytes that were removed.

    Raises:
        CannotWrite: a file can't be removed.
    """
    with lock_model(entry.name, root, None):
        removed_bytes, folder = 0, root / entry.name
        partial = root / f"{PARTIAL_PREFIX}{entry.name}"
        # Other files in the model's folder are the user's.
        for path in [*(folder / file.name for file in entry.files), *partial.rglob("*")]:
            try:
                if path.is_file():
                    removed_bytes += path.stat().st_size
                    path.unlink()
            except OSError as error:
                raise cannot_write(folder, error) from error
        with contextlib.suppress(OSError):  # it has other files, or never existed
            folder.rmdir()
        shutil.rmtree(partial, ignore_errors=True)
        return removed_bytes


@contextlib.contextmanager
def lock_model(name: str, root: Path, progress: Progress) -> Iterator[None]:
    """Keep other processes from changing a model; waits for one that is doing so, and calls ``progress`` meanwhile.

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
        cause = error if isinstance(error, OSError) else OSError(0, str(error))
        raise cannot_write(root, cause) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def partial_folder(name: str, root: Path) -> Iterator[Path]:
    """Provide the folder of a model's incomplete files, which is kept after an error unless empty; removes stale ones.

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
    # Restart its age, also where no file in it is created or renamed.
    os.utime(folder)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()
        raise
    # Files that killed runs left in it are of no use any more.
    shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path, root: Path) -> None:
    """Remove the incomplete files of another model, unless a process is working on it."""
    with contextlib.suppress(Timeout, OSError, NotImplementedError):  # a later call will do it
        if not _is_abandoned(folder):
            return
        with FileLock(_lock_path(folder.name.removeprefix(PARTIAL_PREFIX), root), timeout=0):
            # A process that held the lock until now may have resumed it.
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _STALE_SECONDS
    except FileNotFoundError:
        return False


def _lock_path(name: str, root: Path) -> Path:
    return root / LOCKS / f"{name}.lock"


def _verify(entry: ModelEntry, file: ModelFile, path: Path, root: Path) -> str:
    """Verify a new file and return its hash.

    Raises:
        ModelUnavailable: its hash is not that of the manifest or the pin, or it lacks the tensors of its model.
    """
    digest = compute_hash(path)
    expected = file.sha256 or read_pin(root, entry.name, file.name)
    if digest == expected:
        return digest
    if file.sha256:
        raise ModelUnavailable("model-file-altered", name=entry.name, file=file.name)
    if expected:
        pin = pin_path(root, entry.name, file.name)
        raise ModelUnavailable("model-differs-from-pin", name=entry.name, file=file.name, pin=str(pin))
    if not has_layout(path, file.layout):
        raise ModelUnavailable("model-without-layout", name=entry.name, file=file.name)
    return digest
