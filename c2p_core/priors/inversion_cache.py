"""Caches inverted faces, so that a second prompt on the same photo skips the inversion.

With the generator, an inversion shows the face. The files on disk are therefore readable by the user only, limited in
size and age, and can be cleared at any time (``c2p cache --clear``).
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import platformdirs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2p_core.errors import Message

CACHE_VARIABLE = "C2P_CACHE"
_MAX_BYTES = 512 << 20
_MAX_AGE = 14 * 24 * 3600.0  # seconds since last use
# Other files in the folder are left alone: C2P_CACHE may name any folder.
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_TEMPORARY = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{8}\.part")
_MOST_IN_MEMORY = 4  # faces


def default_folder() -> Path:
    """``C2P_CACHE``, else the user's cache folder."""
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured).absolute() if configured else platformdirs.user_cache_path("protect-face") / "inversions"


class Inversions(Protocol):
    """A cache of inverted faces by keys of 64 hexadecimal digits."""

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key; None when there are none."""

    def put(self, key: str, tensors: dict[str, Tensor]) -> Message | None:
        """Store tensors; returns a message for the user if that fails."""


class MemoryInversions:
    """The most recently used inverted faces, in memory only."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def get(self, key: str) -> dict[str, Tensor] | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: str, tensors: dict[str, Tensor]) -> Message | None:
        self._held[key] = {name: value.cpu() for name, value in tensors.items()}
        while len(self._held) > _MOST_IN_MEMORY:
            self._held.popitem(last=False)
        return None


class InversionCache:
    """Inverted faces on disk; the least recently used are evicted first.

    Attributes:
        folder: created on demand, private to the user; the permissions of an existing folder are kept.
        largest: maximum size in bytes.
    """

    def __init__(self, folder: Path | None = None, largest: int = _MAX_BYTES) -> None:
        self.folder = folder if folder is not None else default_folder()
        self.largest = largest

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key; None when there are none, or they are damaged or too old."""
        path = self._path(key)
        try:
            tensors = load_file(path) if time.time() - path.stat().st_mtime <= _MAX_AGE else None
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            tensors = None
        with suppress(OSError):
            if tensors is None:
                path.unlink()
            else:
                os.utime(path)
        return tensors

    def put(self, key: str, tensors: dict[str, Tensor]) -> Message | None:
        """Store tensors; if that fails, nothing is left behind and a message for the user is returned."""
        path = self._path(key)
        temporary = path.with_name(f"{key}.{secrets.token_hex(4)}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Private before anything is written: others may have access to the folder.
            temporary.touch(mode=0o600)
            save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary)
            temporary.chmod(0o600)
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                temporary.unlink()
            return Message("inversion-not-kept", folder=str(self.folder), reason=str(error), variable=CACHE_VARIABLE)
        # Another run may be clearing the same folder; anything left over is evicted next time.
        with suppress(OSError):
            self._evict(path)
        return None

    def entries(self) -> list[Path]:
        """The files of all entries, least recently used first."""
        return sorted(self._list_files(_ENTRY), key=lambda path: path.stat().st_mtime)

    def clear(self) -> int:
        """Remove all entries and the remains of killed runs; returns the number of entries."""
        entries = self.entries()
        for path in [*entries, *self._list_files(_TEMPORARY)]:
            path.unlink(missing_ok=True)
        return len(entries)

    def _list_files(self, pattern: re.Pattern[str]) -> list[Path]:
        return [path for path in self.folder.glob("*") if pattern.fullmatch(path.name)]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used entries, but never the newest."""
        now = time.time()
        for leftover in self._list_files(_TEMPORARY):
            if now - leftover.stat().st_mtime > 3600:
                leftover.unlink(missing_ok=True)
        entries = [path for path in self.entries() if path != newest]
        total = newest.stat().st_size + sum(path.stat().st_size for path in entries)
        for path in entries:
            if total <= self.largest and now - path.stat().st_mtime <= _MAX_AGE:
                continue
            total -= path.stat().st_size
            path.unlink(missing_ok=True)
