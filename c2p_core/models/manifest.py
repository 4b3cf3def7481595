"""Reads ``bundle/manifest.toml``: which model files there are, where they come from and what they hash to."""

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
    """One file: its name, its SHA-256 in hex (empty: not made yet) and its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class BundleSource:
    """Ships with the project, in ``folder`` of the bundle."""

    folder: str


@dataclass(frozen=True)
class HttpsSource:
    """Each file lies at ``url``/name."""

    url: str


Source = BundleSource | HttpsSource


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: what the program and its options call it.
        role: what it does.
        family: recognisers of one family are held out together; empty for everything else.
        licence: SPDX expression.
        origin: one line on where it comes from and what it was trained on, as far as known.
        files: all of them are needed.
        sources: in the order in which they are tried.
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
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return ", else ".join(_described(source) for source in self.sources)


def _described(source: Source) -> str:
    return "part of this project" if isinstance(source, BundleSource) else source.url


_SOURCES: dict[str, type[BundleSource] | type[HttpsSource]] = {"bundle": BundleSource, "https": HttpsSource}


def _file(table: dict[str, Any]) -> ModelFile:
    file = ModelFile(table["name"], table["sha256"], table["size"])
    if PurePosixPath(file.name).name != file.name:
        raise ValueError(f"the file name {file.name!r} is a path")
    return file


def _entry(table: dict[str, Any]) -> ModelEntry:
    return ModelEntry(
        name=table["name"],
        role=table["role"],
        family=table.get("family", ""),
        licence=table["licence"],
        origin=table["origin"],
        files=tuple(_file(file) for file in table["files"]),
        sources=tuple(
            _SOURCES[source["kind"]](**{key: value for key, value in source.items() if key != "kind"})
            for source in table["sources"]
        ),
    )


def read_manifest(path: Path) -> tuple[ModelEntry, ...]:
    """The entries of a manifest, in its order.

    Raises:
        ModelUnavailable: when the manifest is missing or not understood.
    """
    try:
        with path.open("rb") as file:
            return tuple(_entry(table) for table in tomllib.load(file)["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("manifest-unreadable", path=str(path), reason=str(error)) from error
