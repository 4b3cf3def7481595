"""The sidecars of photos, wherever these are, as files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from c2p_core.batch.objects import open_store
from c2p_core.batch.urls import is_url
from c2p_core.io.sidecars import LARGEST, sidecar_names

_FOLDERS = 64  # whose sidecars are remembered


@contextmanager
def beside_sidecars(source: str) -> Iterator[Path]:
    """The path of a photo; for a URL, that of a file that is not there, beside copies of the photo's sidecars.

    Raises:
        CannotWrite: the store can't be used.
    """
    if not is_url(source):
        yield Path(source)
        return
    folder, _, name = source.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(folder)
        for sidecar in set(sidecar_names(name)) & _list_sidecars(folder):
            data = store.read(sidecar, LARGEST)
            if data is not None:
                (Path(scratch) / sidecar).write_bytes(data)
        yield Path(scratch) / name


@lru_cache(maxsize=_FOLDERS)
def _list_sidecars(url: str) -> frozenset[str]:
    """Names of the sidecars in a folder of a store: listed once, for a request for each photo would take too long."""
    return frozenset(name for name in open_store(url).names() if name.lower().endswith(".xmp"))
