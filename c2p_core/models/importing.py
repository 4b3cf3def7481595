"""Finds models among the files of a folder by their content: a known hash, or the tensors of a model."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.download import Progress
from c2p_core.models.fetching import lock_model, move_files, partial_folder
from c2p_core.models.files import cannot_write, compute_hash, fits
from c2p_core.models.layouts import covers, read_layout
from c2p_core.models.manifest import ModelEntry

# The most files that are examined in a folder and its subfolders; nobody keeps models among more.
MAX_FILES = 20_000
_COPY_BYTES = 1 << 20
# Prefix of a folder for copies, among the incomplete files of a model.
_COPIES = "copies-"


@dataclass(frozen=True)
class FoundModel:
    """A model that was found in a folder.

    Attributes:
        entry: the model.
        paths: its files, in the order of ``entry.files``.
    """

    entry: ModelEntry
    paths: tuple[Path, ...]


def find_models(folder: Path, entries: Sequence[ModelEntry]) -> tuple[list[FoundModel], list[Message]]:
    """Find models in a folder and its subfolders.

    A file with a published hash is recognised by it alone, any other by its tensors; file names are ignored.

    Args:
        folder: of the user's files.
        entries: models to look for.

    Returns:
        the complete models, and a message on each file that has the tensors of a model but not its published hash.

    Raises:
        BadRequest: there is no such folder, or it has far too many files.
    """
    if not folder.is_dir():
        raise BadRequest("folder-of-models-missing", path=str(folder))
    paths: dict[tuple[str, str], Path] = {}
    altered: list[Message] = []
    for path in _list_files(folder):
        try:
            altered += _recognise(path, entries, paths)
        except (OSError, ModelUnavailable):
            # An unreadable file may have nothing to do with models.
            continue
    models = [
        FoundModel(entry, tuple(paths[entry.name, file.name] for file in entry.files))
        for entry in entries
        if entry.files and all((entry.name, file.name) in paths for file in entry.files)
    ]
    return models, altered


def import_model(model: FoundModel, root: Path, progress: Progress) -> list[Message]:
    """Copy a model into ``root``/name; each copy is checked, as a download is.

    Args:
        model: the model.
        root: folder of fetched models.
        progress: called with the bytes copied so far and their total.

    Returns:
        a message for each file whose hash was pinned.

    Raises:
        ModelUnavailable: a file can't be read, or differs from the one that was pinned.
        CannotWrite: a file could not be copied.
    """
    entry = model.entry
    with lock_model(entry.name, root, progress):
        try:
            with partial_folder(entry.name, root) as folder:
                # Copies of killed runs are started afresh, and must not be mistaken for downloads.
                for leftover in folder.glob(f"{_COPIES}*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=_COPIES, dir=folder) as copies:
                    _copy_files(model, Path(copies), progress)
                    return move_files(entry, Path(copies), root)
        except OSError as error:
            raise cannot_write(root, error) from error


def _copy_files(model: FoundModel, folder: Path, progress: Progress) -> None:
    done, total = 0, sum(map(_get_size, model.paths))
    for file, path in zip(model.entry.files, model.paths, strict=True):
        with (folder / file.name).open("wb") as copy:
            for block in _read(path):
                copy.write(block)
                done += len(block)
                if progress:
                    progress(done, total)


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _make_read_error(path, error) from error


def _read(path: Path) -> Iterator[bytes]:
    """Read one of the user's files block by block.

    Raises:
        ModelUnavailable: it can't be read.
    """
    try:
        with path.open("rb") as source:
            while block := source.read(_COPY_BYTES):
                yield block
    except OSError as error:
        raise _make_read_error(path, error) from error


def _make_read_error(path: Path, error: OSError) -> ModelUnavailable:
    return ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror)


def _list_files(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                raise BadRequest("folder-of-models-large", path=str(folder), limit=MAX_FILES)
            yield Path(parent, name)


def _recognise(path: Path, entries: Sequence[ModelEntry], paths: dict[tuple[str, str], Path]) -> list[Message]:
    """Add a file to ``paths`` if it belongs to a model."""
    candidates = [(entry, file) for entry in entries for file in entry.files if fits(path, file)]
    digest = compute_hash(path) if any(file.sha256 for _, file in candidates) else ""
    for entry, file in candidates:
        if digest and digest == file.sha256:
            paths.setdefault((entry.name, file.name), path)
            return []
    with_layout = [(entry, file) for entry, file in candidates if file.layout]
    layout = read_layout(path) if with_layout else {}
    matches = [(entry, file) for entry, file in with_layout if covers(layout, file.layout)]
    for entry, file in matches:
        if not file.sha256:
            paths.setdefault((entry.name, file.name), path)
            return []
    return [Message("model-file-other", path=str(path), name=entry.name) for entry, _ in matches]
