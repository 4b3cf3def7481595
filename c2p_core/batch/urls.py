"""Tells URLs of objects from paths of files, and takes URLs apart; opens nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from c2p_core.errors import BadRequest

# Stores that put an object in place whole or not at all. What writes bit by bit, such as sftp, is not among them.
WHOLE_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
# Other names of the same stores.
_ALIASES = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
# At least two letters before the colon, for a single one is a drive.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE = re.compile(r"file://(?:localhost)?(/[^\0]*)", re.IGNORECASE)
# What ends the path of a URL, or is left out of it, but may be in the name of a file.
_ENDING = re.compile(r"[?#\t\r\n]")
_NO_BUCKET = frozenset("*?[]#")  # of patterns, and of what no driver takes for a name
_SEPARATORS = re.compile(r"[/\\]")


def is_url(name: str) -> bool:
    """Whether a name is the URL of something that is no file of this machine."""
    found = _URL.match(name)
    return found is not None and found[1].lower() != "file"


def is_file_url(name: str) -> bool:
    """Whether a name is the URL of a file."""
    return _URL.match(name) is not None and not is_url(name)


def check_url(url: str) -> str:
    """A URL without slashes at its end, its scheme in small letters.

    Raises:
        BadRequest: it is in no store that writes objects whole, or names no single bucket.
    """
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if scheme.lower() not in WHOLE_STORES or not bucket or _NO_BUCKET & set(bucket):
        raise BadRequest("store-unknown", url=url, known=sorted(WHOLE_STORES))
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def is_inside(url: str, folder: str) -> bool:
    """Whether a URL is that of a folder, or of what lies below it, by whichever name of the store."""
    url, folder = without_alias(url), without_alias(folder)
    return url == folder or url.startswith(join_url(folder, ""))


def without_alias(url: str) -> str:
    """The URL by the one name of its store that all its other names stand for."""
    scheme, _, rest = url.partition("://")
    return f"{_ALIASES.get(scheme, scheme)}://{rest}"


def place_named(name: str) -> Path | str:
    """What a destination or source is: a path, also for ``file://``, or the URL of a store, checked.

    Raises:
        BadRequest: see ``check_url``; a URL of a file names one of another machine, or none.
    """
    if is_url(name):
        return check_url(name)
    if not is_file_url(name):
        return Path(name)
    from urllib.request import url2pathname  # brings in http, which the command's start does without

    found = _FILE.fullmatch(name)
    quoted = _ENDING.sub(lambda sign: f"%{ord(sign[0]):02X}", found[1]) if found else ""
    try:
        path = url2pathname(quoted)
    except (OSError, ValueError):  # another machine's, also after the first slashes; on Windows two drives
        path = ""
    if not path or "\0" in path:
        raise BadRequest("file-url-unusable", url=name)
    return Path(path)


def join_url(url: str, place: str) -> str:
    """The URL of what lies below another one, by a relative name with slashes."""
    return f"{url}/{place}"


def relative_name(url: str, base: str) -> str:
    """The name of an object below a base as a relative path with slashes, the same on every system.

    Keys may have parts that would lead out of a folder, on Windows also by backslashes and by the colons of drives,
    which become underscores there.
    """
    inner = url[len(base) :] if url.startswith(f"{base}/") else url.split("://", 1)[1]
    if os.sep == "\\":
        inner = inner.replace(":", "_")
    return "/".join(part for part in _SEPARATORS.split(inner) if part not in ("", ".", ".."))
