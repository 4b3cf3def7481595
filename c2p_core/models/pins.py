"""Pins files whose hash the manifest doesn't give to that of the user's first version.

Each pin is one line in the format of ``sha256sum``, in a folder beside the models, so that it outlives the model.
"""

from __future__ import annotations

import re
from pathlib import Path

from c2p_core.errors import ModelUnavailable
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.files import PINS

_LINE = re.compile(r"([0-9a-f]{64})  .+\n")


def pin_path(root: Path, model: str, file: str) -> Path:
    """The path of the pin of a model's file."""
    return root / PINS / model / f"{file}.sha256"


def read_pin(root: Path, model: str, file: str) -> str:
    """Read the SHA-256 of a file in hex; empty where none was pinned.

    Raises:
        ModelUnavailable: it is damaged or can't be read.
    """
    path = pin_path(root, model, file)
    if not path.exists():
        return ""
    try:
        line = _LINE.fullmatch(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable("model-pin-unreadable", path=str(path), name=model) from error
    if line is None:
        raise ModelUnavailable("model-pin-unreadable", path=str(path), name=model)
    return line[1]


def write_pin(root: Path, model: str, file: str, sha256: str) -> None:
    """Pin a file to a SHA-256.

    Raises:
        OSError: the folder can't be made.
        CannotWrite: the pin can't be written.
    """
    path = pin_path(root, model, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{sha256}  {file}\n".encode())
