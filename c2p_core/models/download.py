"""Downloads model files into a folder; each is verified by its hash before it gets its final name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from c2p_core.errors import Message
from c2p_core.models.manifest import HttpsSource, ModelFile

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16

Progress = Callable[[int, int], None] | None


class DownloadFailed(Exception):
    """A download from one source failed; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.text())
        self.message = message


class _TooLarge(Exception):
    pass


class _Unreachable(Exception):
    """Nothing comes from the server; the cause says why."""


def download_files(source: HttpsSource, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Download every file from a source into ``folder``.

    Raises:
        DownloadFailed: no connection, not found, or unexpected content.
        OSError: a file could not be written.
    """
    # Imported here: commands that download nothing should not wait for these modules.
    import pooch  # type: ignore[import-untyped]

    pooch.get_logger().setLevel(logging.WARNING)
    done, total = 0, sum(file.size for file in files)
    for file in files:
        url = source.address(file.name)

        def download(address: str, target: str, _: object, file: ModelFile = file, before: int = done) -> None:
            for received in _write_body(address, Path(target), file.size):
                if progress:
                    progress(before + received, total)

        try:
            pooch.retrieve(url, f"sha256:{file.sha256}", file.name, folder, downloader=download)
        except (_Unreachable, _TooLarge, ValueError) as error:
            raise DownloadFailed(Message("download-failed", url=url, why=_reason(error))) from error
        done += file.size


def _write_body(address: str, target: Path, size: int) -> Iterator[int]:
    """Write the response body to a file, and yield the number of bytes received so far.

    Raises:
        _Unreachable: something between here and the server, or its answer, is wrong.
        _TooLarge: the body is larger than ``size`` bytes; a server must not be able to fill the disk.
        OSError: the file could not be written.
    """
    received = 0
    with target.open("wb") as file:
        for chunk in _receive(address):
            received += len(chunk)
            if received > size:
                raise _TooLarge
            file.write(chunk)
            yield received


def _receive(address: str) -> Iterator[bytes]:
    """Yield the response body in parts; every error of the network, its settings included, is ``_Unreachable``."""
    import requests

    try:
        with requests.get(address, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            yield from response.iter_content(_CHUNK_BYTES)
    # Settings that make no sense raise OSError (a file of certificates that is not there) or ValueError (addresses).
    except (requests.RequestException, OSError, ValueError) as error:
        raise _Unreachable from error


def _reason(error: Exception) -> Message:
    import requests

    if isinstance(error, _TooLarge):
        return Message("download-too-large")
    cause = error.__cause__
    if not isinstance(error, _Unreachable) or cause is None:
        return Message("download-wrong")
    if isinstance(cause, requests.Timeout):
        return Message("download-timeout")
    if isinstance(cause, requests.HTTPError) and cause.response is not None:
        return Message("download-refused", status=cause.response.status_code)
    said = (str(cause).strip() or type(cause).__name__).splitlines()[0].removesuffix(".")
    if isinstance(cause, requests.exceptions.InvalidSchema) and "SOCKS" in said:
        return Message("download-proxy-socks")
    if isinstance(cause, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return Message("download-proxy", reason=said)
    if isinstance(cause, requests.exceptions.SSLError) or not isinstance(cause, requests.RequestException | ValueError):
        return Message("download-insecure", reason=said)
    return Message("download-unreachable", reason=said)
