"""Reads ``bundle/manifest.toml``: the model files, their sources and their hashes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from c2p_core.errors import ModelUnavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Role = Literal["detector", "landmarks", "recogniser", "prior", "guidance", "thresholds", "decoys"]


@dataclass(frozen=True)
class ModelFile:
    """One file: its name, its SHA-256 in hex (empty if it does not exist yet) and its size in bytes."""

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
    """

    name: str
    role: Role
    family: str
    licence: str
    origin: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def source(self) -> str:
        """Its sources as text for the user."""
        return ", else ".join(_describe(source) for source in self.sources)


def _describe(source: Source) -> str:
    return "part of this project" if isinstance(source, BundleSource) else source.url


_SOURCES: dict[str, type[BundleSource] | type[HttpsSource]] = {"bundle": BundleSource, "https": HttpsSource}


def _parse_file(table: dict[str, Any]) -> ModelFile:
    file = ModelFile(table["name"], table["sha256"], table["size"])
    if PurePosixPath(file.name).name != file.name:
        raise ValueError(f"the file name {file.name!r} is a path")
    return file


def _parse_entry(table: dict[str, Any]) -> ModelEntry:
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
    )


def read_manifest(path: Path) -> tuple[ModelEntry, ...]:
    """Read the entries of a manifest, in its order.

    Raises:
        ModelUnavailable: the manifest is missing or invalid.
    """
    try:
        with path.open("rb") as file:
            return tuple(_parse_entry(table) for table in tomllib.load(file)["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"The list of models {path} can't be read ({error}); install the program again."
        ) from error
