"""Atomic file writes: a file is either complete or absent. Pipes and devices are written to directly."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from c2p_core.errors import CannotWrite, Message

# Errors of file systems, mostly network ones, that can't confirm when data are on the disk; they are written anyway.
_WITHOUT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF}
# Errors of file systems without hard links, such as those of memory cards and many network ones.
_WITHOUT_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES, errno.EINVAL, errno.EMLINK}
# Bytes of a file name that every usual file system takes.
_LONGEST_NAME = 255
# Names that systems give to the open files of this process.
_DESCRIPTOR = re.compile(r"(?:/dev/fd|/proc/self/fd)/(\d+)")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, replacing an existing one: a temporary file beside ``path`` is renamed.

    A symbolic link stays, and the file that it points to is written. A pipe or a device, such as ``/dev/null``, gets
    the data.

    Raises:
        CannotWrite: the folder is missing or read-only, or there is no space; nothing is left behind.
    """
    try:
        if takes_a_stream(path):
            _send(path, data)
            return
        path = _follow(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666
        # A read-only file must not be replaced, even where the folder would allow it.
        if path.exists():
            _check_writable(path)
        temporary = _write_part(path.parent, data, mode)
        with _removed_on_error(temporary):
            temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_part(folder: Path, data: bytes) -> Path:
    """Write and sync data to a new file in a folder, to which ``put_in_place`` then gives its name.

    Raises:
        OSError: it can't be written; nothing is left behind.
    """
    return _write_part(folder, data, 0o666)


def put_in_place(part: Path, path: Path, *, replace: bool = False) -> None:
    """Atomically give a file of ``write_part`` its name.

    Args:
        part: on the same file system; it is gone afterwards, even after an error.
        path: its name.
        replace: whether an existing file of that name is replaced.

    Raises:
        FileExistsError: there is already a file of that name, which is kept.
        OSError: it can't be moved there.
    """
    with _removed_on_error(part):
        if replace:
            part.replace(path)
        else:
            _move_to_new(part, path)
        sync_folder(path.parent)


def find_parts(folder: Path) -> list[Path]:
    """Files of ``write_part`` and ``write_whole`` in a folder that never got their final name."""
    return sorted(folder.glob(".c2p.*.part"))


def _write_part(folder: Path, data: bytes, mode: int) -> Path:
    part = folder / f".c2p.{secrets.token_hex(8)}.part"
    with _removed_on_error(part):
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            _sync(stream.fileno())
    return part


def _move_to_new(part: Path, path: Path) -> None:
    if os.name == "nt":
        part.rename(path)  # on Windows, this refuses to replace a file
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        # Not atomic, but usually nobody else writes to such file systems.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        part.rename(path)
    else:
        part.unlink()


def sync_folder(folder: Path) -> None:
    """Wait until a new name is on the disk, where folders can be synced."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _removed_on_error(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise


def fit_name(stem: str, ending: str) -> str:
    """Join a stem and an ending, truncating the stem where the name would be longer than file systems allow."""
    room = _LONGEST_NAME - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def find_free_name(path: Path) -> Path:
    """The path itself if it is free, else with the first free number from 2: photo-2.jpg."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(fit_name(path.stem, f"-{number}{path.suffix}"))
    return free


def check_folder(path: Path) -> None:
    """Fail early where ``write_whole`` would fail after all the work, as far as that is predictable.

    Raises:
        CannotWrite: the folder of ``path`` is missing or not writable, or ``path`` is a folder, a disk or read-only.
    """
    try:
        # Raises for impossible names, for which Path.exists() returns False from Python 3.14 on.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
        if takes_a_stream(path):
            _check_writable(path)
            return
        path = _follow(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder")
        _check_writable(path.parent)
        if path.exists():
            _check_writable(path)
    except OSError as error:
        raise cannot_write(path, error) from error


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


def takes_a_stream(path: Path) -> bool:
    """Whether a path, after following links, is neither file nor folder: a pipe, a terminal or another device.

    Raises:
        OSError: it is a disk, whose content would be lost.
    """
    if _DESCRIPTOR.fullmatch(str(path)):
        return True
    if not path.exists():
        return False
    mode = path.stat().st_mode
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a disk")
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _send(path: Path, data: bytes) -> None:
    """Write to a pipe, a device or a descriptor of this process."""
    descriptor = _DESCRIPTOR.fullmatch(str(path))
    with path.open("wb") if descriptor is None else os.fdopen(os.dup(int(descriptor[1])), "wb") as stream:
        stream.write(data)


def _follow(path: Path) -> Path:
    """The target of a symbolic link, or the path itself."""
    return path.resolve() if path.is_symlink() else path


def _sync(handle: int) -> None:
    """Wait until the data are on the disk, where the file system can confirm it; a disk failure raises."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _WITHOUT_SYNC:
            raise


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """The error to raise where a file can't be written."""
    return CannotWrite("not-written", path=str(path), why=_describe_error(error))


def _describe_error(error: OSError) -> Message:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Message("no-space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Message("no-permission")
    if error.errno == errno.ENOENT:
        return Message("no-folder")
    if error.errno == errno.ENAMETOOLONG:
        return Message("name-too-long")
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return Message("name-taken-by-folder")
    return Message("disk-error", reason=(error.strerror or str(error)).lower())
