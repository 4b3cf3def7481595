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
"""What the name of an incomplete file ends in."""


class DownloadFailed(Exception):
    """A download from one source failed; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.text())
        self.message = message


def download_files(source: HttpsSource, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Download every file from a source into ``folder``, continuing what an earlier call left there.

    Raises:
        DownloadFailed: no connection, not found, or unexpected content; incomplete files stay, wrong ones don't.
        OSError: a file could not be written.
    """
    done, total = 0, sum(file.at_most for file in files)
    for file in files:

        def watch(received: int, before: int = done) -> None:
            if progress:
                progress(before + received, total)

        url = source.address(file.name)
        try:
            # Pieces of two versions of a file have the hash of neither.
            if _download(url, file, folder, watch) and not _is_there(file, folder):
                _download(url, file, folder, watch)
        except NotReceived as error:
            raise DownloadFailed(Message("download-failed", url=url, why=error.message)) from error
        if not _is_there(file, folder):
            raise DownloadFailed(Message("download-failed", url=url, why=Message("download-wrong")))
        done += file.at_most


def _is_there(file: ModelFile, folder: Path) -> bool:
    return (folder / file.name).is_file()


def _download(url: str, file: ModelFile, folder: Path, watch: Callable[[int], None]) -> bool:
    """Download a file, which is there afterwards if its hash is right; returns whether pieces were put together."""
    target, part = folder / file.name, Part(folder / f"{file.name}{PART}")
    if _is_right(target, file):
        return False
    target.unlink(missing_ok=True)
    joined = receive(url, part, file, watch)
    if _is_right(part.path, file):
        part.finish(target)
    else:
        part.discard()
    return joined


def _is_right(path: Path, file: ModelFile) -> bool:
    return fits(path, file) and (not file.sha256 or compute_hash(path) == file.sha256)
