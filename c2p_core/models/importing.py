"""Finds models among the files of a folder, by content: a known hash, or the tensors that a model has."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.download import Progress
from c2p_core.models.fetching import lock_model, partial_folder, put_in_place
from c2p_core.models.files import cannot_write, compute_hash, fits
from c2p_core.models.layouts import covers, read_layout
from c2p_core.models.manifest import ModelEntry

# Files that are looked at in a folder with those below it: nobody keeps models among more.
MOST_FILES = 20_000
_COPY_BYTES = 1 << 20
# With more, the name of a folder for copies, among what is incomplete of a model.
_COPIES = "copies-"


@dataclass(frozen=True)
class Found:
    """A model that a folder has.

    Attributes:
        entry: the model.
        paths: its files, in the order of ``entry.files``.
    """

    entry: ModelEntry
    paths: tuple[Path, ...]


def find_models(folder: Path, entries: Sequence[ModelEntry]) -> tuple[list[Found], list[Message]]:
    """Find models in a folder and the folders below it.

    A file with a published hash is recognised by it alone, any other by its tensors; names count for nothing.

    Args:
        folder: of the user's files.
        entries: models to look for.

    Returns:
        the models that are there in whole, and a message on each file that has the tensors of a model, but another
        content than was published.

    Raises:
        BadRequest: there is no such folder, or it has far too many files.
    """
    if not folder.is_dir():
        raise BadRequest("folder-of-models-missing", path=str(folder))
    places: dict[tuple[str, str], Path] = {}
    altered: list[Message] = []
    for path in _list_files(folder):
        try:
            altered += _recognise(path, entries, places)
        except (OSError, ModelUnavailable):
            # What can't be read may be none of ours.
            continue
    found = [
        Found(entry, tuple(places[entry.name, file.name] for file in entry.files))
        for entry in entries
        if entry.files and all((entry.name, file.name) in places for file in entry.files)
    ]
    return found, altered


def import_model(found: Found, root: Path, progress: Progress) -> list[Message]:
    """Copy a model into ``root``/name; each copy is checked, as a download is.

    Args:
        found: the model.
        root: folder of fetched models.
        progress: called with the bytes copied so far and their total.

    Returns:
        a message for each file whose hash was pinned.

    Raises:
        ModelUnavailable: a file can't be read, or its copy is another file than the first of its kind.
        CannotWrite: a file could not be copied.
    """
    entry = found.entry
    with lock_model(entry.name, root, progress):
        try:
            with partial_folder(entry.name, root) as folder:
                # A killed run's copies; they are begun anew, and a download must not take them for its own.
                for earlier in folder.glob(f"{_COPIES}*"):
                    shutil.rmtree(earlier, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=_COPIES, dir=folder) as copies:
                    _copy_files(found, Path(copies), progress)
                    return put_in_place(entry, Path(copies), root)
        except OSError as error:
            raise cannot_write(root, error) from error


def _copy_files(found: Found, folder: Path, progress: Progress) -> None:
    done, total = 0, sum(map(_size, found.paths))
    for file, path in zip(found.entry.files, found.paths, strict=True):
        with (folder / file.name).open("wb") as copy:
            for block in _read(path):
                copy.write(block)
                done += len(block)
                if progress:
                    progress(done, total)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> Iterator[bytes]:
    """Read a file of the user's, block by block.

    Raises:
        ModelUnavailable: it can't be read.
    """
    try:
        with path.open("rb") as source:
            while block := source.read(_COPY_BYTES):
                yield block
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelUnavailable:
    return ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror)


def _list_files(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                raise BadRequest("folder-of-models-large", path=str(folder), limit=MOST_FILES)
            yield Path(parent, name)


def _recognise(path: Path, entries: Sequence[ModelEntry], places: dict[tuple[str, str], Path]) -> list[Message]:
    """Note in ``places`` which file of which model this is, if it is one."""
    possible = [(entry, file) for entry in entries for file in entry.files if fits(path, file)]
    digest = compute_hash(path) if any(file.sha256 for _, file in possible) else ""
    for entry, file in possible:
        if digest and digest == file.sha256:
            places.setdefault((entry.name, file.name), path)
            return []
    described = [(entry, file) for entry, file in possible if file.layout]
    layout = read_layout(path) if described else {}
    alike = [(entry, file) for entry, file in described if covers(layout, file.layout)]
    for entry, file in alike:
        if not file.sha256:
            places.setdefault((entry.name, file.name), path)
            return []
    return [Message("model-file-other", path=str(path), name=entry.name) for entry, _ in alike]
