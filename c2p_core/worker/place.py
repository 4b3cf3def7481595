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

from c2p_core.errors import CannotWrite
from c2p_core.io.atomic_files import write_whole
from c2p_core.paths import HOME_VARIABLE, data_folder

ENDPOINT = "worker.json"
# One that is just ending gets so long to let go.
_LOCK_SECONDS = 10.0


def run_folder() -> Path:
    """``$C2P_HOME/run``, else ``run`` in the user's data folder."""
    return data_folder() / "run"


def make_private(folder: Path) -> None:
    """Makes a folder that nobody else may enter.

    Raises:
        CannotWrite: it can't be made, or it is somebody else's.
    """
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        entry = folder.lstat()
        if hasattr(os, "geteuid") and (entry.st_uid != os.geteuid() or not stat.S_ISDIR(entry.st_mode)):
            raise CannotWrite(f"The folder '{folder}' belongs to somebody else; remove it or set {HOME_VARIABLE}.")
        folder.chmod(stat.S_IRWXU)
    except OSError as error:
        raise CannotWrite(
            f"Could not make the folder '{folder}' ({error.strerror}); free some space or repair its permissions."
        ) from error


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
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


def read_endpoint(folder: Path) -> dict[str, Any] | None:
    """What a running (or killed) worker wrote; None when there is nothing of ours."""
    path = folder / ENDPOINT
    try:
        if hasattr(os, "geteuid") and path.stat().st_uid != os.geteuid():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def remove_endpoint(folder: Path) -> None:
    """Tells clients that there is no worker."""
    with contextlib.suppress(OSError):
        (folder / ENDPOINT).unlink()
