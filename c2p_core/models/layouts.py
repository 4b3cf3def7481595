"""Names and shapes of the tensors in a file of weights, read without torch and without running code in the file.

Only the shapes of tensors in a pickle (`models.inert_pickle`) are kept.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from c2p_core.models.inert_pickle import CONTAINERS, Builder, InertReader, Shell, collect_tensors, list_named_entries

Layout = dict[str, tuple[int, ...]]
"""Names and shapes of the tensors of a file."""
LayoutRequirement = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of tensors that a file must have, as a manifest lists them."""

_LARGEST_HEADER = 32 << 20  # bytes; the largest networks have headers of a few megabytes
# The first object in torch.save's format before zip files; two more precede the content.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Entries of dictionaries that hold the weights, in the order in which their loaders look for them.
_WEIGHTS = ("g_ema", "G_ema", "state_dict")


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]


def _make_tensor(storage: object, offset: object, size: object, *args: object) -> object:
    if isinstance(size, tuple) and all(isinstance(side, int) and side >= 0 for side in size):
        return _Tensor(size)
    return None


_STAND_INS = {**CONTAINERS, ("torch._utils", "_rebuild_tensor_v2"): Builder(_make_tensor)}


def has_layout(path: Path, required: LayoutRequirement) -> bool:
    """Whether a file holds all of these tensors; always true for an empty layout.

    Raises:
        OSError: the file can't be read.
    """
    return not required or covers(read_layout(path), required)


def covers(layout: Layout, required: LayoutRequirement) -> bool:
    """Whether the layout of a file has all of these tensors."""
    return all(layout.get(name) == shape for name, shape in required)


def read_layout(path: Path) -> Layout:
    """Read the names and shapes of a .safetensors file, a file written by torch.save, or one of NVIDIA's pickles.

    Returns:
        {} for any other file.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        start = file.read(9)
        try:
            if start[:2] == b"PK":
                return _read_zip(path)
            if start[8:9] == b"{":
                return _read_safetensors(path)
            if start[:1] == b"\x80":
                return _collect_layout(_read_pickles(path))
        except OSError:
            raise
        # A damaged or hostile file may raise anything, and is none of the models.
        except Exception:
            return {}
    return {}


def _read_safetensors(path: Path) -> Layout:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LARGEST_HEADER:
            return {}
        header = json.loads(file.read(length))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def _read_zip(path: Path) -> Layout:
    with zipfile.ZipFile(path) as archive:
        pickles = [info for info in archive.infolist() if info.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > _LARGEST_HEADER:
            return {}
        with archive.open(pickles[0]) as file:
            content = file.read(_LARGEST_HEADER)
    return _collect_layout(_read_pickle(io.BytesIO(content)))


def _read_pickles(path: Path) -> object:
    with path.open("rb") as file:
        content = _read_pickle(file)
        if content == _LEGACY_MAGIC:
            for _ in range(3):
                content = _read_pickle(file)
    return content


def _read_pickle(file: BinaryIO) -> object:
    return InertReader(file, _STAND_INS, strict=False).load()


def _collect_layout(content: object) -> Layout:
    """The tensors of a dictionary, or of a module, by name."""
    if isinstance(content, dict):
        content = next((content[key] for key in _WEIGHTS if isinstance(content.get(key), (dict, Shell))), content)
    if isinstance(content, dict):
        return {name: value.shape for name, value in list_named_entries(content) if isinstance(value, _Tensor)}
    return {name: tensor.shape for name, tensor in collect_tensors(content, _Tensor).items()}
