"""Tells URLs of objects from paths of files, and takes URLs apart; opens nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from c2p_core.errors import BadRequest

# Stores that put an object in place whole or not at all. What writes bit by bit, such as sftp, is not among them.
WHOLE_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
# At least two letters before the colon, for a single one is a drive.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(name: str) -> bool:
    """Whether a name is the URL of something that is no file of this machine."""
    found = _URL.match(name)
    return found is not None and found[1].lower() != "file"


def check_url(url: str) -> str:
    """A URL without slashes at its end.

    Raises:
        BadRequest: it is in no store that writes objects whole; it has a query, or no bucket.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in WHOLE_STORES or not (parts.netloc or parts.scheme == "memory"):
        raise BadRequest("store-unknown", url=url, known=sorted(WHOLE_STORES))
    return url.rstrip("/")


def place_named(name: str) -> Path | str:
    """What a destination or source is: a path, also for ``file://``, or the URL of a store, checked.

    Raises:
        BadRequest: see ``check_url``.
    """
    if is_url(name):
        return check_url(name)
    if _URL.match(name):
        from urllib.request import url2pathname  # brings in http, which the command's start does without

        return Path(url2pathname(unquote(urlsplit(name).path)))
    return Path(name)


def join_url(url: str, place: str) -> str:
    """The URL of what lies below another one, by a relative name with slashes."""
    return f"{url}/{place}"


def relative_name(url: str, base: str) -> str:
    """The name of an object below a base as a relative path: keys may have parts that would lead out of a folder."""
    inner = url[len(base) :] if url.startswith(f"{base}/") else url.split("://", 1)[1]
    return "/".join(part for part in inner.split("/") if part not in ("", ".", ".."))
