"""From a model's name to local files whose hash was checked.

Models that ship with the project are used where they lie. The others are fetched once into a folder of the user's, each
written aside and renamed when its hash was checked, so that a killed download leaves nothing behind that looks like a
model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from c2p_core.errors import BadRequest, CannotWrite, ModelUnavailable
from c2p_core.home import data_folder
from c2p_core.models.manifest import BundleSource, HttpsSource, ModelEntry, ModelFile, read_manifest

__all__ = ["ModelEntry", "ModelFile", "ModelStore", "bundle_dir"]

ROOT_VARIABLE = "C2P_MODELS"
_ASIDE = ".partial-"
_STALE_SECONDS = 3600.0

# Bytes done, bytes in all.
FetchProgress = Callable[[int, int], None]


def bundle_dir() -> Path:
    """The folder with the manifest and the project's own weights: inside the package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_bundle"
    return inside if inside.is_dir() else package.parent / "bundle"


def default_root() -> Path:
    """Where fetched models are kept: ``C2P_MODELS``, else ``$C2P_HOME/models``, else in the user's data folder."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return Path(chosen) if chosen else data_folder() / "models"


class ModelStore:
    """The models of one manifest.

    Attributes:
        root: folder of the fetched models; made when it is first needed.
        offline: never touch the network.
    """

    def __init__(self, root: Path | None = None, offline: bool = False, bundle: Path | None = None) -> None:
        """Reads the manifest of ``bundle`` (default: the project's own)."""
        self.root = root if root is not None else default_root()
        self.offline = offline
        self._bundle = bundle if bundle is not None else bundle_dir()
        self._entries = {entry.name: entry for entry in read_manifest(self._bundle / "manifest.toml")}
        self._checked: set[Path] = set()

    def entries(self) -> tuple[ModelEntry, ...]:
        """All models, in the manifest's order."""
        return tuple(self._entries.values())

    def entry(self, name: str) -> ModelEntry:
        """One model.

        Raises:
            BadRequest: there is no model of that name.
        """
        if name not in self._entries:
            raise BadRequest(f"There is no model {name!r}; the models are {', '.join(self._entries)}.")
        return self._entries[name]

    def is_present(self, name: str) -> bool:
        """Whether all files are there in the right size; their hashes are not looked at."""
        return self._folder(self.entry(name)) is not None

    def is_intact(self, name: str) -> bool:
        """Whether all files are there and have the content that they should; each good one is read once."""
        entry = self.entry(name)
        folder = self._folder(entry)
        try:
            if folder is not None:
                self._check(entry, folder)
        except ModelUnavailable:
            return False
        return folder is not None

    def path(self, name: str) -> Path:
        """The file of a model, or the folder with its files when it has several; fetched if it may be.

        Raises:
            ModelUnavailable: it is missing and can't be had, or a hash is wrong.
            CannotWrite: it could not be stored.
        """
        entry = self.entry(name)
        folder = self._folder(entry)
        if folder is None:
            self.fetch(name)
            folder = self.root / name
        self._check(entry, folder)
        return folder / entry.files[0].name if len(entry.files) == 1 else folder

    def verify(self, name: str) -> None:
        """Reads all files again and compares their hashes.

        Raises:
            ModelUnavailable: a file is missing or its hash is wrong.
        """
        entry = self.entry(name)
        folder = self._folder(entry)
        if folder is None:
            raise _missing(
                entry, "fetch it with `c2p models fetch`" if can_be_fetched(entry) else "install the program again"
            )
        self._checked.difference_update(folder / file.name for file in entry.files)
        self._check(entry, folder)

    def fetch(self, name: str, progress: FetchProgress | None = None) -> None:
        """Makes a model present; replaces a damaged one. Does nothing when it is there and whole.

        Raises:
            ModelUnavailable: offline, or no source gives it; the message has every source's reason.
            CannotWrite: it could not be stored.
        """
        entry = self.entry(name)
        if self.is_intact(name):
            return
        if not can_be_fetched(entry):
            reason = "install the program again"
            raise _damaged(entry, reason) if self._folder(entry) else _missing(entry, reason)
        if self.offline:
            raise _missing(entry, f"run `c2p models fetch {name}` once with a network, without --offline")
        # Only here: whoever fetches nothing does not wait for the modules of the network.
        from c2p_core.models import download

        failures = []
        for source in entry.sources:
            if not isinstance(source, HttpsSource):
                continue
            try:
                with self._aside() as folder:
                    download.download_files(source.url, entry.files, folder, progress)
                    self._keep(entry, folder)
                return
            except download.DownloadFailed as error:
                failures.append(str(error))
            except OSError as error:
                raise _cannot_write(self.root, error) from error
        raise ModelUnavailable(
            f"The model {name} could not be fetched ({'; '.join(failures)}); check the network and run "
            f"`c2p models fetch {name}`."
        )

    def _folder(self, entry: ModelEntry) -> Path | None:
        """The first folder in which all files of the entry lie, in the right size."""
        for folder in self._folders(entry):
            if all(_has_size(folder / file.name, file.size) for file in entry.files):
                return folder
        return None

    def _folders(self, entry: ModelEntry) -> Iterator[Path]:
        for source in entry.sources:
            if isinstance(source, BundleSource):
                yield self._bundle / source.folder
        yield self.root / entry.name

    def _check(self, entry: ModelEntry, folder: Path) -> None:
        for file in entry.files:
            path = folder / file.name
            if path in self._checked:
                continue
            if _hash(path) != file.sha256:
                how = f"run `c2p models fetch {entry.name}`" if can_be_fetched(entry) else "install the program again"
                raise _damaged(entry, f"{path} has another content than it should; {how}")
            self._checked.add(path)

    def _keep(self, entry: ModelEntry, aside: Path) -> None:
        """Moves files whose hash was checked from ``aside`` to where the store looks for them."""
        target = self.root / entry.name
        try:
            target.mkdir(exist_ok=True)
            for file in entry.files:
                (aside / file.name).replace(target / file.name)
        except OSError as error:
            raise _cannot_write(target, error) from error

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A folder beside the models that is gone afterwards; what killed runs left is swept out."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for left in self.root.glob(f"{_ASIDE}*"):
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
            folder = tempfile.TemporaryDirectory(prefix=_ASIDE, dir=self.root)
        except OSError as error:
            raise _cannot_write(self.root, error) from error
        with folder as name:
            yield Path(name)


def can_be_fetched(entry: ModelEntry) -> bool:
    """Whether it comes from somewhere else than the installation."""
    return any(isinstance(source, HttpsSource) for source in entry.sources)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelUnavailable(f"The model file {path} can't be read ({error.strerror}); check its rights.") from error
    return digest.hexdigest()


def _missing(entry: ModelEntry, what_to_do: str) -> ModelUnavailable:
    return ModelUnavailable(f"The model {entry.name} is not there or incomplete ({entry.source}); {what_to_do}.")


def _damaged(entry: ModelEntry, what: str) -> ModelUnavailable:
    return ModelUnavailable(f"The model {entry.name} is damaged: {what}.")


def _cannot_write(folder: Path, error: OSError) -> CannotWrite:
    return CannotWrite(
        f"Models can't be stored in {folder} ({error.strerror}); free some space or choose another folder with "
        f"{ROOT_VARIABLE}."
    )
