"""Where results are, to be looked at: in a folder, or in a store of objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from c2p_core.batch.objects import Stamp, Store


class ResultReader(Protocol):
    """Results by their places, which are relative and have the separators of this system; from any thread."""

    def stat(self, place: str) -> Stamp | None:
        """Size and time of change; None where there is no result."""
        ...

    def read(self, place: str) -> bytes | None:
        """The file of a result; None where there is none or it can't be read."""
        ...


class FolderReader:
    """Results in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stat(self, place: str) -> Stamp | None:
        """See ``ResultReader``."""
        try:
            status = (self._folder / place).stat()
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns

    def read(self, place: str) -> bytes | None:
        """See ``ResultReader``."""
        try:
            return (self._folder / place).read_bytes()
        except OSError:
            return None


class StoreReader:
    """Results in a store, as they were listed at first; what this program puts there since is known, too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed = store.list_all()

    def stat(self, place: str) -> Stamp | None:
        """See ``ResultReader``."""
        return self._listed.get(object_name(place))

    def read(self, place: str) -> bytes | None:
        """See ``ResultReader``."""
        return self._store.read(object_name(place))

    def note(self, name: str, stamp: Stamp | None) -> None:
        """Know of an object that was put there; None where there is none any more."""
        if stamp is None:
            self._listed.pop(name, None)
        else:
            self._listed[name] = stamp


def object_name(place: str) -> str:
    """The name of a place's object."""
    return place.replace(os.sep, "/")
