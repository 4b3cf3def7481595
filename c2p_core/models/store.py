"""Maps the names of models to local files with verified hashes.

Models that ship with the project are used in place. The others are downloaded (`models.fetching`) or copied
(`models.importing`) once to the user's folder.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.files import ROOT_VARIABLE, cannot_write, compute_hash, fits
from c2p_core.models.manifest import (
    BundleSource,
    ModelEntry,
    ModelFile,
    PackageSource,
    read_manifest,
    read_own_manifest,
)
from c2p_core.models.pins import pin_path, read_pin, write_pin
from c2p_core.paths import data_folder

if TYPE_CHECKING:
    from c2p_core.models.importing import FoundModel

__all__ = ["ModelEntry", "ModelFile", "ModelStore", "bundle_dir"]

# Called with the bytes received so far and the total.
FetchProgress = Callable[[int, int], None]


def bundle_dir() -> Path:
    """The folder with the manifest and the shipped weights: inside the package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_bundle"
    return inside if inside.is_dir() else package.parent / "bundle"


def default_root() -> Path:
    """The folder of downloaded models: ``C2P_MODELS``, else ``$C2P_HOME/models``, else in the user's data folder."""
    folder = os.environ.get(ROOT_VARIABLE)
    return Path(folder) if folder else data_folder() / "models"


class ModelStore:
    """The models of the project's manifest, and recognisers of the user's own (``read_own_manifest``).

    Attributes:
        root: folder of downloaded models; created when it is first needed.
        offline: never use the network.
    """

    def __init__(self, root: Path | None = None, offline: bool = False, bundle: Path | None = None) -> None:
        """Read the manifest of ``bundle`` (the project's by default), and the user's own in ``root``.

        Raises:
            ModelUnavailable: one of the two can't be read.
        """
        # Resolved here, since a relative path would point elsewhere after a change of the current folder.
        self.root = (root if root is not None else default_root()).absolute()
        self.offline = offline
        self._bundle = (bundle if bundle is not None else bundle_dir()).absolute()
        self._entries = {entry.name: entry for entry in read_manifest(self._bundle / "manifest.toml")}
        self._shipped = frozenset(self._entries)
        self._entries |= {entry.name: entry for entry in read_own_manifest(self.root, self._entries)}
        self._checked: set[Path] = set()
        self._notices: list[Message] = []

    def entries(self) -> tuple[ModelEntry, ...]:
        """The models that runs use by default, in the manifest's order, the user's own last."""
        return tuple(entry for entry in self.catalogue() if entry.profile == "embedded" and entry.use == "any")

    def catalogue(self) -> tuple[ModelEntry, ...]:
        """All models that can be requested, in the manifest's order, the user's own last."""
        return tuple(self._entries.values())

    def list_clip_models(self, clip: str) -> tuple[str, ...]:
        """Names of the models that a value of ``--clip`` needs, whether they are present or not."""
        spelling = _spell_as_open_clip(clip)
        return tuple(e.name for e in self.catalogue() if e.clip and _spell_as_open_clip(e.clip) == spelling)

    def take_notices(self) -> list[Message]:
        """Messages for the user on the files used so far; each is returned once."""
        notices, self._notices = self._notices, []
        return notices

    def add_notices(self, notices: Sequence[Message]) -> None:
        """Add the notices of another store with the same files."""
        self._notices += notices

    def entry(self, name: str) -> ModelEntry:
        """One model.

        Raises:
            BadRequest: there is no model of that name.
        """
        if name not in self._entries:
            raise BadRequest("model-unknown", name=name, known=list(self._entries))
        return self._entries[name]

    def is_present(self, name: str) -> bool:
        """Whether all files exist with the right size; hashes are not checked."""
        return self._find_folder(self.entry(name)) is not None

    def is_intact(self, name: str) -> bool:
        """Whether all files exist with the right hash, where one is known; changes nothing.

        An intact file of a known hash is read only once per store.
        """
        entry = self.entry(name)
        folder = self._find_folder(entry)
        try:
            if folder is not None:
                self._check_hashes(entry, folder)
        except ModelUnavailable:
            return False
        return folder is not None

    def obtain(self, name: str) -> Path:
        """Return the file of a model, or its folder when it has several files.

        One that runs use without being asked is downloaded if necessary and allowed. A file whose hash is not known
        is pinned: from then on, it must stay the same.

        Raises:
            ModelUnavailable: it is missing and can't be downloaded, or a hash is wrong.
            CannotWrite: a file could not be written.
        """
        entry = self.entry(name)
        folder = self._find_folder(entry)
        if folder is None:
            if entry.fetchable and entry not in self.entries():
                # The user has not seen its licence and size.
                raise ModelUnavailable("model-not-fetched", name=name, source=entry.source)
            self.fetch(name)
            folder = self.root / name
        self._check_and_pin(entry, folder)
        return folder / entry.files[0].name if len(entry.files) == 1 else folder

    def verify(self, name: str) -> None:
        """Read all files again and compare their hashes; a file whose hash is not known is pinned.

        Raises:
            ModelUnavailable: a file is missing or its hash is wrong.
        """
        entry = self.entry(name)
        folder = self._find_folder(entry)
        if folder is None:
            if entry.fetchable:
                raise ModelUnavailable("model-not-fetched", name=name, source=entry.source)
            raise self._make_missing_error(entry)
        self._forget_checks(entry)
        self._check_and_pin(entry, folder)

    def fetch(self, name: str, progress: FetchProgress | None = None) -> None:
        """Download a model that is missing or damaged; does nothing when it is intact.

        Raises:
            ModelUnavailable: offline, or every source failed; the message has each source's reason.
            CannotWrite: a file could not be written.
        """
        entry = self.entry(name)
        if self.is_intact(name):
            return
        if not entry.fetchable:
            if folder := self._find_folder(entry):
                self._check_hashes(entry, folder)
            raise self._make_missing_error(entry)
        if self.offline:
            raise ModelUnavailable("model-offline", name=name, source=entry.source)
        # Imported here, so that commands without downloads don't wait for it.
        from c2p_core.models.fetching import fetch_model

        self._notices += fetch_model(entry, self.root, lambda: self.is_intact(name), progress)

    def find_models(self, folder: Path, names: Sequence[str]) -> tuple[list[FoundModel], list[Message]]:
        """Find models among the user's files; see ``importing.find_models``.

        Args:
            folder: the files.
            names: models to look for.
        """
        from c2p_core.models.importing import find_models

        return find_models(folder, [self.entry(name) for name in names])

    def import_found(self, model: FoundModel, progress: FetchProgress | None = None) -> None:
        """Copy a model that ``find_models`` found into the store.

        Raises:
            ModelUnavailable: a file differs from the one that was pinned.
            CannotWrite: a file could not be written.
        """
        from c2p_core.models.importing import import_model

        self._forget_checks(model.entry)
        self._notices += import_model(model, self.root, progress)

    def remove(self, name: str) -> int:
        """Remove a fetched model; returns the number of bytes that were removed, 0 where there were none.

        Raises:
            BadRequest: there is no model of that name, or it ships with the program.
            CannotWrite: a file can't be removed.
        """
        entry = self.entry(name)
        if any(isinstance(source, BundleSource) for source in entry.sources):
            raise BadRequest("model-ships", name=name)
        for source in entry.sources:
            if isinstance(source, PackageSource):
                raise BadRequest("model-of-package", name=name, package=source.package)
        if not self.root.is_dir():
            return 0
        from c2p_core.models.fetching import remove_model

        self._forget_checks(entry)
        return remove_model(entry, self.root)

    def _forget_checks(self, entry: ModelEntry) -> None:
        self._checked.difference_update(
            folder / file.name for folder in self._list_candidate_folders(entry) for file in entry.files
        )

    def describe_missing(self, name: str) -> Message:
        """The message on a model that is missing and can't be fetched."""
        return self._make_missing_error(self.entry(name)).message

    def _make_missing_error(self, entry: ModelEntry) -> ModelUnavailable:
        for source in entry.sources:
            if isinstance(source, PackageSource):
                return ModelUnavailable("model-package-missing", name=entry.name, package=source.package)
        if entry.sources:
            return ModelUnavailable("model-missing", name=entry.name, source=entry.source)
        if entry.name in self._shipped:
            files = [file.name for file in entry.files]
            return ModelUnavailable("model-bring-your-own", name=entry.name, files=files)
        return ModelUnavailable("own-model-missing", name=entry.name, folder=str(self.root / entry.name))

    def _make_damaged_error(self, entry: ModelEntry, path: Path) -> ModelUnavailable:
        if entry.fetchable:
            return ModelUnavailable("model-damaged-fetchable", name=entry.name, path=str(path))
        if entry.sources:
            return ModelUnavailable("model-damaged", name=entry.name, path=str(path))
        return ModelUnavailable(
            "own-model-damaged", name=entry.name, path=str(path), folder=str(self.root / entry.name)
        )

    def _find_folder(self, entry: ModelEntry) -> Path | None:
        """The first folder that has all files of the entry with the right size."""
        if any(isinstance(source, PackageSource) and not _is_installed(source) for source in entry.sources):
            return None
        for folder in self._list_candidate_folders(entry):
            if all(fits(folder / file.name, file) for file in entry.files):
                return folder
        return None

    def _list_candidate_folders(self, entry: ModelEntry) -> Iterator[Path]:
        for source in entry.sources:
            if isinstance(source, BundleSource):
                yield self._bundle / source.folder
        yield self.root / entry.name

    def _check_and_pin(self, entry: ModelEntry, folder: Path) -> None:
        for file, sha256 in self._check_hashes(entry, folder):
            self._pin(entry, file, sha256)
            self._checked.add(folder / file.name)

    def _check_hashes(self, entry: ModelEntry, folder: Path) -> list[tuple[ModelFile, str]]:
        """Check the files whose hashes are known; returns the others, each with its hash."""
        unpinned = []
        for file in entry.files:
            path = folder / file.name
            if path in self._checked:
                continue
            expected = file.sha256 or read_pin(self.root, entry.name, file.name)
            digest = compute_hash(path)
            if not expected:
                unpinned.append((file, digest))
                continue
            if digest != expected:
                raise (
                    self._make_damaged_error(entry, path)
                    if file.sha256
                    else self._make_changed_error(entry, file, path)
                )
            self._checked.add(path)
        return unpinned

    def _pin(self, entry: ModelEntry, file: ModelFile, sha256: str) -> None:
        try:
            write_pin(self.root, entry.name, file.name, sha256)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        self._notices.append(Message("model-pinned", name=entry.name, file=file.name, sha256=sha256))

    def _make_changed_error(self, entry: ModelEntry, file: ModelFile, path: Path) -> ModelUnavailable:
        """The error for a file that differs from the one that was pinned."""
        pin = pin_path(self.root, entry.name, file.name)
        return ModelUnavailable("model-changed", name=entry.name, path=str(path), pin=str(pin))


def _spell_as_open_clip(clip: str) -> tuple[str, str]:
    """Model and tag of a value of ``--clip`` in open_clip's spelling, which also accepts "ViT-B/32:laion2B-s34B"."""
    model, _, tag = clip.partition(":")
    return model.replace("/", "-"), tag.lower().replace("-", "_")


def _is_installed(source: PackageSource) -> bool:
    return importlib.util.find_spec(source.package) is not None
