"""Objects of a store such as S3, through fsspec: an object is either complete or not there.

Errors of the store's driver become errors with a code. The URL names a bucket; the driver finds the credentials itself
(for S3, in AWS's environment variables and files).
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
from c2p_core.errors import BadRequest, C2PError, CannotWrite, Message, UnreadableImage, first_line

_MAX_BYTES = 2 << 30
"""Size limit of a photo; the limits of the decoders are lower."""
# Drivers' names for the modification time.
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")
Stamp = tuple[int, int]
"""Size in bytes and modification time in ns, -1 if the store reports none."""


@dataclass(frozen=True)
class Store:
    """A folder of objects.

    Attributes:
        url: of the folder, without a slash at its end.
        system: fsspec's file system.
        root: the folder's name in it.
        refuses_existing: whether the store is known to refuse a new object under an existing name, see
            ``check_refuses_existing``.
    """

    url: str
    system: Any
    root: str
    refuses_existing: bool = False

    def read(self, name: str, max_bytes: int = _MAX_BYTES) -> bytes | None:
        """The content of an object; None where there is none.

        Raises:
            CannotWrite: the store can't be used, or the object is larger than ``max_bytes``.
        """
        stamp = self.stat(name)
        if stamp is None:
            return None
        if stamp[0] > max_bytes:
            raise CannotWrite("store-unusable", url=join_url(self.url, name), reason=Message("object-too-large"))
        return self.fetch(name)

    def fetch(self, name: str) -> bytes | None:
        """The content of an object of any size; None where there is none."""
        with self._wrap_errors(name):
            try:
                return bytes(self.system.cat_file(self._make_path(name)))
            except FileNotFoundError:
                return None

    def stat(self, name: str) -> Stamp | None:
        """The stamp of an object; None where there is none."""
        with self._wrap_errors(name):
            try:
                info = self.system.info(self._make_path(name))
            except FileNotFoundError:
                return None
        return _to_stamp(info) if info.get("type") == "file" else None

    def holds(self, name: str, data: bytes) -> bool:
        """Whether an object has this content."""
        return self.matches(name, len(data), hashlib.sha256(data).hexdigest())

    def matches(self, name: str, size: int | None, digest: str | None) -> bool:
        """Whether an object has this size and SHA-256; it is only fetched if the size matches."""
        stamp = self.stat(name)
        if stamp is None or stamp[0] != size:
            return False
        data = self.fetch(name)
        return data is not None and hashlib.sha256(data).hexdigest() == digest

    def put_new(self, name: str, data: bytes) -> None:
        """Write an object under a new name.

        Raises:
            FileExistsError: there is already one, which is kept.
            CannotWrite: it can't be written.
        """
        # Some S3-compatible stores ignore the condition, and would replace it.
        if not self.refuses_existing and self.stat(name) is not None:
            raise FileExistsError(name)
        with self._wrap_errors(name, convert_missing=True):
            self.system.pipe_file(self._make_path(name), data, mode="create")

    def check_refuses_existing(self, name: str, data: bytes) -> Store:
        """The same store with ``refuses_existing`` set, found by writing an existing object once more unchanged."""
        try:
            replace(self, refuses_existing=True).put_new(name, data)
        except FileExistsError:
            return replace(self, refuses_existing=True)
        return self

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing one of that name."""
        with self._wrap_errors(name, convert_missing=True):
            self.system.pipe_file(self._make_path(name), data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several at a time."""
        with self._wrap_errors("", convert_missing=True):
            self.system.pipe({self._make_path(name): data for name, data in objects.items()})

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._wrap_errors(name):
            try:
                self.system.rm_file(self._make_path(name))
            except FileNotFoundError:
                return

    def list_all(self, below: str = "") -> dict[str, Stamp]:
        """All objects below a folder, by their names relative to this one."""
        with self._wrap_errors(below):
            try:
                objects = self.system.find(self._make_path(below), detail=True)
            except FileNotFoundError:
                return {}
        # s3fs lists the folder itself if its first object comes while it is listed.
        files = {path: info for path, info in objects.items() if info["type"] == "file"}
        return {path[len(self.root) :].lstrip("/"): _to_stamp(info) for path, info in files.items()}

    def list_names(self) -> list[str]:
        """The names of the entries of this folder itself."""
        with self._wrap_errors(""):
            try:
                return [path.rsplit("/", 1)[-1] for path in self.system.ls(self.root, detail=False)]
            except FileNotFoundError:
                return []

    def _make_path(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _wrap_errors(self, name: str, convert_missing: bool = False) -> Any:
        """Give errors in a block a code; with ``convert_missing`` also FileNotFoundError, as for a missing bucket."""
        url = join_url(self.url, name)
        return _convert_errors(lambda reason: CannotWrite("store-unusable", url=url, reason=reason), convert_missing)


def open_store(url: str) -> Store:
    """Open the folder of objects at a URL, without a request to the store.

    Raises:
        BadRequest: no driver is installed for such URLs.
        CannotWrite: it can't be used.
    """
    try:
        import fsspec
    except ImportError as error:
        raise BadRequest("store-not-installed", url=url, reason=str(error)) from None
    with _convert_errors(lambda reason: CannotWrite("store-unusable", url=url, reason=reason)):
        try:
            # Listings must be up to date.
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
    store = _open_store_cached(folder)
    try:
        before = store.stat(name)
        if before is None:
            raise UnreadableImage("image-missing", path=url)
        if before[0] > _MAX_BYTES:
            raise UnreadableImage("image-read-failed", path=url, reason=Message("object-too-large"))
        data = store.fetch(name) or b""
        if store.stat(name) != before or len(data) != before[0]:
            raise UnreadableImage("photo-changing", path=url)
    except CannotWrite as error:
        raise UnreadableImage("image-read-failed", path=url, reason=error.fields["reason"]) from error
    if not data:
        raise UnreadableImage("image-empty", path=url)
    return data, before


@lru_cache(maxsize=256)
def _open_store_cached(url: str) -> Store:
    return open_store(url)


@contextmanager
def _convert_errors(make_error: Callable[[str], C2PError], convert_missing: bool = False) -> Iterator[None]:
    try:
        yield
    except (C2PError, FileExistsError):
        raise
    except Exception as error:  # drivers pass on their libraries' errors, which have no common base
        if isinstance(error, FileNotFoundError) and not convert_missing:
            raise
        raise make_error(first_line(error)) from error


def _to_stamp(info: Mapping[str, Any]) -> Stamp:
    changed = next((info[name] for name in _TIME_KEYS if info.get(name) is not None), -1)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return int(info.get("size") or 0), -1 if changed == -1 else round(changed * 1_000_000_000)
