"""Fetches model files into a folder and checks each against its hash, with nothing but the standard library."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from c2p_core.models.manifest import ModelFile

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16

Progress = Callable[[int, int], None] | None


class DownloadFailed(Exception):
    """One source did not give the files; the message says why, without a full stop."""


def https(url: str, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Fetches every file from ``url``/name into ``folder``.

    Raises:
        DownloadFailed: no connection, not found, or another content than expected.
        OSError: it could not be stored.
    """
    done, total = 0, sum(file.size for file in files)
    for file in files:
        address = f"{url}/{file.name}"
        digest, received = hashlib.sha256(), 0
        with (folder / file.name).open("wb") as target:
            for chunk in _body(address):
                received += len(chunk)
                if received > file.size:  # a server must not be able to fill the disk
                    raise DownloadFailed(f"{address}: it is larger than it should be")
                digest.update(chunk)
                target.write(chunk)
                if progress:
                    progress(done + received, total)
        if digest.hexdigest() != file.sha256:
            raise DownloadFailed(f"{address}: it has another content than it should")
        done += file.size


def _body(address: str) -> Iterator[bytes]:
    """What the server sends, piece by piece."""
    try:
        with urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
            while chunk := answer.read(_CHUNK_BYTES):
                yield chunk
    except (OSError, HTTPException) as error:
        raise DownloadFailed(f"{address}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answers {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return f"no connection, {(str(cause).strip() or type(cause).__name__).splitlines()[0].removesuffix('.')}"
