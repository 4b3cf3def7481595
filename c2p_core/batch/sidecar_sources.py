"""Provides the sidecars of photos as files, also for photos in stores."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from c2p_core.batch.objects import Store, open_store
from c2p_core.batch.urls import is_url
from c2p_core.errors import CannotWrite
from c2p_core.io.atomic_files import fit_name
from c2p_core.io.sidecars import LARGEST, sidecar_names

_MAX_CACHED_FOLDERS = 64
_LONGEST_ENDING = 64
# Characters that lead elsewhere in a file name, or can't be in one, on some system.
_FORBIDDEN = re.compile(r'[\\:?*"<>|\x00-\x1f]')


@contextmanager
def beside_sidecars(source: str) -> Iterator[Path]:
    """The path of a photo; for a URL, a path without a file, beside which are copies of the photo's sidecars.

    Raises:
        CannotWrite: the store can't be used.
    """
    if not is_url(source):
        yield Path(source)
        return
    folder, _, name = source.rpartition("/")
    # A name that is valid for a file, even with the ending of a sidecar.
    stem, ending = os.path.splitext(_FORBIDDEN.sub("_", name))  # noqa: PTH122
    photo_name = fit_name(stem, f"{ending[:_LONGEST_ENDING]}.xmp").removesuffix(".xmp")
    with tempfile.TemporaryDirectory() as scratch:
        store, sidecars = open_store(folder), _list_sidecars(folder)
        for sidecar, copy in zip(sidecar_names(name), sidecar_names(photo_name), strict=True):
            if sidecar in sidecars and (data := _fetch(store, sidecar)) is not None:
                (Path(scratch) / copy).write_bytes(data)
        yield Path(scratch) / photo_name


def _fetch(store: Store, sidecar: str) -> bytes | None:
    """A sidecar; None if it is gone; empty, which leads to a warning, if it is too large or can't be read."""
    try:
        return store.read(sidecar, LARGEST)
    except CannotWrite:
        return b""


@lru_cache(maxsize=_MAX_CACHED_FOLDERS)
def _list_sidecars(url: str) -> frozenset[str]:
    """Names of the sidecars in a folder of a store, listed once: one request per photo would take too long."""
    return frozenset(name for name in open_store(url).list_names() if name.lower().endswith(".xmp"))
