"""Reads ``bundle/manifest.toml``: the model files, their sources and their hashes.

Users list recognisers of their own in a manifest of the same form (``read_own_manifest``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from c2p_core.errors import ModelUnavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_MANIFEST = "manifest.toml"
"""Name of a user's own manifest, in the folder of the fetched models."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Role = Literal["detector", "landmarks", "recogniser", "prior", "guidance", "thresholds", "decoys"]


@dataclass(frozen=True)
class ModelFile:
    """One file: its name, its SHA-256 in hex (empty if it has none yet) and its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class BundleSource:
    """The files ship with the project, in ``folder`` of the bundle."""

    folder: str


@dataclass(frozen=True)
class HttpsSource:
    """Each file can be downloaded from ``url``/name."""

    url: str


Source = BundleSource | HttpsSource


@dataclass(frozen=True)
class Default:
    """A threshold documented by a recogniser's vendor: the cosine similarity from which faces match, and its source."""

    threshold: float
    says: str


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: its name in the program and its options.
        role: its function.
        family: recognisers of one family are held out together; empty for everything else.
        licence: SPDX expression.
        origin: one line on its origin and training data, as far as known.
        files: all are required.
        sources: in order of preference.
        module: of a recogniser, the Python module with its ``NETWORK`` and ``TEMPLATE`` (`c2p_core.recognition`).
        default: of a recogniser, its vendor's own threshold; None where none is documented.
    """

    name: str
    role: Role
    family: str
    licence: str
    origin: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]
    module: str = ""
    default: Default | None = None

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def source(self) -> str:
        """Its sources as text for the user."""
        return ", else ".join(_describe(source) for source in self.sources) or "put there by you"


def _describe(source: Source) -> str:
    return "part of this project" if isinstance(source, BundleSource) else source.url


_SOURCES: dict[str, type[BundleSource] | type[HttpsSource]] = {"bundle": BundleSource, "https": HttpsSource}


def _parse_file(table: dict[str, Any]) -> ModelFile:
    file = ModelFile(table["name"], table["sha256"], table["size"])
    if PurePosixPath(file.name).name != file.name:
        raise ValueError(f"the file name {file.name!r} is a path")
    return file


def _parse_entry(table: dict[str, Any]) -> ModelEntry:
    if not _NAME.fullmatch(table["name"]):
        raise ValueError(f"the name {table['name']!r} is more than letters, digits, '.', '_' and '-'")
    default = table.get("default")
    return ModelEntry(
        name=table["name"],
        role=table["role"],
        family=table.get("family", ""),
        licence=table["licence"],
        origin=table["origin"],
        files=tuple(_parse_file(file) for file in table["files"]),
        sources=tuple(
            _SOURCES[source["kind"]](**{key: value for key, value in source.items() if key != "kind"})
            for source in table["sources"]
        ),
        module=table.get("module", ""),
        default=None if default is None else Default(float(default["threshold"]), str(default["says"])),
    )


def read_manifest(path: Path) -> tuple[ModelEntry, ...]:
    """Read the entries of a manifest, in its order.

    Raises:
        ModelUnavailable: the manifest is missing or invalid.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("manifest-unreadable", path=str(path), reason=str(error)) from error


def read_own_manifest(root: Path, shipped: Collection[str]) -> tuple[ModelEntry, ...]:
    """Read the user's own recognisers from ``manifest.toml`` in the folder of the fetched models; () without a file.

    Args:
        root: folder of the fetched models.
        shipped: names of the project's models, which a user's own may not have.

    Raises:
        ModelUnavailable: the manifest is invalid, or lists models that are not recognisers.
    """
    path = root / OWN_MANIFEST
    if not path.is_file():
        return ()
    try:
        entries = _read(path)
        names = [entry.name for entry in entries]
        for entry in entries:
            if entry.role != "recogniser" or not entry.module or not entry.family:
                raise ValueError(f"{entry.name} is no recogniser with a module and a family")
            if entry.name in shipped or names.count(entry.name) > 1:
                raise ValueError(f"the name {entry.name} is taken")
            if any(isinstance(source, BundleSource) for source in entry.sources):
                raise ValueError(f"{entry.name} is no part of the program, as the source bundle says")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("own-manifest-unreadable", path=str(path), reason=str(error)) from error
    return entries


def _read(path: Path) -> tuple[ModelEntry, ...]:
    with path.open("rb") as file:
        return tuple(_parse_entry(table) for table in tomllib.load(file)["model"])
