"""Sizes and hashes of model files, and the error for a folder of models that can't be written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from c2p_core.errors import CannotWrite, ModelUnavailable
from c2p_core.models.manifest import ModelFile

ROOT_VARIABLE = "C2P_MODELS"
"""The environment variable that names the folder of fetched models."""
PARTIAL_PREFIX = ".partial-"
"""Followed by the name of a model: the folder of its incomplete files, beside the models."""
LOCKS = ".locks"
"""Name of the folder of locks, beside the models."""
PINS = ".pins"
"""Name of the folder of pins, beside the models."""


def fits(path: Path, file: ModelFile) -> bool:
    """Whether a file exists and has a size that ``file`` allows."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    return size == file.size if file.size else 0 < size <= file.at_most


def compute_hash(path: Path) -> str:
    """SHA-256 of a file in hex.

    Raises:
        ModelUnavailable: it can't be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    return digest.hexdigest()


def cannot_write(folder: Path, error: OSError) -> CannotWrite:
    """The error to raise where nothing can be stored in the folder of models."""
    return CannotWrite("models-not-stored", folder=str(folder), reason=error.strerror, variable=ROOT_VARIABLE)
