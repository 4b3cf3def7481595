"""Downloads model files into a folder; each is verified by its hash before it gets its final name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from c2p_core.errors import Message
from c2p_core.models.manifest import ModelFile

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16

Progress = Callable[[int, int], None] | None


class DownloadFailed(Exception):
    """A download from one source failed; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.text())
        self.message = message


class _TooLarge(ValueError):
    pass


def download_files(url: str, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Download every file from ``url``/name into ``folder``.

    Raises:
        DownloadFailed: no connection, not found, or unexpected content.
        OSError: a file could not be written.
    """
    # Imported here: commands that download nothing should not wait for these modules.
    import pooch  # type: ignore[import-untyped]
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    done, total = 0, sum(file.size for file in files)
    for file in files:

        def download(address: str, target: str, _: object, file: ModelFile = file, before: int = done) -> None:
            for received in _write_body(address, Path(target), file.size):
                if progress:
                    progress(before + received, total)

        try:
            pooch.retrieve(f"{url}/{file.name}", f"sha256:{file.sha256}", file.name, folder, downloader=download)
        except (requests.RequestException, ValueError) as error:
            raise DownloadFailed(Message("download-failed", url=f"{url}/{file.name}", why=_reason(error))) from error
        done += file.size


def _write_body(address: str, target: Path, size: int) -> Iterator[int]:
    """Write the response body to a file, and yield the number of bytes received so far.

    Raises:
        ValueError: the body is larger than ``size`` bytes; a server must not be able to fill the disk.
    """
    import requests

    with requests.get(address, stream=True, timeout=_TIMEOUT_SECONDS) as response, target.open("wb") as file:
        response.raise_for_status()
        received = 0
        for chunk in response.iter_content(_CHUNK_BYTES):
            received += len(chunk)
            if received > size:
                raise _TooLarge
            file.write(chunk)
            yield received


def _reason(error: Exception) -> Message:
    import requests

    if isinstance(error, _TooLarge):
        return Message("download-too-large")
    if isinstance(error, requests.Timeout):
        return Message("download-timeout")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return Message("download-refused", status=error.response.status_code)
    if isinstance(error, requests.RequestException):
        said = (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
        return Message("download-unreachable", reason=said)
    return Message("download-wrong")
