"""Atomic file writes: a file is either complete or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from c2p_core.errors import CannotWrite, Message


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, replacing an older one: a temporary file beside ``path`` is renamed.

    Raises:
        CannotWrite: the folder is missing or read-only, or there is no space; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666
        # A read-only file must not be replaced, even where the folder would allow it.
        if path.exists():
            _check_writable(path)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def check_folder(path: Path) -> None:
    """Fail early where ``write_whole`` would fail after all the work, as far as that can be known.

    Raises:
        CannotWrite: the folder of ``path`` is missing or not writable, or ``path`` is a folder or read-only.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder")
        _check_writable(path.parent)
        if path.exists():
            _check_writable(path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def make_folder(folder: Path) -> None:
    """Create a folder for results, with its parents, unless it exists.

    Raises:
        CannotWrite: it can't be created or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_writable(folder)
    except OSError as error:
        raise CannotWrite("folder-unusable", path=str(folder), reason=error.strerror) from error


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _cannot_write(path: Path, error: OSError) -> CannotWrite:
    return CannotWrite("not-written", path=str(path), why=_describe_error(error))


def _describe_error(error: OSError) -> Message:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Message("no-space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Message("no-permission")
    if error.errno == errno.ENOENT:
        return Message("no-folder")
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return Message("name-taken-by-folder")
    return Message("disk-error", reason=(error.strerror or str(error)).lower())
