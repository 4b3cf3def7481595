"""Reads the file of a photo, from this machine or a store of objects."""

from __future__ import annotations

import os
from pathlib import Path

from c2p_core.batch.sources import read_stamp
from c2p_core.batch.urls import is_url
from c2p_core.errors import UnreadableImage
from c2p_core.io import photo_files

_TRIES = 3


def read_photo(path: str) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a photo's file, and its size and modification time (ns).

    Args:
        path: of a file, or the URL of an object.

    Raises:
        UnreadableImage: it can't be read, or it keeps changing.
    """
    if is_url(path):
        from c2p_core.batch.objects import read_object

        return read_object(path)
    return read_settled(Path(path))


def read_settled(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes, size and modification time of a file that did not change while it was read.

    Raises:
        UnreadableImage: it can't be read, or it keeps changing.
    """
    for _ in range(_TRIES):
        # Not Path.exists, which raises if the folder may not be searched; `read_bytes` reports what is wrong.
        before = read_stamp(str(path)) if os.path.exists(path) else None  # noqa: PTH110
        data = photo_files.read_bytes(path)
        if before == read_stamp(str(path)) and before is not None and before[0] == len(data):
            return data, before
    raise UnreadableImage("photo-changing", path=str(path))
