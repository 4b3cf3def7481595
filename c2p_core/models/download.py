"""Downloads model files into a folder; each is verified by its hash before it gets its final name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from c2p_core.errors import Message
from c2p_core.models.files import compute_hash, fits
from c2p_core.models.manifest import HttpsSource, ModelFile
from c2p_core.models.resume import NotReceived, Part, receive

Progress = Callable[[int, int], None] | None
PART = ".part"
"""The ending of an incomplete file's name."""


class DownloadFailed(Exception):
    """A download from one source failed; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.text())
        self.message = message


def download_files(source: HttpsSource, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Download every file from a source into ``folder``, resuming incomplete files of earlier calls.

    Raises:
        DownloadFailed: no connection, not found, or unexpected content; incomplete files are kept, wrong ones removed.
        OSError: a file could not be written.
    """
    done, total = 0, sum(file.at_most for file in files)
    for file in files:

        def report(received: int, before: int = done) -> None:
            if progress:
                progress(before + received, total)

        url = source.address(file.name)
        try:
            # A file joined from pieces may mix two versions, which a download from the start can't.
            if _download(url, file, folder, report) and not _exists(file, folder):
                _download(url, file, folder, report)
        except NotReceived as error:
            raise DownloadFailed(Message("download-failed", url=url, why=error.message)) from error
        if not _exists(file, folder):
            raise DownloadFailed(Message("download-failed", url=url, why=Message("download-wrong")))
        done += file.at_most


def _exists(file: ModelFile, folder: Path) -> bool:
    return (folder / file.name).is_file()


def _download(url: str, file: ModelFile, folder: Path, on_bytes: Callable[[int], None]) -> bool:
    """Download a file, which exists afterwards if its hash is right; returns whether it was joined from pieces."""
    target, part = folder / file.name, Part(folder / f"{file.name}{PART}")
    if _is_intact(target, file):
        return False
    target.unlink(missing_ok=True)
    was_joined = receive(url, part, file, on_bytes)
    if _is_intact(part.path, file):
        part.finish(target)
    else:
        part.discard()
    return was_joined


def _is_intact(path: Path, file: ModelFile) -> bool:
    return fits(path, file) and (not file.sha256 or compute_hash(path) == file.sha256)
