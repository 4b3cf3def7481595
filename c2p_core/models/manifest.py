"""Reads ``bundle/manifest.toml``: the model files, their sources and their hashes.

Users list recognisers of their own in a manifest of the same form (``read_own_manifest``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from c2p_core.errors import Malformed, ModelUnavailable, get_reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_MANIFEST = "manifest.toml"
"""Name of a user's own manifest, in the folder of the fetched models."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_SHA256 = re.compile(r"[0-9a-f]{64}|")

Role = Literal["detector", "landmarks", "recogniser", "prior", "guidance", "thresholds", "decoys", "collection"]
Profile = Literal["embedded", "full", "named"]
Use = Literal["any", "research"]


@dataclass(frozen=True)
class ModelFile:
    """One file.

    Attributes:
        name: without a folder.
        sha256: in hex; empty where unknown, for files that are pinned to the user's first version.
        size: in bytes; 0 where unknown.
        at_most: an upper bound on its size in bytes; equals the size where that is known.
        layout: names and shapes of some of its tensors, by which it is recognised; () where unknown.
    """

    name: str
    sha256: str
    size: int
    at_most: int
    layout: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class BundleSource:
    """The files ship with the project, in ``folder`` of the bundle."""

    folder: str


@dataclass(frozen=True)
class HttpsSource:
    """Each file can be downloaded from ``url``/name; if ``exact``, the only file from ``url`` itself."""

    url: str
    exact: bool = False

    def address(self, file: str) -> str:
        """The address of a file by its name."""
        return self.url if self.exact else f"{self.url}/{file}"


@dataclass(frozen=True)
class PackageSource:
    """A Python package that contains its files, which an optional extra of the same name installs."""

    package: str


Source = BundleSource | HttpsSource | PackageSource


@dataclass(frozen=True)
class Default:
    """A threshold documented by a recogniser's vendor.

    Attributes:
        threshold: the cosine similarity from which faces match.
        says: its source.
        far01: the one at a false accept rate of 0.1 %; None where none is documented.
    """

    threshold: float
    says: str
    far01: float | None = None


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: its name in the program and its options.
        role: its function.
        profile: "embedded" for models that runs use by default, "full" for those that the full profile adds, "named"
            for the rest.
        use: "research" where its licence allows research or evaluation only.
        family: recognisers of one family are held out together; empty for everything else.
        licence: SPDX expression.
        origin: one line on its origin and training data, as far as known.
        files: all are required.
        sources: in order of preference.
        module: of a recogniser, the Python module with its ``NETWORK`` and ``TEMPLATE`` (`c2p_core.recognition`).
        default: of a recogniser, its vendor's own threshold; None where none is documented.
        clip: of a text model, the value of ``--clip`` that it serves.
    """

    name: str
    role: Role
    profile: Profile
    use: Use
    family: str
    licence: str
    origin: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]
    module: str = ""
    default: Default | None = None
    clip: str = ""

    @property
    def size(self) -> int:
        """Size of all files in bytes; an upper bound where it is unknown."""
        return sum(file.at_most for file in self.files)

    @property
    def is_size_known(self) -> bool:
        """Whether ``size`` is exact."""
        return all(file.size for file in self.files)

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded, rather than coming with the program, a package or the user."""
        return any(isinstance(source, HttpsSource) for source in self.sources)

    @property
    def source(self) -> str:
        """Its sources as text for the user."""
        return ", else ".join(_describe_source(source) for source in self.sources) or "put there by you"


def _describe_source(source: Source) -> str:
    if isinstance(source, BundleSource):
        return "part of this project"
    return urlsplit(source.url).netloc if isinstance(source, HttpsSource) else f"the package {source.package}"


_SOURCES: dict[str, type[BundleSource] | type[HttpsSource] | type[PackageSource]] = {
    "bundle": BundleSource,
    "https": HttpsSource,
    "package": PackageSource,
}


def _parse_file(table: dict[str, Any]) -> ModelFile:
    size = int(table.get("size", 0))
    file = ModelFile(
        table["name"],
        table.get("sha256", ""),
        size,
        size or int(table["at_most"]),
        tuple((name, tuple(shape)) for name, shape in table.get("layout", {}).items()),
    )
    # Names that begin with a dot could clash with the store's own folders.
    if PurePosixPath(file.name).name != file.name or file.name.startswith("."):
        raise Malformed("file-name-unsafe", name=file.name)
    if not _SHA256.fullmatch(file.sha256):
        raise Malformed("hash-wrong", value=file.sha256)
    return file


def _parse_default(table: dict[str, Any] | None) -> Default | None:
    if table is None:
        return None
    far01 = table.get("far01")
    default = Default(float(table["threshold"]), str(table["says"]), None if far01 is None else float(far01))
    # Beyond the range of similarities, no face or every face would match.
    for threshold in (default.threshold, default.far01):
        if threshold is not None and not -1 < threshold < 1:
            raise Malformed("threshold-out-of-range", value=threshold)
    return default


def _check_choice(value: Any, kind: Any) -> Any:
    if value not in get_args(kind):
        raise Malformed("value-unknown", value=str(value), known=list(get_args(kind)))
    return value


def _parse_entry(table: dict[str, Any]) -> ModelEntry:
    if not _NAME.fullmatch(table["name"]):
        raise Malformed("model-name-unusable", name=table["name"])
    return ModelEntry(
        name=table["name"],
        role=_check_choice(table["role"], Role),
        profile=_check_choice(table.get("profile", "embedded"), Profile),
        use=_check_choice(table.get("use", "any"), Use),
        family=table.get("family", ""),
        licence=table["licence"],
        origin=table["origin"],
        files=tuple(_parse_file(file) for file in table["files"]),
        sources=tuple(
            _SOURCES[source["kind"]](**{key: value for key, value in source.items() if key != "kind"})
            for source in table["sources"]
        ),
        module=table.get("module", ""),
        default=_parse_default(table.get("default")),
        clip=table.get("clip", ""),
    )


def read_manifest(path: Path) -> tuple[ModelEntry, ...]:
    """Read the entries of a manifest, in its order.

    Raises:
        ModelUnavailable: the manifest is missing or invalid.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("manifest-unreadable", path=str(path), reason=get_reason(error)) from error


def read_own_manifest(root: Path, shipped: Collection[str]) -> tuple[ModelEntry, ...]:
    """Read the user's own recognisers from ``manifest.toml`` in the folder of the fetched models; () without a file.

    Args:
        root: folder of the fetched models.
        shipped: names of the project's models, which the user's must not reuse.

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
                raise Malformed("model-no-recogniser", name=entry.name)
            if entry.name in shipped or names.count(entry.name) > 1:
                raise Malformed("model-name-taken", name=entry.name)
            if any(isinstance(source, BundleSource) for source in entry.sources):
                raise Malformed("model-not-bundled", name=entry.name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("own-manifest-unreadable", path=str(path), reason=get_reason(error)) from error
    return entries


def _read(path: Path) -> tuple[ModelEntry, ...]:
    with path.open("rb") as file:
        return tuple(_parse_entry(table) for table in tomllib.load(file)["model"])
