"""Distinguishes URLs of objects from paths of files, and parses URLs; opens nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from c2p_core.errors import BadRequest

# Stores that write objects atomically. Those that write bit by bit, such as sftp, are not among them.
WHOLE_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
# Other schemes of the same stores.
_ALIASES = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
# At least two letters before the colon: a single one is a drive.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE_URL = re.compile(r"file://(?:localhost)?(/[^\0]*)", re.IGNORECASE)
# Characters that end the path of a URL, or are dropped from it, but may be in the name of a file.
_SPECIAL = re.compile(r"[?#\t\r\n]")
_INVALID_IN_BUCKET = frozenset("*?[]#")  # characters of patterns, and those that drivers don't accept in a name
_SEPARATORS = re.compile(r"[/\\]")


def is_url(name: str) -> bool:
    """Whether a name is a URL, but not that of a file on this machine."""
    match = _URL.match(name)
    return match is not None and match[1].lower() != "file"


def is_file_url(name: str) -> bool:
    """Whether a name is the URL of a file."""
    return _URL.match(name) is not None and not is_url(name)


def check_url(url: str) -> str:
    """Check a URL; returns it without trailing slashes and with its scheme in lower case.

    Raises:
        BadRequest: its store does not write objects atomically, or it does not name a single bucket.
    """
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if scheme.lower() not in WHOLE_STORES or not bucket or _INVALID_IN_BUCKET & set(bucket):
        raise BadRequest("store-unknown", url=url, known=sorted(WHOLE_STORES))
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def is_inside(url: str, folder: str) -> bool:
    """Whether a URL is a folder or lies below it, under any of the store's schemes."""
    url, folder = replace_alias(url), replace_alias(folder)
    return url == folder or url.startswith(join_url(folder, ""))


def replace_alias(url: str) -> str:
    """The URL with the canonical scheme of its store."""
    scheme, _, rest = url.partition("://")
    return f"{_ALIASES.get(scheme, scheme)}://{rest}"


def parse_location(name: str) -> Path | str:
    """Parse a destination or source: a path, also for ``file://``, or the checked URL of a store.

    Raises:
        BadRequest: see ``check_url``; or a file URL names no file of this machine.
    """
    if is_url(name):
        return check_url(name)
    if not is_file_url(name):
        return Path(name)
    from urllib.request import url2pathname  # imports http, which would slow down the start of the command

    match = _FILE_URL.fullmatch(name)
    quoted = _SPECIAL.sub(lambda sign: f"%{ord(sign[0]):02X}", match[1]) if match else ""
    try:
        path = url2pathname(quoted)
    except (OSError, ValueError):  # another machine's file, or on Windows two drives
        path = ""
    if not path or "\0" in path:
        raise BadRequest("file-url-unusable", url=name)
    return Path(path)


def join_url(url: str, place: str) -> str:
    """Append a relative name with slashes to a URL."""
    return f"{url}/{place}"


def make_relative_name(url: str, base: str) -> str:
    """The name of an object below a base as a relative path with slashes, the same on every system.

    Keys may have parts that would lead out of a folder, on Windows also by backslashes and by the colons of drives,
    which become underscores there.
    """
    inner = url[len(base) :] if url.startswith(f"{base}/") else url.split("://", 1)[1]
    if os.sep == "\\":
        inner = inner.replace(":", "_")
    return "/".join(part for part in _SEPARATORS.split(inner) if part not in ("", ".", ".."))
