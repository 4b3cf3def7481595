"""The worker's run folder: who may be the one worker, and how clients find it."""

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

# One that is just ending gets so long to let go.
_LOCK_SECONDS = 10.0


def usual_run_folder() -> Path:
    """``$C2P_HOME/run``, else ``run`` in the user's data folder, where clients look for it."""
    return Path(run_folder())


def make_private(folder: Path) -> None:
    """Makes a folder that nobody else may enter.

    Unlike the client's function of this name also for temporary folders, in which somebody else may have been first.

    Raises:
        CannotWrite: it can't be made, or it is somebody else's.
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
    """Holds the lock of the one worker; False when another has it."""
    lock = FileLock(folder / "worker.lock", timeout=_LOCK_SECONDS, mode=stat.S_IRUSR | stat.S_IWUSR)
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
    """Tells clients how to reach the worker; the umask keeps it from others."""
    write_whole(folder / ENDPOINT, json.dumps(endpoint).encode())


def remove_endpoint(folder: Path) -> None:
    """Tells clients that there is no worker."""
    with contextlib.suppress(OSError):
        (folder / ENDPOINT).unlink()
