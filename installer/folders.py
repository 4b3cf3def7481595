"""Folders of an installation, and the markers of folders that may be removed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from installer.atomic_files import replace_file
from installer.problems import Stop, explain_disk_error

# A folder with this file was created by install.py; no other folder is ever removed.
MARKER = ".protect-face.json"
# Files of ``tests/host/root.py`` in the cache: systems with a GIMP, their build logs, and locks.
_TEST_SYSTEM = re.compile(r"gimp(3|210)-root(-[0-9a-f]{12}(\.log)?|\.lock)")


@dataclass(frozen=True)
class Installation:
    """The folders of an installation."""

    venv: Path
    models: Path

    @property
    def python(self) -> Path:
        return self._program("python")

    @property
    def c2p(self) -> Path:
        return self._program("c2p")

    def _program(self, name: str) -> Path:
        if sys.platform == "win32":
            return self.venv / "Scripts" / f"{name}.exe"
        return self.venv / "bin" / name


def find_installation(
    venv: Path | None, models: Path | None, environment: Mapping[str, str] = os.environ
) -> Installation:
    """The given folders, else folders below C2P_HOME, else below the platform's folder of program data."""
    home = data_home(environment)
    default_models = Path(environment["C2P_MODELS"]) if environment.get("C2P_MODELS") else home / "models"
    return Installation((venv or home / "venv").absolute(), (models or default_models).absolute())


def data_home(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The same folder as platformdirs' ``user_data_path("protect-face")``, or C2P_HOME."""
    if environment.get("C2P_HOME"):
        return Path(environment["C2P_HOME"]).absolute()
    if platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "protect-face" / "protect-face"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "protect-face"
    shared = environment.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "protect-face"


def log_home(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder of the worker's log: platformdirs' ``user_log_path("protect-face")``, or below C2P_HOME."""
    if environment.get("C2P_HOME"):
        return Path(environment["C2P_HOME"]) / "log"
    if platform == "win32":
        return data_home(environment, platform) / "Logs"
    if platform == "darwin":
        return Path.home() / "Library" / "Logs" / "protect-face"
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "protect-face" / "log"


def find_inversion_cache(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder of ``c2p``'s cached inversions: platformdirs' ``user_cache_path("protect-face")``, or C2P_CACHE."""
    if environment.get("C2P_CACHE"):
        return Path(environment["C2P_CACHE"])
    return cache_home(environment, platform) / "inversions"


def cache_home(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder of the systems that the tests build: platformdirs' ``user_cache_path("protect-face")``."""
    if platform == "win32":
        return data_home(dict(environment, C2P_HOME=""), platform) / "Cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "protect-face"
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "protect-face"


def claim(folder: Path) -> bool:
    """Mark ``folder`` as ours if it is new or empty; returns whether it is ours.

    Raises:
        Stop: it can't be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_ours(folder):
            return True
        if any(folder.iterdir()):
            return False
        write_marker(folder, {})
    except OSError as error:
        raise explain_disk_error(error, folder) from error
    return True


def is_ours(folder: Path) -> bool:
    # Not Path.is_file, which raises where the folder can't be entered.
    return os.path.isfile(folder / MARKER) and not os.path.islink(folder)  # noqa: PTH113, PTH114


def read_marker(folder: Path) -> dict[str, Any]:
    """The content of a folder's marker; {} if it is missing or incomplete."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_marker(folder: Path, content: dict[str, Any]) -> None:
    """Replace the marker atomically, so that a killed run leaves the old or the new one."""
    try:
        replace_file(folder / MARKER, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise explain_disk_error(error, folder) from error


def is_there(path: Path) -> bool:
    """Whether there is anything at ``path``, or where it leads to.

    Raises:
        OSError: it may not be looked at; ``Path.exists`` takes that for nothing from Python 3.14 on.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def remove(folder: Path, parts: Sequence[str] = ("*",)) -> str:
    """Remove a folder of ours; returns a sentence on what was done.

    Args:
        folder: the folder.
        parts: patterns of the names in it that are ours; the folder stays if it holds anything else.

    Raises:
        Stop: the folder is not ours, or can't be removed.
    """
    if not is_there(folder):
        return f"'{folder}' is not there."
    if not is_ours(folder):
        raise Stop("removal-not-ours", 2, folder=folder)
    others = []
    try:
        # The marker is removed last, so that an interrupted removal can be repeated.
        for entry in folder.iterdir():
            if entry.name == MARKER:
                continue
            if not any(fnmatchcase(entry.name, part) for part in parts):
                others.append(entry.name)
            elif entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if others:
            # The marker stays, so that files of a later installation can be removed again.
            return f"'{folder}' holds other files ({', '.join(sorted(others))}) and stays."
        (folder / MARKER).unlink()
        folder.rmdir()
    except OSError as error:
        raise Stop("removal-in-use", 5, folder=folder, reason=error.strerror) from error
    return f"Removed '{folder}'."


def remove_test_systems() -> list[str]:
    """Remove the systems that ``install.py --test`` built in the cache; returns a line on it.

    Raises:
        Stop: one of them is in use, or can't be removed.
    """
    home = cache_home().resolve()
    entries = [entry for entry in home.glob("gimp*") if _TEST_SYSTEM.fullmatch(entry.name)]
    # Deleting would reach into mounted folders, which may even be the whole system.
    mounts = Path("/proc/self/mounts")
    mounted = mounts.read_text(encoding="utf-8", errors="replace").replace("\\040", " ") if mounts.exists() else ""
    try:
        for entry in entries:
            if f" {entry}" in mounted:
                raise Stop("removal-mounted", 5, folder=entry)
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise Stop("removal-failed", 5, folder=home, reason=error.strerror) from error
    return [f"Removed the tests' systems from '{home}'."] if entries else []
