"""The worker's run folder, with the lock of the one worker and the endpoint file for clients."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from worker_client.constants import ENDPOINT, HOME_VARIABLE
from worker_client.location import run_folder

from c2p_core.errors import CannotWrite
from c2p_core.io.atomic_files import write_whole

# Time for an ending worker to release the lock.
LOCK_SECONDS = 10.0


def default_run_folder() -> Path:
    """The folder where clients look: ``$C2P_HOME/run``, else ``run`` in the user's data folder."""
    return Path(run_folder())


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can access.

    Unlike the client's function of this name, it detects a folder that another user created in a temporary folder.

    Raises:
        CannotWrite: it can't be created, or belongs to another user.
    """
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        entry = folder.lstat()
        if hasattr(os, "geteuid") and (entry.st_uid != os.geteuid() or not stat.S_ISDIR(entry.st_mode)):
            raise CannotWrite("folder-of-somebody-else", path=str(folder), variable=HOME_VARIABLE)
        folder.chmod(stat.S_IRWXU)
    except OSError as error:
        raise CannotWrite("folder-not-made", path=str(folder), reason=error.strerror) from error


@contextmanager
def hold_worker_lock(folder: Path) -> Iterator[bool]:
    """Hold the lock of the one worker; yields False if another process has it."""
    lock = FileLock(folder / "worker.lock", timeout=LOCK_SECONDS, mode=stat.S_IRUSR | stat.S_IWUSR)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_endpoint(folder: Path, endpoint: dict[str, Any]) -> None:
    """Write the file from which clients learn how to reach the worker; the umask makes it private."""
    write_whole(folder / ENDPOINT, json.dumps(endpoint).encode())


def remove_endpoint(folder: Path) -> None:
    """Remove the endpoint file, so that clients see that no worker is running."""
    with contextlib.suppress(OSError):
        (folder / ENDPOINT).unlink()
