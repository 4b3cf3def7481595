"""Objects of a store such as S3, through fsspec: an object is there whole or not at all, and has no other owner's name.

What the store's driver raises becomes an error with a code; a bucket is chosen by its URL, and access to it by what the
driver reads (for S3 the environment and files of AWS).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from c2p_core.batch.urls import join_url
from c2p_core.errors import BadRequest, C2PError, CannotWrite, UnreadableImage, first_line

_LARGEST = 2 << 30
"""Bytes of a photo; what the decoders take is smaller."""
# What drivers call the time of change.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
Stamp = tuple[int, int]
"""Size in bytes and time of change in ns; -1 where the store says no time, which differs from every time."""


@dataclass(frozen=True)
class Store:
    """A folder of objects.

    Attributes:
        url: of the folder, without a slash at its end.
        system: fsspec's file system.
        root: the folder's name in it.
        keeps_condition: whether the store is known to refuse a second object of a name, see ``find_condition``.
    """

    url: str
    system: Any
    root: str
    keeps_condition: bool = False

    def read(self, name: str, largest: int = _LARGEST) -> bytes | None:
        """An object; None where there is none.

        Raises:
            CannotWrite: the store can't be used, or the object is larger than that.
        """
        stamp = self.stat(name)
        if stamp is None:
            return None
        if stamp[0] > largest:
            raise CannotWrite("store-unusable", url=join_url(self.url, name), reason="it is too large")
        return self.fetch(name)

    def fetch(self, name: str) -> bytes | None:
        """An object of any size; None where there is none."""
        with self._told(name):
            try:
                return bytes(self.system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def stat(self, name: str) -> Stamp | None:
        """Size and time of an object; None where there is none."""
        with self._told(name):
            try:
                info = self.system.info(self._path(name))
            except FileNotFoundError:
                return None
        return _stamp(info) if info.get("type") == "file" else None

    def holds(self, name: str, data: bytes) -> bool:
        """Whether an object has this content."""
        return self.matches(name, len(data), hashlib.sha256(data).hexdigest())

    def matches(self, name: str, size: int | None, digest: str | None) -> bool:
        """Whether an object has content of this size and SHA-256; one of another size is not fetched."""
        stamp = self.stat(name)
        if stamp is None or stamp[0] != size:
            return False
        data = self.fetch(name)
        return data is not None and hashlib.sha256(data).hexdigest() == digest

    def put_new(self, name: str, data: bytes) -> None:
        """Write an object of a new name, at once.

        Raises:
            FileExistsError: there is one, which stays.
            CannotWrite: it can't be written.
        """
        # Some stores that speak S3 don't know the condition, and would replace it.
        if not self.keeps_condition and self.stat(name) is not None:
            raise FileExistsError(name)
        with self._told(name, missing_too=True):
            self.system.pipe_file(self._path(name), data, mode="create")

    def find_condition(self, name: str, data: bytes) -> Store:
        """The same store, which knows whether it keeps the condition, by writing an object once more as it is."""
        try:
            replace(self, keeps_condition=True).put_new(name, data)
        except FileExistsError:
            return replace(self, keeps_condition=True)
        return self

    def put(self, name: str, data: bytes) -> None:
        """Write an object at once, replacing another one."""
        with self._told(name, missing_too=True):
            self.system.pipe_file(self._path(name), data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several at a time."""
        with self._told("", missing_too=True):
            self.system.pipe({self._path(name): data for name, data in objects.items()})

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._told(name):
            try:
                self.system.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def list_all(self, below: str = "") -> dict[str, Stamp]:
        """All objects below a folder, by their names relative to this one."""
        with self._told(below):
            try:
                found = self.system.find(self._path(below), detail=True)
            except FileNotFoundError:
                return {}
        return {path[len(self.root) :].lstrip("/"): _stamp(info) for path, info in found.items()}

    def names(self) -> list[str]:
        """Of what is in this folder itself."""
        with self._told(""):
            try:
                return [path.rsplit("/", 1)[-1] for path in self.system.ls(self.root, detail=False)]
            except FileNotFoundError:
                return []

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _told(self, name: str, missing_too: bool = False) -> Any:
        """A block whose errors get a code; also that something is missing, as a bucket is that is written to."""
        url = join_url(self.url, name)
        return _telling(lambda reason: CannotWrite("store-unusable", url=url, reason=reason), missing_too)


def open_store(url: str) -> Store:
    """The folder of objects of a URL; nothing is asked of the store yet.

    Raises:
        BadRequest: no driver is installed for such URLs.
        CannotWrite: it can't be used.
    """
    try:
        import fsspec
    except ImportError as error:
        raise BadRequest("store-not-installed", url=url, reason=str(error)) from None
    with _telling(lambda reason: CannotWrite("store-unusable", url=url, reason=reason)):
        try:
            # What is listed must be what is there now.
            system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise BadRequest("store-not-installed", url=url, reason=str(error)) from None
    return Store(url, system, root.rstrip("/"))


def read_object(url: str) -> tuple[bytes, Stamp]:
    """The bytes of an object that is a photo, and its stamp.

    Raises:
        UnreadableImage: it is not there, empty, too large, changing, or the store can't be used.
        BadRequest: no driver is installed.
    """
    folder, _, name = url.rpartition("/")
    store = _keep_store(folder)
    try:
        before = store.stat(name)
        if before is None:
            raise UnreadableImage("image-missing", path=url)
        if before[0] > _LARGEST:
            raise UnreadableImage("image-read-failed", path=url, reason="it is too large")
        data = store.fetch(name) or b""
        if store.stat(name) != before or len(data) != before[0]:
            raise UnreadableImage("photo-changing", path=url)
    except CannotWrite as error:
        raise UnreadableImage("image-read-failed", path=url, reason=error.fields["reason"]) from error
    if not data:
        raise UnreadableImage("image-empty", path=url)
    return data, before


@lru_cache(maxsize=256)
def _keep_store(url: str) -> Store:
    return open_store(url)


@contextmanager
def _telling(tell: Callable[[str], C2PError], missing_too: bool = False) -> Iterator[None]:
    try:
        yield
    except (C2PError, FileExistsError):
        raise
    except Exception as error:  # drivers raise what their libraries do, which has no common kind
        if isinstance(error, FileNotFoundError) and not missing_too:
            raise
        raise tell(first_line(error)) from error


def _stamp(info: Mapping[str, Any]) -> Stamp:
    when = next((info[name] for name in _TIMES if info.get(name) is not None), -1)
    if isinstance(when, str):
        when = datetime.fromisoformat(when.replace("Z", "+00:00"))
    if isinstance(when, datetime):
        when = when.timestamp()
    return int(info.get("size") or 0), -1 if when == -1 else round(when * 1_000_000_000)
