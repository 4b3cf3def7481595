"""Names and shapes of the tensors in a file of weights, read without torch and without running anything in the file.

A pickle is a program: here it may only build plain containers. Every class and function that it names becomes an inert
shell, apart from those that rebuild a tensor, of which the shape alone is kept.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Layout = dict[str, tuple[int, ...]]

_LARGEST_HEADER = 32 << 20  # bytes; the largest networks have headers of a few megabytes
_DEEPEST = 12  # nesting of modules and dictionaries
# The first object in the format that torch.save had before it wrote zip files; two more precede the content.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Entries of dictionaries that hold the weights of interest, as their loaders choose them.
_WEIGHTS = ("g_ema", "G_ema", "state_dict")


class _Shell:
    """Stands in for whatever a pickle names, and keeps its state."""

    state: object = None

    def __init__(self, *more: object, **named: object) -> None:
        # NVIDIA's modules are rebuilt from a description.
        if len(more) == 1:
            self.state = more[0]

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *more: object) -> _Shell:
        return _Shell()

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """As a list would."""

    def extend(self, values: object) -> None:
        """As a list would."""

    add = append


class _Builder:
    """A function that a pickle may call and can't change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]


def _make_tensor(storage: object, offset: object, size: object, *more: object) -> object:
    if isinstance(size, tuple) and all(isinstance(side, int) and side >= 0 for side in size):
        return _Tensor(size)
    return None


_BUILDERS: dict[tuple[str, str], _Builder] = {
    ("collections", "OrderedDict"): _Builder(OrderedDict),
    ("torch", "Size"): _Builder(tuple),
    ("torch._utils", "_rebuild_parameter"): _Builder(lambda data, *more: data),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_make_tensor),
}


# The reader in Python: the one in C sets memory aside for any number that a file names.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _BUILDERS.get((module, name), _Shell)

    def persistent_load(self, pid: object) -> object:
        return None


def has_layout(path: Path, layout: tuple[tuple[str, tuple[int, ...]], ...]) -> bool:
    """Whether a file holds all of these tensors; always true for an empty layout."""
    if not layout:
        return True
    found = read_layout(path)
    return all(found.get(name) == shape for name, shape in layout)


def read_layout(path: Path) -> Layout:
    """Read the names and shapes of a .safetensors file, of what torch.save wrote, or of NVIDIA's pickles.

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
                return _collect(_read_pickles(path))
        except OSError:
            raise
        # A damaged or hostile file may fail in any way; then it is none that is looked for.
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
        inner = [info for info in archive.infolist() if info.filename.endswith("data.pkl")]
        if len(inner) != 1 or inner[0].file_size > _LARGEST_HEADER:
            return {}
        with archive.open(inner[0]) as file:
            content = file.read(_LARGEST_HEADER)
    return _collect(_Reader(io.BytesIO(content)).load())


def _read_pickles(path: Path) -> object:
    with path.open("rb") as file:
        content = _Reader(file).load()
        if content == _LEGACY_MAGIC:
            for _ in range(3):
                content = _Reader(file).load()
    return content


def _collect(content: object) -> Layout:
    """The tensors of a dictionary, or of a module, by name."""
    if isinstance(content, Mapping):
        content = next(
            (content[key] for key in _WEIGHTS if isinstance(content.get(key), (Mapping, _Shell))),
            content,
        )
    if isinstance(content, Mapping):
        return {str(name): value.shape for name, value in content.items() if isinstance(value, _Tensor)}
    found: Layout = {}
    _walk(content, "", found, set())
    return found


def _walk(value: object, name: str, found: Layout, visited: set[int]) -> None:
    """Collect the tensors of a module and of those in it."""
    if isinstance(value, _Tensor):
        found[name] = value.shape
    # Visit each object once: objects of a hostile file may refer to each other, or millions of times to one.
    if not isinstance(value, _Shell) or id(value) in visited or name.count(".") > _DEEPEST:
        return
    visited.add(id(value))
    state = value.state if isinstance(value.state, Mapping) else {}
    # NVIDIA's modules have theirs within a description.
    state = state["state"] if isinstance(state.get("state"), Mapping) else state
    for kind in ("_parameters", "_buffers", "_modules"):
        held = state.get(kind)
        for own, child in held.items() if isinstance(held, Mapping) else ():
            _walk(child, f"{name}.{own}" if name else str(own), found, visited)
