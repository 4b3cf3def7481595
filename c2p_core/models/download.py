"""Fetches model files into a folder, each checked against its hash before it gets its name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pooch  # type: ignore[import-untyped]
import requests

from c2p_core.models.manifest import ModelFile

_HTTP_SECONDS = 30.0
_CHUNK = 1 << 16

Progress = Callable[[int, int], None] | None


class DownloadFailed(Exception):
    """One source did not give the files; the message says why, without a full stop."""


def https(url: str, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Fetches every file from ``url``/name into ``folder``.

    Raises:
        DownloadFailed: no connection, not found, or another content than expected.
        OSError: it could not be stored.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    done, total = 0, sum(file.size for file in files)
    for file in files:

        def load(address: str, target: str, _: object, file: ModelFile = file, before: int = done) -> None:
            for count in _body(address, target, file.size):
                if progress:
                    progress(before + count, total)

        try:
            pooch.retrieve(f"{url}/{file.name}", f"sha256:{file.sha256}", file.name, folder, downloader=load)
        except (requests.RequestException, ValueError) as error:
            raise DownloadFailed(f"{url}/{file.name}: {_reason(error)}") from error
        done += file.size


def _body(address: str, target: str, size: int) -> Iterator[int]:
    """Writes what the server sends, and tells how many bytes came so far."""
    with requests.get(address, stream=True, timeout=_HTTP_SECONDS) as answer, Path(target).open("wb") as file:
        answer.raise_for_status()
        done = 0
        for chunk in answer.iter_content(_CHUNK):
            done += len(chunk)
            if done > size:
                raise ValueError("it is larger than it should be")
            file.write(chunk)
            yield done


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "it has another content than it should"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
