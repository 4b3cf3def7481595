"""Reads existing results from a folder or a store of objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from c2p_core.batch.objects import Stamp, Store


class ResultReader(Protocol):
    """Reads results by their places, which are relative and have the separators of this system; from any thread."""

    def stat(self, place: str) -> Stamp | None:
        """Size and modification time; None where there is no result."""
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
    """Results in a store, as listed once, with the changes that this program has made since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamps = store.list_all()

    def stat(self, place: str) -> Stamp | None:
        """See ``ResultReader``."""
        return self._stamps.get(to_object_name(place))

    def read(self, place: str) -> bytes | None:
        """See ``ResultReader``."""
        return self._store.read(to_object_name(place))

    def update(self, name: str, stamp: Stamp | None) -> None:
        """Note an object that was written; ``stamp`` is None if it is gone."""
        if stamp is None:
            self._stamps.pop(name, None)
        else:
            self._stamps[name] = stamp


def to_object_name(place: str) -> str:
    """The name of the object at a place."""
    return place.replace(os.sep, "/")
